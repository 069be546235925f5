"""Markdown tables from result files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from common.errors import UserError

from .values import number, show


def markdown(heads: list[str], rows: list[list[str]], right: set[int] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """A table with the columns in `right` aligned to the right."""
    rule = ["---:" if i in right else "---" for i in range(len(heads))]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def result_table(
    result: Mapping[str, Any], keys: list[str], heads: list[str], formats: list[str]
) -> list[str]:
    """One row a key, or, with a `{name}` in every key, one column a key and one row for each value of `name`."""
    if any("{" in key for key in keys):
        return _matrix(result, keys, heads, formats)
    rows = []
    for i, key in enumerate(keys):
        entry = result["values"].get(key, {})
        value = show(number(result, key), formats[i] if i < len(formats) else "".join(formats[-1:]))
        rows.append([entry.get("note") or key.replace("_", " "), f"{value} {entry.get('unit', '')}".strip()])
    return markdown(heads or ["what", "measured"], rows, {1})


def _matrix(result: Mapping[str, Any], keys: list[str], heads: list[str], formats: list[str]) -> list[str]:
    names = {name for key in keys for name in re.findall(r"{(\w+)}", key)}
    if len(names) != 1 or any("{" not in key for key in keys):
        raise UserError(f"the keys {' '.join(keys)} need one and the same {{name}} in each")
    name = names.pop()
    found = _fillings(result, keys[0], name)
    rows = []
    for filling in found:
        cells = [number(result, key.replace(f"{{{name}}}", filling)) for key in keys]
        chosen = [formats[i] if i < len(formats) else "".join(formats[-1:]) for i in range(len(keys))]
        rows.append([_group(filling), *(show(cell, spec) for cell, spec in zip(cells, chosen, strict=True))])
    units = [result["values"][key.replace(f"{{{name}}}", found[0])].get("unit", "") for key in keys]
    columns = heads[1:] or [key.replace(f"_{{{name}}}", "").replace("_", " ") for key in keys]
    if len(columns) != len(keys):
        raise UserError(f"heads names {len(heads)} columns; {len(keys) + 1} are needed")
    titles = [f"{head} ({unit})" if unit else head for head, unit in zip(columns, units, strict=True)]
    return markdown([heads[0] if heads else name, *titles], rows, set(range(len(keys) + 1)))


def _fillings(result: Mapping[str, Any], key: str, name: str) -> list[str]:
    """What stands for `{name}` in the recorded keys, numbers in their order."""
    pattern = re.compile(re.escape(key).replace(re.escape(f"{{{name}}}"), r"(\d+|[a-z0-9]+)"))
    found = [match.group(1) for match in map(pattern.fullmatch, result["values"]) if match]
    if not found:
        raise UserError(f"no key of {result.get('name')} fits {key!r}; it has {', '.join(result['values'])}")
    return sorted(found, key=lambda text: (0, int(text), "") if text.isdigit() else (1, 0, text))


def _group(text: str) -> str:
    return f"{int(text):,}" if text.isdigit() else text
