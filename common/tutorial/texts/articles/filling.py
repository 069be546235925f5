"""Fills and checks all documents: which they are, what is stale, what has no source."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from common.errors import UserError
from common.tutorial.chain.claims import recorded
from common.tutorial.chain.spread import recorded_samples

from . import commands, directives, prose, skeleton, statistic
from .parser import BY_HAND, Block, Directive, Document, Problem, read

Makers = dict[str, directives.Maker]


@dataclass(slots=True)
class Edit:
    """What a directive says should be there instead of what is."""

    directive: Directive
    start: int  # characters of the text
    end: int
    old: str
    new: str
    stale: bool


def documents(root: Path) -> list[Path]:
    """README, articles and the stages' READMEs: all texts whose numbers and commands are checked."""
    return [
        *(path for path in [root / "README.md"] if path.exists()),
        *sorted((root / "articles").glob("*.md")),
        *sorted((root / "stages").glob("s*/README.md")),
    ]


def check(paths: Sequence[Path], root: Path, run: bool = True, tables: Makers | None = None) -> list[Problem]:
    """Everything wrong with `paths`; with `run` off, quoted commands are not executed."""
    found = [read(path) for path in paths]
    outputs = _outputs(found, root) if run else {}
    problems: list[Problem] = []
    for document in found:
        edits, broken = edits_of(document, root, outputs, tables)
        problems += [*document.problems, *broken, *_stale(document, edits), *_form(document, root)]
    return sorted(problems, key=lambda problem: (str(problem.path), problem.line))


def fill(
    paths: Sequence[Path], root: Path, run: bool = True, tables: Makers | None = None
) -> tuple[list[Path], list[Problem]]:
    """Bring `paths` up to date in place; return those that changed and what could not be filled."""
    found = [read(path) for path in paths]
    outputs = _outputs(found, root) if run else {}
    changed, problems = [], []
    for document in found:
        edits, broken = edits_of(document, root, outputs, tables)
        problems += [*document.problems, *broken]
        text = apply(document.text, edits)
        if text != document.text:
            document.path.write_text(text, encoding="utf-8", newline="\n")
            changed.append(document.path)
    return changed, problems


def edits_of(
    document: Document, root: Path, outputs: dict[commands.Run, commands.Output], tables: Makers | None = None
) -> tuple[list[Edit], list[Problem]]:
    """One edit per directive that produces text, and the directives that cannot."""
    context = directives.Context(
        root, document.path.parent, recorded(root), recorded_samples(root), outputs, tables or {}
    )
    edits: list[Edit] = []
    problems: list[Problem] = []
    starts = _line_starts(document.text)
    for block in document.blocks:
        if block.directive is None:
            continue
        try:
            lines = directives.block(block.directive, context)
        except UserError as error:
            problems.append(Problem(document.path, block.directive.line, str(error)))
            continue
        if lines is not None:
            edits.append(_block_edit(block, lines, starts))
    for inline in document.inlines:
        try:
            value = directives.inline(inline.directive, context)
        except UserError as error:
            problems.append(Problem(document.path, inline.directive.line, str(error)))
            continue
        if value is not None:
            stale = value != inline.value
            edits.append(Edit(inline.directive, inline.start, inline.end, inline.value, value, stale))
    return edits, problems


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with every stale part replaced; what is current stays byte for byte."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        if edit.stale:
            text = text[: edit.start] + edit.new + text[edit.end :]
    return text


def _block_edit(block: Block, lines: list[str], starts: list[int]) -> Edit:
    assert block.directive is not None
    new = [f"{block.indent}{line}".rstrip() if line else "" for line in lines]
    same = commands.same if block.directive.name == "run" else list.__eq__
    start, end = starts[block.start], starts[block.end]
    old_text, new_text = "".join(f"{line}\n" for line in block.body), "".join(f"{line}\n" for line in new)
    return Edit(block.directive, start, end, old_text, new_text, not same(block.body, new))


def _line_starts(text: str) -> list[int]:
    """Offset of each line, and of the end."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(min(starts[-1] + len(line) + 1, len(text)))
    return starts


def _outputs(found: list[Document], root: Path) -> dict[commands.Run, commands.Output]:
    wanted = []
    for document in found:
        for block in document.blocks:
            if block.directive is not None and block.directive.name == "run":
                try:
                    wanted.append(directives.wanted_run(block.directive))
                except UserError:
                    continue  # edits_of reports it with its line
    return commands.run_all(wanted, root)


def _stale(document: Document, edits: list[Edit]) -> Iterator[Problem]:
    for edit in edits:
        if edit.stale:
            where = f"`{edit.directive.name} {edit.directive.text}`"
            text = f"{where} is stale ({_first_difference(edit)}); make articles refreshes it"
            yield Problem(document.path, edit.directive.line, text)


def _first_difference(edit: Edit) -> str:
    old, new = edit.old.rstrip("\n").split("\n"), edit.new.rstrip("\n").split("\n")
    if not edit.old:
        return "not filled yet"
    if edit.directive.name == "run":
        old, new = commands.canonical(old), commands.canonical(new)
    moved = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    return " / ".join(f"{line[0]} {line[2:].strip()}" for line in moved[:2])


def _form(document: Document, root: Path) -> Iterator[Problem]:
    yield from _fences(document)
    yield from prose.unbound(document)
    yield from statistic.mismatched(document, root)
    yield from _links(document, root)
    number = re.match(r"(\d\d)-", document.path.name)
    if document.path.parent.name == "articles" and number and number.group(1) != "00":
        yield from skeleton.check(document, first=number.group(1) == "01")


def _fences(document: Document) -> Iterator[Problem]:
    by_hand = [
        block for block in document.blocks if block.directive and block.directive.name == "illustrative"
    ]
    for block in by_hand[skeleton.MAX_ILLUSTRATIVE :]:
        yield Problem(
            document.path, block.start, f"more than {skeleton.MAX_ILLUSTRATIVE} illustrative blocks"
        )
    for block in document.blocks:
        if block.directive is None:
            text = "this block has no directive: quote it with code, diff, run or result, or mark it illustrative"
            yield Problem(document.path, block.start + 1, text)
        elif block.directive.name in BY_HAND and not block.body:
            yield Problem(document.path, block.start, f"`{block.directive.name}` has no block below it")
        elif block.directive.name == "commands" and block.info != "sh":
            yield Problem(document.path, block.start, "`commands` needs a ```sh block below it")


def _links(document: Document, root: Path) -> Iterator[Problem]:
    """Links and pictures that lead nowhere in this repository."""
    for match in re.finditer(r"\]\(([^)\s]+)\)", document.prose):
        target = unquote(match.group(1).split("#")[0])
        if target and not re.match(r"[a-z]+:", target) and not (document.path.parent / target).exists():
            yield Problem(
                document.path, document.line_of(match.start()), f"the link to {target} leads nowhere"
            )
