"""Whether peers write the same greedy tokens as an engine of ours, near ties aside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from common.bench.reference import require_equal
from common.equality import Tally
from common.errors import UserError
from common.loader import load_config
from common.tutorial import load_stage

from . import make, missing, rule, supports

__all__ = ["Reference", "check_peer"]

STAGE = 8


class Reference:
    """A stage's engine, and its tokens for some prompts."""

    def __init__(self, model: str, device: str, dtype: str):
        self.package = load_stage(STAGE).engine
        self.engine: Any = self.package.Engine.from_pretrained(
            model, self.package.EngineConfig(device=device, dtype=dtype)
        )
        self.dtype = str(self.engine.dtype).removeprefix("torch.")

    def prompts(self, count: int, length: int, seed: int) -> list[list[int]]:
        draw, size = random.Random(seed), self.engine.model_config.vocab_size
        return [[draw.randrange(5, size) for _ in range(length)] for _ in range(count)]

    def complete(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
        params = [self.package.SamplingParams(limit, ignore_eos=True) for limit in limits]
        return [c.tokens for c in self.engine.generate([list(prompt) for prompt in prompts], params)]

    def compare(
        self, peer: str, prompt: list[int], mine: Sequence[int], theirs: Sequence[int], tally: Tally
    ) -> None:
        """Raises AssertionError where our tokens differ from a peer's for good."""
        forgiven = rule(peer, self.engine.model_config, self.dtype)
        require_equal(self.package, self.engine, prompt, mine, theirs, tally, **forgiven)

    def close(self) -> None:
        self.engine.close()


def check_peer(
    name: str, reference: Reference, folder: Any, prompts: list[list[int]], limits: Sequence[int],
    mine: Sequence[Sequence[int]],
) -> str:  # fmt: skip
    """One line: equal, equal but for near ties, differs and where, or skipped and why."""
    device, dtype = str(reference.engine.device), reference.dtype
    if why := missing(name) or supports(name, load_config(folder), device, dtype):
        return f"skipped    {why}"
    try:
        side = make(name, folder, device, dtype)
    except UserError as error:
        return f"skipped    {error}"
    tally = Tally()
    try:
        served = side.run(prompts, limits)
        for i, prompt in enumerate(prompts):
            assert len(served.tokens[i]) == limits[i], f"prompt {i}: {len(served.tokens[i])} tokens"
            reference.compare(name, prompt, mine[i], served.tokens[i], tally)
    except AssertionError as error:
        return f"differs    {name} ({side.version}): {error}"
    finally:
        side.close()
    return f"{'near ties' if tally.forgiven else 'equal':9}  {name} ({side.version}): {tally}"
