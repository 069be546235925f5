"""What the benchmark serves: sixteen requests and five, in batches of each size, and single steps of such batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.bench.load import Job
from common.bench.measure import interleave
from common.errors import UserError
from common.terminal.console import progress

from .sides import Served, Sides, time_steps

SIZES = (1, 2, 4, 8, 16)  # of ROWS, those that divide the 16 requests
TEXT = """Once upon a time there lived an old miller at the edge of a great forest, and he had three daughters. The eldest
could spin, the second could bake, and the youngest could do nothing but listen. She listened to the mill wheel and to
the rain, to the crows in the oak and to the mice below the floor, and after seven years she understood them all. One
evening in autumn a stranger knocked at the door. He wore a grey cloak, and his shoes were made of glass. "Give me a bed
for the night," said he, "and I will grant each of you a wish." The eldest asked for golden thread, and the second for
an oven that never grew cold. But the youngest had heard what the mice were whispering, and she was silent. When the
clock struck twelve the stranger rose and went out to the wheel, and she followed him in her bare feet."""
LENGTHS = (8, 96, 24, 16, 64, 12, 40, 128, 20, 32, 8, 80, 48, 16, 56, 24)  # of the prompts, in tokens
LIMITS = (8, 64, 16, 96, 32, 8, 48, 24, 16, 64, 8, 32, 16, 8, 56, 16)  # mixed; their mean is 32
LIMIT = 32
FIVE = (8, 16, 12, 24, 20)  # tokens of the five prompts, of much the same length
WINDOW = 256
CONTEXT = 64  # tokens of the prompts whose steps are timed


@dataclass(slots=True)
class Work:
    """What was measured: seconds, and what was served last."""

    sides: Sides
    jobs: dict[str, list[Job]]
    served: dict[str, Served] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, name: str, rows: int | None) -> Callable[[], None]:
        """Serves the jobs of that name; the tokens must be those of the first time."""
        key = f"{name}_{rows or 'alone'}"

        def serve() -> None:
            served = self.sides.serve(self.jobs[name], rows)
            assert served.tokens == self.served.setdefault(key, served).tokens, (
                f"{key}: other tokens than before"
            )

        return serve

    def time(self, names: Sequence[str], sizes: Sequence[int | None], repeats: int) -> None:
        sides = {f"{name}_{rows or 'alone'}": self.timed(name, rows) for name in names for rows in sizes}
        self.seconds |= interleave(sides, repeats, warmup=1, device=self.sides.before.device)

    def wanted(self, name: str) -> int:
        """Tokens that the requests of that name ask for."""
        return sum(job.limit for job in self.jobs[name])


def make_jobs(sides: Sides) -> dict[str, list[Job]]:
    text = sides.before.encode(TEXT)
    if len(text) < max(LENGTHS):
        raise UserError(
            f"the text has {len(text)} tokens by this model's tokenizer, {max(LENGTHS)} are needed"
        )
    return {
        "equal": [Job(text[:length], LIMIT) for length in LENGTHS],
        "mixed": [Job(text[:length], limit) for length, limit in zip(LENGTHS, LIMITS, strict=True)],
        "five": [Job(text[:length], LIMIT) for length in FIVE],
        "first": [Job(text[:length], 1) for length in FIVE],
    }


def time_batches(sides: Sides, rounds: int) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """By rows, seconds of decode steps and of prefills."""
    prompt = sides.before.encode(TEXT)[:CONTEXT]
    steps: dict[int, list[float]] = {rows: [] for rows in SIZES}
    prefill: dict[int, list[float]] = {rows: [] for rows in SIZES}
    with progress("steps", rounds + 1) as advance:
        for turn in range(rounds + 1):
            for rows in SIZES:
                first, others = time_steps(sides.batched[rows], prompt, rows, 16)
                if turn:  # the first warms up
                    prefill[rows].append(first)
                    steps[rows] += others
            advance()
    return steps, prefill
