"""Expressions over recorded results: `[claims]`, `[headline]` and the answers of `[[predict]]`.

A manifest's expression is text, so it is parsed and walked here, never handed to `eval`: names are
`r` and four functions, values are numbers, texts and truth. What a result file is, and how `r` reads
it, is for `common.bench.results` to say.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.bench import results
from common.errors import UserError
from common.tutorial.chain import ROOT

__all__ = ["Lookup", "Value", "evaluate", "evaluate_number", "measured_here", "recorded"]

Value = float | int | bool | str
Lookup = Callable[[str, str, str], float]

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max, "round": round}


def recorded(root: Path = ROOT) -> Lookup:
    """`r(name, machine, key)` over the results recorded below `root`; `key` may name a statistic, "ttft.p95"."""

    @functools.cache
    def lookup(name: str, machine: str, key: str) -> float:
        return results.r(name, machine, key, folder=root / "benchmarks" / "results" / machine)

    return lookup


def measured_here(root: Path = ROOT) -> Lookup:
    """The same over `root/work/results`, where a learner's own runs go.

    A run on a GPU answers for any GPU, one on a CPU for "cpu".
    """

    @functools.cache
    def lookup(name: str, machine: str, key: str) -> float:
        ran_on = results.load_result(name, machine, folder=root / "work" / "results")["machine"]
        if (machine == "cpu") == ("gpu" in ran_on):
            raise UserError(f"{name} was not measured on {machine} here")
        return results.r(name, machine, key, folder=root / "work" / "results")

    return lookup


def evaluate(expression: str, r: Lookup | None = None) -> Value:
    """The value of `expression`, by default over this repository's results.

    UserError names the expression and what is wrong with it.
    """
    r = r or recorded()
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        value = _walk(tree.body, r)
    except UserError as error:
        raise UserError(f"{expression}: {error}") from None
    except SyntaxError as error:
        raise UserError(f"{expression}: not an expression ({error.msg})") from None
    except (ArithmeticError, TypeError, RecursionError, ValueError) as error:
        raise UserError(f"{expression}: {error}") from None
    if isinstance(value, bool | int | float | str):
        return value
    raise UserError(f"{expression}: gives {value!r}, neither a number nor a text")


def evaluate_number(expression: str, r: Lookup | None = None) -> float:
    """`evaluate` where only a number makes sense."""
    value = evaluate(expression, r)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{expression}: gives {value!r}, not a number")
    return float(value)


def _walk(node: ast.expr, r: Lookup) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            a, b = _walk(left, r), _walk(right, r)
            if isinstance(op, ast.Pow) and (abs(b) > 64 or abs(a) > 1e9):
                raise UserError("this power is too large")
            return _BINARY[type(op)](_number(a), _number(b))
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_walk(operand, r))
        case ast.Compare(left, ops, rest) if all(type(op) in _COMPARE for op in ops):
            items = [_walk(item, r) for item in (left, *rest)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, items, items[1:], strict=False))
        case ast.BoolOp(op, values):
            test = all if isinstance(op, ast.And) else any
            return test(bool(_walk(value, r)) for value in values)
        case ast.IfExp(test, body, orelse):
            return _walk(body if _walk(test, r) else orelse, r)
        case ast.Call(ast.Name("r"), args, []):
            names = [_walk(arg, r) for arg in args]
            if len(names) != 3 or not all(isinstance(name, str) for name in names):
                raise UserError("r takes three texts: the result's name, the machine, the key")
            return r(*names)
        case ast.Call(ast.Name(name), args, []) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_walk(arg, r) for arg in args))
    known = ", ".join(("r", *_FUNCTIONS))
    raise UserError(f"{ast.unparse(node)!r} cannot be used here; known are {known} and arithmetic")


def _number(value: Any) -> Any:
    """`value`, if arithmetic makes sense with it: 'ab' * 10**9 does not."""
    if isinstance(value, str):
        raise UserError(f"arithmetic with the text {value!r}")
    return value
