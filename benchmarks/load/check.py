"""Correct before fast: each output of a run against the same request alone on the same server.

Greedy only. Tokens are compared by the near-tie rule (`common.equality`), where they are known; over HTTP, texts are, and
only where two differ they are turned into tokens, with the help of the model itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from common.equality import Tally, assert_same_tokens

from .prompts import Planned
from .record import Record, Status, Target
from .reference import Reference

__all__ = ["Different", "check"]


class Different(Exception):
    """An output is not what the request gives alone. The one line says which and where."""


async def check(
    target: Target,
    plan: Sequence[Planned],
    records: Sequence[Record],
    make_reference: Callable[[], Reference] | None,
    most: int | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> str:
    """Compares completed outputs with solo runs -> what was compared, in words.

    Args:
        make_reference: loads the model; called only if outputs differ. None: a difference cannot be a near tie.
        most: compare so many, chosen with a fixed seed. None: all.

    Raises:
        Different: an output that is wrong, or a solo run that does not complete.
    """
    done = [(p, r) for p, r in zip(plan, records, strict=True) if r.status is Status.OK]
    if most is not None and most < len(done):
        done = random.Random(0).sample(done, most)
    tally, same = Tally(), Comparison(target, make_reference)
    for request, record in done:
        alone = await same.solo(request)
        try:
            await same.compare(request, record, alone, tally)
        except AssertionError as e:
            raise Different(f"request {request.index}: {' '.join(str(e).split())}") from None
        on_done()
    return f"{len(done)} of {len(records)} outputs compared with solo runs: {tally}"


class Comparison:
    def __init__(self, target: Target, make_reference: Callable[[], Reference] | None):
        self.target, self.make_reference = target, make_reference
        self.reference: Reference | None = None

    async def solo(self, request: Planned) -> Record:
        """Raises Different where the request does not even complete alone."""
        request = replace(request, due=None, hang_up_after=None)
        record = Record.of(request)
        await self.target.send(request, record)
        self.target.settle(record)
        if record.status is not Status.OK:
            raise Different(f"request {request.index}: alone it ends as {record.status}: {record.detail}")
        return record

    async def compare(self, request: Planned, ours: Record, alone: Record, tally: Tally) -> None:
        if (ours.tokens, ours.text, ours.num_tokens) == (alone.tokens, alone.text, alone.num_tokens):
            tally.compared += alone.num_tokens
            return
        assert self.make_reference is not None, (
            f"{_difference(ours, alone)}; --checkpoint with the served model would tell a near tie"
        )
        if self.reference is None:
            self.reference = await asyncio.to_thread(self.make_reference)
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._by_tokens, request, ours, alone, tally, self.reference, loop)

    def _by_tokens(
        self,
        request: Planned,
        ours: Record,
        alone: Record,
        tally: Tally,
        reference: Reference,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        prompt = request.prompt
        if isinstance(prompt, str):
            assert reference.tokenizer is not None
            prompt = reference.tokenizer.encode(prompt)

        def ids(record: Record, before: list[int]) -> list[int]:
            return record.tokens or reference.follow([*prompt, *before], record.text, record.num_tokens)

        def continued(before: list[int]) -> list[int]:
            """Ours, after the reference's tokens `before`."""
            if not before:
                return ids(ours, [])
            rest = replace(request, prompt=[*prompt, *before], max_tokens=request.max_tokens - len(before))
            return ids(asyncio.run_coroutine_threadsafe(self.solo(rest), loop).result(), before)

        theirs = ids(alone, [])
        assert_same_tokens(
            continued,
            theirs,
            lambda i: reference.scores([*prompt, *theirs[:i]]),
            tally=tally,
            **reference.rule,
        )


def _difference(ours: Record, alone: Record) -> str:
    """Where two outputs part, for people."""
    a: Sequence[object] = ours.tokens or ours.text
    b: Sequence[object] = alone.tokens or alone.text
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    unit = "token" if ours.tokens else "character"
    return f"differs from its solo run at {unit} {at}: {a[at : at + 20]!r} instead of {b[at : at + 20]!r}"
