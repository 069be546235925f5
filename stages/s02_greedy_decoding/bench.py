"""What one more token costs as the text grows: our loop and transformers, without and with its cache, in turns.

At each length the tokens of all sides are compared first; only then the clock runs. A side writes a few tokens after a
prompt; the first is left out, as with a cache it pays for the prompt. The times are shown beside the bound: every token
must read all weights, and the keys and values of the context, from memory once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result, against_bound, decode_bound, interleave, read_bandwidth
from common.equality import Tally
from common.errors import UserError
from common.loader import find_checkpoint, load_model
from common.models import Model
from common.terminal.command_line import run as run_main
from common.terminal.console import heading, note, progress

from .lesson.compare import Side, compare, open_sides

LENGTHS = (64, 128, 256, 512, 1000)
NEW = 4  # tokens a run; three are timed
SHORT, LONG = 4, 100  # the whole text of `tokens_per_s`: prompt, new tokens
KEYS = {
    "ours": "ms_per_token",
    "transformers, no cache": "transformers_uncached_ms",
    "transformers, cache": "transformers_cached_ms",
}

BENCH = Bench(
    __package__,
    "Time per token by length of the text: ours, and transformers without and with its cache, in turns.",
    repeats=5,
    quick_repeats=2,
    seed=0,
)


def measure(run: Run) -> None:
    folder = find_checkpoint(run.args.model)
    model, _, config = load_model(folder, run.args.device, run.args.dtype)
    lengths = [n for n in LENGTHS[: 2 if run.quick else None] if n + NEW <= config.max_positions]
    if not lengths:
        raise UserError(f"the model's window of {config.max_positions} tokens is too short to see growth")
    generator = torch.Generator().manual_seed(run.args.seed)
    text = torch.randint(config.vocab_size, (max(lengths),), generator=generator).tolist()
    box, sides = open_sides(folder, model)
    long = min(LONG, config.max_positions - SHORT)
    heading("First: the same tokens?")
    tally = Tally()
    for n in lengths:
        compare(box, sides, text[:n], NEW, tally)
    compare(box, sides, text[:SHORT], long, tally)
    note(f"{tally} at {', '.join(map(str, lengths))} tokens of text, and in one of {long}")
    checked = f"{tally}, against transformers with its cache" if box else "nothing: no transformers here"
    result = run.result(checked, model.device, model.dtype, lengths=lengths, new_tokens=NEW,
                        timed_tokens=NEW - 1, prompt="random token ids", sides=list(sides))  # fmt: skip
    heading("Then: how long?")
    record_lengths(result, model, time_lengths(sides, text, lengths, run.repeats), lengths)
    columns = {f"{name}, ms": (f"{KEYS[name]}_{{}}", "{:.2f}") for name in sides}
    columns |= {"bound, ms": ("bound_ms_{}", "{:.2f}"), "ours reaches": ("bandwidth_share_{}", "{:.1f} %")}
    show_table(result, "tokens of text", lengths, columns)
    record_growth(result, sides, lengths[0], lengths[-1])
    time_whole(result, model, sides, text[:SHORT], long, run.repeats)
    run.save(result)


def time_lengths(sides: dict[str, Side], text: list[int], lengths: Sequence[int], repeats: int,
                 ) -> dict[tuple[str, int], list[float]]:  # fmt: skip
    """Seconds of each timed token, by side and length of the text that the token is added to."""
    samples: dict[tuple[str, int], list[float]] = {(name, n): [] for name in sides for n in lengths}
    with progress("tokens", repeats * len(samples)) as advance:

        def call(name: str, n: int) -> Callable[[], None]:
            def run_once() -> None:
                # The first timed token follows n tokens: the prompt and the token that is left out.
                samples[name, n].extend(sides[name](text[: n - 1], NEW).seconds[1:])
                advance()

            return run_once

        # All lengths in turns as well, because growth is a ratio of two of them.
        interleave({f"{name} {n}": call(name, n) for n in lengths for name in sides}, repeats, warmup=0)
    return samples


def record_lengths(result: Result, model: Model, samples: dict[tuple[str, int], list[float]],
                   lengths: Sequence[int]) -> None:  # fmt: skip
    """Every side at every length, and the bound there."""
    bandwidth = read_bandwidth(model.device)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    for (name, n), seconds in samples.items():
        result.add_times(f"{KEYS[name]}_{n}", seconds, "ms")
    for n in lengths:
        bound = 1000 / decode_bound(model, n, bandwidth)
        result.add(f"bound_ms_{n}", bound, "ms", note="weights and the context's K/V read once")
        result.add(f"bandwidth_share_{n}", 100 * bound / result[f"ms_per_token_{n}"], "%")


def record_growth(result: Result, sides: dict[str, Side], first: int, last: int) -> None:
    for name in sides:
        key = f"{prefix(name)}growth_{first}_to_{last}"
        result.add_ratio(key, f"{KEYS[name]}_{last}", f"{KEYS[name]}_{first}")
        note(f"{name}: {result[key]:.1f} times as long at {last} tokens as at {first}")


def prefix(name: str) -> str:
    return "" if name == "ours" else KEYS[name].removesuffix("ms")


def time_whole(result: Result, model: Model, sides: dict[str, Side], prompt: list[int], new: int,
               repeats: int) -> None:  # fmt: skip
    """Tokens/s over a whole text, its prefill included, beside what memory bandwidth allows in the middle of it."""
    calls = {name: bind(side, prompt, new) for name, side in sides.items()}
    bound = decode_bound(model, len(prompt) + new // 2, read_bandwidth(model.device))
    for name, seconds in interleave(calls, repeats, warmup=0, device=model.device).items():
        key = f"{prefix(name)}tokens_per_s"
        result.add(
            key, unit="tokens/s", samples=[new / s for s in seconds], note=f"{new} tokens after {len(prompt)}"
        )
        note(f"{name}: {against_bound(result[key], bound)}")


def bind(side: Side, prompt: list[int], new: int) -> Callable[[], object]:
    return lambda: side(prompt, new)


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
