"""Checks of what the code defines, imports and mentions: by syntax tree, nothing is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping

from common.tutorial.chain.checks_base import Chain, Finding, parse_python

__all__ = ["CHECKS", "defined_names"]

SERVER_ONLY = {"fastapi", "pydantic", "starlette", "uvicorn"}
FORWARD = re.compile(
    r"\bstages?[ _-]?\d{1,2}\b|\bs\d\d_[a-z]\w*|\b(?:next|later|previous|earlier) stages?\b"
    r"|\b20\d\d-[01]\d-[0-3]\d\b",
    flags=re.IGNORECASE,
)


def defined_names(path: str, tree: ast.Module) -> set[str]:
    """`module.Name` and `module.Class.name` for all that the file at `path` (below engine/) defines."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    names = set()
    for node in _top_level(tree.body):
        for name in _bound(node):
            names.add(f"{module}.{name}")
        if isinstance(node, ast.ClassDef):
            names.update(f"{module}.{node.name}.{name}" for inner in node.body for name in _bound(inner))
    return names


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            handlers = [one for handler in getattr(node, "handlers", []) for one in handler.body]
            yield from _top_level([*node.body, *handlers, *node.orelse])


def _bound(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(name)):
            return [name]
    return []


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """(level, module, name) of each import; `import a.b` is (0, "a.b", "")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", alias.name) for alias in node.names)


def names_come_when_introduced(chain: Chain) -> Iterator[Finding]:
    """What a stage introduces it defines, and no earlier engine defines or imports."""
    seen: dict[str, str] = {}
    for place, stage in enumerate(chain.stages):
        here = set().union(*(defined_names(*item) for item in chain.trees[stage.folder.name].items()), set())
        for name in stage.manifest.introduces:
            if name in seen:
                yield Finding(
                    stage.folder.name, f"introduces {name}, and so does {seen[name]}: only one of them can"
                )
                continue
            seen[name] = stage.folder.name
            if name not in here:
                near = sorted(other for other in here if other.split(".")[-1] == name.split(".")[-1])
                where = f"; there is {', '.join(near)}" if near else ""
                message = f"introduces {name}, but its engine does not define it{where}: correct introduces"
                yield Finding(stage.folder.name, message)
            for earlier in chain.stages[:place]:
                for how in _early(name, chain.trees[earlier.folder.name]):
                    message = f"{how} {name}, which stage {stage.number:02d} introduces: remove it"
                    yield Finding(earlier.folder.name, message)


def _early(name: str, trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Where and how an earlier engine already has `name`; a top-level class or function counts in any module."""
    last = name.split(".")[-1]
    for path, tree in trees.items():
        if name in defined_names(path, tree):
            yield f"engine/{path} already defines"
            continue
        if _is_member(name):
            continue
        tops = [node for node in _top_level(tree.body) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        if any(node.name == last for node in tops):
            yield f"engine/{path} already defines a {last}, the name of"
        elif any(level and imported == last for level, _, imported in _imports(tree)):
            yield f"engine/{path} already imports"


def _is_member(name: str) -> bool:
    """Whether `name` is module.Class.member: a member's name is its class's own affair."""
    parts = name.split(".")
    return len(parts) > 2 and parts[-2][:1].isupper()


def engines_stand_alone(chain: Chain) -> Iterator[Finding]:
    """An engine imports relatively or from common, never a stage, and outside server/ no web framework."""
    for stage in chain.stages:
        for path, tree in chain.trees[stage.folder.name].items():
            in_server = path.startswith("server/")
            for level, module, name in _imports(tree):
                top = module.split(".")[0]
                shown = "." * level + module
                if level > path.count("/") + 1:
                    message = (
                        f"imports {shown}, outside its engine/: only engine/ itself and common are allowed"
                    )
                elif not level and top == "stages":
                    message = f"imports {shown}: an engine never imports a stage; make the import relative"
                elif not in_server and not level and top in SERVER_ONLY:
                    message = (
                        f"imports {shown}: only engine/server/ may, because the engine must run without it"
                    )
                elif not in_server and level and "server" in (top, name if not module else ""):
                    message = "imports its server/: the engine must run without fastapi and pydantic"
                else:
                    continue
                yield Finding(stage.folder.name, f"engine/{path} {message}")


def engines_know_no_stage(chain: Chain) -> Iterator[Finding]:
    """No stage number, date or forward reference in an engine: such a line would differ in every stage."""
    for stage in chain.stages:
        for path, text in chain.engine(stage).items():
            for number, line in enumerate(text.splitlines(), start=1):
                if hit := FORWARD.search(line):
                    message = f"engine/{path} line {number} says {hit[0]!r}: an engine must not mention a stage or a date"
                    yield Finding(stage.folder.name, message)


def files_beside_the_engine_import_relatively(chain: Chain) -> Iterator[Finding]:
    """Demo, benchmark, tests and exercises must also run when the stage is copied to work/."""
    for stage in chain.stages:
        for path in sorted(stage.folder.rglob("*.py")):
            inner = path.relative_to(stage.folder)
            if inner.parts[0] == "engine" or "__pycache__" in inner.parts:
                continue
            try:
                tree = parse_python(path.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError) as error:
                yield Finding(stage.folder.name, f"{inner.as_posix()}: {error}")
                continue
            for level, module, _ in _imports(tree):
                if not level and module.split(".")[0] == "stages":
                    message = (
                        f"{inner.as_posix()} imports {module}: import relatively (from .engine import ...), and an "
                        f"earlier stage with common.tutorial.load_stage, so that it also runs in work/"
                    )
                    yield Finding(stage.folder.name, message)


def promised_tests_exist(chain: Chain) -> Iterator[Finding]:
    """Each name under proves is a test function of test_stage.py."""
    for stage in chain.stages:
        path = stage.folder / "test_stage.py"
        if not stage.manifest.proves or not path.exists():
            continue
        tree = parse_python(path.read_text(encoding="utf-8"))
        tests = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        for name in stage.manifest.proves:
            if name not in tests:
                message = f"proves {name}, but test_stage.py has no such test: write it, or correct proves"
                yield Finding(stage.folder.name, message)


CHECKS: tuple[Callable[[Chain], Iterator[Finding]], ...] = (
    names_come_when_introduced,
    engines_stand_alone,
    engines_know_no_stage,
    files_beside_the_engine_import_relatively,
    promised_tests_exist,
)
