"""`new-stage SLUG`: the next stage as a copy of the last, with an empty diff.

What is copied is a start: the engine, which is then changed, and the demo and benchmark, which are rewritten.
Tests and exercises are not copied, because they belong to the lesson before.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.tutorial.chain import ROOT, Stage, stages
from common.tutorial.chain.locks import relock
from common.tutorial.chain.manifest import parse
from common.tutorial.chain.source import IGNORED_FOLDERS

__all__ = ["HELP", "main", "new_stage"]

HELP = "start the next stage as a copy of the last, with an empty diff"
MANIFEST = """number = {number}
slug = "{slug}"
title = "{title}"
question = "{question}"
idea = "{idea}"
minutes = 40
capabilities = [{capabilities}]
introduces = []
proves = ["test_{slug}"]  # name it after the promise, and write it

[diff]
added = []
changed = []
removed = []
why = {{}}
"""


def new_stage(root: Path, slug: str, title: str, question: str, idea: str) -> Path:
    """Lay out the next stage and lock its empty diff; returns its folder."""
    chain = stages(root)
    if not chain:
        raise UserError("there is no stage to copy yet")
    last = chain[-1]
    number = last.number + 1
    text = manifest_text(last, number, slug, title, question, idea)
    folder = root / "stages" / parse(text, "new-stage").folder
    if folder.exists():
        raise UserError(f"stages/{folder.name} exists already")
    ignore = shutil.ignore_patterns("*.pyc", *IGNORED_FOLDERS)
    shutil.copytree(last.engine, folder / "engine", ignore=ignore)
    for name in ("__main__.py", "bench.py"):
        if (last.folder / name).exists():
            shutil.copy2(last.folder / name, folder / name)
    (folder / "__init__.py").write_text(f'"""{title}."""\n', encoding="utf-8")
    (folder / "test_stage.py").write_text(f'"""The promises of {title.lower()}."""\n', encoding="utf-8")
    (folder / "README.md").write_text(f"# {number:02d} {title}\n\n{question} {idea}\n", encoding="utf-8")
    (folder / "stage.toml").write_text(text, encoding="utf-8")
    stages.cache_clear()
    relock(root, [number])
    return folder


def manifest_text(last: Stage, number: int, slug: str, title: str, question: str, idea: str) -> str:
    """The new stage.toml, with the capabilities of the last stage. Raises UserError on a bad slug or text."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", slug) is None:
        raise UserError(f"slug {slug!r}: lower-case letters, digits and underscores")
    capabilities = ", ".join(f'"{name}"' for name in last.manifest.capabilities)
    texts = {
        name: value.replace("\\", "\\\\").replace('"', '\\"')
        for name, value in (("title", title), ("question", question), ("idea", idea))
    }
    return MANIFEST.format(number=number, slug=slug, capabilities=capabilities, **texts)


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial new-stage", description=HELP, allow_abbrev=False)
    parser.add_argument("slug", metavar="SLUG", help="as in s07_SLUG")
    parser.add_argument("--title", required=True, help="'Prefill batching'")
    parser.add_argument(
        "--question", required=True, help="what a learner wonders before, with a question mark"
    )
    parser.add_argument("--idea", required=True, help="one sentence with a full stop")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    folder = new_stage(args.root, args.slug, args.title, args.question, args.idea)
    print(
        f"stages/{folder.name}: write stage.toml, then the tests, then change engine/; make verify says what is left"
    )
    return 0
