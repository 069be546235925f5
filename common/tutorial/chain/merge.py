"""One stage's share of a propagation: which of its files change, and how, by three-way merge.

For stage k the base is stage k-1 as it was, theirs is stage k-1 as it is now, ours is stage k: what changed
in k-1 since the base is brought into k. Nothing is written here; `propagate` does that.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

__all__ = ["Labels", "Merged", "merge_stage", "three_way"]


@dataclass(frozen=True, slots=True)
class Labels:
    """The names after the conflict markers: ours, base, theirs."""

    ours: str
    base: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What becomes of one file. `text` None: it goes. `conflicts`: how many places a person must decide."""

    path: str
    text: str | None
    how: str
    conflicts: int = 0
    changed: bool = True


def merge_stage(
    base: Mapping[str, str],
    theirs: Mapping[str, str],
    ours: Mapping[str, str],
    labels: Labels,
    only: Iterable[str] | None = None,
) -> list[Merged]:
    """What the change from `base` to `theirs` means for `ours`; all three map paths below engine/ to text.

    only: restrict to these paths. Files that the change does not touch are not mentioned.
    """
    paths = sorted({*base, *theirs}) if only is None else sorted(only)
    return [
        _merge_file(path, base.get(path), theirs.get(path), ours.get(path), labels)
        for path in paths
        if base.get(path) != theirs.get(path)
    ]


def _merge_file(path: str, base: str | None, theirs: str | None, ours: str | None, labels: Labels) -> Merged:
    if ours == theirs:
        return Merged(path, ours, "already there", changed=False)
    if ours == base:
        return Merged(path, theirs, "carried" if theirs is not None else "removed")
    if ours is None:
        return Merged(path, None, "no longer in this stage: the change ends here", changed=False)
    if theirs is None:
        return Merged(
            path, ours, "removed before, but this stage changed it: decide by hand", 1, changed=False
        )
    text, conflicts = three_way(ours, base or "", theirs, labels)
    if text == ours:
        return Merged(path, ours, "already there", changed=False)
    return Merged(path, text, "conflict" if conflicts else "merged", conflicts)


def three_way(ours: str, base: str, theirs: str, labels: Labels) -> tuple[str, int]:
    """`git merge-file --zdiff3`: the merged text and the number of conflicts in it."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in (("ours", ours), ("base", base), ("theirs", theirs)):
            path = Path(folder) / name
            path.write_text(text, encoding="utf-8", newline="\n")
            paths.append(str(path))
        named = [word for label in (labels.ours, labels.base, labels.theirs) for word in ("-L", label)]
        command = ["git", "merge-file", "-p", "--zdiff3", *named, *paths]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode < 0 or done.returncode >= 128:
        raise UserError(
            f"git merge-file: {done.stderr.decode(errors='replace').strip()} (git 2.35 or newer is needed)"
        )
    return done.stdout.decode("utf-8"), done.returncode
