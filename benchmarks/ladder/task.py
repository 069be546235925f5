"""What a process is asked to measure, as data: which weights, how much room, which prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["Job", "Room", "Setup", "Unit", "draw_prompts", "read_jobs"]


@dataclass(frozen=True, slots=True)
class Room:
    """What an engine must be able to hold."""

    requests: int  # sent together
    rows: int  # running at once
    length: int  # tokens of one, prompt and answer
    budget: int  # tokens in one step


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for all sides."""

    folder: str  # a checkpoint
    device: str
    dtype: str
    threads: int | None  # of torch; None: as it comes
    room: Room

    @classmethod
    def read(cls, given: dict[str, Any]) -> Setup:
        return cls(**{**given, "room": Room(**given["room"])})


@dataclass(frozen=True, slots=True)
class Job:
    """Prompts that are sent together, with as many new tokens each as its limit says."""

    name: str  # "alone", "crowd", "batch_16", "reference"
    prompts: list[list[int]]
    limits: list[int]
    checked: int | None = None  # only so many of the prompts have known answers; None: all
    warm: int | None = None  # tokens of the untimed run before; None: all of them

    @property
    def warm_prompts(self) -> list[list[int]]:
        """As long, and different from the first token on."""
        return [prompt[::-1] for prompt in self.prompts]

    def at_most(self, tokens: int | None) -> Job:
        """The same for a side that can give so many new tokens only."""
        return replace(self, limits=[min(tokens, n) for n in self.limits]) if tokens else self


@dataclass(frozen=True, slots=True)
class Unit:
    """One side with one set of jobs; measured in each round."""

    key: str  # "s08", "transformers", "s08@512"
    side: str  # "s08", "transformers"
    label: str  # for people
    setup: Setup
    jobs: list[Job]

    def task(self, jobs: Sequence[Job], expected: dict[str, list[list[int]]]) -> dict[str, Any]:
        return {
            "do": "measure", "side": self.side, "setup": asdict(self.setup), "jobs": list(map(asdict, jobs)),
            "expected": {job.name: expected[job.name] for job in jobs},
        }  # fmt: skip


def read_jobs(given: Sequence[dict[str, Any]]) -> list[Job]:
    return [Job(**one) for one in given]


def draw_prompts(lengths: Sequence[int], vocab: int, ends: Sequence[int], seed: int) -> list[list[int]]:
    """Prompts of these lengths, of random token ids without the end tokens: only lengths matter to speed."""
    rng = random.Random(f"ladder {seed}")
    ids = [i for i in range(vocab) if i not in set(ends)]
    return [rng.choices(ids, k=length) for length in lengths]
