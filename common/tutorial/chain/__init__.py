"""The chain of stages: finding them, importing one.

This is the only way from `common` to a stage. What a manifest may say is `manifest`'s business, and
whether it is true `verify`'s.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from common.errors import UserError
from common.tutorial.chain.manifest import Manifest
from common.tutorial.chain.manifest import load as load_manifest

__all__ = ["ROOT", "Stage", "find_stage", "load_stage", "neighbour", "parse_number", "stages"]

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Stage:
    """One directory `stages/sNN_slug` with its manifest."""

    number: int
    slug: str
    title: str
    folder: Path
    manifest: Manifest

    @property
    def nn(self) -> str:
        """`07`, as in `make stage-07`."""
        return f"{self.number:02d}"

    @property
    def package(self) -> str:
        """`stages.s07_prefill_batching`: what to import."""
        return f"{self.folder.parent.name}.{self.folder.name}"

    @property
    def engine(self) -> Path:
        """The folder that the next stage is compared with."""
        return self.folder / "engine"


@cache
def stages(root: Path = ROOT) -> tuple[Stage, ...]:
    """All stages in order. A folder without a `stage.toml` is not a stage yet.

    Raises UserError where a manifest cannot be read, or does not fit its folder's name.
    """
    chain = []
    for path in sorted((root / "stages").glob("s[0-9][0-9]_*/stage.toml")):
        manifest = load_manifest(path)
        if manifest.folder != path.parent.name:
            raise UserError(f"{path.parent.name}/stage.toml: number and slug say {manifest.folder}")
        chain.append(Stage(manifest.number, manifest.slug, manifest.title, path.parent, manifest))
    for left, right in pairwise(chain):
        if left.number == right.number:
            raise UserError(f"stage {left.nn} exists twice: {left.folder.name}, {right.folder.name}")
    return tuple(chain)


def parse_number(text: int | str) -> int | None:
    """7, "7", "07", "s07" and "stage-7" are all 7; None where no number can be read."""
    match = re.fullmatch(r"(?:stage-?|s)?0*([0-9]{1,2})", str(text).strip().lower())
    return int(match[1]) if match else None


def find_stage(which: int | str, root: Path = ROOT) -> Stage:
    """The stage with that number. Raises UserError naming the numbers there are."""
    number = parse_number(which)
    chain = stages(root)
    for stage in chain:
        if stage.number == number:
            return stage
    there = f"{chain[0].nn} to {chain[-1].nn}" if chain else "none yet"
    raise UserError(f"stage {str(which)!r} does not exist; there are {there}")


def neighbour(stage: Stage, step: int, root: Path = ROOT) -> Stage | None:
    """The stage before (`step` -1) or after (1) this one in the chain, if there is one."""
    chain = stages(root)
    place = chain.index(stage) + step
    return chain[place] if 0 <= place < len(chain) else None


def load_stage(which: int | str) -> ModuleType:
    """The imported package of a stage, with its `.engine`. Raises UserError for a wrong number."""
    stage = find_stage(which)
    package = importlib.import_module(stage.package)
    if (stage.engine / "__init__.py").exists():
        importlib.import_module(f"{stage.package}.engine")
    return package
