"""Stage 07's benchmark: throughput and padding by batch size, five prompts together against one by one, and the roof above.

Every batch size must write the tokens of the previous stage's engine before the clock runs, and its own in every run.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.bench.measure import (
    Result,
    Timer,
    decode_bound,
    interleave,
    median,
    read_bandwidth,
    weight_bytes,
)
from common.errors import UserError
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    number,
    run,
    stage_parser,
)
from common.terminal.console import heading, note, progress, table

from .lesson.sides import Job, Served, Sides, time_steps

COMMAND = "python -m stages.s07_prefill_batching.bench"
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
    prefill: dict[int, list[float]] = field(default_factory=lambda: {rows: [] for rows in SIZES})
    steps: dict[int, list[float]] = field(default_factory=lambda: {rows: [] for rows in SIZES})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        COMMAND,
        "Throughput and padding waste by batch size; five prompts batched against one by one; the roofline.",
        ["", "--quick", "--figure"],
    )
    add_model_flags(parser)
    add_bench_flags(parser, repeats=3)
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch finds best)")
    parser.add_argument(
        "--quick", action="store_true", help="one round and not recorded, unless --results is given"
    )
    parser.add_argument("--figure", action="store_true", help="only draw the recorded result again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    slug = re.sub(r"[^a-z0-9]+", "-", Path(args.model).name.lower()).strip("-")
    name = "s07" if args.model == DEFAULT_MODEL else f"s07-{slug}"
    if args.figure:
        return draw(name)
    if args.threads:
        torch.set_num_threads(args.threads)
    work = measure(Sides.build(args.model, args.device, args.dtype, WINDOW), args)
    result = record(work, name, args)
    show_result(result)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
        if args.results is None and work.sides.before.device.type == "cpu":
            return draw(name)
    return 0


def draw(name: str) -> int:
    from .lesson.figure import draw as drawn  # needs matplotlib, which a GPU box may lack

    for path in drawn(name):
        note(f"drawn in {path}")
    return 0


def make_jobs(sides: Sides) -> dict[str, list[Job]]:
    text = sides.before.encode(TEXT)
    if len(text) < max(LENGTHS):
        raise UserError(
            f"the text has {len(text)} tokens by this model's tokenizer, {max(LENGTHS)} are needed"
        )
    prompts = [text[:length] for length in LENGTHS]
    equal = [Job(prompt, LIMIT) for prompt in prompts]
    mixed = [Job(prompt, limit) for prompt, limit in zip(prompts, LIMITS, strict=True)]
    five = [Job(text[:length], LIMIT) for length in FIVE]
    first = [Job(job.prompt, 1) for job in five]
    return {"equal": equal, "mixed": mixed, "five": five, "first": first}


def measure(sides: Sides, args: argparse.Namespace) -> Work:
    """Checks, then times. Raises AssertionError for tokens that differ."""
    work, repeats = Work(sides, make_jobs(sides)), 1 if args.quick else args.repeats
    heading("The same tokens one by one and batched")
    for name in ("equal", "mixed"):
        alone = sides.serve(work.jobs[name]).tokens
        for rows in SIZES:
            sides.require_equal(work.jobs[name], rows, alone)
    sides.require_equal(work.jobs["five"], 5, sides.serve(work.jobs["five"]).tokens)
    note(f"{sides.tally}.")
    sizes = {f"{name}_{rows}": timed(work, name, rows) for name in ("equal", "mixed") for rows in SIZES}
    work.seconds |= interleave(sizes, repeats, warmup=1, device=sides.before.device)
    five = {
        f"{name}_{rows or 'alone'}": timed(work, name, rows)
        for name in ("five", "first")
        for rows in (None, 5)
    }
    work.seconds |= interleave(five, 3 * repeats, warmup=1, device=sides.before.device)
    measure_steps(work, repeats)
    return work


def timed(work: Work, name: str, rows: int | None) -> Callable[[], None]:
    """Serves the jobs of that name; the tokens must be those of the first time."""
    key = f"{name}_{rows or 'alone'}"

    def serve() -> None:
        served = work.sides.serve(work.jobs[name], rows)
        if served.tokens != work.served.setdefault(key, served).tokens:
            raise AssertionError(f"{key}: not the tokens of the run before")

    return serve


def measure_steps(work: Work, repeats: int) -> None:
    """One step at a time, of batches with nothing to waste: equal prompts, equal limits."""
    prompt = work.sides.before.encode(TEXT)[:CONTEXT]
    with progress("steps", 2 * repeats + 1) as advance:
        for turn in range(2 * repeats + 1):
            for rows in SIZES:
                first, steps = time_steps(work.sides.batched[rows], prompt, rows, 16)
                if turn:  # the first warms up
                    work.prefill[rows].append(first)
                    work.steps[rows] += steps
            advance()


def record(work: Work, name: str, args: argparse.Namespace) -> Result:
    e = work.sides.before
    workload: dict[str, Any] = {
        "model": args.model, "dtype": str(e.dtype).removeprefix("torch."), "prompt_tokens": list(LENGTHS),
        "new_tokens": LIMIT, "mixed_new_tokens": list(LIMITS),
        "rows": list(SIZES), "five_prompt_tokens": list(FIVE), "step_prompt_tokens": CONTEXT,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    checked = f"{work.sides.tally}: every batch size against the previous stage's engine; each run against the one before"
    command = COMMAND if args.model == DEFAULT_MODEL else f"{COMMAND} --model {args.model}"
    result = Result(name, 7, command, workload, None, checked, device=str(e.device))
    record_sizes(work, result)
    record_five(work, result)
    record_steps(work, result)
    return result


def record_sizes(work: Work, result: Result) -> None:
    """Sixteen requests in batches of each size: what came out a second, and how much of the work was for nobody."""
    for name, prefix in (("equal", ""), ("mixed", "mixed_")):
        wanted = sum(job.limit for job in work.jobs[name])
        for rows in SIZES:
            served, seconds = work.served[f"{name}_{rows}"], work.seconds[f"{name}_{rows}"]
            result.add(f"{prefix}tokens_per_s_{rows}", unit="tokens/s", samples=[wanted / s for s in seconds])
            result.add(f"{prefix}padding_share_{rows}", 100 * served.padding / served.computed, "%")
            result.add(f"{prefix}computed_{rows}", served.computed, "tokens")
            gain = median(work.seconds[f"{name}_1"]) / median(seconds)
            result.add(f"{prefix}speedup_{rows}", gain, "x", note="over batches of one")


def record_five(work: Work, result: Result) -> None:
    """The previous stage's engine against one batch, in pairs that ran one after the other."""
    wanted = sum(job.limit for job in work.jobs["five"])
    for name, unit in (("alone", "serial"), ("5", "batch")):
        seconds = work.seconds[f"five_{name}"]
        result.add(f"{unit}_5_tokens_per_s", unit="tokens/s", samples=[wanted / s for s in seconds])
        prefill = work.seconds[f"first_{name}"]
        result.add(f"{unit}_5_prefill_ms", unit="ms", samples=[1e3 * s for s in prefill])
    for key, name in (("batch_5_speedup", "five"), ("batch_5_prefill_speedup", "first")):
        pairs = zip(work.seconds[f"{name}_alone"], work.seconds[f"{name}_5"], strict=True)
        result.add(key, unit="x", samples=[a / b for a, b in pairs])
    served = work.served["first_5"]
    result.add("batch_5_prefill_padding", 100 * served.padding / served.computed, "%")


