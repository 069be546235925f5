"""Small faults for a file: one operator, one number, one condition, one statement changed.

A mutant replaces a few bytes of the source and leaves everything else, comments included, as it is. What is noticed and
by which test is for `mutate`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Mutant", "mutants"]

COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
COMPUTE: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
}  # fmt: skip
ARGUMENTS = {"min": "max", "max": "min"}
# Nothing in these decides what an engine does.
SAID_ONLY = {"log", "logging", "warnings"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`source[start:end]` becomes `new`."""

    kind: str
    line: int
    start: int
    end: int
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]

    def lines(self, source: bytes) -> tuple[str, str]:
        """The first line that it changes, before and after."""
        before, after = (text.decode().splitlines() for text in (source, self.apply(source)))
        number = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), self.line - 1
        )
        return before[number].strip(), after[number].strip()


class Places:
    """Byte offsets of nodes."""

    def __init__(self, source: bytes):
        self.source = source
        self.lines = [0, *(match.end() for match in re.finditer(rb"\n", source))]

    def span(self, node: Any) -> tuple[int, int]:
        return (
            self.lines[node.lineno - 1] + node.col_offset,
            self.lines[node.end_lineno - 1] + node.end_col_offset,
        )

    def between(self, left: Any, right: Any, old: str) -> tuple[int, int] | None:
        """Where the operator `old` is, between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        pattern = re.escape(old).replace(r"\ ", r"\s+")
        match = re.search(pattern.encode(), self.source[start:end])
        return (start + match.start(), start + match.end()) if match else None


def mutants(source: bytes) -> list[Mutant]:
    """All of them that compile, in the order of the file."""
    places = Places(source)
    found = {m for node in acting(ast.parse(source)) for m in of_node(node, places)}
    return [m for m in sorted(found, key=lambda m: (m.start, m.end, m.new)) if compiles(m.apply(source))]


def acting(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that do something: no annotations, no decorators, no messages."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr) and not only_said(child):
                yield from acting(child)


def only_said(node: ast.AST) -> bool:
    """log.error(...)"""
    call = node.value if isinstance(node, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    owner = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in SAID_ONLY


def of_node(node: ast.AST, places: Places) -> Iterator[Mutant]:
    def made(kind: str, span: tuple[int, int] | None, new: str) -> Iterator[Mutant]:
        if span:
            yield Mutant(kind, node.lineno, *span, new)  # type: ignore[attr-defined]

    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for (a, b), op in zip(pairwise([left, *comparators]), ops, strict=True):
                if type(op) in COMPARE:
                    old, new = COMPARE[type(op)]
                    yield from made("comparison", places.between(a, b, old), new)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTE:
            old, new = COMPUTE[type(op)]
            yield from made("operator", places.between(left, right, old), new)
        case ast.BoolOp(op=op, values=values):
            old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
            yield from made("operator", places.between(values[0], values[1], old), new)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from made("condition", (places.span(node)[0], places.span(operand)[0]), "")
        case ast.Constant(value=bool() as value):
            yield from made("constant", places.span(node), str(not value))
        case ast.Constant(value=int() as value):
            yield from made("constant", places.span(node), str(value + 1))
        case ast.Call(func=ast.Name(id=name)) if name in ARGUMENTS:
            yield from made("function", places.span(node.func), ARGUMENTS[name])
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if isinstance(test, ast.Name | ast.Attribute | ast.Call):
                start, end = places.span(test)
                yield from made("condition", (start, end), f"(not {places.source[start:end].decode()})")
    if removable(node):
        yield from made("statement", places.span(node), "pass")


def removable(node: ast.AST) -> bool:
    """A call for its effect, or something written where others read it. A local name that is gone would only crash."""
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            return True
        case ast.Assign(targets=targets):
            return all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
    return False


def compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
