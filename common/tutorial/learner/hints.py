"""Hints for an attempt, from a nudge to nearly the answer: the manifest's own, then what our engine's outline tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from common.tutorial.chain import Stage
from common.tutorial.chain.source import engine_files

__all__ = ["hints"]


def hints(stage: Stage) -> list[str]:
    """All hints for `stage`, in the order in which they are given away."""
    manifest = stage.manifest
    given = list(manifest.hints)
    for path in manifest.diff.files:
        kind, why = manifest.diff.kind(path), manifest.diff.why.get(path)
        given.append(f"engine/{path} is {kind} in our solution" + (f": {why}." if why else "."))
    files = engine_files(stage.engine)
    outlines = {
        path: list(_outline(files.get(path, ""))) for path in manifest.diff.added if path.endswith(".py")
    }
    given += [
        f"The outline of our engine/{path}:\n" + "\n".join(f"    {line}" for line in outline)
        for path, outline in outlines.items()
        if outline
    ]
    given.append(f"make diff-{stage.nn} shows our solution as a whole.")
    return given


def _outline(text: str) -> Iterator[str]:
    """Classes and functions with their signatures and first docstring lines."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            yield from _with_docstring(f"class {node.name}:", node, "")
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from _with_docstring(_signature(inner), inner, "    ")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _with_docstring(_signature(node), node, "")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}"


def _with_docstring(
    head: str, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, indent: str
) -> Iterator[str]:
    yield indent + head
    if text := ast.get_docstring(node):
        yield f'{indent}    """{text.splitlines()[0]}"""'
