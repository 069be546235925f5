"""Workloads: how many requests arrive when, how long they are and what they share. And the named ones.

Each name is the question that it asks a server; the stage of that name answers it. A name that ends in `-small` asks the
same of a window of 1,024 positions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from common.bench.arrivals import Arrivals
from common.errors import UserError
from common.terminal.command_line import choose

from .lengths import Lengths, fixed, lognormal, uniform

__all__ = ["NAMED", "Shape", "Workload", "fit", "named"]

SMALL = 1024  # positions that the small variants need at most


@dataclass(frozen=True, slots=True)
class Shape:
    """How long one request is, in tokens. The first `shared` of its prompt are the same for all of its run."""

    prompt: int
    output: int
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    name: str
    count: int  # requests
    arrivals: Arrivals
    prompt: Lengths  # its own tokens, after the shared prefix
    output: Lengths
    shared_prefix: int = 0  # tokens that all prompts begin with
    long_share: float = 0.0  # of the requests whose prompt is drawn from `long_prompt` instead
    long_prompt: Lengths | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if self.count < 1 or self.shared_prefix < 0:
            raise UserError(f"workload {self.name}: needs a request at least, and no prefix below 0 tokens")
        if not 0 <= self.long_share <= 1 or (self.long_share > 0 and self.long_prompt is None):
            raise UserError(
                f"workload {self.name}: long_share = {self.long_share:g} must be within 0..1, with long_prompt"
            )

    @property
    def longest(self) -> int:
        """Positions that its longest request may need."""
        prompts = [self.prompt.high, *([self.long_prompt.high] if self.long_prompt else [])]
        return self.shared_prefix + max(prompts) + self.output.high

    def shapes(self, seed: int | str | None = None) -> list[Shape]:
        """The lengths of each request. Long prompts are spread at random, but their number is exact."""
        rng = random.Random(f"shapes {self.seed if seed is None else seed}")
        long = set(rng.sample(range(self.count), round(self.count * self.long_share)))
        shapes = []
        for i in range(self.count):
            lengths = self.long_prompt if i in long and self.long_prompt else self.prompt
            own = lengths.draw(rng)
            shapes.append(Shape(self.shared_prefix + own, self.output.draw(rng), self.shared_prefix))
        return shapes

    def scaled(self, window: int) -> Workload:
        """The same with all lengths scaled to fit a window, its name saying so."""
        factor = window / self.longest
        made = replace(
            self,
            name=f"{self.name.removesuffix('-small')}-{window}",
            prompt=self.prompt.scaled(factor),
            output=self.output.scaled(factor),
            shared_prefix=int(self.shared_prefix * factor),
            long_prompt=self.long_prompt.scaled(factor) if self.long_prompt else None,
        )
        if made.longest > window:  # each length is at least 1
            raise UserError(f"workload {self.name}: cannot be scaled to a window of {window} tokens")
        return made

    def describe(self) -> dict[str, object]:
        """For result files."""
        made: dict[str, object] = {
            "workload": self.name,
            "requests": self.count,
            "arrivals": str(self.arrivals),
            "prompt_tokens": str(self.prompt),
            "output_tokens": str(self.output),
        }
        if self.shared_prefix:
            made["shared_prefix"] = self.shared_prefix
        if self.long_prompt:
            made |= {"long_share": self.long_share, "long_prompt_tokens": str(self.long_prompt)}
        return made


def fit(workload: Workload, window: int | None) -> Workload:
    """The workload, its small variant, or one scaled down, whichever is the first to fit the window (None: any)."""
    if window is None or workload.longest <= window:
        return workload
    small = NAMED.get(f"{workload.name}-small", workload)
    return small if small.longest <= window else small.scaled(window)


def named(name: str) -> list[Workload]:
    """The workload of that name; "all" are the five about serving, in the order of the stages."""
    if name == "all":
        return [NAMED[n] for n in SERVING]
    return [NAMED[choose("workload", name, (*NAMED, "all"))]]


SERVING = ("baseline", "continuous_batching", "paged_attention", "chunked_prefill", "prefix_caching")

_ALL = [
    # What does one user see?
    Workload(name="baseline", count=10, arrivals=Arrivals("sequential"), prompt=fixed(128), output=fixed(128)),
    # Do short requests wait for long ones?
    Workload(
        name="continuous_batching", count=32, arrivals=Arrivals("poisson", 4), prompt=uniform(32, 256),
        output=uniform(16, 256),
    ),
    # How many fit into memory at a time, when most are far shorter than the longest?
    Workload(
        name="paged_attention", count=48, arrivals=Arrivals("at_once"), prompt=lognormal(256, 0.8, 1536),
        output=lognormal(128, 0.7, 512),
    ),
    Workload(
        name="paged_attention-small", count=48, arrivals=Arrivals("at_once"), prompt=lognormal(128, 0.8, 704),
        output=lognormal(96, 0.7, 320),
    ),
    # What does a long prompt do to the streams of the others?
    Workload(
        name="chunked_prefill", count=48, arrivals=Arrivals("poisson", 6), prompt=uniform(16, 64),
        output=uniform(32, 128), long_share=0.75, long_prompt=uniform(1024, 2048),
    ),
    Workload(
        name="chunked_prefill-small", count=48, arrivals=Arrivals("poisson", 6), prompt=uniform(16, 64),
        output=uniform(32, 128), long_share=0.75, long_prompt=uniform(512, 896),
    ),
    # What does it save to have seen the beginning before?
    Workload(
        name="prefix_caching", count=48, arrivals=Arrivals("poisson", 8), prompt=uniform(16, 128),
        output=uniform(16, 64), shared_prefix=1024,
    ),
    Workload(
        name="prefix_caching-small", count=48, arrivals=Arrivals("poisson", 8), prompt=uniform(16, 128),
        output=uniform(16, 64), shared_prefix=832,
    ),
    # The reference of small engines (it began with nano-vllm's bench.py): only output tokens/s count.
    Workload(
        name="offline_256", count=256, arrivals=Arrivals("at_once"), prompt=uniform(100, 1024),
        output=uniform(100, 1024), seed=0,
    ),
    Workload(
        name="offline_256-small", count=256, arrivals=Arrivals("at_once"), prompt=uniform(100, 512),
        output=uniform(100, 512), seed=0,
    ),
]  # fmt: skip
NAMED = {workload.name: workload for workload in _ALL}
