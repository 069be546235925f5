"""README's generated tables, and its commands as a list that a test can execute.

The table of stages comes from the manifests and recorded results, the table of flags from the argument
parsers of the demos themselves: neither can promise what is not there.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain import ROOT, Stage, stages
from common.tutorial.chain.claims import evaluate_number, recorded
from common.tutorial.chain.spread import no_difference, recorded_samples
from common.tutorial.learner.run import readable
from common.tutorial.texts import ladder
from common.tutorial.texts.articles import filling
from common.tutorial.texts.articles.options import split
from common.tutorial.texts.articles.parser import read
from common.tutorial.texts.articles.tables import markdown

PLANNED = {  # what is to come, in order: title, and what its demo is to show
    "Forward pass": "",
    "Greedy decoding": "",
    "KV cache": "",
    "HTTP server": "the engine behind OpenAI's protocol, streaming",
    "Sampling": "one prompt under nine presets; the same seed gives the same text, alone or in a batch",
    "Request queue": "requests that wait, run, finish, fail and are cancelled",
    "Prefill batching": "five prompts in one forward pass",
    "Continuous batching": "requests join and leave between two steps; long prompts in chunks",
    "Flash attention": "the same numbers without the matrix of all scores",
    "Logprobs and structured output": "how sure the model was; an answer forced into a schema",
    "Telemetry": "a live dashboard under load",
    "Paged KV cache": "twenty requests in the memory of eight",
    "Triton kernels": "paged attention in three steps, and CUDA graphs",
    "Streaming client": "chat in the terminal and in the browser",
    "Stress test": "a hundred clients; load is shed, nothing is lost",
    "Speculative decoding": "a small model proposes, the large one decides",
    "Quantization": "the same story in int8 and int4",
    "LoRA": "two adapters in one batch",
    "Cost dashboard": "a price on every request",
    "Showcase": "everything on, in one command",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a `sh` block. `needs` says why it cannot be run offline and alone; empty: it can."""

    path: Path
    line: int
    text: str
    needs: str = ""


def commands(path: Path) -> list[Command]:
    """The commands that a document tells its reader to type, from its `commands` blocks."""
    found = []
    for block in read(path).blocks:
        if block.directive is None or block.directive.name != "commands":
            continue
        needs = split(block.directive, ("needs",)).one("needs") or ""
        first = block.end - 1 - len(block.code)
        for offset, line in enumerate(block.code):
            text = line.split("  #")[0].strip()
            if text and not text.startswith("#"):
                found.append(Command(path, first + offset + 1, text, needs))
    return found


def tables(root: Path = ROOT) -> dict[str, Callable[[], list[str]]]:
    """What makes the directives `stages`, `flags` and `ladder`."""
    return {
        "stages": lambda: stage_table(root),
        "flags": lambda: flag_table(stages(root)),
        "ladder": lambda: ladder.readme_table(root),
    }


def stage_table(root: Path = ROOT) -> list[str]:
    """number, title (linked), question, key number against the stage before, status."""
    built = {stage.number: stage for stage in stages(root)}
    planned = list(PLANNED.items())
    rows = prologue(root)
    for number in range(1, max([len(planned), *built]) + 1):
        if number not in built:
            title, shows = planned[number - 1]
            rows.append([f"{number:02d}", title, f"*{shows}*" if shows else "", "", "planned"])
            continue
        stage = built[number]
        link = f"[{stage.title}](stages/{stage.folder.name}/)"
        article = next((root / "articles").glob(f"{stage.nn}-*.md"), None)
        status = f"runs, [article](articles/{article.name})" if article else "runs"
        rows.append([stage.nn, link, stage.manifest.question, headline(stage, root), status])
    return markdown(["", "stage", "question", "its number", "status"], rows)


def prologue(root: Path = ROOT) -> list[list[str]]:
    """Article 00, which belongs to no stage: it reads the model that all of them share."""
    article = next((root / "articles").glob("00-*.md"), None)
    if article is None:
        return []
    status = f"[article](articles/{article.name})"
    return [["00", "The model", "What is inside the one file that all stages share?", "", status]]


