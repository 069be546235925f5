"""Rules for reading TOML tables with errors that name the file, the field, the value and what is possible.

A rule is a pair: a function that converts a value or raises ValueError, and a text that says what is
possible. `table` applies rules to a table; what the fields mean is for the caller (`manifest`) to know.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from common.errors import UserError

__all__ = [
    "Choice",
    "Rule",
    "bounds",
    "choices",
    "listing",
    "matching",
    "same",
    "share",
    "table",
    "text",
    "texts",
    "whole",
]

Choice = str | int | float
Rule = tuple[Callable[[Any], Any], str]


def table(raw: object, fields: dict[str, Rule], where: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """`raw` with every field checked and converted by its rule."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: must be a table, not {raw!r}")
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            raise UserError(f"{where}: unknown field {key!r}; {hint}")
    for key in required:
        if key not in raw:
            raise UserError(f"{where}: field {key!r} is missing")
    out = {}
    for key, value in raw.items():
        convert, wanted = fields[key]
        try:
            out[key] = convert(value)
        except (TypeError, ValueError):
            raise UserError(f"{where} {key}: must be {wanted}, not {value!r}") from None
    return out


def _expect(ok: bool) -> None:
    if not ok:
        raise ValueError


def text(value: object) -> str:
    _expect(isinstance(value, str) and bool(value.strip()))
    return str(value).strip()


def matching(pattern: str) -> Callable[[Any], str]:
    def convert(value: object) -> str:
        _expect(isinstance(value, str) and re.fullmatch(pattern, value) is not None)
        return str(value)

    return convert


def whole(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: object) -> int:
        _expect(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return int(value)  # type: ignore[call-overload, no-any-return]

    return convert


def share(value: object) -> float:
    _expect(isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1)
    return float(value)  # type: ignore[arg-type]


def listing(item: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def convert(value: object) -> tuple[Any, ...]:
        _expect(isinstance(value, list))
        return tuple(item(one) for one in value)  # type: ignore[attr-defined]

    return convert


def texts(value: object) -> dict[str, str]:
    _expect(isinstance(value, dict))
    return {key: text(one) for key, one in value.items()}  # type: ignore[attr-defined]


def choices(value: object) -> tuple[Choice, ...]:
    _expect(isinstance(value, list) and len(value) >= 2)
    items = tuple(value)  # type: ignore[arg-type, var-annotated]
    texts = all(isinstance(one, str) for one in items)
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in items)
    _expect((texts or numbers) and len(set(items)) == len(items))
    return items


def bounds(value: object) -> tuple[float, ...]:
    _expect(isinstance(value, list) and len(value) >= 1)
    items = tuple(value)  # type: ignore[arg-type, var-annotated]
    _expect(all(isinstance(one, int | float) and not isinstance(one, bool) for one in items))
    _expect(list(items) == sorted(set(items)))
    return tuple(float(one) for one in items)


def same(value: Any) -> Any:
    return value
