"""What is measured: the ladder, throughput by batch size, memory by context, or the field's reference workload.

Makes the prompts and the room for them from the flags. Runs nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.load.workloads import NAMED, fit
from common.errors import UserError
from common.loader import load_config
from common.memory import free_memory

from .contest import Contestant
from .machine import Shapes
from .task import Job, Room, Setup, Unit, draw_prompts

__all__ = ["LARGE", "Study", "make_study"]

LARGE = 50_000_000  # parameters from which on the loop without a cache is too slow to be the reference
WARM = 8  # tokens of a stage's untimed run on a CPU; a peer's has all of them, for what it compiles
BUDGET = {"cpu": 2048, "cuda": 8192}  # tokens of one step at most
SMALL_STEP = 256  # where what a step needs should not hide what is kept
SAMPLED = 4  # requests of the reference workload whose tokens are checked
CHECKED = 16  # and of each batch: the reference writes them one after another
MEMORY = 0.6  # share of what is free that the rows may take


@dataclass(slots=True)
class Study:
    kind: str  # "ladder", "batch", "memory", "reference"
    result: str  # the result file's name
    command: str
    seed: int
    setup: Setup
    shapes: Shapes
    contestants: list[Contestant]
    left_out: dict[str, str]
    jobs: list[Job]
    about: dict[str, Any]  # for the result's workload
    context: int = 0  # tokens of text that a decode step reads, on average
    batches: list[int] = field(default_factory=list)
    contexts: list[int] = field(default_factory=list)
    sampled: str = ""  # what was not checked
    quick: bool = False
    code: str = ""

    @property
    def truth(self) -> int:
        """The stage whose tokens all others must meet."""
        return 3 if self.shapes.parameters > LARGE or self.kind != "ladder" else 2

    def prefix(self, unit: Unit) -> str:
        """What a unit's numbers begin with."""
        key = next(one.key for one in self.contestants if one.side == unit.side)
        return f"{key}_context_{unit.setup.room.length}" if self.kind == "memory" else key

    @property
    def asked(self) -> list[Job]:
        """What the reference must run: of batches the largest, whose prompts are those of the others too."""
        return [max(self.jobs, key=lambda job: len(job.prompts))] if self.batches else self.jobs

    def spread(self, expected: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        """The answers to `asked`, for each job."""
        if not self.batches:
            return expected
        largest = expected[self.asked[0].name]
        return {job.name: largest[: len(job.prompts)] for job in self.jobs}

    def units(self) -> list[Unit]:
        """One for each contestant; in a study of memory one for each context, each in a process of its own."""
        made = []
        for one in self.contestants:
            full = self.setup.device.startswith("cuda") or not one.title
            jobs = [replace(job, warm=None) if full and job.warm == WARM else job for job in self.jobs]
            if self.kind != "memory":
                made.append(Unit(one.key, one.side, one.full, self.setup, jobs))
                continue
            for job in jobs:
                length = len(job.prompts[0]) + job.limits[0]
                setup = replace(self.setup, room=replace(self.setup.room, length=length))
                made.append(
                    Unit(f"{one.key}@{length}", one.side, f"{one.full} at {length} tokens", setup, [job])
                )
        return made


def make_study(args: argparse.Namespace, folder: Path, device: str, dtype: str, contestants: list[Contestant],
               left_out: dict[str, str]) -> Study:  # fmt: skip
    """Raises UserError for lengths that do not fit the model's window."""
    config, shapes = load_config(folder), Shapes.of(folder, dtype)
    make = {"ladder": ladder, "batch": batch, "memory": memory, "reference": reference}[args.kind]
    jobs, about, more = make(args, config)
    longest = max(len(p) + n for job in jobs for p, n in zip(job.prompts, job.limits, strict=True))
    if longest > config.max_positions:
        raise UserError(
            f"prompt and new tokens make {longest}, but {args.model}'s window is {config.max_positions}"
        )
    requests = max(len(job.prompts) for job in jobs)
    rows = min(requests, rows_that_fit(shapes, longest, device))
    if args.kind != "reference" and rows < requests:
        raise UserError(f"{requests} requests of {longest} tokens do not fit into memory, {rows} do")
    tokens = max(sum(map(len, job.prompts)) for job in jobs)
    most = SMALL_STEP if args.kind == "memory" else BUDGET.get(device.partition(":")[0], BUDGET["cpu"])
    room = Room(requests, rows, longest, min(tokens, most))
    about = {"study": args.kind, "model": args.model, "dtype": dtype, "device": device, **about, "rows": rows}
    return Study(
        args.kind, args.result, args.command, args.seed, Setup(str(folder), device, dtype, args.threads, room), shapes,
        contestants, left_out, jobs, about, quick=args.quick, **more,
    )  # fmt: skip


Parts = tuple[list[Job], dict[str, Any], dict[str, Any]]  # jobs, about, fields of Study


def ladder(args: argparse.Namespace, config: Any) -> Parts:
    first, *others = prompts_of(args, config, args.crowd + 1)
    jobs = [
        Job("alone", [first], [args.new_tokens], None, WARM),
        Job("crowd", others, [args.new_tokens] * args.crowd, None, WARM),
    ]
    about = {"prompt_tokens": args.prompt_tokens, "new_tokens": args.new_tokens, "crowd": args.crowd}
    return jobs, about, {"context": args.prompt_tokens + args.new_tokens // 2}


def batch(args: argparse.Namespace, config: Any) -> Parts:
    prompts = prompts_of(args, config, max(args.batch))
    jobs = [Job(f"batch_{n}", prompts[:n], [args.new_tokens] * n, min(n, CHECKED), WARM) for n in args.batch]
    sampled = f"of each batch at most {CHECKED} requests are checked" if max(args.batch) > CHECKED else ""
    about = {"prompt_tokens": args.prompt_tokens, "new_tokens": args.new_tokens, "batches": args.batch}
    more = {"context": args.prompt_tokens + args.new_tokens // 2, "batches": args.batch, "sampled": sampled}
    return jobs, about, more


def memory(args: argparse.Namespace, config: Any) -> Parts:
    """Rows that are filled to the context: most of it prompt, so that it is quick."""
    jobs = []
    for context in args.contexts:
        lengths = [context - WARM] * args.crowd
        prompts = draw_prompts(lengths, config.vocab_size, config.eos_token_ids, args.seed)
        jobs.append(Job(f"context_{context}", prompts, [WARM] * args.crowd, 1, 1))
    about = {"contexts": args.contexts, "crowd": args.crowd}
    return jobs, about, {"contexts": args.contexts, "sampled": "of each crowd one request is checked"}


def reference(args: argparse.Namespace, config: Any) -> Parts:
    """256 requests at once, of 100 to 1,024 tokens in and out."""
    workload = replace(fit(NAMED["offline_256"], config.max_positions), count=args.requests, seed=args.seed)
    shapes = workload.shapes()
    prompts = draw_prompts(
        [shape.prompt for shape in shapes], config.vocab_size, config.eos_token_ids, args.seed
    )
    limits, checked = [shape.output for shape in shapes], min(SAMPLED, len(shapes))
    sampled = f"the first {checked} of {len(shapes)} requests are checked, of the others the number of tokens"
    about = {**workload.describe(), "tokens_out": sum(limits)}
    return [Job("reference", prompts, limits, checked, 2 * WARM)], about, {"sampled": sampled}


def prompts_of(args: argparse.Namespace, config: Any, count: int) -> list[list[int]]:
    return draw_prompts([args.prompt_tokens] * count, config.vocab_size, config.eos_token_ids, args.seed)


def rows_that_fit(shapes: Shapes, length: int, device: str) -> int:
    """Requests whose K and V fit beside the weights, in rows of this length."""
    free = free_memory(device)
    return max(int((MEMORY * free - shapes.total_bytes) / shapes.row_bytes(length)), 1)
