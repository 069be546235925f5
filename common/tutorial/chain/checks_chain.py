"""Checks of what differs from stage to stage: declarations, locks, drift, budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from common.tutorial.chain.checks_base import Chain, Finding
from common.tutorial.chain.locks import compute_locks, read_locks
from common.tutorial.chain.source import changed_files, counted

__all__ = ["AIM", "CHECKS", "LIMIT"]

AIM = (170, 30, 6)  # added lines, removed lines, files
LIMIT = (350, 100, 9)  # beyond this a diff needs a waiver


def declared_is_what_differs(chain: Chain) -> Iterator[Finding]:
    """A file differs from the previous stage's exactly when the manifest declares it, and as declared."""
    for before, stage in chain.pairs():
        actual = changed_files(chain.engine(before), chain.engine(stage))
        diff = stage.manifest.diff
        previous = f"{before.number:02d}" if before else "00"
        for path in sorted({*actual, *diff.files}):
            kind, declared = actual.get(path), diff.kind(path)
            if kind == declared:
                continue
            if kind is None and path in chain.engine(stage):
                message = (
                    f"does not differ from stage {previous}'s but is declared {declared}: drop it from [diff]"
                )
            elif kind is None:
                message = f"does not exist but is declared {declared}: drop it from [diff]"
            elif declared is not None:
                message = f"is {kind}, but stage.toml declares it {declared}: move it to [diff] {kind}"
            elif kind == "changed":
                message = (
                    f"differs from stage {previous}'s but stage {stage.number:02d} does not declare it: declare it "
                    f"under [diff] changed with a reason, or run make propagate FROM={previous}"
                )
            elif kind == "added":
                message = f"is new but not declared: add it to [diff] added, or remove it (stage {previous} lacks it)"
            else:
                message = (
                    f"was in stage {previous} and is gone, but that is not declared: add it to [diff] removed with a "
                    f"reason, or bring it back with git checkout"
                )
            yield Finding(stage.folder.name, f"engine/{path} {message}")


def locks_have_not_moved(chain: Chain) -> Iterator[Finding]:
    """Each stage's diff is the one that chain.lock knows."""
    old, new = read_locks(chain.root), compute_locks(chain.engines)
    for folder in sorted({*old, *new}):
        nn = folder[1:3]
        accept = f"python -m common.tutorial relock --stage {nn}"
        if folder not in new:
            message = "is in chain.lock, but there is no such stage: delete that line"
        elif folder not in old:
            message = f"has no lock yet: once its diff is the lesson you want, {accept}"
        elif old[folder] != new[folder]:
            message = (
                f"the lesson's diff moved ({old[folder][:8]} -> {new[folder][:8]}): a fix leaked in or was lost? "
                f"See make diff-{nn}; carry a fix with make propagate, or accept the diff: {accept}"
            )
        else:
            continue
        yield Finding(folder, message)


def nothing_drifts(chain: Chain) -> Iterator[Finding]:
    """No file agrees in stage k and k+2 and differs in k+1, unless the manifest of k+2 says why."""
    for first, middle, last in zip(chain.stages, chain.stages[1:], chain.stages[2:], strict=False):
        a, b, c = chain.engine(first), chain.engine(middle), chain.engine(last)
        drifted = {path for path in a if path in b and a[path] == c.get(path) != b[path]}
        for path in sorted(drifted - set(last.manifest.reverts)):
            message = (
                f"engine/{path} is what stage {first.number:02d} has, and stage {middle.number:02d} differs: a change "
                f"was lost here or belongs in stage {first.number:02d}; if it is intended, say why under reverts"
            )
            yield Finding(last.folder.name, message)
    for place, stage in enumerate(chain.stages):
        for path in stage.manifest.reverts:
            before = chain.stages[place - 2 : place] if place >= 2 else []
            texts = [chain.engine(one).get(path) for one in (*before, stage)]
            if len(texts) < 3 or texts[0] != texts[2] or texts[0] == texts[1]:
                yield Finding(stage.folder.name, f"reverts names {path}, which reverts nothing: drop it")


def diffs_fit_the_budget(chain: Chain) -> Iterator[Finding]:
    """A diff is small enough to be read, or its manifest says why not. Stage 01 has nothing to differ from."""
    for before, stage in chain.pairs()[1:]:
        size = counted(chain.engine(before), chain.engine(stage))
        over = any(have > most for have, most in zip(size, LIMIT, strict=True))
        text = "+{} -{} in {} files".format(*size)
        if over and not stage.manifest.waiver:
            limit = "+{} -{} in {} files".format(*LIMIT)
            message = f"the diff is {text}, over {limit}: split the lesson, or give the reason as waiver"
            yield Finding(stage.folder.name, message)
        elif stage.manifest.waiver and not over:
            yield Finding(stage.folder.name, f"the diff is {text} and needs no waiver: drop it", True)


CHECKS: tuple[Callable[[Chain], Iterator[Finding]], ...] = (
    declared_is_what_differs,
    locks_have_not_moved,
    nothing_drifts,
    diffs_fit_the_budget,
)
