"""What a worker is asked to do, as data that goes through a pipe: which weights, how much room, which prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Job", "Room", "Setup", "draw_prompts", "read_jobs", "stage_key"]


@dataclass(frozen=True, slots=True)
class Room:
    """What an engine must be able to hold."""

    requests: int  # there at once
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
    """Prompts that are there together, with as many new tokens each as its limit says."""

    name: str  # "alone", "crowd", "batch_16", "reference"
    prompts: list[list[int]]
    limits: list[int]
    checked: int | None = None  # only so many of the prompts have known answers; None: all
    warm: int | None = None  # tokens of the untimed run before; None: all of them

    @property
    def warm_prompts(self) -> list[list[int]]:
        """As long, and different from the first token on."""
        return [prompt[::-1] for prompt in self.prompts]

    def cut(self, most: int) -> Job:
        """The same for a side that can give `most` tokens only."""
        return Job(self.name, self.prompts, [min(most, n) for n in self.limits], self.checked, self.warm)

    def dump(self) -> dict[str, Any]:
        return asdict(self)


def read_jobs(given: Sequence[dict[str, Any]]) -> list[Job]:
    return [Job(**one) for one in given]


def draw_prompts(lengths: Sequence[int], vocab: int, ends: Sequence[int], seed: int) -> list[list[int]]:
    """Prompts of these lengths, of random token ids without the end tokens: only lengths matter to speed."""
    rng = random.Random(f"ladder {seed}")
    ids = [i for i in range(vocab) if i not in set(ends)]
    return [rng.choices(ids, k=length) for length in lengths]


def stage_key(number: int) -> str:
    """8 -> "s08", as in the keys of result files."""
    return f"s{number:02d}"
