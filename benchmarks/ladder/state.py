"""What a run has measured so far, so that Ctrl-C costs the side under way and nothing else.

A file for each set of arguments and each state of the code, written after every answer and removed when a run is
complete. It holds answers as they came; what they mean is for `record` to say.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.bench.machine import ROOT

__all__ = ["FOLDER", "State", "code_of_sides"]

FOLDER = Path(__file__).parent / ".state"
_CODE = ("common/*.py", "common/bench/*.py", "common/models/*.py", "stages/*/engine/*.py", "benchmarks/sides.py",
         "benchmarks/ladder/*.py", "benchmarks/peers/*.py")  # fmt: skip


def code_of_sides(root: Path = ROOT) -> str:
    """A hash of everything that a side's speed or tokens depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in root.glob(pattern)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class State:
    """Answers by round and unit. `key`: all that must be the same for them to be of one run."""

    def __init__(self, name: str, key: Mapping[str, Any], folder: Path | None = None):
        text = json.dumps(key, sort_keys=True, default=str)
        folder = folder or FOLDER
        self.path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        self.content: dict[str, Any] = {"done": {}}
        if self.path.is_file():
            try:
                self.content = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError:  # nothing to go on from
                self.path.unlink()

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """ "2/s03" -> what stage 03 answered in round 2."""
        found: dict[str, dict[str, Any]] = self.content["done"]
        return found

    def get(self, turn: int, unit: str) -> dict[str, Any] | None:
        return self.answers.get(f"{turn}/{unit}")

    def put(self, turn: int, unit: str, answer: Mapping[str, Any]) -> None:
        self.answers[f"{turn}/{unit}"] = dict(answer)
        self.save()

    def of(self, unit: str) -> Iterator[dict[str, Any]]:
        """A unit's answers, in the order of the rounds."""
        return (answer for key, answer in self.answers.items() if key.partition("/")[2] == unit)

    def keep(self, name: str, value: Any) -> None:
        """Something that is asked for once: the expected tokens, the machine's rates."""
        self.content[name] = value
        self.save()

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ignore = self.path.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.content), encoding="utf-8")
        os.replace(part, self.path)

    def forget(self) -> None:
        self.content = {"done": {}}
        self.path.unlink(missing_ok=True)
