"""Numbers for the prose: expressions over result files (`claims` evaluates them), formatted like Python does."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from common.errors import UserError
from common.tutorial.chain.claims import Lookup, evaluate_number

_FUNCTIONS = ("r", "abs", "min", "max", "round")


def of_result(name: str, machine: str, expression: str, lookup: Lookup) -> float:
    """`without_512/with_512` over the keys of one result file."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        raise UserError(f"{expression!r} is not a key or an expression over keys") from None
    return evaluate_number(ast.unparse(_Bind(name, machine).visit(tree)), lookup)


def calculated(expression: str, lookup: Lookup) -> float:
    """Arithmetic over numbers and r('s03','cpu','key')."""
    return evaluate_number(expression, lookup)


def number(result: Mapping[str, Any], key: str) -> float:
    """The value recorded under `key`, or a statistic of it: "ttft.p95"."""
    name, _, statistic = key.partition(".")
    entry = result["values"].get(name)
    if entry is None:
        raise UserError(
            f"no key {name!r} in result {result.get('name')}; it has {', '.join(result['values'])}"
        )
    if (statistic or "value") not in entry:
        raise UserError(
            f"{name} of result {result.get('name')} has no {statistic!r}; it has {', '.join(entry)}"
        )
    return float(entry[statistic or "value"])


def show(value: float, spec: str = "") -> str:
    """`value` by a Python format such as `.1f`, `,.0f` or `.0%`; three digits without one."""
    try:
        return format(value, spec or (",.0f" if float(value).is_integer() else ".3g"))
    except ValueError:
        raise UserError(f"{spec!r} is not a number format; write one such as .1f, ,.0f or .0%") from None


class _Bind(ast.NodeTransformer):
    """Reads each bare name, and each `name.p95`, as a key of one result file."""

    def __init__(self, name: str, machine: str):
        self.at = (name, machine)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return node if node.id in _FUNCTIONS else self._key(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._key(ast.unparse(node))

    def _key(self, key: str) -> ast.expr:
        return ast.Call(ast.Name("r"), [ast.Constant(text) for text in (*self.at, key)], [])
