"""Stage 03's benchmark: one text without a cache, with it, and by transformers' generate(), on the same weights.

Each side is checked to write the same tokens before the clock runs, and what the timed runs wrote is checked after.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result, against_bound, decode_bound, now, read_bandwidth
from common.bench.shapes import PUBLISHED
from common.loader import resolve_device, resolve_dtype
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note
from common.tutorial import load_stage

from . import engine
from .lesson.cases import PROMPT, Case, prepare
from .lesson.race import check, check_runs, run_once, warmed
from .lesson.runs import Twin

LENGTHS = (64, 128, 256, 512, 1000)  # tokens in total, the prompt among them
BETWEEN = (384, 640, 750, 875)  # more of them, for the figure

BENCH = Bench(
    __package__,
    "Time to write a text without a cache, with it, and by transformers; decode rate and share of its bound.\n"
    "--model auto: storyteller and GPT-2 124M on a CPU, GPT-2 124M and XL on a GPU.\n"
    f"These shapes get random weights: {', '.join(PUBLISHED)}.",
    repeats=3,
    model="auto",
)


def measure(run: Run) -> None:
    device = resolve_device(run.args.device)
    both = ("gpt2-124m", "gpt2-xl") if device.type == "cuda" else ("storyteller", "gpt2-124m")
    for name in both if run.args.model == "auto" else (run.args.model,):
        measure_model(name, device, run)


def measure_model(name: str, device: torch.device, run: Run) -> None:
    """Checks, times, records. Raises AssertionError if two sides write different tokens."""
    lengths = LENGTHS[:3] if run.quick else LENGTHS
    case = prepare(name, device, resolve_dtype(run.args.dtype, device), lengths)
    heading(f"{case.name}: {case.weights}, {str(case.dtype).removeprefix('torch.')} on {device}")
    without = load_stage(2).engine
    with tempfile.TemporaryDirectory() as folder:
        twin = Twin(case.model, Path(folder))
        checked = check(case, without, twin)
        note(checked)
        for repeat in range(run.repeats):
            note(f"run {repeat + 1} of {run.repeats}")
            # On a CPU all lengths once, and the short ones, which a noisy moment could spoil, with each repeat.
            run_once(case, without, twin, case.total if repeat == 0 else warmed(case))
        checked += "; timed runs: " + check_runs(case, twin)
    result = run.result(checked, device, case.dtype, name=case.name, seed=case.seed, model=name, weights=case.weights,
                        prompt_tokens=PROMPT, total_tokens=list(case.lengths), untimed_before=warmed(case), batch=1)  # fmt: skip
    record_lengths(case, result)
    record_rates(case, result)
    record_cache(case, result)
    show(case, result)
    run.save(result)


def record_lengths(case: Case, result: Result) -> None:
    """Seconds to write a text of each length, and how many times faster the cache is."""
    sampled = f"{case.sampled} steps for each doubling of the length were run and stand for the others"
    for n in sorted((*case.lengths, *(n for n in BETWEEN if n < case.total))):
        for side, runs in case.runs.items():
            long_enough = [one for one in runs if len(one.seconds) + PROMPT >= n]
            about = sampled if side == "without" and case.sampled else None
            result.add_times(f"{side}_{n}", [one.until(n) for one in long_enough], "s", note=about)
            if n in case.lengths and side != "transformers":
                result.add_times(f"{side}_step_{n}", [one.step(n) for one in long_enough], "ms")
        if n in case.lengths:
            result.add_ratio(f"speedup_{n}", f"without_{n}", f"with_{n}")


def record_rates(case: Case, result: Result) -> None:
    """Decoding next to transformers and to the bound; prefill of half the text."""
    for key, side in (("decode", "with"), ("transformers_decode", "transformers")):
        rates = [one.decode_rate for one in case.runs[side]]
        result.add(f"{key}_tokens_per_s", unit="tokens/s", samples=rates)
    result.add_ratio("vs_transformers", "decode_tokens_per_s", "transformers_decode_tokens_per_s")
    bandwidth = read_bandwidth(case.device)
    bound = decode_bound(case.model, (PROMPT + case.total) // 2, bandwidth)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("decode_bound", bound, "tokens/s", note="at the mean length")
    result.add("decode_share_of_bound", 100 * result["decode_tokens_per_s"] / bound, "%")
    text = [*case.prompt, *case.runs["with"][0].tokens][: case.total // 2]
    seconds = []
    for _ in range(4):  # the first one warms up
        start = now(case.device)
        next(iter(engine.generate(case.model, text, 1)))
        seconds.append(now(case.device) - start)
    result.add("prefill_tokens_per_s", unit="tokens/s", samples=[len(text) / s for s in seconds[1:]])


def record_cache(case: Case, result: Result) -> None:
    cache = engine.KVCache(case.model.layers_info, case.total, torch.device("meta"), case.dtype)
    result.add(f"cache_bytes_{case.total}", cache.nbytes, "bytes")
    result.add("cache_bytes_per_token", cache.nbytes / case.total, "bytes")


def show(case: Case, result: Result) -> None:
    columns = {"without a cache": ("without_{}", "{:.2f} s"), "with it": ("with_{}", "{:.2f} s"),
               "transformers": ("transformers_{}", "{:.2f} s"), "speed-up": ("speedup_{}", "{:.1f}x")}  # fmt: skip
    show_table(result, "tokens", case.lengths, columns)
    facts({
        "decode": against_bound(result["decode_tokens_per_s"], result["decode_bound"]),
        "transformers": f"{result['transformers_decode_tokens_per_s']:,.0f} tokens/s; ours is {result['vs_transformers']:.2f}x that",
        "prefill": f"{result['prefill_tokens_per_s']:,.0f} tokens/s",
        "cache": f"{result['cache_bytes_per_token'] / 1000:,.1f} kB per token",
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
