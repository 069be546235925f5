"""What one more token costs as the text grows: our loop and transformers, without and with its cache, in turns.

At each length the tokens of all sides are compared first; only then the clock runs. A side writes a few tokens behind a
prompt; the first is left out, as with a cache it pays for the prompt. Beside the times stands the bound: every token must
read all weights, and the keys and values of the context, from memory once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from common.bench.measure import Result, against_bound, decode_bound, interleave, median, read_bandwidth
from common.equality import Tally
from common.errors import UserError
from common.loader import find_checkpoint, load_model
from common.models import Model
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    add_seed,
    run,
    stage_parser,
)
from common.terminal.console import heading, note, progress, table, warn

from .engine import generate
from .lesson.black_box import BlackBox
from .lesson.outcome import Outcome, collect

LENGTHS = (64, 128, 256, 512, 1000)
NEW = 4  # tokens a run; three are timed
SHORT, LONG = 4, 100  # the whole text of `tokens_per_s`: prompt, new tokens
KEYS = {
    "ours": "ms_per_token",
    "transformers, no cache": "transformers_uncached_ms",
    "transformers, cache": "transformers_cached_ms",
}
Side = Callable[[list[int], int], Outcome]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s02_greedy_decoding.bench",
        "Time per token by length of the text: ours, and transformers without and with its cache, in turns.",
        ["--quick", "--model storyteller-llama --repeats 9"],
    )
    add_model_flags(parser)
    add_bench_flags(parser)
    add_seed(parser)
    parser.add_argument(
        "--quick", action="store_true", help="short texts, two repeats; saved only with --results"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    folder = find_checkpoint(args.model)
    model, _, config = load_model(folder, args.device, args.dtype)
    lengths = [n for n in LENGTHS[: 2 if args.quick else None] if n + NEW <= config.max_positions]
    if not lengths:
        raise UserError(f"the model's window of {config.max_positions} tokens is too short to see growth")
    generator = torch.Generator().manual_seed(args.seed)
    text = torch.randint(config.vocab_size, (max(lengths),), generator=generator).tolist()
    box, sides = open_sides(folder, model)
    long = min(LONG, config.max_positions - SHORT)
    heading("First: the same tokens?")
    tally = Tally()
    try:
        for n in lengths:
            compare(box, sides, text[:n], NEW, tally)
        compare(box, sides, text[:SHORT], long, tally)
    except AssertionError as error:
        warn(f"not the same tokens, so nothing is timed: {error}")
        return 1
    note(f"{tally} at {', '.join(map(str, lengths))} tokens of text, and in one of {long}")

    result = new_result(args, model, lengths, sides, tally)
    heading("Then: how long?")
    repeats = 2 if args.quick else args.repeats
    show_lengths(result, model, time_lengths(sides, text, lengths, repeats), lengths)
    time_whole(result, model, sides, text[:SHORT], long, repeats)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
    return 0


def open_sides(folder: Path, model: Model) -> tuple[BlackBox | None, dict[str, Side]]:
    """(prompt, new tokens) -> outcome, for each side that there is. No side knows an end token: lengths are fixed."""
    sides: dict[str, Side] = {"ours": lambda prompt, new: collect(generate(model, prompt, new))}
    try:
        box = BlackBox(folder, model.device, model.dtype)
    except ImportError as error:
        note(f"transformers is left out: {error}")
        return None, sides
    sides["transformers, no cache"] = lambda prompt, new: box.generate(prompt, new, use_cache=False)[0]
    sides["transformers, cache"] = lambda prompt, new: box.generate(prompt, new, use_cache=True)[0]
    return box, sides


def compare(box: BlackBox | None, sides: dict[str, Side], prompt: list[int], new: int, tally: Tally) -> None:
    """Every side against transformers with its cache. Raises AssertionError at the first token that differs."""
    if box is None:
        return
    theirs, logits = box.generate(prompt, new)
    for side in sides.values():
        answer = answers(side, prompt, new)
        box.check(answer, theirs.tokens, logits, tally)


def answers(side: Side, prompt: list[int], new: int) -> Callable[[list[int]], list[int]]:
    """From the first tokens of an answer to this side's rest of it."""
    return lambda behind: side([*prompt, *behind], new - len(behind)).tokens


