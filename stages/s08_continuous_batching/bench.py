"""Stage 08's benchmark: the same arrivals in stages 07 and 08, chunked against whole prompts, a crowd against transformers.

All tokens are compared with the other side's before the clock runs, and with the first run's in every later one.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from common.bench.measure import Result, decode_bound, interleave, median, percentiles, read_bandwidth
from common.equality import Tally
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    add_seed,
    number,
    run,
    stage_parser,
)
from common.terminal.console import facts, heading, note, table
from common.tutorial import load_stage

from . import engine
from .lesson.crowd import Batched, Crowd, Parts, dissect, matmul_rate
from .lesson.traffic import Job, Served, drive, poisson, require_equal

COMMAND = "python -m stages.s08_continuous_batching.bench"
TEXT = (
    "In a village at the edge of the great forest there lived an old woodcutter who had three sons and one axe. "
    "When the winter came and the snow lay as high as the window, the eldest said that he would go out into the wide "
    "world and look for his fortune. The father gave him bread, a bottle of sour beer and his blessing, and watched "
    "him until the trees had closed behind him. On the third day he came to a well beside which a little grey man sat "
    "and begged for a piece of the bread; but the eldest laughed and went his way, and was never seen again. "
)
REQUESTS, RATE = 48, 16.0  # of the trace: how many, and how many a second
PROMPTS, LIMITS = (
    (8, 96, 24, 16, 64, 12, 40, 128),
    (8, 64, 16, 96, 32, 8, 48, 24, 16),
)  # tokens; mixed with each other
READERS, READ = 6, 160  # requests that decode, and their tokens, while long prompts come
LONG, LONGS, EVERY = 512, 5, 0.3  # tokens of a long prompt, how many, seconds between two
BUDGET = 64  # tokens of a step when prompts are chunked
ROWS, CONTEXT, NEW = 16, 64, 128  # the crowd
SIDES = ("before", "static", "after")


@dataclass(slots=True)
class Work:
    """What was measured."""

    parts: Any  # (model, tokenizer, config)
    tally: Tally = field(default_factory=Tally)
    trace: dict[str, list[list[Served]]] = field(default_factory=dict)  # by side, each run
    chunks: dict[str, list[list[Served]]] = field(default_factory=dict)
    crowd: dict[str, list[Crowd]] = field(default_factory=dict)
    computed: dict[str, int] = field(
        default_factory=dict
    )  # tokens through the model, of one run of the trace
    anatomy: Parts = field(default_factory=Parts)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        COMMAND,
        "Throughput, TTFT and ITL on one arrival trace in stages 07 and 08; chunked prefill; a crowd against transformers.",
        ["", "--quick", "--seed 1", "--figure"],
    )
    add_model_flags(parser)
    add_bench_flags(parser, repeats=2)
    add_seed(parser, 42)
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch finds best)")
    parser.add_argument(
        "--quick", action="store_true", help="one round and not recorded, unless --results is given"
    )
    parser.add_argument("--figure", action="store_true", help="only draw the recorded result again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    slug = re.sub(r"[^a-z0-9]+", "-", Path(args.model).name.lower()).strip("-")
    name = "s08" if args.model == DEFAULT_MODEL else f"s08-{slug}"
    if args.figure:
        return draw(name)
    if args.threads:
        torch.set_num_threads(args.threads)
    result = record(measure(args), name, args)
    show_result(result)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
        if args.results is None and result.device == "cpu":
            return draw(name)
    return 0


def draw(name: str) -> int:
    from .lesson.figure import draw as drawn  # needs matplotlib, which a GPU box may lack

    for path in drawn(name):
        note(f"drawn in {path}")
    return 0


def measure(args: argparse.Namespace) -> Work:
    first = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype, 32))
    work = Work((first.model, first.tokenizer, first.model_config))
    text, repeats = first.encode(TEXT * 8), 1 if args.quick else args.repeats
    heading("A trace of arrivals, in stage 07, in static mode and continuous")
    measure_trace(work, text, repeats, args.seed)
    heading("Long prompts among readers, whole and in chunks")
    measure_chunks(work, text, repeats)
    heading("A crowd, against transformers")
    measure_crowd(work, text, args.model, repeats + 2 * (repeats > 1))
    note(f"{work.tally}.")
    return work


def make(work: Work, **config: Any) -> engine.Engine:
    return engine.Engine(*work.parts, engine.EngineConfig(**config))  # type: ignore[call-arg]  # three parts


def measure_trace(work: Work, text: list[int], repeats: int, seed: int) -> None:
    moments = poisson(REQUESTS, RATE, seed)
    jobs = [
        Job(at, text[7 * i : 7 * i + PROMPTS[i % len(PROMPTS)]], LIMITS[i % len(LIMITS)])
        for i, at in enumerate(moments)
    ]
    before = load_stage(7).engine
    config = before.EngineConfig(max_seq_len=256, max_num_seqs=ROWS, batch_wait=0.0)
    sides: dict[str, tuple[ModuleType, Any]] = {
        "before": (before, before.Engine(*work.parts, config)),
        "static": (engine, make(work, max_seq_len=256, max_num_seqs=ROWS, batching_mode="static")),
        "after": (engine, make(work, max_seq_len=256, max_num_seqs=ROWS)),
    }
    solo = load_stage(6).engine
    alone = solo.Engine(*work.parts, solo.EngineConfig(max_seq_len=256))
    for job in jobs[::4]:  # the reference that knows of no batch
        theirs = alone.generate([job.prompt], solo.SamplingParams(job.limit, ignore_eos=True))[0].tokens
        mine = sides["after"][1].generate([job.prompt], engine.SamplingParams(job.limit, ignore_eos=True))
        require_equal(*sides["after"], mine[0].tokens, theirs, job.prompt, work.tally)
    compare(work, work.trace, jobs, sides, repeats)
    work.computed["before"] = sides["before"][1].runner.num_computed // (repeats + 1)
    for one in work.trace["after"]:
        assert sum(len(s.tokens) for s in one) == sum(job.limit for job in jobs)


def compare(work: Work, found: dict[str, list[list[Served]]], jobs: Sequence[Job],
            sides: dict[str, tuple[ModuleType, Any]], repeats: int) -> None:  # fmt: skip
    """An untimed round that is checked, then `repeats` of each side in turns, each with the tokens of the first side."""
    first = {name: drive(*side, jobs) for name, side in sides.items()}
    names = list(sides)
    reference = first[names[0]]
    for name in names[1:]:
        for mine, theirs in zip(first[name], reference, strict=True):
            require_equal(*sides[name], mine.tokens, theirs.tokens, mine.job.prompt, work.tally)
    found.update({name: [] for name in names})
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            found[name].append(drive(*sides[name], jobs))
            for mine, theirs in zip(found[name][-1], first[name], strict=True):
                if mine.tokens != theirs.tokens:  # other company, other rounding: a near tie, or a fault
                    require_equal(*sides[name], mine.tokens, theirs.tokens, mine.job.prompt, work.tally)


def measure_chunks(work: Work, text: list[int], repeats: int) -> None:
    readers = [Job(0.0, text[5 * i : 5 * i + 16], READ) for i in range(READERS)]
    longs = [Job(0.2 + EVERY * i, text[i : i + LONG], 4) for i in range(LONGS)]
    config: dict[str, Any] = dict(max_seq_len=640, max_num_seqs=READERS + 4, max_num_batched_tokens=BUDGET)
    sides: dict[str, tuple[ModuleType, Any]] = {
        "whole": (engine, make(work, **config, chunked_prefill=False)),
        "chunked": (engine, make(work, **config)),
    }
    compare(work, work.chunks, readers + longs, sides, repeats)


def measure_crowd(work: Work, text: list[int], model: str, repeats: int) -> None:
    prompts = [text[9 * i : 9 * i + CONTEXT] for i in range(ROWS)]
    made = make(work, max_seq_len=CONTEXT + NEW, max_num_seqs=ROWS, max_num_batched_tokens=ROWS * CONTEXT)
    theirs = Batched(model, made.device, made.dtype)
    ours: Callable[[], Crowd] = lambda: crowd(made, prompts)  # noqa: E731
    mine, reference = ours(), theirs.run(prompts, NEW)
    for prompt, a, b in zip(prompts, mine.tokens, reference.tokens, strict=True):
        require_equal(engine, made, a, b, prompt, work.tally)
    work.crowd = {"transformers": [], "ours": []}

    def keep(name: str, run_one: Callable[[], Crowd]) -> Callable[[], None]:
        def once() -> None:
            work.crowd[name].append(run_one())

        return once

    interleave(
        {"transformers": keep("transformers", lambda: theirs.run(prompts, NEW)), "ours": keep("ours", ours)},
        repeats, warmup=0, device=made.device,
    )  # fmt: skip
    work.anatomy = dissect(made, prompts, NEW)


def crowd(made: engine.Engine, prompts: Sequence[list[int]]) -> Crowd:
    """All at once: seconds of each step after the first, which reads the prompts."""
    before = time.perf_counter()
    served = drive(engine, made, [Job(0.0, prompt, NEW) for prompt in prompts])
    total = time.perf_counter() - before
    return Crowd([one.tokens for one in served], max(one.at[0] for one in served), total)


def record(work: Work, name: str, args: argparse.Namespace) -> Result:
    model = work.parts[0]
    weight = model.embed.weight
    workload: dict[str, Any] = {
        "model": args.model, "dtype": str(weight.dtype).removeprefix("torch."), "requests": REQUESTS, "rate": RATE,
        "prompt_tokens": list(PROMPTS), "new_tokens": list(LIMITS), "rows": ROWS, "readers": READERS,
        "long_prompt_tokens": LONG, "long_prompts": LONGS, "budget": BUDGET, "crowd_prompt_tokens": CONTEXT,
        "crowd_new_tokens": NEW, "threads": torch.get_num_threads(),
    }  # fmt: skip
    checked = (
        f"{work.tally}: stage 07 and both modes on the trace, stage 06 for each fourth request, "
        "chunked and whole prompts, transformers for the crowd"
    )
    command = COMMAND if args.model == DEFAULT_MODEL else f"{COMMAND} --model {args.model}"
    result = Result(name, 8, command, workload, args.seed, checked, device=str(weight.device))
    record_trace(work, result)
    record_chunks(work, result)
    record_crowd(work, result)
    return result


def record_trace(work: Work, result: Result) -> None:
    for side in SIDES:
        runs = work.trace[side]
        rates = [sum(len(s.tokens) for s in one) / max(s.at[-1] for s in one) for one in runs]
        ttft = [1e3 * s.ttft for one in runs for s in one]
        gaps = [1e3 * gap for one in runs for s in one for gap in s.gaps]
        result.add(f"{side}_tokens_per_s", unit="tokens/s", samples=rates)
        result.add(f"{side}_ttft_ms", unit="ms", samples=ttft)
        add_gaps(result, side, gaps)
        result.add(f"{side}_ttft_p99_ms", percentiles(ttft)["p99"], "ms")
    result.add(
        "offered_tokens_per_s", offered(work), "tokens/s", note="of the trace: tokens asked for a second"
    )
    value = result.values
    result.add(
        "trace_speedup", value["after_tokens_per_s"]["value"] / value["before_tokens_per_s"]["value"], "x"
    )
    result.add("trace_ttft_ratio", value["before_ttft_ms"]["value"] / value["after_ttft_ms"]["value"], "x")
    needed = sum(len(s.job.prompt) + s.job.limit - 1 for s in work.trace["after"][0])
    result.add("needed_tokens", needed, "tokens", note="prompts and answers of the trace, last tokens aside")
    result.add("before_computed_tokens", work.computed["before"], "tokens", note="padding included")


def offered(work: Work) -> float:
    jobs = [s.job for s in work.trace["after"][0]]
    return sum(job.limit for job in jobs) / max(job.due for job in jobs)


def add_gaps(result: Result, name: str, gaps: Sequence[float]) -> None:
    """Inter-token latencies: the percentiles only, of thousands of samples."""
    found = percentiles(gaps)
    result.add(f"{name}_itl_p50_ms", found["p50"], "ms")
    result.add(f"{name}_itl_p99_ms", found["p99"], "ms")
    result.add(f"{name}_itl_max_ms", max(gaps), "ms")


def record_chunks(work: Work, result: Result) -> None:
    for name, runs in work.chunks.items():
        gaps = [1e3 * gap for one in runs for s in one[:READERS] for gap in s.gaps]
        add_gaps(result, name, gaps)
        result.add(
            f"{name}_long_ttft_ms", unit="ms", samples=[1e3 * s.ttft for one in runs for s in one[READERS:]]
        )
    value = result.values
    result.add(
        "chunked_itl_p99_gain", value["whole_itl_p99_ms"]["value"] / value["chunked_itl_p99_ms"]["value"], "x"
    )
    ratio = value["chunked_long_ttft_ms"]["value"] / value["whole_long_ttft_ms"]["value"]
    result.add("chunked_long_ttft_cost", ratio, "x")


def record_crowd(work: Work, result: Result) -> None:
    for name, runs in work.crowd.items():
        rates = [ROWS * (NEW - 1) / one.decode for one in runs]
        result.add(f"{name}_decode_tokens_per_s", unit="tokens/s", samples=rates)
        result.add(f"{name}_first_step_ms", unit="ms", samples=[1e3 * one.first for one in runs])
    pairs = zip(work.crowd["transformers"], work.crowd["ours"], strict=True)
    result.add("crowd_speedup", unit="x", samples=[a.decode / b.decode for a, b in pairs])
    model = work.parts[0]
    weight = model.head.weight
    bandwidth, rate = read_bandwidth(weight.device), matmul_rate(weight)
    context = CONTEXT + NEW // 2
    result.add(
        "memory_bound",
        decode_bound(model, context, bandwidth, ROWS),
        "tokens/s",
        note="weights and K/V read once",
    )
    sums = 2 * sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n)
    if not any("head" in n for n, _ in model.named_parameters()):
        sums += 2 * weight.numel()  # tied to the embedding
    result.add(
        "arithmetic_bound", rate / sums, "tokens/s", note="matrix products alone, at the speed of a large one"
    )
    for part, samples in work.anatomy.seconds.items():
        result.add(f"step_{part}_ms", 1e3 * median(samples), "ms")
    result.add("step_ms", 1e3 * sum(median(s) for s in work.anatomy.seconds.values()), "ms")


def show_result(result: Result) -> None:
    value = {key: entry["value"] for key, entry in result.values.items()}
    names = {"before": "stage 07", "static": "stage 08, static", "after": "stage 08, continuous"}
    rows = [
        [names[s], f"{value[f'{s}_tokens_per_s']:,.0f}", f"{value[f'{s}_ttft_ms']:,.0f} ms", f"{value[f'{s}_ttft_p99_ms']:,.0f} ms",
         f"{value[f'{s}_itl_p50_ms']:.1f} ms", f"{value[f'{s}_itl_p99_ms']:.1f} ms"]
        for s in SIDES
    ]  # fmt: skip
    table(None, ["same trace", "tokens/s", "TTFT P50", "P99", "ITL P50", "ITL P99"], rows)
    anatomy = ", ".join(f"{key[5:-3]} {value[key]:.2f}" for key in value if re.fullmatch(r"step_\w+_ms", key))
    facts({
        "readers among long prompts": f"ITL P99 {value['whole_itl_p99_ms']:.1f} ms whole, {value['chunked_itl_p99_ms']:.1f} ms in chunks; "
        f"TTFT of the long ones {value['whole_long_ttft_ms']:.0f} and {value['chunked_long_ttft_ms']:.0f} ms",
        f"{ROWS} at once": f"{value['ours_decode_tokens_per_s']:,.0f} tokens/s, transformers {value['transformers_decode_tokens_per_s']:,.0f}: "
        f"{value['crowd_speedup']:.2f}x",
        "bounds": f"reading {value['memory_bound']:,.0f}, arithmetic {value['arithmetic_bound']:,.0f} tokens/s",
        "a step, in ms": f"{value['step_ms']:.2f}: {anatomy}",
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