def headline(stage: Stage, root: Path = ROOT) -> str:
    """`ms per token at 512: 8.1 → 1.5`, from recorded results; `=` where it is noise, "" where none is recorded."""
    head = stage.manifest.headline
    if head is None:
        return ""
    lookup = recorded(root)
    try:
        after = readable(evaluate_number(head.after, lookup))
        before = readable(evaluate_number(head.before, lookup)) if head.before else ""
        equal = head.before is not None and no_difference(
            head.before, head.after, lookup, recorded_samples(root)
        )
    except UserError:
        return "not recorded yet"
    if equal:
        return f"{head.label}: = ({before} and {after} {head.unit})".replace(" )", ")")
    return f"{head.label}: {before + ' → ' if before else ''}{after} {head.unit}".rstrip()


PROGRAMS = {"demo": "__main__", "server": "engine.server.__main__"}


class _Captured(Exception):
    def __init__(self, parser: argparse.ArgumentParser):
        self.parser = parser


def parser_of(module: str) -> argparse.ArgumentParser | None:
    """The parser that `python -m module` builds, taken at the moment it would read its arguments."""

    def capture(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Captured(self)

    original = argparse.ArgumentParser.parse_known_args
    argparse.ArgumentParser.parse_known_args = capture  # type: ignore[assignment, method-assign]
    try:
        importlib.import_module(module).main([])
    except _Captured as caught:
        return caught.parser
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]
    return None


def flag_table(chain: Sequence[Stage]) -> list[str]:
    """flag, default, the stage that brings it, the program it belongs to, what it excludes, over all stages."""
    rows: dict[tuple[str, str], list[str]] = {}
    for stage in chain:
        for program, path in PROGRAMS.items():
            parser = parser_of(f"{stage.package}.{path}") if _exists(stage, path) else None
            for action in parser._actions if parser else ():
                flag = next((option for option in action.option_strings if option.startswith("--")), None)
                if flag is None or action.dest == "help" or (program, flag) in rows:
                    continue
                row = [
                    f"`{flag}`",
                    program,
                    _default(action),
                    stage.nn,
                    _excluded(parser, action),
                    _help(action),
                ]
                rows[program, flag] = row
    return markdown(["flag", "of the", "default", "from stage", "excludes", "what it does"],
                    [row for program in PROGRAMS for (owner, _), row in rows.items() if owner == program])  # fmt: skip


def _exists(stage: Stage, module: str) -> bool:
    return (stage.folder / f"{module.replace('.', '/')}.py").exists()


_SAID = re.compile(r" ?\((?!repeatable|none)(\S+)\)$")  # a default that only the help text knows


def _unset(action: argparse.Action) -> bool:
    return action.default in (None, argparse.SUPPRESS)


def _default(action: argparse.Action) -> str:
    said = _SAID.search((action.help or "").replace("%(default)s", ""))
    value = said[1] if said and _unset(action) else action.default
    if value in (None, False, argparse.SUPPRESS, []):
        return ""
    return f"`{value}`".replace("|", "\\|")


def _excluded(parser: argparse.ArgumentParser | None, action: argparse.Action) -> str:
    others = [
        other.option_strings[0]
        for group in (parser._mutually_exclusive_groups if parser else ())
        if action in group._group_actions
        for other in group._group_actions
        if other is not action and other.option_strings
    ]
    return ", ".join(f"`{other}`" for other in others)


def _help(action: argparse.Action) -> str:
    """The help text without its mention of the default, which has a column of its own."""
    text = re.sub(r" ?\(%\(default\)[rs]\)", "", action.help or "")
    text = (_SAID.sub("", text) if _unset(action) else text).removesuffix(" (none)")
    return text.replace("%%", "%").replace("|", "\\|").strip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m common.tutorial readme", description="fills README's tables"
    )
    parser.add_argument("--commands", action="store_true", help="list the commands that README tells to type")
    args = parser.parse_args(argv)
    path = ROOT / "README.md"
    if not path.exists():
        raise UserError("README.md does not exist yet")
    if args.commands:
        for command in commands(path):
            print(f"{command.text}{f'   # needs {command.needs}' if command.needs else ''}")
        return 0
    changed, problems = filling.fill([path], ROOT, run=False, tables=tables())
    for problem in problems:
        print(problem)
    print("README.md filled" if changed else "README.md is current")
    return 1 if problems else 0
