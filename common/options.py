"""Options of an engine: a dataclass whose fields are flags, environment variables and checks at once.

    @dataclass(frozen=True, slots=True)
    class EngineConfig(Options):
        max_seq_len: int | None = option(None, "longest prompt and answer together, in tokens", least=1)

gives `--max-seq-len N`, `VITRINE_MAX_SEQ_LEN=N` and an error that names the field, the value and what is possible.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from .errors import UserError

T = TypeVar("T", bound="Options")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A dataclass field with its help text and its range."""
    return field(default=default, metadata={"help": help, "least": least, "most": most, "choices": choices})


@dataclass(frozen=True, slots=True)
class Options:
    """Base of a configuration. Raises UserError on creation where a value is out of its field's range."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, m = getattr(self, f.name), f.metadata
            if value is None:
                continue
            if m.get("choices") and value not in m["choices"]:
                raise UserError(f"{f.name} = {value!r}: possible are {', '.join(map(str, m['choices']))}")
            if m.get("least") is not None and not value >= m["least"]:  # so that NaN is none either
                raise UserError(f"{f.name} = {value!r}, but must be at least {m['least']}")
            if m.get("most") is not None and not value <= m["most"]:
                raise UserError(f"{f.name} = {value!r}, but must be at most {m['most']}")


def add_options(parser: argparse.ArgumentParser, cls: type[Options]) -> None:
    """One flag a field. What is not given stays out of the namespace, so that the environment can speak."""
    hints = typing.get_type_hints(cls)
    for f in fields(cls):
        kind, optional = _kind(hints[f.name])
        flag = "--" + f.name.replace("_", "-")
        default = "none" if f.default is None else f.default
        text = f"{f.metadata.get('help', '')} ({default})"
        if kind is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            parser.add_argument(
                flag,
                type=functools.partial(_flag, f.name, kind, optional),
                default=argparse.SUPPRESS,
                metavar=(kind.__name__ if kind is not str else f.name).upper(),
                help=text,
            )


def read_options(cls: type[T], given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> T:
    """The configuration: a flag wins over the environment, the environment over the default."""
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for f in fields(cls):
        name = "VITRINE_" + f.name.upper()
        if f.name in given:
            values[f.name] = given[f.name]
        elif name in environ:
            values[f.name] = parse(name, environ[name], *_kind(hints[f.name]))
    return cls(**values)


def _flag(name: str, kind: type, optional: bool, text: str) -> Any:
    try:
        return parse(name, text, kind, optional)
    except UserError as e:  # argparse would replace the message of any other ValueError by its own
        raise argparse.ArgumentTypeError(str(e)) from None


def parse(name: str, text: str, kind: type, optional: bool) -> Any:
    """A word from the command line or the environment. Raises UserError."""
    if optional and text.lower() in ("", "none", "auto"):
        return None
    if kind is bool:
        if text.lower() not in (*YES, *NO):
            raise UserError(f"{name} = {text!r}: possible are {', '.join((*YES, *NO))}")
        return text.lower() in YES
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except ValueError:
        raise UserError(f"{name} = {text!r} is no {'whole number' if kind is int else 'number'}") from None


def _kind(hint: Any) -> tuple[type, bool]:
    """`int | None` -> (int, True); a Literal is a str."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return _kind(inner)[0], True
    return (str if typing.get_origin(hint) is Literal else hint), False
