"""Stage 05's benchmark: what a draw costs by strategy and vocabulary, and what share of a decode step that is.

Before the clock runs, each strategy is checked to leave the same tokens with the same probabilities as a second
implementation does, and each row of a batch of all strategies to draw what it draws alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common.bench.harness import Bench, show_table
from common.bench.harness import Run as BenchRun
from common.bench.measure import Result, interleave
from common.loader import load_model, resolve_device, resolve_dtype
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note

from .engine import penalties, sampler
from .engine.sampler import Sampling, SamplingParams
from .lesson.beside import measure_share
from .lesson.distribution import distribution, draw_after, effective
from .lesson.presets import PRESETS
from .lesson.reference import Processors, sorted_probabilities
from .lesson.runs import Run, Scene, repeated
from .lesson.work import CONTEXT, LABELS, PARTS, STRATEGIES, DecodeStep, Operations, flat, strategies, zipf

VOCABULARIES = (4096, 50257, 151936)
MIDDLE = 1  # the one that is looked at more closely
ROWS = (8, 32)  # of a batch
MODELS = ("storyteller", "gpt2-124m")
TEXT = 200  # tokens under each preset
QUICK_TEXT = 20
TOKENS = [(37 * i) % 4001 for i in range(CONTEXT)]  # the text so far, for penalties and positions
MANY = (256, 1000)  # rows and tokens of each, for the cost of penalties

BENCH = Bench(
    __package__,
    "Time of a draw by strategy and size of the vocabulary, beside a decode step in the same run.\n"
    f"--model auto: {' and '.join(MODELS)} (the second one with random weights).",
    repeats=60,
    quick_repeats=5,
    model="auto",
)


def measure(run: BenchRun) -> None:
    device = resolve_device(run.args.device)
    dtype = resolve_dtype(run.args.dtype, device)
    checked = check(device)
    note(checked)
    models = MODELS if run.args.model == "auto" else (run.args.model,)
    result = run.result(
        checked, device, dtype, models=list(models), vocabularies=list(VOCABULARIES), context=CONTEXT,
        logits="probability of the n-th token as n**-1.5",
    )  # fmt: skip
    for vocab in VOCABULARIES:
        measure_draws(result, vocab, run.repeats, device)
    vocab = VOCABULARIES[MIDDLE]
    measure_parts(result, vocab, run.repeats, device)
    measure_rows(result, vocab, run.repeats, device)
    measure_floor(result, vocab, run.repeats, device)
    measure_penalties(result, run.repeats, device)
    if not DecodeStep.is_random(models[0]):
        measure_texts(result, models[0], QUICK_TEXT if run.quick else TEXT, device, dtype)
    for model in models:
        measure_share(result, DecodeStep(model, device, dtype), run.repeats, device)
    run.save(result)


def check(device: torch.device) -> str:
    """Raises AssertionError with the strategy and the vocabulary where something differs."""
    for vocab in VOCABULARIES:
        for logits in (zipf(vocab, device=device), flat(vocab, device=device)):
            for name, params in strategies():
                if params.temperature and not params.adjusts:
                    compare(name, logits, params)
            draws = [draw_after(params, TOKENS, 16) for _, params in strategies()]
            together = sampler.sample(logits.repeat(len(draws), 1), Sampling.build(draws, device)).tokens
            alone = [int(sampler.sample(logits[None], Sampling.build([one], device)).tokens) for one in draws]
            assert together.tolist() == alone, f"at {vocab}: a row depends on the others"
    return (
        f"{len(STRATEGIES)} strategies at {len(VOCABULARIES)} vocabularies, uneven and flat: the same tokens survive with "
        "the same probabilities as in a second implementation, and each row of a batch draws what it draws alone"
    )


def compare(name: str, logits: Tensor, params: SamplingParams) -> None:
    """Sums of so many float32 numbers differ between processors, and with them which token is the last to survive."""
    ids, expected = sorted_probabilities(logits, params)
    ours = distribution(logits, draw_after(params))[ids]
    either = (ours > 0) != (expected > 0)
    assert float((ours + expected)[either].sum()) < 1e-4, f"{name} at {len(ids)}: other tokens survive"
    same = torch.allclose(ours[~either], expected[~either], rtol=2e-4, atol=1e-5)
    assert same, f"{name} at {len(ids)}: other probabilities"


def drawing(params: SamplingParams, logits: Tensor, rows: int = 1) -> Callable[[], Tensor]:
    """All that a step spends on a draw: parameters to tensors, the draw."""
    draws = [draw_after(params, TOKENS, 16) for _ in range(rows)]
    batch = logits.expand(rows, -1).contiguous()
    return lambda: sampler.sample(batch, Sampling.build(draws, batch.device)).tokens


@torch.inference_mode()
def measure_draws(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """Each strategy, and transformers' way to the full one, in turns."""
    logits, all_params = zipf(vocab, device=device), dict(strategies())
    ways: dict[str, Callable[[], object]] = {n: drawing(params, logits) for n, params in all_params.items()}
    processors = Processors(all_params["full"])
    ways["transformers"] = lambda: processors.draw(logits, TOKENS)
    for name, samples in interleave(ways, repeats, 3, device).items():
        result.add_times(f"{name}_{vocab}", samples, "us")
    result.add_ratio(f"full_over_temperature_{vocab}", f"full_{vocab}", f"temperature_{vocab}")
    result.add_ratio(f"transformers_over_full_{vocab}", f"transformers_{vocab}", f"full_{vocab}")
    heading(f"A draw from {vocab:,} tokens")
    show_table(result, "way", {name: LABELS[name] for name in ways}, {"µs": (f"{{}}_{vocab}", "{:,.0f}")})


