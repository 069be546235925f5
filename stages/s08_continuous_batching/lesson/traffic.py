"""The same arrivals on several engines, in turns: a trace of mixed requests, and long prompts among requests that decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from common.bench.arrivals import poisson_times
from common.bench.load import Job, Served, drive
from common.bench.reference import require_equal
from common.equality import Tally
from common.tutorial import load_stage

from .. import engine

ROWS = 16
REQUESTS, RATE = 48, 16.0  # of the trace: how many, and how many per second; more than stage 07 can serve
CALM, CALM_RATE = 24, 2.5  # of a trace that both stages can serve
# Tokens, which are combined in turn.
PROMPTS = (8, 96, 24, 16, 64, 12, 40, 128)
LIMITS = (8, 64, 16, 96, 32, 8, 48, 24, 16)
READERS, READ = 6, 160  # requests that decode, and their tokens, while long prompts come
LONG, LONGS, EVERY = 512, 5, 0.3  # tokens of a long prompt, how many, seconds between two
BUDGET = 64  # tokens of a step when prompts are chunked

Side = tuple[ModuleType, Any]  # the package of an engine, and the engine


@dataclass(slots=True)
class Traffic:
    """Engines on the same weights, and the runs of each."""

    parts: tuple[Any, Any, Any]  # model, tokenizer, config
    text: list[int]  # from which prompts are taken
    tally: Tally = field(default_factory=Tally)
    computed_before: int = 0  # tokens through the model of stage 07's engine, of one run of the trace

    def make(self, **config: Any) -> engine.Engine:
        return engine.Engine(*self.parts, engine.EngineConfig(**config))

    def jobs(self, count: int, rate: float, seed: int) -> list[Job]:
        """`count` requests that arrive at random, `rate` per second."""
        return [
            Job(self.text[7 * i : 7 * i + PROMPTS[i % len(PROMPTS)]], LIMITS[i % len(LIMITS)], due)
            for i, due in enumerate(poisson_times(count, rate, seed))
        ]

    def sides(self) -> dict[str, Side]:
        """Stage 07's engine, and this stage's in static mode and continuous."""
        before = load_stage(7).engine
        config = before.EngineConfig(max_seq_len=256, max_num_seqs=ROWS, batch_wait=0.0)
        static = self.make(max_seq_len=256, max_num_seqs=ROWS, batching_mode="static")
        return {
            "before": (before, before.Engine(*self.parts, config)),
            "static": (engine, static),
            "after": (engine, self.make(max_seq_len=256, max_num_seqs=ROWS)),
        }

    def calm(self, repeats: int, seed: int) -> dict[str, list[list[Served]]]:
        """Each run of fewer requests per second, with which stages 07 and 08 both keep up."""
        sides = self.sides()
        del sides["static"]
        return self.compare(self.jobs(CALM, CALM_RATE, seed), sides, repeats)

    def trace(self, repeats: int, seed: int) -> dict[str, list[list[Served]]]:
        """Each run of a trace of arrivals, in stage 07, in static mode and continuous."""
        jobs, sides, solo = self.jobs(REQUESTS, RATE, seed), self.sides(), load_stage(6).engine
        alone = solo.Engine(*self.parts, solo.EngineConfig(max_seq_len=256))
        for job in jobs[::4]:  # the reference that has no batches
            theirs = alone.generate([job.prompt], solo.SamplingParams(job.limit, ignore_eos=True))
            mine = sides["after"][1].generate([job.prompt], engine.SamplingParams(job.limit, ignore_eos=True))
            require_equal(*sides["after"], job.prompt, mine[0].tokens, theirs[0].tokens, self.tally)
        found = self.compare(jobs, sides, repeats)
        self.computed_before = sides["before"][1].runner.num_computed // (repeats + 1)
        return found

    def chunks(self, repeats: int) -> dict[str, list[list[Served]]]:
        """Each run of long prompts that arrive while others decode, with whole prompts and with chunks."""
        readers = [Job(self.text[5 * i : 5 * i + 16], READ) for i in range(READERS)]
        longs = [Job(self.text[i : i + LONG], 4, 0.2 + EVERY * i) for i in range(LONGS)]
        config: dict[str, Any] = dict(
            max_seq_len=640, max_num_seqs=READERS + 4, max_num_batched_tokens=BUDGET
        )
        whole = self.make(**config, chunked_prefill=False)
        sides: dict[str, Side] = {"whole": (engine, whole), "chunked": (engine, self.make(**config))}
        return self.compare(readers + longs, sides, repeats)

    def compare(
        self, jobs: Sequence[Job], sides: dict[str, Side], repeats: int
    ) -> dict[str, list[list[Served]]]:
        """An untimed round that is checked, then `repeats` of each side in turns, each with the tokens of the first side."""
        first = {name: drive(*side, jobs) for name, side in sides.items()}
        reference, *others = sides
        for name in others:
            for mine, theirs in zip(first[name], first[reference], strict=True):
                require_equal(*sides[name], mine.job.prompt, mine.tokens, theirs.tokens, self.tally)
        found: dict[str, list[list[Served]]] = {name: [] for name in sides}
        for turn in range(repeats):
            for name in sides if turn % 2 == 0 else reversed(sides):
                found[name].append(drive(*sides[name], jobs))
                for mine, theirs in zip(found[name][-1], first[name], strict=True):
                    # Other requests beside it, other rounding: a near tie, or a fault.
                    if mine.tokens != theirs.tokens:
                        require_equal(*sides[name], mine.job.prompt, mine.tokens, theirs.tokens, self.tally)
        return found
