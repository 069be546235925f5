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
WORDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}


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
    """Base of a configuration. Raises UserError on creation for a value of the wrong type or out of its field's range."""

    def __post_init__(self) -> None:
        kinds = _kinds(type(self))
        for f in fields(self):
            value, m = getattr(self, f.name), f.metadata
            kind, optional = kinds[f.name]
            if (value is None and optional) or kind not in WORDS:
                continue
            if not has_type(value, kind):
                none = " or None" if optional else ""
                raise UserError(f"{f.name} = {shown(value)}: must be {WORDS[kind]}{none}")
            if m.get("choices") and value not in m["choices"]:
                raise UserError(f"{f.name} = {shown(value)}: choose from {', '.join(map(str, m['choices']))}")
            least, most = m.get("least"), m.get("most")
            # Every comparison with a NaN is false, so it is outside every range.
            if (least is not None and not value >= least) or (most is not None and not value <= most):
                possible = f"at least {least}" if most is None else f"between {least} and {most}"
                raise UserError(f"{f.name} = {shown(value)}: must be {possible}")


def has_type(value: Any, kind: type) -> bool:
    """Whether a field of this type may hold the value: a whole number is a number too, a bool is neither."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def shown(value: Any) -> str:
    """A value as an error message shows it: one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def strings(name: str, value: Any) -> tuple[str, ...]:
    """One string or a list of them, none empty. Raises UserError."""
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, (tuple, list)) or not all(isinstance(s, str) and s for s in several):
        raise UserError(
            f"{name}: must be a string or a list of strings, none of them empty, not {shown(value)}"
        )
    return tuple(several)


def add_options(parser: argparse.ArgumentParser, cls: type[Options]) -> None:
    """One flag per field. A flag that is not given stays out of the namespace, so that the environment decides."""
    kinds = _kinds(cls)
    for f in fields(cls):
        kind, optional = kinds[f.name]
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
    kinds = _kinds(cls)
    values: dict[str, Any] = {}
    for f in fields(cls):
        name = "VITRINE_" + f.name.upper()
        if f.name in given:
            values[f.name] = given[f.name]
        elif name in environ:
            values[f.name] = parse(name, environ[name], *kinds[f.name])
    return cls(**values)


def _flag(name: str, kind: type, optional: bool, text: str) -> Any:
    try:
        return parse(name, text, kind, optional)
    except UserError as e:  # argparse would replace the message of any other ValueError with its own
        raise argparse.ArgumentTypeError(str(e)) from None


def parse(name: str, text: str, kind: type, optional: bool) -> Any:
    """A word from the command line or the environment. Raises UserError."""
    if optional and text.lower() in ("", "none", "auto"):
        return None
    if kind is bool:
        if text.lower() not in (*YES, *NO):
            raise UserError(f"{name} = {text!r}: choose from {', '.join((*YES, *NO))}")
        return text.lower() in YES
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except ValueError:
        raise UserError(f"{name} = {text!r} is not {WORDS[kind]}") from None


_known: dict[type, dict[str, tuple[type, bool]]] = {}


def _kinds(cls: type) -> dict[str, tuple[type, bool]]:
    """For each field of a class of options, its type and whether it may be None."""
    if cls not in _known:
        _known[cls] = {name: _kind(hint) for name, hint in typing.get_type_hints(cls).items()}
    return _known[cls]


def _kind(hint: Any) -> tuple[type, bool]:
    """`int | None` -> (int, True); a Literal is a str."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return _kind(inner)[0], True
    return (str if typing.get_origin(hint) is Literal else hint), False
