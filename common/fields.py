"""Reading a JSON object key by key: a wrong type is a one-line error that names file and key."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError

REQUIRED: Any = object()
MOST = 2**31 - 1


class Fields:
    """A JSON object and which of its keys have been asked for.

    Where a method's default is None, the key may be null. With REQUIRED as the default, the key must be there.
    """

    def __init__(self, raw: Mapping[str, Any], file: str = "config.json"):
        self.raw, self.file = raw, file
        self.asked: set[str] = set()

    def integer(self, key: str, default: int | None = REQUIRED, least: int = 1) -> Any:
        """A whole number between `least` and MOST, or the default."""
        value = self._get(key, default)
        if value is default or (type(value) is int and least <= value <= MOST):
            return value
        raise self._wrong(key, f"a whole number between {least} and {MOST}")

    def number(self, key: str, default: float = REQUIRED) -> float:
        """A positive number, or the default."""
        value = self._get(key, default)
        if type(value) in (int, float) and math.isfinite(value) and value > 0:
            return float(value)
        raise self._wrong(key, "a positive number")

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if isinstance(value, bool):
            return value
        raise self._wrong(key, "true or false")

    def choice(self, key: str, choices: tuple[str, ...], default: str = REQUIRED) -> str:
        value = self._get(key, default)
        if isinstance(value, str) and value in choices:
            return value
        raise UserError(
            f"{self.file}: {key} = {show(value)} is not supported; choose from {', '.join(choices)}"
        )

    def names(self, key: str, choices: tuple[str, ...]) -> list[str] | None:
        """A list of these names, or None."""
        value = self._get(key, None)
        if value is None or (isinstance(value, list) and value and all(v in choices for v in value)):
            return value
        raise self._wrong(key, f"a list of {' or '.join(choices)}, one per layer")

    def object(self, key: str) -> Fields | None:
        """A JSON object as Fields of its own, or None for null and {}."""
        value = self._get(key, None)
        if value is None or isinstance(value, dict):
            return Fields(value, f"{self.file}: {key}") if value else None
        raise self._wrong(key, "an object or null")

    def token_ids(self, key: str) -> tuple[int, ...]:
        """One token id, several or none (null)."""
        value = self._get(key, None)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if value == [] or not all(type(i) is int and 0 <= i <= MOST for i in ids):
            raise self._wrong(key, "a token id, a list of token ids or null")
        return tuple(ids)

    def done(self, harmless: Container[str] = (), only: Mapping[str, Any] | None = None) -> None:
        """Raises UserError for a key that was not asked for, unless it is null, harmless, or has the one supported value."""
        only = only or {}
        for key, value in self.raw.items():
            if value is None or key in self.asked or key in harmless:
                continue
            if key not in only:
                raise self.error(f"unknown key {key!r} (= {show(value)})")
            if isinstance(value, bool) is not isinstance(only[key], bool) or value != only[key]:
                raise self.error(f"{key} = {show(value)} is not supported, only {show(only[key])}")

    def error(self, message: str) -> UserError:
        return UserError(f"{self.file}: {message}")

    def _get(self, key: str, default: Any) -> Any:
        self.asked.add(key)
        value = self.raw.get(key, default)
        if value is REQUIRED:
            raise self.error(f"{key} is missing")
        return value

    def _wrong(self, key: str, must: str) -> UserError:
        return self.error(f"{key} is {show(self.raw.get(key))}, but must be {must}")


def show(value: Any) -> str:
    """A value as it is written in the file, in one line, cut short if it is long."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + "..."


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}") from None
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path} is not JSON: {e}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {show(content)}")
    return content