@torch.inference_mode()
def measure_parts(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """The steps of a full draw, each timed by itself."""
    logits = zipf(vocab, device=device)[None]
    params = dict(strategies())["full"]
    sampling = Sampling.build([draw_after(params, TOKENS, 16)], device)
    scores = sampler.scale(logits, sampling.temperature)
    ids = torch.arange(vocab, device=device)
    ways: dict[str, Callable[[], object]] = {
        "scale": lambda: sampler.scale(logits, sampling.temperature),
        "sort": lambda: sampler.by_likelihood(scores),
        "sort_floats": lambda: scores.sort(dim=-1, descending=True, stable=True),
        "truncate": lambda: sampler.truncate(scores, *sampling.limits),
        "gumbel": lambda: sampler.gumbel(sampling.noise, ids),
        "argmax": lambda: scores.argmax(dim=-1),
    }
    for name, samples in interleave(ways, repeats, 3, device).items():
        result.add_times(f"part_{name}_{vocab}", samples, "us")
    result.add_ratio(f"sort_floats_over_sort_{vocab}", f"part_sort_floats_{vocab}", f"part_sort_{vocab}")
    result.add(f"sort_share_{vocab}", 100 * result[f"part_sort_{vocab}"] / result[f"full_{vocab}"], "%")
    heading(f"The steps of a full draw from {vocab:,} tokens")
    show_table(result, "step", PARTS, {"µs": (f"part_{{}}_{vocab}", "{:,.0f}")})


@torch.inference_mode()
def measure_rows(result: Result, vocab: int, repeats: int, device: torch.device) -> None:
    """The full strategy for several rows at once."""
    logits, params = zipf(vocab, device=device), dict(strategies())["full"]
    ways = {str(n): drawing(params, logits, n) for n in ROWS}
    seconds = interleave(ways, max(1, repeats // 3), 1, device)
    for rows in ROWS:
        result.add_times(f"full_per_row_of_{rows}", [s / rows for s in seconds[str(rows)]], "us")
    facts({f"a row of {n}": f"{result[f'full_per_row_of_{n}']:,.0f} µs" for n in ROWS})


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
    result.add_times("operation_us", [s / 100 for s in seconds["operation"]], "us")
    result.add_times(f"one_read_{vocab}", [s / 10 for s in seconds["read"]], "us")
    each = result["operation_us"]
    result.add("operations_full_us", operations.count * each, "us", note="if the vocabulary were empty")
    facts({"a full draw": f"{operations.count} operations; one takes {each:.1f} µs on nothing"})


@torch.inference_mode()
def measure_penalties(result: Result, repeats: int, device: torch.device) -> None:
    """Penalties for many long texts at once: making the step's tensors, and applying them."""
    (rows, context), vocab = MANY, VOCABULARIES[0]
    text = [(37 * i) % vocab for i in range(context)]
    params = dict(strategies())
    draws = [draw_after(params["penalties"], text, 16) for _ in range(rows)]
    plain = [draw_after(params["temperature"], text, 16) for _ in range(rows)]
    logits, sampling = torch.zeros(rows, vocab, device=device), Sampling.build(draws, device)
    ways: dict[str, Callable[[], object]] = {
        "build_penalties": lambda: Sampling.build(draws, device),
        "build_plain": lambda: Sampling.build(plain, device),
        "adjust": lambda: penalties.adjust(logits, sampling),
    }
    for name, samples in interleave(ways, max(1, repeats // 3), 1, device).items():
        result.add_times(f"{name}_{rows}", samples, "ms")
    facts({
        f"{rows} rows with {context} tokens": f"tensors of the penalties {result[f'build_penalties_{rows}']:.1f} ms, "
        f"without any {result[f'build_plain_{rows}']:.1f} ms"
    })  # fmt: skip


def measure_texts(result: Result, name: str, count: int, device: torch.device, dtype: torch.dtype) -> None:
    """A text under each preset: how much of it repeats an earlier part, and how open its draws were."""
    model, tokenizer, _ = load_model(name, device, dtype)
    scene = Scene(model, tokenizer, tokenizer.encode("Once upon a time"), count, ())
    keys = {}
    for preset, values in PRESETS.items():
        one = Run(SamplingParams(seed=1, **values))
        for _ in one.follow(scene):
            pass
        nats, key = sum(one.drawn) / len(one.drawn), preset.replace("-", "").replace(" ", "")
        keys[key] = preset
        result.add(f"repeated_{key}", 100 * repeated(one.ids), "%")
        result.add(f"nats_{key}", nats, "nats")
        result.add(f"effective_{key}", effective(nats), "tokens")
    heading(f"{count} tokens of {name} under each preset")
    columns = {"repeated": ("repeated_{}", "{:.0f} %"), "nats": ("nats_{}", "{:.2f}"),
               "effective vocabulary": ("effective_{}", "{:.1f}")}  # fmt: skip
    show_table(result, "preset", keys, columns)


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
