"""What a benchmark compares: sides, each of which completes the same prompts on the same weights.

A side is a stage of this course or a peer (`benchmarks.peers`). It gets token ids and gives token ids, greedy, always as
many as it was asked for, and says when each of them was known. So outputs can be compared before a clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

__all__ = ["Served", "Side"]


@dataclass(slots=True)
class Served:
    """One run: prompts that were there together at second 0."""

    tokens: list[list[int]]  # new ones, of each prompt
    total: float  # seconds until the last one was known
    # Seconds, of each token; empty where the side does not say.
    stamps: list[list[float]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.tokens))

    @property
    def ttft(self) -> list[float]:
        """Seconds to the first token of each prompt."""
        return [own[0] for own in self.stamps]

    @property
    def gaps(self) -> list[float]:
        """Seconds between two tokens of one prompt, all prompts pooled."""
        return [after - before for own in self.stamps for before, after in pairwise(own)]

    @property
    def decode_rate(self) -> float:
        """Tokens per second from the moment at which every prompt has its first token."""
        begin = max(self.ttft)
        return sum(at > begin for own in self.stamps for at in own) / (self.total - begin)


class Side(Protocol):
    """Made from a checkpoint folder, a device and a dtype, and closed when it is no longer needed."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Of its library; "" for a stage."""
        ...

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        """Completes all prompts, prompt i by exactly limits[i] tokens: end-of-text tokens do not end it."""
        ...

    def close(self) -> None: ...
