"""A stage's manifest, `stage.toml`: what the lesson is, what it changes, and what it promises.

This module reads one file and refuses what it does not understand. Whether the manifest tells the
truth about the code is for `verify` to say. The schema, with R for required:

    number = 7                      R  1..99, as in the folder's name s07_...
    slug = "prefill_batching"       R  lower case, digits and underscores, as in the folder's name
    title = "Prefill batching"      R
    question = "Why ... ?"          R  what a learner wonders before, ends with a question mark
    idea = "Run ... ."              R  one sentence, one idea
    minutes = 40                    R  to read the diff and run the demo
    capabilities = ["generate"]     R  selects the contract tests; [] is possible
    introduces = ["batch.PaddedBatch", "server.app.create_app", "kv_cache.KVCache.truncate_to"]
                                       module.Name (or module.Class.method) below engine/ that this stage
                                       defines and that no earlier engine/ may define or import
    proves = ["test_mixed_lengths_equal_solo_runs"]
                                       functions of test_stage.py, named after the promise. They must be
                                       collected here and fail on the previous stage's engine, so each uses
                                       something that only this stage can do. Required from stage 02 on
    visible_on = "cpu"                 or "gpu": where the lesson's number can be seen; default "cpu"
    stand_in = "blocks in use"         with "gpu": the number a laptop can see instead
    waiver = "why"                     only for a diff over 350 added / 100 removed lines / 9 files
    reverts = { "engine.py" = "why" }  a file that this stage makes again what it was two stages before
    hints = ["...", "..."]             for `make try-NN HINT=1`, one at a time, from a nudge to the answer

    [diff]                          R  against the previous stage's engine/ (in stage 01 all is added)
    added = ["batch.py"]               paths below engine/, each list in reading order
    changed = ["kv_cache.py"]
    removed = []
    order = ["batch.py", "kv_cache.py"]   reading order over all lists, if it is not added, changed, removed
    why = { "kv_cache.py" = "holds a row per request" }
                                       one clause for each changed or removed file; welcome for added ones

    [headline]                         the stage's number, as `make stage-NN` and the README's table show it
    label = "prompt tokens/s, batch of five"      R
    unit = "tokens/s"               R  "" where it has none
    after = "r('s07', 'cpu', 'batched_5')"        R
    before = "r('s07', 'cpu', 'serial_5')"        the previous stage, recorded in the same run
    better = "higher"                  or "lower"; default "higher"

    [claims]                           name = inequality over recorded results; verify evaluates them
    crowd = "r('s07', 'cpu', 'batch_5_speedup') >= 2.0"

    [[predict]]                        asked by `make predict-NN` before the run, in this order
    question = "How many times faster ...?"       R
    answer = "r('s07', 'cpu', 'batch_5_speedup')" R  expression, see below
    bounds = [0.1, 2]                  offers "below 0.1", "0.1 to 2" and "over 2", in `unit`: for numbers that differ
                                       from run to run and from machine to machine
    choices = [1.2, 2, 5]              or numbers: the one nearest to the answer, by ratio, is right;
                                       or texts: `answer` gives the right one, as "'yes' if r(...) > 1 else 'no'"
    unit = "x"                         without bounds and choices, a number is asked for, in this unit; default ""
    tolerance = 0.3                    right within this share of the answer; default 0.3; 0: exactly
    why = "Each row waits for ..."  R  shown after the answer: the reason, not the number

Expressions know `r(name, machine, key)` (the value recorded in benchmarks/results/<machine>/<name>.json),
numbers, texts, arithmetic, comparisons, `and` `or` `not`, `a if c else b`, and abs, min, max, round
(`common.tutorial.chain.claims` evaluates them).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain.fields import (
    Choice,
    Rule,
    bounds,
    choices,
    listing,
    matching,
    same,
    share,
    table,
    text,
    texts,
    whole,
)

__all__ = ["Diff", "Headline", "Manifest", "Prediction", "load", "parse"]


@dataclass(frozen=True, slots=True)
class Diff:
    """The declared difference to the previous stage's engine/, paths relative to it."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    why: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """All declared files in reading order."""
        every = (*self.added, *self.changed, *self.removed)
        return (*self.order, *(path for path in every if path not in self.order))

    def kind(self, path: str) -> str | None:
        """ "added", "changed", "removed", or None where the manifest does not declare `path`."""
        for kind in ("added", "changed", "removed"):
            if path in getattr(self, kind):
                return kind
        return None


