"""How long a forward pass takes, by the length of the prompt, and how close it comes to what the machine can do.

First every layer is compared with transformers; only then the clock runs. Both models compute the hidden states of all
tokens and the logits of the last, in turns. The times are shown beside two bounds: all weights must be read once, however
short the prompt is, and every token costs its share of arithmetic, however fast memory is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result, interleave, matmul_rate, read_bandwidth, weight_bytes
from common.loader import find_checkpoint, load_model
from common.models import Model, ModelConfig
from common.terminal.command_line import run as run_main
from common.terminal.console import heading, progress

from .lesson.agreement import Agreement, check, show_agreement
from .lesson.passes import Forward, flops, forward_passes, require_equal
from .lesson.tensors import count_parameters, list_tensors

LENGTHS = (1, 16, 64, 256, 1024)
COMPARED = 64  # tokens of the layer-by-layer comparison

BENCH = Bench(
    __package__,
    "Time of a forward pass by prompt length: ours, NumPy and transformers in turns.",
    repeats=15,
    quick_repeats=3,
    seed=0,
)


def measure(run: Run) -> None:
    folder = find_checkpoint(run.args.model)
    model, _, config = load_model(folder, run.args.device, run.args.dtype)
    lengths = [n for n in LENGTHS[: 3 if run.quick else None] if n <= config.max_positions]
    prompt = random_tokens(max(*lengths, COMPARED), config, run.args.seed)
    heading("First: is it right?")
    agreement = check(folder, config, model, prompt[: min(COMPARED, config.max_positions)])
    assert show_agreement(agreement), "a layer is over tolerance"
    sides = forward_passes(folder, model, config)
    checked = (
        f"every layer within 1e-4 of {agreement.reference} in float32; the last logits equal at each length"
    )
    result = run.result(checked, model.device, model.dtype, lengths=lengths, compared_tokens=COMPARED,
                        sides=list(sides))  # fmt: skip
    for part, count in count_parameters(list_tensors(folder)).items():
        result.add(f"parameters_{part}", count)
    record_differences(result, agreement)
    heading("Then: how fast?")
    time_lengths(result, sides, prompt, lengths, model, run.repeats)
    columns = {f"{name}, ms": (f"{name}_{{}}_ms", "{:.2f}") for name in (*sides, "bound")}
    bounds = {str(n): f"{n} ({result.values[f'bound_{n}_ms']['note']})" for n in lengths}
    show_table(result, "tokens (bound set by)", bounds, {**columns, "reached": ("reached_{}", "{:.0f} %")})
    run.save(result)


def random_tokens(count: int, config: ModelConfig, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(config.vocab_size, (count,), generator=generator).tolist()
    return tokens


def time_lengths(result: Result, sides: dict[str, Forward], prompt: list[int], lengths: Sequence[int],
                 model: Model, repeats: int) -> None:  # fmt: skip
    """Checks and times every side at every length, next to the bound."""
    bandwidth, rate = read_bandwidth(model.device), matmul_rate(model.device, model.dtype)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("matmul_rate", rate / 1e12, "TFLOP/s")
    with progress("forward passes", len(lengths)) as advance:
        for n in lengths:
            require_equal(sides, prompt[:n], model.dtype)
            calls = {name: bind(forward, prompt[:n]) for name, forward in sides.items()}
            for name, seconds in interleave(calls, repeats, warmup=2, device=model.device).items():
                result.add_times(f"{name}_{n}_ms", seconds, "ms")
            memory, arithmetic = weight_bytes(model) / bandwidth, flops(model, n) / rate
            bound, note = max((memory, "memory"), (arithmetic, "arithmetic"))
            result.add(f"bound_{n}_ms", 1000 * bound, "ms", note=note)
            result.add(f"reached_{n}", 100 * result[f"bound_{n}_ms"] / result[f"ours_{n}_ms"], "%")
            advance()


def bind(forward: Forward, tokens: list[int]) -> Callable[[], object]:
    return lambda: forward(tokens)


def record_differences(result: Result, agreement: Agreement) -> None:
    """The largest difference from the reference after each layer."""
    for name, key in (("ours (torch)", "ours"), ("NumPy", "numpy")):
        errors = {row.layer: row.errors[name] for row in agreement.rows if name in row.errors}
        for layer, error in errors.items():
            result.add(f"{key}_difference_{layer.replace(' ', '_')}", error)
        if errors:
            largest = f"largest of all layers, from {agreement.reference}"
            result.add(f"{key}_difference", max(errors.values()), note=largest)


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
