"""Quotes Python by name instead of by line number: symbols through AST, with elision.

Line numbers in a text go stale with every edit above them; names do not.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def quote(
    path: Path, symbols: Iterable[str] = (), fold: Iterable[str] = (), nodoc: bool = False
) -> list[str]:
    """Lines of `path`: all of it, or of the named symbols (`KVCache.append`), each dedented.

    `fold` names functions whose body becomes `...` ("*" is every method of a quoted class); `nodoc` leaves
    docstrings out. Raises UserError where a symbol does not exist, naming those that do.
    """
    text = path.read_text(encoding="utf-8").rstrip("\n")
    symbols, fold = list(symbols), set(fold)
    if path.suffix != ".py":
        if symbols or fold:
            raise UserError(f"{path.name} is not Python: symbols and fold need a .py file")
        return text.split("\n")
    tree = ast.parse(text)
    if not symbols:
        return _render(text.split("\n"), tree, 1, text.count("\n") + 1, fold, nodoc)
    out: list[str] = []
    for symbol in symbols:
        node = find(tree, symbol, path)
        start, end = span(node, text.split("\n"))
        lines = _render(text.split("\n"), node, start, end, fold, nodoc)
        out += ["", ""] * bool(out) + textwrap.dedent("\n".join(lines)).split("\n")
    return out


def find(tree: ast.Module, symbol: str, path: Path) -> ast.stmt:
    """The statement that defines `symbol`: a class, function, method, or an assigned name."""
    body: list[ast.stmt] = tree.body
    node: ast.stmt | None = None
    for part in symbol.split("."):
        named = {name: statement for statement in body for name in _names(statement)}
        if part not in named:
            raise UserError(f"{path.name} defines no {symbol!r}; it has {', '.join(named) or 'nothing'}")
        node = named[part]
        body = node.body if isinstance(node, Definition) else []
    assert node is not None
    return node


def span(node: ast.stmt, lines: list[str]) -> tuple[int, int]:
    """First and last line (1-based) of a definition, with its decorators and the comment right above."""
    start = node.lineno
    if isinstance(node, Definition) and node.decorator_list:
        start = min(decorator.lineno for decorator in node.decorator_list)
    while start > 1 and lines[start - 2].lstrip().startswith("#"):
        start -= 1
    return start, node.end_lineno or node.lineno


def enclosing(path_text: str, line: int) -> str:
    """Name of the innermost definition around a line ("KVCache.append"), or ""."""
    try:
        tree = ast.parse(path_text)
    except SyntaxError:
        return ""
    names: list[str] = []
    body: list[ast.stmt] = tree.body
    while body:
        inner = next(
            (n for n in body if isinstance(n, Definition) and n.lineno <= line <= (n.end_lineno or n.lineno)),
            None,
        )
        if inner is None:
            break
        names.append(inner.name)
        body = inner.body
    return ".".join(names)


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, Definition):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _render(lines: list[str], node: ast.AST, start: int, end: int, fold: set[str], nodoc: bool) -> list[str]:
    """Lines [start, end] without folded bodies and, if asked, without docstrings."""
    gone: set[int] = set()
    dots: dict[int, str] = {}
    found: set[str] = set()
    for inner in ast.walk(node):
        if not isinstance(inner, Definition | ast.Module):
            continue
        first = inner.body[0] if inner.body else None
        has_doc = first is not None and _is_docstring(first)
        if nodoc and has_doc and first is not None and len(inner.body) > 1:
            gone |= set(range(first.lineno, inner.body[1].lineno - _comments_above(lines, inner.body[1])))
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) or inner is node:
            continue
        if inner.name in fold or "*" in fold:
            found.add(inner.name)
            kept = 1 if has_doc and not nodoc else 0
            body = inner.body[kept:]
            if body:
                at = body[0].lineno - _comments_above(lines, body[0])
                gone |= set(range(at, (inner.end_lineno or at) + 1))
                dots[at] = " " * body[0].col_offset + "..."
    if missing := fold - found - {"*"}:
        raise UserError(
            f"fold names {', '.join(sorted(missing))}, which is no function inside what is quoted"
        )
    out = []
    for number in range(start, end + 1):
        if number in dots:
            out.append(dots[number])
        elif number not in gone:
            out.append(lines[number - 1])
    return out


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _comments_above(lines: list[str], node: ast.stmt) -> int:
    count = 0
    while lines[node.lineno - 2 - count].lstrip().startswith("#"):
        count += 1
    return count