def record_steps(work: Work, result: Result) -> None:
    """Time of a step by rows, and the two roofs: bytes that must be read, and sums that must be done."""
    made = work.sides.batched[1]
    bandwidth, rate = read_bandwidth(made.device), matmul_rate(made.device, made.dtype)
    sums = (
        2 * weight_bytes(made.model) / made.model.head.weight.element_size()
    )  # a token; attention's are few
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("matmul_rate", rate / 1e12, "TFLOP/s")
    result.add("weight_mb", weight_bytes(made.model) / 1e6, "MB")
    result.add("gflop_per_token", sums / 1e9, "GFLOP")
    result.add("roofs_meet", rate / sums / decode_bound(made.model, 0, bandwidth), "requests")
    for rows in SIZES:
        steps, bound = work.steps[rows], decode_bound(made.model, CONTEXT + 8, bandwidth, rows)
        roof = min(bound, rate / sums)
        result.add(f"step_ms_{rows}", unit="ms", samples=[1e3 * s for s in steps])
        result.add(f"decode_tokens_per_s_{rows}", rows / median(steps), "tokens/s")
        result.add(f"memory_bound_{rows}", bound, "tokens/s")
        result.add(f"arithmetic_bound_{rows}", rate / sums, "tokens/s")
        result.add(f"roof_share_{rows}", 100 * rows / median(steps) / roof, "%")
        result.add(f"prefill_ms_{rows}", unit="ms", samples=[1e3 * s for s in work.prefill[rows]])
        result.add(f"prefill_tokens_per_s_{rows}", rows * CONTEXT / median(work.prefill[rows]), "tokens/s")
    for key in ("step", "prefill"):
        value = result.values
        result.add(f"{key}_growth", value[f"{key}_ms_16"]["value"] / value[f"{key}_ms_1"]["value"], "x")


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product: what this machine's arithmetic gives at best."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        with Timer(device) as timer:
            a @ b
        seconds.append(timer.seconds)
    return 2 * size**3 / min(seconds)


def show_result(result: Result) -> None:
    value = {key: entry["value"] for key, entry in result.values.items()}
    names = [
        "requests in a batch",
        "tokens/s",
        "padding",
        "mixed limits",
        "padding",
        "step",
        "of the roof",
        "prefill",
    ]
    rows = [
        [n, f"{value[f'tokens_per_s_{n}']:,.0f}", f"{value[f'padding_share_{n}']:.0f} %",
         f"{value[f'mixed_tokens_per_s_{n}']:,.0f}", f"{value[f'mixed_padding_share_{n}']:.0f} %",
         f"{value[f'step_ms_{n}']:.1f} ms", f"{value[f'roof_share_{n}']:.0f} %", f"{value[f'prefill_ms_{n}']:.1f} ms"]
        for n in SIZES
    ]  # fmt: skip
    table(None, names, rows)
    note(
        f"Five prompts: {value['serial_5_tokens_per_s']:,.0f} tokens/s one by one in stage 06, "
        f"{value['batch_5_tokens_per_s']:,.0f} as a batch: {value['batch_5_speedup']:.2f}x; "
        f"their prefill alone {value['batch_5_prefill_speedup']:.2f}x."
    )


if __name__ == "__main__":
    sys.exit(run(main))
