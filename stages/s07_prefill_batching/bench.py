"""Stage 07's benchmark: throughput and padding by batch size, five prompts together against one by one, and the roof above.

Every batch size must write the tokens of the previous stage's engine before the clock runs, and its own in every run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import (
    Result,
    decode_bound,
    decode_bytes,
    matmul_rate,
    median,
    read_bandwidth,
    weight_bytes,
)
from common.models import Model
from common.terminal.command_line import run as run_main
from common.terminal.console import heading, note

from .lesson.sides import Sides, time_attention
from .lesson.work import (
    CONTEXT,
    FIVE,
    LENGTHS,
    LIMIT,
    LIMITS,
    SIZES,
    TEXT,
    WINDOW,
    Work,
    make_jobs,
    time_batches,
)

BENCH = Bench(
    __package__,
    "Throughput and padding waste by batch size; five prompts batched against one by one; the roofline.",
    repeats=3,
)


def measure(run: Run) -> None:
    sides = Sides.build(run.args.model, run.args.device, run.args.dtype, WINDOW)
    work, before = Work(sides, make_jobs(sides)), sides.before
    heading("The same tokens one by one and batched")
    for name in ("equal", "mixed"):
        alone = sides.serve(work.jobs[name]).tokens
        for rows in SIZES:
            sides.require_equal(work.jobs[name], rows, alone)
    sides.require_equal(work.jobs["five"], 5, sides.serve(work.jobs["five"]).tokens)
    note(f"{sides.tally}.")
    checked = f"{sides.tally}: every batch size against the previous stage's engine; each run against the one before"
    result = run.result(checked, before.device, before.dtype, prompt_tokens=list(LENGTHS), new_tokens=LIMIT,
                        mixed_new_tokens=list(LIMITS), rows=list(SIZES), five_prompt_tokens=list(FIVE),
                        step_prompt_tokens=CONTEXT)  # fmt: skip
    work.time(("equal", "mixed"), SIZES, run.repeats)
    work.time(("five", "first"), (None, 5), 3 * run.repeats)
    record_sizes(work, result)
    record_five(work, result)
    record_steps(sides, result, run.repeats)
    show(result)
    run.save(result)


def record_sizes(work: Work, result: Result) -> None:
    """Sixteen requests in batches of each size: what came out per second, and how much of the work was padding."""
    for name, prefix in (("equal", ""), ("mixed", "mixed_")):
        for rows in SIZES:
            served, seconds = work.served[f"{name}_{rows}"], work.seconds[f"{name}_{rows}"]
            rates = [work.wanted(name) / s for s in seconds]
            result.add(f"{prefix}tokens_per_s_{rows}", unit="tokens/s", samples=rates)
            result.add(f"{prefix}padding_share_{rows}", 100 * served.padding / served.computed, "%")
            result.add(f"{prefix}computed_{rows}", served.computed, "tokens")
            gain = median(work.seconds[f"{name}_1"]) / median(seconds)
            result.add(f"{prefix}speedup_{rows}", gain, "x", note="over batches of one")


def record_five(work: Work, result: Result) -> None:
    """The previous stage's engine against one batch, in pairs that ran one after the other."""
    for name, unit in (("alone", "serial"), ("5", "batch")):
        rates = [work.wanted("five") / s for s in work.seconds[f"five_{name}"]]
        result.add(f"{unit}_5_tokens_per_s", unit="tokens/s", samples=rates)
        result.add_times(f"{unit}_5_prefill_ms", work.seconds[f"first_{name}"], "ms")
    for key, name in (("batch_5_speedup", "five"), ("batch_5_prefill_speedup", "first")):
        pairs = zip(work.seconds[f"{name}_alone"], work.seconds[f"{name}_5"], strict=True)
        result.add(key, unit="x", samples=[a / b for a, b in pairs])
    served = work.served["first_5"]
    result.add("batch_5_prefill_padding", 100 * served.padding / served.computed, "%")


def record_steps(sides: Sides, result: Result, repeats: int) -> None:
    """Time of a step by rows, with nothing to pad, and the two roofs: bytes that must be read, and arithmetic to be done."""
    model, device = sides.batched[1].model, sides.before.device
    steps, prefill = time_batches(sides, 2 * repeats)
    bandwidth, rate = read_bandwidth(device), matmul_rate(device, sides.before.dtype)
    flops = 2 * weight_bytes(model) / model.head.weight.element_size()  # per token; attention's are few
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("matmul_rate", rate / 1e12, "TFLOP/s")
    result.add("weight_mb", weight_bytes(model) / 1e6, "MB")
    result.add("gflop_per_token", flops / 1e9, "GFLOP")
    result.add(
        "roofs_meet", roofs_meet(model, bandwidth, rate / flops), "requests", note="keys and values included"
    )
    for rows in SIZES:
        result.add_times(f"step_ms_{rows}", steps[rows], "ms")
        result.add_times(f"prefill_ms_{rows}", prefill[rows], "ms")
        result.add(f"decode_tokens_per_s_{rows}", rows / median(steps[rows]), "tokens/s")
        result.add(f"prefill_tokens_per_s_{rows}", rows * CONTEXT / median(prefill[rows]), "tokens/s")
        result.add(f"memory_bound_{rows}", decode_bound(model, CONTEXT + 8, bandwidth, rows), "tokens/s")
        result.add(f"arithmetic_bound_{rows}", rate / flops, "tokens/s")
        roof = min(result[f"memory_bound_{rows}"], rate / flops)
        result.add(f"roof_share_{rows}", 100 * result[f"decode_tokens_per_s_{rows}"] / roof, "%")
    for rows in (SIZES[0], SIZES[-1]):
        attention = time_attention(
            sides.batched[rows], sides.before.encode(TEXT)[:CONTEXT], rows, 16 * repeats
        )
        result.add_times(f"attention_ms_{rows}", attention, "ms", note="of a decode step, in all layers")
    for key in ("step", "prefill"):
        result.add_ratio(f"{key}_growth", f"{key}_ms_16", f"{key}_ms_1")


def roofs_meet(model: Model, bandwidth: float, tokens_per_s: float) -> float:
    """Rows from which on arithmetic is the lower roof: reading W bytes of weights, and K per row, takes as long there."""
    weights = decode_bytes(model, CONTEXT + 8, 0)
    per_row = decode_bytes(model, CONTEXT + 8, 1) - weights
    left = bandwidth / tokens_per_s - per_row
    return weights / left if left > 0 else math.inf


def show(result: Result) -> None:
    columns = {
        "tokens/s": ("tokens_per_s_{}", "{:,.0f}"), "padding": ("padding_share_{}", "{:.0f} %"),
        "mixed limits": ("mixed_tokens_per_s_{}", "{:,.0f}"), "its padding": ("mixed_padding_share_{}", "{:.0f} %"),
        "step": ("step_ms_{}", "{:.1f} ms"), "of the roof": ("roof_share_{}", "{:.0f} %"), "prefill": ("prefill_ms_{}", "{:.1f} ms"),
    }  # fmt: skip
    show_table(result, "requests in a batch", SIZES, columns)
    note(
        f"Five prompts: {result['serial_5_tokens_per_s']:,.0f} tokens/s one by one in stage 06, "
        f"{result['batch_5_tokens_per_s']:,.0f} as a batch: {result['batch_5_speedup']:.2f}x; "
        f"their prefill alone {result['batch_5_prefill_speedup']:.2f}x."
    )


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
