"""Prompts of given lengths: random token ids, or text of which the server's tokenizer makes as many.

Only the lengths matter to speed, so the content is random; it is never repeated by chance, or a prefix cache would find
it. A shared prefix is the same for all prompts of a plan.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from common.tokenizer import Tokenizer

from .workloads import Shape, Workload

__all__ = ["BYTES", "Planned", "Prompts", "make_plan"]

BYTES = range(3, 256)  # ids that every known vocabulary has: single bytes, or short pieces
TRIED = 4000  # ids looked at in search of words


@dataclass(frozen=True, slots=True)
class Planned:
    """One request as it will be sent."""

    index: int
    due: float | None  # seconds after the start; None: when its turn comes
    prompt: list[int] | str
    prompt_tokens: int
    max_tokens: int
    hang_up_after: int | None = None  # pieces of output after which the client goes away


class Prompts:
    """Makes prompts from a vocabulary: of the given ids, or of a tokenizer's words as text."""

    def __init__(self, ids: Sequence[int], tokenizer: Tokenizer | None = None):
        """tokenizer: makes text prompts; None: token ids. Raises UserError without anything to choose from."""
        self.tokenizer = tokenizer
        self.ids: Sequence[int] = words(tokenizer, ids) if tokenizer else ids
        if not self.ids:
            raise UserError("prompts: the vocabulary has no words; use --prompts ids")

    def draw(self, count: int, rng: random.Random) -> list[int]:
        return rng.choices(self.ids, k=count)

    def make(self, prefix: list[int], count: int, rng: random.Random) -> list[int] | str:
        """A prompt of `count` tokens that begins with `prefix`."""
        ids = prefix + self.draw(count - len(prefix), rng)
        return ids if self.tokenizer is None else exact_text(self.tokenizer, ids, self.ids, rng)


def words(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """Ids whose text is a word with the space before it: side by side they stay the tokens that they are."""
    some = random.Random(0).sample(ids, min(TRIED, len(ids)))
    return [i for i in some if re.fullmatch(r" [A-Za-z]+", tokenizer.decode([i]))]


def exact_text(tokenizer: Tokenizer, ids: list[int], more: Sequence[int], rng: random.Random) -> str:
    """Text that encodes to exactly len(ids) tokens, what the tokenizer puts in front included. Raises UserError."""
    wanted, ids = len(ids), list(ids)
    for _ in range(20):
        text = tokenizer.decode(ids)
        over = len(tokenizer.encode(text)) - wanted
        if over == 0:
            return text
        ids = ids[:-over] if over > 0 else ids + rng.choices(more, k=-over)
        if not ids:
            break
    raise UserError(f"prompts: no text of exactly {wanted} tokens was found; use --prompts ids")


def make_plan(workload: Workload, prompts: Prompts, seed: int, hang_up: float = 0.0) -> list[Planned]:
    """All requests of a run, the same for the same arguments. hang_up: share of clients that go away mid-stream."""
    shapes = workload.shapes(seed)
    times = workload.arrivals.times(workload.count, seed)
    # The name is part of the seed: the runs of several workloads on one server must not share prompts.
    rng = random.Random(f"prompts {seed} {workload.name}")
    prefix = prompts.draw(workload.shared_prefix, rng)
    gone = random.Random(f"hang up {seed}")
    return [
        Planned(
            index=i,
            due=times[i] if times else None,
            prompt=prompts.make(prefix, shape.prompt, rng),
            prompt_tokens=shape.prompt,
            max_tokens=shape.output,
            hang_up_after=_hang_up(shape, hang_up, gone),
        )
        for i, shape in enumerate(shapes)
    ]


def _hang_up(shape: Shape, share: float, rng: random.Random) -> int | None:
    leaves, at = rng.random() < share, rng.randint(1, max(1, shape.output - 1))
    return at if leaves and shape.output > 1 else None
