"""Stage 05's benchmark: what a draw costs by strategy and vocabulary, and what share of a decode step that is.

Before the clock runs, each strategy is checked to leave the same tokens with the same probabilities as a sorted
vocabulary does, and a batch of all strategies to draw what each of its rows draws alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.bench.measure import Result, interleave, median, now
from common.loader import load_model, resolve_device, resolve_dtype
from common.terminal.command_line import add_bench_flags, add_model_flags, number, run, stage_parser
from common.terminal.console import facts, heading, note, progress, table, warn

from .engine import sampler  # whole, so that its tests can fail one by one on an engine without draws
from .engine.sampler import SamplingParams
from .lesson.distribution import distribution, draw_after, effective
from .lesson.presets import PRESETS
from .lesson.reference import Processors, sorted_draw, sorted_probabilities
from .lesson.runs import Run, Scene, repeated
from .lesson.work import CONTEXT, LABELS, STRATEGIES, DecodeStep, Operations, flat, zipf

VOCABULARIES = (4096, 50257, 151936)
ROWS = (8, 32)  # of a batch, at the middle vocabulary
MODELS = ("storyteller", "gpt2-124m")
QUICK = 5  # repeats
TEXT = 200  # tokens under each preset
COMMAND = "python -m stages.s05_sampling.bench"
TOKENS = [(37 * i) % 4001 for i in range(CONTEXT)]  # the text so far, for penalties and positions


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        COMMAND,
        "Time of a draw by strategy and size of the vocabulary, beside a decode step in the same run.\n"
        f"--model auto: {' and '.join(MODELS)} (the second one with random weights).",
        ["", "--quick", "--threads 2 --repeats 100", "--figure"],
    )
    add_model_flags(parser, "auto")
    add_bench_flags(parser, repeats=60)
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch finds best)")
    parser.add_argument(
        "--quick", action="store_true", help="short and not recorded, unless --results is given"
    )
    parser.add_argument("--figure", action="store_true", help="only draw the recorded result again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    name = result_name(args.model)
    if args.figure:
        return draw(name)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    dtype = resolve_dtype(args.dtype, device)
    try:
        checked = check(device)
    except AssertionError as error:
        warn(f"not the same draws, so nothing is recorded: {error}")
        return 1
    note(checked)
    models = MODELS if args.model == "auto" else (args.model,)
    workload = {"models": list(models), "dtype": str(dtype).removeprefix("torch."), "vocabularies": list(VOCABULARIES), "context": CONTEXT,
                "logits": "probability of the n-th token as n**-1.5; flat: normal", "threads": torch.get_num_threads()}  # fmt: skip
    result = Result(name, 5, repeat_command(args), workload, 0, checked, device=str(device))
    repeats = QUICK if args.quick else args.repeats
    for vocab in VOCABULARIES:
        measure_draws(result, vocab, repeats, device)
    measure_rows(result, VOCABULARIES[1], repeats, device)
    measure_floor(result, VOCABULARIES[1], repeats, device)
    if not DecodeStep.is_random(models[0]):
        measure_texts(result, models[0], QUICK * 4 if args.quick else TEXT, device, dtype)
    for model in models:
        measure_share(result, DecodeStep(model, device, dtype), repeats, device)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
        if args.results is None and device.type == "cpu":
            return draw(name)
    return 0


def result_name(model: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", Path(model).name.lower()).strip("-")
    return "s05" if model == "auto" else f"s05-{slug}"


def draw(name: str) -> int:
    from .lesson.figure import draw as drawn  # needs matplotlib, which a GPU box may lack

    for path in drawn(name):
        note(f"drawn in {path}")
    return 0


def repeat_command(args: argparse.Namespace) -> str:
    """What was typed, for the result file; where it was written to does not matter."""
    given = vars(parse([]))
    flags = [
        (name, value) for name, value in vars(args).items() if value != given[name] and name != "results"
    ]
    return " ".join(
        (COMMAND, *(f"--{name}" if value is True else f"--{name} {value}" for name, value in flags))
    )


def check(device: torch.device) -> str:
    """Raises AssertionError with the strategy and the vocabulary where something differs."""
    for vocab in VOCABULARIES:
        for shape in (zipf, flat):
            logits = shape(vocab, device=device)
            for name, params in strategies():
                if params.temperature and not params.adjusts:
                    ids, expected = sorted_probabilities(logits, params)
                    ours = distribution(logits, draw_after(params))[ids]
                    either = (ours > 0) != (expected > 0)
                    # Sums of so many float32 numbers differ between processors, and with them who is the last to survive.
                    assert float((ours + expected)[either].sum()) < 1e-4, (
                        f"{name} at {vocab}: other tokens survive"
                    )
                    assert torch.allclose(ours[~either], expected[~either], rtol=2e-4, atol=1e-5), (
                        f"{name} at {vocab}: other probabilities"
                    )
            texts = [draw_after(params, TOKENS, 16) for _, params in strategies()]
            together = sampler.sample(
                logits.repeat(len(texts), 1), sampler.Sampling.build(texts, device)
            ).tokens
            alone = [
                sampler.sample(logits[None], sampler.Sampling.build([one], device)).tokens[0] for one in texts
            ]
            assert together.tolist() == [int(one) for one in alone], (
                f"at {vocab}: a row depends on the others"
            )
    return (
        f"{len(STRATEGIES)} strategies at {len(VOCABULARIES)} vocabularies, uneven and flat: the same tokens survive with "
        "the same probabilities as when all are sorted, and each row of a batch draws what it draws alone"
    )


def strategies() -> list[tuple[str, SamplingParams]]:
    return [(name, SamplingParams(seed=7, **values)) for name, values in STRATEGIES.items()]


def drawing(params: SamplingParams, logits: Tensor, rows: int = 1) -> Callable[[], Tensor]:
    """All that a step spends on a draw: parameters to tensors, the draw."""
    texts = [draw_after(params, TOKENS, 16) for _ in range(rows)]
    batch = logits.expand(rows, -1).contiguous()
    return lambda: sampler.sample(batch, sampler.Sampling.build(texts, batch.device)).tokens


@torch.inference_mode()
def measure_draws(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """Each strategy, and two other ways to the full one, in turns."""
    logits, own = zipf(vocab, device=device), dict(strategies())
    ways: dict[str, Callable[[], object]] = {name: drawing(params, logits) for name, params in own.items()}
    ways["flat"] = drawing(own["topp"], flat(vocab, device=device))
    ways["sorted"] = lambda: sorted_draw(logits, own["full"])
    processors = Processors(own["full"])
    ways["transformers"] = lambda: processors.draw(logits, TOKENS)
    seconds = interleave(ways, repeats, 3, device)
    for name, samples in seconds.items():
        result.add(f"{name}_{vocab}", unit="us", samples=[1e6 * s for s in samples])
    result.add(f"sorted_over_full_{vocab}", median(seconds["sorted"]) / median(seconds["full"]), "x")
    result.add(
        f"transformers_over_full_{vocab}", median(seconds["transformers"]) / median(seconds["full"]), "x"
    )
    heading(f"A draw from {vocab:,} tokens")
    table(
        None,
        ["way", "µs"],
        [[LABELS[name], f"{1e6 * median(samples):,.0f}"] for name, samples in seconds.items()],
    )


@torch.inference_mode()
def measure_rows(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """The full strategy for several rows at once."""
    logits, params = zipf(vocab, device=device), dict(strategies())["full"]
    seconds = interleave({str(n): drawing(params, logits, n) for n in ROWS}, max(1, repeats // 3), 1, device)
    for rows in ROWS:
        result.add(f"full_per_row_of_{rows}", unit="us", samples=[1e6 * s / rows for s in seconds[str(rows)]])
    facts({f"a row of {n}": f"{1e6 * median(seconds[str(n)]) / n:,.0f} µs" for n in ROWS})


@torch.inference_mode()
def measure_floor(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """What a full draw consists of: its torch operations, what one costs on nothing, and one reading of the logits."""
    logits, nothing = zipf(vocab, device=device), torch.zeros(1, device=device)
    full = drawing(dict(strategies())["full"], logits)
    with Operations() as operations:
        full()
    ways: dict[str, Callable[[], object]] = {
        "operation": lambda: [nothing.add_(1) for _ in range(100)],
        "read": lambda: [logits.amax() for _ in range(10)],
    }
    seconds = interleave(ways, repeats, 3, device)
    result.add("operations_full", operations.count)
    result.add("operation_us", unit="us", samples=[1e4 * s for s in seconds["operation"]])
    result.add(f"one_read_{vocab}", unit="us", samples=[1e5 * s for s in seconds["read"]])
    each = 1e4 * median(seconds["operation"])
    result.add("operations_full_us", operations.count * each, "us", note="were the vocabulary empty")
    facts({"a full draw": f"{operations.count} operations; one takes {each:.1f} µs on nothing"})


def measure_texts(result: Result, name: str, count: int, device: torch.device, dtype: torch.dtype) -> None:
    """A text under each preset: how much of it says again what it said, and how open its draws were."""
    model, tokenizer, _ = load_model(name, device, dtype)
    scene = Scene(model, tokenizer, tokenizer.encode("Once upon a time"), count, ())
    rows = []
    for preset, values in PRESETS.items():
        one = Run(SamplingParams(seed=1, **values))
        for _ in one.follow(scene):
            pass
        nats, key = sum(one.drawn) / len(one.drawn), preset.replace("-", "").replace(" ", "")
        result.add(f"repeated_{key}", 100 * repeated(one.ids), "%")
        result.add(f"nats_{key}", nats, "nats")
        result.add(f"effective_{key}", effective(nats), "tokens")
        rows.append([preset, f"{100 * repeated(one.ids):.0f} %", f"{nats:.2f}", f"{effective(nats):.1f}"])
    heading(f"{count} tokens of {name} under each preset")
    table(None, ["preset", "repeated", "nats", "effective vocabulary"], rows)


@torch.inference_mode()
def measure_share(result: Result, step: DecodeStep, repeats: int, device: torch.device) -> None:
    """A decode step before each draw, so that both find the caches as they are when a text is written."""
    seconds: dict[str, list[float]] = {"step": []}
    ways = drawing_from_step(step)
    with progress(step.name, repeats + 1) as advance:
        for turn in range(repeats + 1):
            for name, way in ways.items():
                spent, drawn = timed_pair(step, way, device)
                if turn:  # the first turn warms up
                    seconds["step"].append(spent)
                    seconds.setdefault(name, []).append(drawn)
            advance()
    record_share(result, step, seconds)


def drawing_from_step(step: DecodeStep) -> dict[str, Callable[[Tensor], Any]]:
    """Each way to draw, as a function of fresh logits [vocab]."""

    def ours(params: SamplingParams) -> Callable[[Tensor], Any]:
        one = [draw_after(params, step.tokens, 16)]
        return lambda logits: sampler.sample(logits[None], sampler.Sampling.build(one, logits.device)).tokens

    full = dict(strategies())["full"]
    processors = Processors(full)
    return {name: ours(params) for name, params in strategies()} | {
        "sorted": lambda logits: sorted_draw(logits, full),
        "transformers": lambda logits: processors.draw(logits, step.tokens),
    }


def timed_pair(step: DecodeStep, way: Callable[[Tensor], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of a decode step and of the draw behind it."""
    start = now(device)
    own = step()
    spent = now(device) - start
    logits = step.logits(own)
    start = now(device)
    way(logits)
    return spent, now(device) - start


def record_share(result: Result, step: DecodeStep, seconds: dict[str, list[float]]) -> None:
    whole = median(seconds["step"])
    result.add(f"step_{step.slug}", unit="ms", samples=[1e3 * s for s in seconds.pop("step")])
    rows = []
    for name, samples in seconds.items():
        result.add(f"{name}_after_{step.slug}", unit="ms", samples=[1e3 * s for s in samples])
        result.add(f"share_{name}_{step.slug}", 100 * median(samples) / whole, "%")
        rows.append([LABELS[name], f"{1e3 * median(samples):.2f}", f"{100 * median(samples) / whole:.1f} %"])
    result.add(
        f"sampled_step_{step.slug}", 1e3 * (whole + median(seconds["full"])), "ms", note="step and full draw"
    )
    result.add(
        f"greedy_step_{step.slug}", 1e3 * (whole + median(seconds["greedy"])), "ms", note="step and argmax"
    )
    heading(f"Beside a decode step of {step.name}: {1e3 * whole:.1f} ms, vocabulary {step.vocab:,}")
    table(None, ["way", "ms", "of the step"], rows)


if __name__ == "__main__":
    sys.exit(run(main))
