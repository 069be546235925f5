"""What every check of `verify` works on: the chain read once, and a finding.

A check is a function of a `Chain` that returns findings. A finding is one line that says where, what,
and what to do about it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain import Stage
from common.tutorial.chain.manifest import load
from common.tutorial.chain.source import engine_files

__all__ = ["Chain", "Finding", "read_chain"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; a warning is listed and does not fail."""

    stage: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.warning else 'error'}: {self.stage}: {self.message}"


@dataclass(slots=True)
class Chain:
    """All stages below `root`, their engines' files and syntax trees."""

    root: Path
    stages: list[Stage]
    engines: dict[str, dict[str, str]]  # folder -> path below engine/ -> text
    trees: dict[str, dict[str, ast.Module]] = field(default_factory=dict)  # the same for *.py, parsed

    def engine(self, stage: Stage | None) -> dict[str, str]:
        """The stage's files; {} for None, the stage before the first."""
        return self.engines[stage.folder.name] if stage else {}

    def pairs(self) -> list[tuple[Stage | None, Stage]]:
        """Each stage with the one before it."""
        return list(zip([None, *self.stages], self.stages, strict=False))


def read_chain(root: Path) -> tuple[Chain, list[Finding]]:
    """The chain and what keeps it from being read: manifests, names of folders, gaps, syntax."""
    findings: list[Finding] = []
    found: list[Stage] = []
    for folder in sorted((root / "stages").glob("s[0-9][0-9]_*")):
        if not (folder / "stage.toml").exists():
            continue  # not a stage yet; that it lies there is for another check to say
        try:
            manifest = load(folder)
        except UserError as error:
            findings.append(Finding(folder.name, str(error).removeprefix(f"{folder.name}/")))
            continue
        if manifest.folder != folder.name:
            message = f"stage.toml says {manifest.folder}: rename the folder, or correct number and slug"
            findings.append(Finding(folder.name, message))
        found.append(Stage(manifest.number, manifest.slug, manifest.title, folder, manifest))
    for place, stage in enumerate(found, start=1):
        if stage.number != place and not findings:
            findings.append(
                Finding(stage.folder.name, f"is the {place}th stage found: the numbers have a gap")
            )
    if not found and not findings:
        findings.append(
            Finding("stages", f"no stage in {root}: a stage is a folder sNN_slug with a stage.toml")
        )
    chain = Chain(root, found, {stage.folder.name: engine_files(stage.folder / "engine") for stage in found})
    for stage in found:
        trees = chain.trees[stage.folder.name] = {}
        for path, text in chain.engine(stage).items():
            if path.endswith(".py"):
                try:
                    trees[path] = parse_python(text)
                except SyntaxError as error:
                    message = _syntax_message(path, text, error)
                    findings.append(Finding(stage.folder.name, message))
    return chain, findings


_PARSED: dict[str, ast.Module] = {}


def parse_python(text: str) -> ast.Module:
    """`ast.parse`, each text once: a carried file is the same text in many stages."""
    if text not in _PARSED:
        _PARSED[text] = ast.parse(text)
    return _PARSED[text]


def _syntax_message(path: str, text: str, error: SyntaxError) -> str:
    if re.search(r"^(<{7}|={7}|>{7}|\|{7})( |$)", text, flags=re.MULTILINE):
        return f"engine/{path} holds conflict markers: resolve them, then run make propagate again"
    return f"engine/{path} line {error.lineno}: {error.msg}"
