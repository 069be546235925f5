"""Stage 03's benchmark: one text without a cache, with it, and by transformers' generate(), on the same weights.

Each side is checked to write the same tokens before the clock runs, and what the timed runs wrote is checked after.
"""

from __future__ import annotations

import argparse
import copy
import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from common.bench.measure import Result, against_bound, decode_bound, median, now, read_bandwidth
from common.bench.shapes import PUBLISHED
from common.loader import resolve_device, resolve_dtype
from common.terminal.command_line import add_bench_flags, add_model_flags, number, run, stage_parser
from common.terminal.console import facts, heading, note, table, warn
from common.tutorial import load_stage

from . import engine
from .lesson.cases import PROMPT, Case, prepare
from .lesson.runs import STEPS, Twin, check_against, check_steps, generated, stepwise, timed

LENGTHS = (64, 128, 256, 512, 1000)  # tokens in total, the prompt among them
BETWEEN = (384, 640, 750, 875)  # more of them, for the figure
CHECKED = 256  # tokens in total that are compared before the clock runs on a CPU; on a GPU all are


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s03_kv_cache.bench",
        "Time to write a text without a cache, with it, and by transformers; decode rate and share of its bound.\n"
        "--model auto: storyteller and GPT-2 124M on a CPU, GPT-2 124M and XL on a GPU.\n"
        f"These shapes get random weights: {', '.join(PUBLISHED)}.",
        ["", "--quick", "--model storyteller --repeats 5", "--device cuda"],
    )
    add_model_flags(parser, "auto")
    add_bench_flags(parser, repeats=3)
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch finds best)")
    parser.add_argument(
        "--quick", action="store_true", help="short and not recorded, unless --results is given"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    both = ("gpt2-124m", "gpt2-xl") if device.type == "cuda" else ("storyteller", "gpt2-124m")
    try:
        for name in both if args.model == "auto" else (args.model,):
            measure(name, device, args)
    except AssertionError as error:
        warn(f"not the same tokens, so nothing is recorded: {error}")
        return 1
    return 0


def measure(name: str, device: torch.device, args: argparse.Namespace) -> None:
    """Checks, times, records. Raises AssertionError where two sides write different tokens."""
    lengths = LENGTHS[:3] if args.quick else LENGTHS
    case = prepare(name, device, resolve_dtype(args.dtype, device), lengths)
    heading(f"{case.name}: {case.weights}, {str(case.dtype).removeprefix('torch.')} on {device}")
    without = load_stage(2).engine
    with tempfile.TemporaryDirectory() as folder:
        twin = Twin(case.model, Path(folder))
        checked = check(case, without, twin)
        note(checked)
        for repeat in range(1 if args.quick else args.repeats):
            note(f"run {repeat + 1} of {1 if args.quick else args.repeats}")
            # On a CPU all lengths once, and the short ones, which a noisy moment could spoil, with each repeat.
            run_once(case, without, twin, case.total if repeat == 0 else warmed(case))
        checked += "; timed runs: " + check_runs(case, twin)
    result = record(case, checked, args)
    show_result(result, case.lengths)
    if args.results or not args.quick:
        path = result.save(args.results)
        note(f"recorded in {path}")
        if args.results is None and device.type == "cpu":
            from .lesson.figure import draw  # needs matplotlib, which a GPU box may lack

            note(f"drawn in {draw(case.name)}")


def warmed(case: Case) -> int:
    """Up to which length every side has written the text before it is timed.

    On a GPU that must be all of it: the first time that transformers' attention meets a length, cuDNN builds a plan for it,
    which takes several times as long as the token. Timed cold, that would look like a slow decode.
    """
    return case.total if case.device.type == "cuda" else min(CHECKED, case.total)


def check(case: Case, without: ModuleType, twin: Twin) -> str:
    """Same tokens on all sides, before any is timed -> what was found, in words. Raises AssertionError."""
    total = warmed(case)
    theirs = twin.run(case.prompt, total)
    ours = list(generated(engine, case.model, case.prompt, total))
    against = check_against(twin, engine, case.model, case.prompt, ours, theirs.tokens)
    text = [*case.prompt, *ours]
    _, steps = stepwise(without, case.model, text, PROMPT, total, every=case.sampled or 8)
    alone = check_steps(text, steps, case.dtype)
    found = f"with transformers {against}; with and without a cache {alone}"
    if case.dtype != torch.float32:
        found += (
            f" (16 bits: a differing token is a near tie within {STEPS} bfloat16 steps of the best); "
            + check_exact(case)
        )
    return found


def check_exact(case: Case) -> str:
    """The same in float32, where ties are rare: what 16 bits cannot tell apart."""
    model: Any = copy.deepcopy(case.model)
    model.float().dtype = torch.float32
    with tempfile.TemporaryDirectory() as folder:
        twin = Twin(model, Path(folder))
        theirs = twin.run(case.prompt, 128)
        ours = list(generated(engine, model, case.prompt, 128))
        tally = check_against(twin, engine, model, case.prompt, ours, theirs.tokens)
    return f"in float32 with transformers {tally}"


def run_once(case: Case, without: ModuleType, twin: Twin, uncached_total: int) -> None:
    """Every side once, one after the other."""
    gc.collect()
    cached = timed(PROMPT, generated(engine, case.model, case.prompt, case.total))
    theirs = twin.run(case.prompt, case.total)
    text = [*case.prompt, *cached.tokens]
    uncached, steps = stepwise(without, case.model, text, PROMPT, uncached_total, case.sampled)
    check_steps(text, steps, case.dtype, case.tally)
    for side, one in (("with", cached), ("transformers", theirs), ("without", uncached)):
        case.runs.setdefault(side, []).append(one)


def check_runs(case: Case, twin: Twin) -> str:
    """That the timed runs wrote the same too. 16 bits are compared with transformers before timing only."""
    first, *others = case.runs["with"]
    if any(other.tokens != first.tokens for other in others):
        raise AssertionError("two runs with the cache wrote different tokens")
    found = f"with and without a cache {case.tally}"
    if case.dtype == torch.float32:
        theirs = case.runs["transformers"][0].tokens
        against = check_against(twin, engine, case.model, case.prompt, first.tokens, theirs)
        found = f"with transformers {against}; {found}"
    return found


def record(case: Case, checked: str, args: argparse.Namespace) -> Result:
    """Every number of the runs, under the keys that claims and articles use."""
    workload = {
        "weights": case.weights,
        "dtype": str(case.dtype).removeprefix("torch."),
        "prompt_tokens": PROMPT,
        "total_tokens": list(case.lengths),
        "untimed_before": warmed(case),
        "batch": 1,
        "threads": torch.get_num_threads(),
    }
    command = repeat_command(args)
    result = Result(case.name, 3, command, workload, case.seed, checked, device=str(case.device))
    record_lengths(case, result)
    record_rates(case, result)
    record_cache(case, result)
    return result


def repeat_command(args: argparse.Namespace) -> str:
    """What was typed, for the result file; where it was written to does not matter."""
    given = parse([])
    flags = [
        (name, value)
        for name, value in vars(args).items()
        if value != vars(given)[name] and name != "results"
    ]
    words = [f"--{name}" if value is True else f"--{name} {value}" for name, value in flags]
    return " ".join(("python -m stages.s03_kv_cache.bench", *words))


def record_lengths(case: Case, result: Result) -> None:
    """Seconds to write a text of each length, and how many times faster the cache is."""
    runs = case.runs
    between = [n for n in BETWEEN if n < case.total]
    for n in sorted((*case.lengths, *between)):
        with_cache = [one.until(n) for one in runs["with"]]
        without = [one.until(n) for one in runs["without"] if len(one.seconds) + PROMPT >= n]
        sampled = f"{case.sampled} steps for each doubling of the length were run and stand for the others"
        result.add(f"with_{n}", unit="s", samples=with_cache)
        result.add(f"without_{n}", unit="s", samples=without, note=sampled if case.sampled else None)
        result.add(f"transformers_{n}", unit="s", samples=[one.until(n) for one in runs["transformers"]])
        if n in case.lengths:
            result.add(f"speedup_{n}", median(without) / median(with_cache), "x")
            steps = [1000 * one.step(n) for one in runs["without"] if len(one.seconds) + PROMPT >= n]
            result.add(f"without_step_{n}", unit="ms", samples=steps)
            result.add(f"with_step_{n}", unit="ms", samples=[1000 * one.step(n) for one in runs["with"]])


def record_rates(case: Case, result: Result) -> None:
    """Decoding beside transformers and beside the bound; prefill of half the text."""
    ours, theirs = ([one.decode_rate for one in case.runs[side]] for side in ("with", "transformers"))
    result.add("decode_tokens_per_s", unit="tokens/s", samples=ours)
    result.add("transformers_decode_tokens_per_s", unit="tokens/s", samples=theirs)
    result.add("vs_transformers", median(ours) / median(theirs), "x")
    bandwidth = read_bandwidth(case.device)
    bound = decode_bound(case.model, (PROMPT + case.total) // 2, bandwidth)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("decode_bound", bound, "tokens/s", note="at the mean length")
    result.add("decode_share_of_bound", 100 * median(ours) / bound, "%")
    half = case.total // 2
    text = [*case.prompt, *case.runs["with"][0].tokens][:half]
    seconds = []
    for _ in range(4):  # the first one warms up
        start = now(case.device)
        next(iter(engine.generate(case.model, text, 1)))
        seconds.append(now(case.device) - start)
    result.add("prefill_tokens_per_s", unit="tokens/s", samples=[half / one for one in seconds[1:]])


def record_cache(case: Case, result: Result) -> None:
    cache = engine.KVCache(case.model.layers_info, case.total, torch.device("meta"), case.dtype)
    result.add(f"cache_bytes_{case.total}", cache.nbytes, "bytes")
    result.add("cache_bytes_per_token", cache.nbytes / case.total, "bytes")


def show_result(result: Result, lengths: Sequence[int]) -> None:
    value = {key: entry["value"] for key, entry in result.values.items()}
    rows = [
        [n, *(f"{value[f'{side}_{n}']:.2f} s" for side in ("without", "with", "transformers")), f"{value[f'speedup_{n}']:.1f}x"]
        for n in lengths
    ]  # fmt: skip
    table(None, ["tokens", "without a cache", "with it", "transformers", "speed-up"], rows)
    ours, theirs = value["decode_tokens_per_s"], value["transformers_decode_tokens_per_s"]
    facts({
        "decode": against_bound(ours, value["decode_bound"]),
        "transformers": f"{theirs:,.0f} tokens/s; ours is {value['vs_transformers']:.2f}x that",
        "prefill": f"{value['prefill_tokens_per_s']:,.0f} tokens/s",
        "cache": f"{value['cache_bytes_per_token'] / 1000:,.1f} kB a token",
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
