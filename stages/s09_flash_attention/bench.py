"""Stage 09's benchmark: one layer's attention by the length of the prompt, in every way, its time and its memory; then
the engine before and after, on the same requests in turns.

Every way is compared with the eager one before it is timed, and the engines' tokens with each other.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result, in_turns, interleave
from common.bench.reference import require_equal
from common.equality import Tally, near_tie_rule
from common.loader import load_model
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note, progress
from common.tutorial import load_stage

from . import engine
from .lesson.layer import WAYS, Layer, peak_bytes

LENGTHS = (512, 1024, 2048, 4096, 8192)
TOLERANCE = {torch.float32: 1e-4}  # of the largest difference; in 16 bits 2e-2
REQUESTS, PROMPT, NEW = 16, 64, 64

BENCH = Bench(
    __package__,
    "One layer's attention from 512 to 8,192 tokens in every way: time and memory. The engine before and after.",
    repeats=7,
    quick_repeats=2,
    seed=0,
)


def measure(run: Run) -> None:
    model, tokenizer, config = load_model(run.args.model, run.args.device, run.args.dtype)
    lengths = LENGTHS[: 2 if run.quick else None]
    layer = Layer.of(model)
    # torch's variable-length kernel needs a GPU and 16 bits; elsewhere varlen is sdpa.
    ways = [
        w for w in WAYS if w != "varlen" or (layer.device.type == "cuda" and layer.dtype != torch.float32)
    ]
    tally = Tally()
    engines = {"before": load_stage(8).engine, "after": engine}
    made = {
        side: package.Engine(
            model, tokenizer, config, package.EngineConfig(max_num_seqs=REQUESTS, max_seq_len=PROMPT + NEW)
        )
        for side, package in engines.items()
    }
    prompts = random_prompts(config.vocab_size, run.args.seed)
    for prompt in prompts:
        theirs = generate(engines["before"], made["before"], [prompt])[0]
        ours = generate(engine, made["after"], [prompt])[0]
        require_equal(engine, made["after"], prompt, ours, theirs, tally, **near_tie_rule(model.dtype))
    checked = f"each way against eager at each length; tokens of both engines: {tally}"
    result = run.result(checked, layer.device, layer.dtype, lengths=list(lengths), ways=list(ways), requests=REQUESTS,
                        prompt_tokens=PROMPT, new_tokens=NEW, auto=made["after"].runner.attend.runs)  # fmt: skip
    heading(f"One layer: {layer.info.num_heads} query heads of {layer.info.head_dim}, {layer.device}")
    measure_prompts(result, layer, ways, lengths, run.repeats)
    heading("One new token after 512 and after 8,192: decoding, where tiles do not help")
    measure_decode(result, layer, ways, lengths, run.repeats)
    heading(f"{REQUESTS} requests at once: the engine before and after")
    measure_engines(result, engines, made, prompts, run.repeats)
    show(result, ways, lengths)
    run.save(result)


def random_prompts(vocab: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(1, vocab) for _ in range(PROMPT)] for _ in range(REQUESTS)]


def generate(package: Any, made: Any, prompts: Sequence[list[int]]) -> list[list[int]]:
    done = made.generate(prompts, package.SamplingParams(NEW, ignore_eos=True))
    return [one.tokens for one in done]


def measure_prompts(
    result: Result, layer: Layer, ways: Sequence[str], lengths: Sequence[int], repeats: int
) -> None:
    """A fresh prompt of each length: all its tokens attend at once."""
    with progress("lengths", sum(lengths)) as advance:
        for n in lengths:
            calls = {way: layer.call(way, n) for way in ways}
            require_close(calls, layer.dtype, n)
            for way, call in calls.items():
                result.add(f"{way}_{n}_mb", peak_bytes(call, layer.device) / 1e6, "MB")
            for way, seconds in interleave(calls, repeats, warmup=1, device=layer.device).items():
                result.add_times(f"{way}_{n}_ms", seconds, "ms")
            advance(n)
    last = lengths[-1]
    for way in ways:
        if way != "eager":
            result.add_ratio(f"{way}_memory_saved", f"eager_{last}_mb", f"{way}_{last}_mb")
            result.add_ratio(f"{way}_speedup", f"eager_{last}_ms", f"{way}_{last}_ms")


def measure_decode(
    result: Result, layer: Layer, ways: Sequence[str], lengths: Sequence[int], repeats: int
) -> None:
    for n in (lengths[0], lengths[-1]):
        calls = {way: layer.call(way, n, new=1) for way in ways}
        require_close(calls, layer.dtype, n)
        for way, seconds in interleave(calls, 5 * repeats, warmup=3, device=layer.device).items():
            result.add_times(f"{way}_decode_{n}_us", seconds, "us")


def require_close(calls: dict[str, Any], dtype: torch.dtype, n: int) -> None:
    expected = calls["eager"]().float()
    for way, call in calls.items():
        apart = float((call().float() - expected).abs().max())
        assert apart <= TOLERANCE.get(dtype, 2e-2), f"{way} at {n} tokens: {apart:.1e} apart from eager"


def measure_engines(result: Result, engines: dict[str, Any], made: dict[str, Any], prompts: Sequence[list[int]],
                    repeats: int) -> None:  # fmt: skip
    """The same requests at once: time until each has its first token, and the rate from there on."""

    def crowd(side: str) -> tuple[list[float], float]:
        package, one = engines[side], made[side]
        firsts: dict[str, float] = {}
        start = time.perf_counter()
        for i, prompt in enumerate(prompts):

            def read(output: Any) -> None:
                firsts.setdefault(output.request_id, time.perf_counter() - start)

            one.add(prompt, package.SamplingParams(NEW, ignore_eos=True), f"{side} {start} {i}", read)  # fmt: skip
        while not one.scheduler.is_finished:
            one.step()
        total = time.perf_counter() - start
        return list(firsts.values()), REQUESTS * (NEW - 1) / (total - max(firsts.values()))

    found = in_turns(("before", "after"), repeats, crowd)
    for side, runs in found.items():
        result.add_times(f"{side}_ttft_ms", [t for firsts, _ in runs for t in firsts], "ms")
        result.add(f"{side}_tokens_per_s", unit="tokens/s", samples=[rate for _, rate in runs])
    result.add_ratio("engine_speedup", "after_tokens_per_s", "before_tokens_per_s")


def show(result: Result, ways: Sequence[str], lengths: Sequence[int]) -> None:
    show_table(result, "tokens", lengths, {f"{way}, ms": (f"{way}_{{}}_ms", "{:.2f}") for way in ways})
    show_table(result, "tokens", lengths, {f"{way}, MB": (f"{way}_{{}}_mb", "{:.1f}") for way in ways})
    facts({
        "engine before": f"{result['before_tokens_per_s']:,.0f} tokens/s, first token after {result['before_ttft_ms']:.0f} ms",
        "engine after": f"{result['after_tokens_per_s']:,.0f} tokens/s, first token after {result['after_ttft_ms']:.0f} ms",
    })  # fmt: skip
    note(f"What auto chose: {result.workload['auto']}.")


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
