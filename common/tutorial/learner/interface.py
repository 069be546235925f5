"""What an attempt's engine must offer: the classes, signatures and errors that the tests, demo and benchmark use.

Taken from our solution's code, bodies left out: whatever keeps to it is a correct engine, whichever way it works inside.
What is new or different in this stage is shown; the rest the attempt has already.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from common.tutorial.chain import Stage
from common.tutorial.chain.source import engine_files

__all__ = ["interface"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
USERS = ("test_stage.py", "__main__.py", "bench.py", "lesson/*.py")


def interface(stage: Stage, previous: Stage | None) -> list[str]:
    """Markdown: a code block per file of the engine with something new in its interface."""
    before = engine_files(previous.engine) if previous else {}
    after = engine_files(stage.engine)
    used = _names_used(stage.folder)
    introduced = {name.split(".")[-1] for name in stage.manifest.introduces}
    exported = set(_exports(after.get("__init__.py", "")))
    lines: list[str] = []
    for path in stage.manifest.diff.files:
        if not path.endswith(".py") or path not in after or path.endswith("__init__.py"):
            continue
        old = _definitions(before.get(path, ""))
        shown: list[str] = []
        for name, node in _definitions(after[path]).items():
            wanted = name in introduced or name in exported or name in used
            if name.startswith("_") or not wanted:
                continue
            text = _shown(node, after[path], used | introduced)
            same = name in old and _shown(old[name], before[path], used | introduced) == text
            if not same:
                shown += [*text, ""]
        if shown:
            lines += [f"`engine/{path}`", "", "```python", *shown[:-1], "```", ""]
    init = after.get("__init__.py", "")
    if exported and exported != set(_exports(before.get("__init__.py", ""))):
        lines += [f"`engine/__init__.py` exports {', '.join(f'`{name}`' for name in _exports(init))}.", ""]
    return lines


def _names_used(folder: Path) -> set[str]:
    """Every name and attribute that the stage's tests, demo, lesson and benchmark mention."""
    found: set[str] = set()
    for pattern in USERS:
        for path in sorted(folder.glob(pattern)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case (
                        ast.Attribute(attr=name)
                        | ast.Name(id=name)
                        | ast.alias(name=name)
                        | ast.keyword(arg=str(name))
                    ):
                        found.add(name.split(".")[-1])
    return found


def _exports(text: str) -> list[str]:
    """The names in a module's __all__."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def _definitions(text: str) -> dict[str, ast.ClassDef | Function]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef | Function)}


def _shown(node: ast.ClassDef | Function, text: str, used: set[str]) -> list[str]:
    """A definition without the bodies of its functions; of a class, its fields and the methods that others use."""
    lines = text.splitlines()
    if isinstance(node, Function):
        return list(_function(node, lines, ""))
    head = f"class {node.name}" + (f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else "") + ":"
    out = [
        *(f"@{ast.unparse(decorator)}" for decorator in node.decorator_list),
        head,
        *_docstring(node, lines, "    "),
    ]
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign):
            out += _with_comments(inner, lines)
        elif isinstance(inner, Function):
            special = inner.name.startswith("__") and inner.name.endswith("__")
            if special or (not inner.name.startswith("_") and (inner.name in used or _is_property(inner))):
                out += ["", *_function(inner, lines, "    ")]
                if inner.name == "__init__":
                    out += _attributes(inner, lines, used)
    return out if len(out) > 1 else [*out, "    ..."]


def _function(node: Function, lines: list[str], indent: str) -> Iterator[str]:
    yield from (f"{indent}@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    # The header as it is written, comments and line breaks included.
    yield from (line.rstrip() for line in lines[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)])
    documented = list(_docstring(node, lines, f"{indent}    "))
    yield from documented
    kinds = [] if "Raises" in "".join(documented) else _raised(node)
    yield f"{indent}    ..." + (f"  # raises {', '.join(kinds)}" if kinds else "")


def _docstring(node: ast.ClassDef | Function, lines: list[str], indent: str) -> Iterator[str]:
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        yield from (line.rstrip() for line in lines[first.lineno - 1 : first.end_lineno])


def _with_comments(node: ast.stmt, lines: list[str]) -> list[str]:
    """The lines of a field, with the comment lines right above it."""
    start = node.lineno
    while lines[start - 2].lstrip().startswith("#"):
        start -= 1
    return [line.rstrip() for line in lines[start - 1 : node.end_lineno]]


def _attributes(init: Function, lines: list[str], used: set[str]) -> list[str]:
    """What `__init__` sets on the object and others use, as comments."""
    found: dict[str, str] = {}
    for node in ast.walk(init):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            for part in parts:
                if _is_own(part) and part.attr in used and not part.attr.startswith("_"):
                    comments = re.findall(r"^ *# (.*)$", lines[part.lineno - 2])
                    comments += re.findall(r"\S  # (.*)$", lines[part.lineno - 1])
                    found.setdefault(part.attr, f": {comments[-1]}" if comments else "")
    return [f"        # self.{name}{note}" for name, note in found.items()]


def _is_own(node: ast.expr) -> TypeGuard[ast.Attribute]:
    """Whether this is `self.something`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _raised(node: Function) -> list[str]:
    """The kinds of errors that a function's own body raises."""
    kinds: dict[str, None] = {}
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Raise)
            and isinstance(inner.exc, ast.Call)
            and isinstance(inner.exc.func, ast.Name)
        ):
            kinds[inner.exc.func.id] = None
    return list(kinds)


def _is_property(node: Function) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)
