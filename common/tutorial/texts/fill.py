"""`make articles` fills every directive; `python -m common.tutorial articles --check` says what is stale or unbound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.tutorial.chain import ROOT
from common.tutorial.texts import readme
from common.tutorial.texts.articles import filling
from common.tutorial.texts.articles.parser import Problem


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m common.tutorial articles", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="NN|FILE", help="some articles or files; all without")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is wrong")
    parser.add_argument("--fast", action="store_true", help="do not run the commands whose output is quoted")
    args = parser.parse_args(argv)
    paths = chosen(args.which)
    tables = readme.tables(ROOT)
    changed: list[Path] = []
    problems: list[Problem] = []
    if not args.check:
        changed, problems = filling.fill(paths, ROOT, run=not args.fast, tables=tables)
        for path in changed:
            print(f"filled {path.relative_to(ROOT)}")
    else:
        problems = filling.check(paths, ROOT, run=not args.fast, tables=tables)
    for problem in problems:
        print(str(problem).replace(f"{ROOT}/", ""))
    if not problems:
        print(summary(paths, len(changed), args.check, args.fast))
    return 1 if problems else 0


def chosen(which: Sequence[str]) -> list[Path]:
    """Files named by number (articles and that stage's README) or path; all without names."""
    every = filling.documents(ROOT)
    if not which:
        return every
    paths: list[Path] = []
    for name in which:
        named = [p for p in every if p.name.startswith(f"{name}-") or p.parent.name.startswith(f"s{name}_")]
        named = named or [p for p in every if p == Path(name).resolve()]
        if not named:
            raise UserError(
                f"{name!r} is neither a number nor one of the {len(every)} texts, such as README.md"
            )
        paths += named
    return paths


def summary(paths: Sequence[Path], changed: int, checked: bool, fast: bool) -> str:
    """One line: what was checked."""
    documents = [filling.read(path) for path in paths]
    blocks = sum(len(document.blocks) for document in documents)
    bound = sum(len(document.inlines) for document in documents)
    runs = sum(b.directive is not None and b.directive.name == "run" for d in documents for b in d.blocks)
    done = "current" if checked else f"{changed} of them changed"
    quoted = f"{runs} quoted commands {'not run' if fast else 'run'}"
    return f"{len(documents)} texts, {blocks} blocks, {bound} numbers: {done}; {quoted}"