def time_lengths(
    sides: dict[str, Side], text: list[int], lengths: Sequence[int], repeats: int
) -> dict[tuple[str, int], list[float]]:
    """Milliseconds of each timed token, by side and length of the text that the token is added to."""
    samples: dict[tuple[str, int], list[float]] = {(name, n): [] for name in sides for n in lengths}
    with progress("tokens", repeats * len(samples)) as advance:

        def call(name: str, n: int) -> Callable[[], None]:
            def run_once() -> None:
                # The first timed token comes behind n: the prompt and the one that is left out.
                seconds = sides[name](text[: n - 1], NEW).seconds[1:]
                samples[name, n].extend(1000 * s for s in seconds)
                advance()

            return run_once

        # All lengths in turns as well, for growth is a ratio of two of them.
        interleave({f"{name} {n}": call(name, n) for n in lengths for name in sides}, repeats, warmup=0)
    return samples


def show_lengths(
    result: Result, model: Model, samples: dict[tuple[str, int], list[float]], lengths: Sequence[int]
) -> None:
    """Record every side at every length, and print the medians beside the bound."""
    names = list(dict.fromkeys(name for name, _ in samples))
    bandwidth = read_bandwidth(model.device)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    rows = []
    for n in lengths:
        for name in names:
            result.add(f"{KEYS[name]}_{n}", unit="ms", samples=samples[name, n])
        bound = 1000 / decode_bound(model, n, bandwidth)
        share = 100 * bound / median(samples["ours", n])
        result.add(f"bound_ms_{n}", bound, "ms", note="weights and the context's K/V read once")
        result.add(f"bandwidth_share_{n}", share, "%")
        times = [f"{median(samples[name, n]):.2f}" for name in names]
        rows.append([n, *times, f"{bound:.2f}", f"{share:.1f} %"])
    columns = ["tokens of text", *(f"{name}, ms" for name in names), "bound, ms", "ours reaches"]
    table("one more token (median)", columns, rows)
    first, last = lengths[0], lengths[-1]
    for name in names:
        growth = median(samples[name, last]) / median(samples[name, first])
        prefix = "" if name == "ours" else KEYS[name].removesuffix("_ms") + "_"
        result.add(f"{prefix}growth_{first}_to_{last}", growth, "x")
        note(f"{name}: {growth:.1f} times as long at {last} tokens as at {first}")


def time_whole(
    result: Result, model: Model, sides: dict[str, Side], prompt: list[int], new: int, repeats: int
) -> None:
    """Tokens/s over a whole text, its prefill included, beside what memory bandwidth allows in the middle of it."""
    calls = {name: bind(side, prompt, new) for name, side in sides.items()}
    bound = decode_bound(model, len(prompt) + new // 2, read_bandwidth(model.device))
    for name, seconds in interleave(calls, repeats, warmup=0, device=model.device).items():
        rates = [new / s for s in seconds]
        key = "tokens_per_s" if name == "ours" else KEYS[name].removesuffix("_ms") + "_tokens_per_s"
        result.add(key, unit="tokens/s", samples=rates, note=f"{new} tokens behind {len(prompt)}")
        note(f"{name}: {against_bound(median(rates), bound)}")


def bind(side: Side, prompt: list[int], new: int) -> Callable[[], object]:
    return lambda: side(prompt, new)


def new_result(
    args: argparse.Namespace, model: Model, lengths: Sequence[int], sides: dict[str, Side], tally: Tally
) -> Result:
    other = args.model != DEFAULT_MODEL
    name = "s02" + (f"_{re.sub(r'[^a-z0-9]+', '_', Path(args.model).name.lower())}" if other else "")
    model_flag = f" --model {args.model}" if other else ""
    workload = {
        "model": args.model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "lengths": list(lengths),
        "new_tokens": NEW,
        "timed_tokens": NEW - 1,
        "prompt": "random token ids",
        "sides": list(sides),
    }
    checked = (
        f"{tally}, against transformers with its cache" if tally.compared else "nothing: no transformers here"
    )
    command = f"python -m stages.s02_greedy_decoding.bench{model_flag} --seed {args.seed}"
    return Result(name, 2, command, workload, args.seed, checked, device=str(model.device))


if __name__ == "__main__":
    sys.exit(run(main))
