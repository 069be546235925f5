"""Stage 08's benchmark: the same arrivals in stages 07 and 08, chunked against whole prompts, a full batch against transformers.

All tokens are compared with the other side's before the clock runs, and with the first run's in every later one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from common.bench.harness import Bench, Run, show_table
from common.bench.load import Served
from common.bench.measure import Result, decode_bound, matmul_rate, median, percentiles, read_bandwidth
from common.models import Linear, Model
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note

from . import engine
from .lesson.crowd import CONTEXT, NEW, Crowd, dissect, measure_crowd
from .lesson.traffic import (
    BUDGET,
    CALM,
    CALM_RATE,
    LIMITS,
    LONG,
    LONGS,
    PROMPTS,
    RATE,
    READERS,
    REQUESTS,
    ROWS,
    Traffic,
)

TEXT = (
    "In a village at the edge of the great forest there lived an old woodcutter who had three sons and one axe. "
    "When the winter came and the snow lay as high as the window, the eldest said that he would go out into the wide "
    "world and look for his fortune. The father gave him bread, a bottle of sour beer and his blessing, and watched "
    "him until the trees had closed behind him. On the third day he came to a well beside which a little grey man sat "
    "and begged for a piece of the bread; but the eldest laughed and went his way, and was never seen again. "
)
SIDES = {"before": "stage 07", "static": "stage 08, static", "after": "stage 08, continuous"}

BENCH = Bench(
    __package__,
    "Throughput, TTFT and ITL on one arrival trace in stages 07 and 08; chunked prefill; a full batch against transformers.",
    repeats=2,
    seed=42,
)


def measure(run: Run) -> None:
    args = run.args
    first = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype, 32))
    work = Traffic((first.model, first.tokenizer, first.model_config), first.encode(TEXT * 8))
    heading("A trace of arrivals, in stage 07, in static mode and continuous")
    trace = work.trace(run.repeats, args.seed)
    heading("Fewer arrivals, in stage 07 and continuous")
    calm = work.calm(run.repeats, args.seed)
    heading("Long prompts among readers, whole and in chunks")
    chunks = work.chunks(run.repeats)
    heading(f"{ROWS} requests at once, against transformers")
    prompts = [work.text[9 * i : 9 * i + CONTEXT] for i in range(ROWS)]
    made = work.make(max_seq_len=CONTEXT + NEW, max_num_seqs=ROWS, max_num_batched_tokens=ROWS * CONTEXT)
    together = measure_crowd(made, args.model, prompts, work.tally, 1 if run.quick else run.repeats + 2)
    note(f"{work.tally}.")
    checked = (
        f"{work.tally}: stage 07 and both modes on the trace, stage 06 for each fourth request, "
        "chunked and whole prompts, transformers for the full batch"
    )
    result = run.result(
        checked, first.model.device, first.model.dtype, requests=REQUESTS, rate=RATE, calm_requests=CALM,
        calm_rate=CALM_RATE, prompt_tokens=list(PROMPTS), new_tokens=list(LIMITS), rows=ROWS, readers=READERS, long_prompt_tokens=LONG, long_prompts=LONGS,
        budget=BUDGET, crowd_prompt_tokens=CONTEXT, crowd_new_tokens=NEW,
    )  # fmt: skip
    record_trace(trace, result)
    record_calm(calm, result)
    result.add("before_computed_tokens", work.computed_before, "tokens", note="padding included")
    record_chunks(chunks, result)
    record_crowd(together, result)
    record_bounds(first.model, result)
    parts = {part: median(seconds) for part, seconds in dissect(made, prompts, NEW).seconds.items()}
    for part, seconds in parts.items():
        result.add(f"step_{part}_ms", 1e3 * seconds, "ms")
    result.add("step_ms", 1e3 * sum(parts.values()), "ms")
    show(result)
    run.save(result)


def record_trace(trace: dict[str, list[list[Served]]], result: Result) -> None:
    for side, runs in trace.items():
        rates = [sum(len(s.tokens) for s in one) / max(s.at[-1] for s in one) for one in runs]
        result.add(f"{side}_tokens_per_s", unit="tokens/s", samples=rates)
        result.add_times(f"{side}_ttft_ms", [s.ttft for one in runs for s in one], "ms")
        result.add(f"{side}_ttft_p99_ms", result[f"{side}_ttft_ms.p99"], "ms")
        record_gaps(result, side, [s for one in runs for s in one])
    jobs = [s.job for s in trace["after"][0]]
    offered = sum(job.limit for job in jobs) / max(job.due for job in jobs)
    result.add("offered_tokens_per_s", offered, "tokens/s", note="tokens that the trace asks for per second")
    result.add_ratio("trace_speedup", "after_tokens_per_s", "before_tokens_per_s")
    result.add_ratio("trace_ttft_ratio", "before_ttft_ms", "after_ttft_ms")
    needed = sum(len(job.prompt) + job.limit - 1 for job in jobs)
    result.add("needed_tokens", needed, "tokens", note="prompts and answers of the trace, last tokens aside")


def record_calm(calm: dict[str, list[list[Served]]], result: Result) -> None:
    """A load that both stages can serve: how long the clients wait for the first token."""
    for side, runs in calm.items():
        result.add_times(f"calm_{side}_ttft_ms", [s.ttft for one in runs for s in one], "ms")
        record_gaps(result, f"calm_{side}", [s for one in runs for s in one])
    jobs = [s.job for s in calm["after"][0]]
    offered = sum(job.limit for job in jobs) / max(job.due for job in jobs)
    result.add(
        "calm_offered_tokens_per_s",
        offered,
        "tokens/s",
        note="tokens that the calm trace asks for per second",
    )


def record_gaps(result: Result, name: str, served: Sequence[Served]) -> None:
    """Inter-token latencies: the percentiles only, of thousands of samples."""
    gaps = [1e3 * gap for one in served for gap in one.gaps]
    found = percentiles(gaps) | {"max": max(gaps)}
    for statistic in ("p50", "p99", "max"):
        result.add(f"{name}_itl_{statistic}_ms", found[statistic], "ms")


def record_chunks(chunks: dict[str, list[list[Served]]], result: Result) -> None:
    for name, runs in chunks.items():
        record_gaps(result, name, [s for one in runs for s in one[:READERS]])
        result.add_times(f"{name}_long_ttft_ms", [s.ttft for one in runs for s in one[READERS:]], "ms")
    result.add_ratio("chunked_itl_p99_gain", "whole_itl_p99_ms", "chunked_itl_p99_ms")
    result.add_ratio("chunked_long_ttft_cost", "chunked_long_ttft_ms", "whole_long_ttft_ms")


def record_crowd(together: dict[str, list[Crowd]], result: Result) -> None:
    for name, runs in together.items():
        rates = [ROWS * (NEW - 1) / one.decode for one in runs]
        result.add(f"{name}_decode_tokens_per_s", unit="tokens/s", samples=rates)
        result.add_times(f"{name}_first_step_ms", [one.first for one in runs], "ms")
    pairs = zip(together["transformers"], together["ours"], strict=True)
    result.add("crowd_speedup", unit="x", samples=[a.decode / b.decode for a, b in pairs])


def record_bounds(model: Model, result: Result) -> None:
    """What memory and arithmetic allow a full batch."""
    bandwidth, rate = read_bandwidth(model.device), matmul_rate(model.device, model.dtype)
    bound = decode_bound(model, CONTEXT + NEW // 2, bandwidth, ROWS)
    result.add("memory_bound", bound, "tokens/s", note="weights and K/V read once")
    linears = [module for module in model.blocks.modules() if isinstance(module, Linear)]
    flops = 2 * sum(linear.weight.numel() for linear in (*linears, model.head))
    about = "matrix products alone, at the speed of a large one"
    result.add("arithmetic_bound", rate / flops, "tokens/s", note=about)


def show(result: Result) -> None:
    columns = {
        "tokens/s": ("{}_tokens_per_s", "{:,.0f}"), "TTFT P50": ("{}_ttft_ms", "{:,.0f} ms"), "P99": ("{}_ttft_p99_ms", "{:,.0f} ms"),
        "ITL P50": ("{}_itl_p50_ms", "{:.1f} ms"), "ITL P99": ("{}_itl_p99_ms", "{:.1f} ms"),
    }  # fmt: skip
    show_table(result, "same trace", SIDES, columns)
    parts = [key for key in result.values if re.fullmatch(r"step_\w+_ms", key)]
    calm = [result[f"calm_{side}_ttft_ms"] for side in ("before", "after")]
    facts({
        "TTFT P50 of fewer arrivals": f"{calm[0]:.0f} ms in stage 07, {calm[1]:.0f} ms continuous",
        "readers among long prompts": f"ITL P99 {result['whole_itl_p99_ms']:.1f} ms whole, {result['chunked_itl_p99_ms']:.1f} ms in chunks; "
        f"TTFT of the long ones {result['whole_long_ttft_ms']:.0f} and {result['chunked_long_ttft_ms']:.0f} ms",
        f"{ROWS} at once": f"{result['ours_decode_tokens_per_s']:,.0f} tokens/s, transformers "
        f"{result['transformers_decode_tokens_per_s']:,.0f}: {result['crowd_speedup']:.2f}x",
        "bounds": f"reading {result['memory_bound']:,.0f}, arithmetic {result['arithmetic_bound']:,.0f} tokens/s",
        "a step, in ms": f"{result['step_ms']:.2f}: " + ", ".join(f"{key[5:-3]} {result[key]:.2f}" for key in parts),
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