@dataclass(frozen=True, slots=True)
class Headline:
    """The stage's number beside the previous stage's; `before` and `after` are expressions."""

    label: str
    unit: str
    after: str
    before: str | None = None
    better: str = "higher"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One question asked before the run; `answer` is an expression over results."""

    question: str
    answer: str
    why: str
    choices: tuple[Choice, ...] = ()
    bounds: tuple[float, ...] = ()
    unit: str = ""
    tolerance: float = 0.3


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything `stage.toml` says; the module's docstring explains each field."""

    number: int
    slug: str
    title: str
    question: str
    idea: str
    minutes: int
    capabilities: tuple[str, ...]
    diff: Diff
    introduces: tuple[str, ...] = ()
    proves: tuple[str, ...] = ()
    visible_on: str = "cpu"
    stand_in: str | None = None
    waiver: str | None = None
    reverts: dict[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    headline: Headline | None = None
    claims: dict[str, str] = field(default_factory=dict)
    predict: tuple[Prediction, ...] = ()

    @property
    def folder(self) -> str:
        """The stage's folder name, `s07_prefill_batching`."""
        return f"s{self.number:02d}_{self.slug}"


def load(path: Path) -> Manifest:
    """Read `path`, a stage.toml or its folder; UserError names the file, the field and what is possible."""
    path = path / "stage.toml" if path.is_dir() else path
    where = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from None
    return parse(text, where)


def parse(text: str, where: str = "stage.toml") -> Manifest:
    """The manifest in `text`; `where` begins every error message."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}") from None
    top = table(raw, _TOP, where, required=_TOP_REQUIRED)
    diff = table(top["diff"], _DIFF, f"{where} [diff]")
    predict = [
        table(item, _PREDICT, f"{where} [[predict]] {i}", required=("question", "answer", "why"))
        for i, item in enumerate(top.get("predict", ()), start=1)
    ]
    head = top.get("headline")
    if head is not None:
        head = table(head, _HEADLINE, f"{where} [headline]", required=("label", "unit", "after"))
    manifest = Manifest(
        **top
        | {
            "diff": Diff(**diff),
            "predict": tuple(Prediction(**item) for item in predict),
            "headline": Headline(**head) if head is not None else None,
        }
    )
    _check(manifest, where)
    return manifest


def _check(m: Manifest, where: str) -> None:
    """The rules that involve more than one field."""
    declared = (*m.diff.added, *m.diff.changed, *m.diff.removed)
    for path in declared:
        if declared.count(path) > 1:
            raise UserError(f"{where} [diff]: {path} is declared twice")
        if path.startswith(("/", "engine/")) or ".." in path.split("/") or "\\" in path:
            raise UserError(f"{where} [diff]: {path!r} must be a path below engine/, such as 'server/app.py'")
    for path in (*m.diff.changed, *m.diff.removed):
        if not m.diff.why.get(path):
            raise UserError(f"{where} [diff] why: say in one clause why {path} changes, or is removed")
    for name, paths in (("why", m.diff.why), ("order", m.diff.order)):
        for path in paths:
            if path not in declared:
                raise UserError(
                    f"{where} [diff] {name}: {path!r} is not declared as added, changed or removed"
                )
    for number, item in enumerate(m.predict, start=1):
        if item.bounds and item.choices:
            raise UserError(f"{where} [[predict]] {number}: bounds and choices exclude each other")
    if m.visible_on == "gpu" and not m.stand_in:
        raise UserError(
            f"{where} stand_in: visible_on = 'gpu' needs the number that a laptop can see instead"
        )
    if m.number > 1 and not m.proves:
        raise UserError(f"{where} proves: name at least one test that fails on the previous stage's engine")


_SENTENCE: Rule = (text, "a text")
_PATHS: Rule = (listing(text), "a list of paths below engine/")
_REASONS: Rule = (texts, "a table of texts")

_TOP: dict[str, Rule] = {
    "number": (whole(1, 99), "a number from 1 to 99"),
    "slug": (matching(r"[a-z][a-z0-9_]*"), "lower-case letters, digits and underscores"),
    "title": _SENTENCE,
    "question": (matching(r"[^\n]+\?"), "one question that ends with a question mark"),
    "idea": (matching(r"[^\n]+\."), "one sentence that ends with a full stop"),
    "minutes": (whole(1, 600), "a number of minutes from 1 to 600"),
    "capabilities": (listing(matching(r"[a-z][a-z0-9_-]*")), "a list of lower-case words"),
    "introduces": (listing(matching(r"[\w]+(\.[\w]+)+")), "a list of module.Name"),
    "proves": (listing(matching(r"test_\w+")), "a list of names test_... of test_stage.py"),
    "visible_on": (matching("cpu|gpu"), "'cpu' or 'gpu'"),
    "stand_in": _SENTENCE,
    "waiver": _SENTENCE,
    "reverts": _REASONS,
    "hints": (listing(text), "a list of texts"),
    "diff": (same, "a table"),
    "headline": (same, "a table"),
    "claims": _REASONS,
    "predict": (listing(same), "an array of tables, [[predict]]"),
}
_TOP_REQUIRED = ("number", "slug", "title", "question", "idea", "minutes", "capabilities", "diff")
_DIFF: dict[str, Rule] = {
    "added": _PATHS,
    "changed": _PATHS,
    "removed": _PATHS,
    "order": _PATHS,
    "why": _REASONS,
}
_HEADLINE: dict[str, Rule] = {
    "label": _SENTENCE,
    "unit": (matching(".*"), "a text"),
    "before": _SENTENCE,
    "after": _SENTENCE,
    "better": (matching("higher|lower"), "'higher' or 'lower'"),
}
_PREDICT: dict[str, Rule] = {
    "question": _SENTENCE,
    "answer": _SENTENCE,
    "why": _SENTENCE,
    "choices": (choices, "two or more different numbers, or two or more different texts"),
    "bounds": (bounds, "one or more numbers, each larger than the one before"),
    "unit": (matching(".*"), "a text"),
    "tolerance": (share, "a share from 0 to below 1"),
}
