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
    result: Mapping[str, Any],
    keys: list[str],
    heads: list[str],
    formats: list[str],
    names: Mapping[str, str] | None = None,
) -> list[str]:
    """One row per key, or, with a `{name}` in every key, one column per key and one row for each value of `name`.

    names: of those values, what readers call them, in the order of the rows; without it numbers in their order.
    """
    if any("{" in key for key in keys):
        return _matrix(result, keys, heads, formats, names or {})
    if names:
        raise UserError("rows names the values of a {name} in the keys, and there is none")
    rows = []
    for i, key in enumerate(keys):
        entry = result["values"].get(key, {})
        value = show(number(result, key), formats[i] if i < len(formats) else "".join(formats[-1:]))
        rows.append(
            [entry.get("note") or key.replace("_", " "), f"{value} {_unit(entry.get('unit', ''))}".strip()]
        )
    return markdown(heads or ["what", "measured"], rows, {1})


def _matrix(
    result: Mapping[str, Any],
    keys: list[str],
    heads: list[str],
    formats: list[str],
    chosen_rows: Mapping[str, str],
) -> list[str]:
    names = {name for key in keys for name in re.findall(r"{(\w+)}", key)}
    if len(names) != 1 or any("{" not in key for key in keys):
        raise UserError(f"the keys {' '.join(keys)} need one and the same {{name}} in each")
    name = names.pop()
    found = _fillings(result, keys[0], name)
    if missing := [row for row in chosen_rows if row not in found]:
        raise UserError(f"rows: no {missing[0]!r} in {result.get('name')}; it has {', '.join(found)}")
    if not chosen_rows and not all(filling.isdigit() for filling in found):
        raise UserError(
            f"rows must name {', '.join(found)} for readers, in their order: rows {found[0]}=..., ..."
        )
    found = list(chosen_rows) or found
    rows = []
    for filling in found:
        whole = [key.replace(f"{{{name}}}", filling) for key in keys]
        cells = [number(result, key) if key in result["values"] else None for key in whole]
        chosen = [formats[i] if i < len(formats) else "".join(formats[-1:]) for i in range(len(keys))]
        rows.append(
            [
                chosen_rows.get(filling) or _group(filling),
                *(
                    "-" if cell is None else show(cell, spec)
                    for cell, spec in zip(cells, chosen, strict=True)
                ),
            ]
        )
    units = [_unit_of(result, key, name, found) for key in keys]
    columns = heads[1:] or [key.replace(f"_{{{name}}}", "").replace("_", " ") for key in keys]
    if len(columns) != len(keys):
        raise UserError(f"heads names {len(heads)} columns; {len(keys) + 1} are needed")
    titles = [_titled(head, unit) for head, unit in zip(columns, units, strict=True)]
    first = {0} if not chosen_rows else set()
    return markdown([heads[0] if heads else name, *titles], rows, {*first, *range(1, len(keys) + 1)})


def _unit_of(result: Mapping[str, Any], key: str, name: str, found: list[str]) -> str:
    """The unit of a column. Raises UserError where it has no cell at all."""
    whole = [key.replace(f"{{{name}}}", filling) for filling in found]
    units = [result["values"][one].get("unit", "") for one in whole if one in result["values"]]
    if not units:
        raise UserError(f"no key of {result.get('name')} fits {key!r}; it has {', '.join(result['values'])}")
    return str(units[0])


def _unit(unit: str) -> str:
    """The unit as it is printed."""
    return {"us": "µs"}.get(unit, unit)


def _titled(head: str, unit: str) -> str:
    """A column's head with its unit, unless the head says it already or the number is a ratio."""
    said = unit in ("", "x") or re.search(rf"(?<![a-z]){re.escape(unit)}(?![a-z])", head)
    return head if said else f"{head} ({_unit(unit)})"


def _fillings(result: Mapping[str, Any], key: str, name: str) -> list[str]:
    """What stands for `{name}` in the recorded keys, numbers in their order."""
    pattern = re.compile(re.escape(key).replace(re.escape(f"{{{name}}}"), r"(\d+|[a-z0-9]+)"))
    found = [match.group(1) for match in map(pattern.fullmatch, result["values"]) if match]
    if not found:
        raise UserError(f"no key of {result.get('name')} fits {key!r}; it has {', '.join(result['values'])}")
    return sorted(found, key=lambda text: (0, int(text), "") if text.isdigit() else (1, 0, text))


def _group(text: str) -> str:
    return f"{int(text):,}" if text.isdigit() else text
