"""How long one forward pass takes, by the length of the prompt, and how near it comes to what the machine can do.

First every layer is compared with transformers; only then the clock runs. Both models compute the hidden states of all
tokens and the logits of the last, in turns. Two bounds stand beside the times: all weights must be read once, however
short the prompt is, and every token costs its share of arithmetic, however fast memory is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from common.bench.measure import Result, Timer, interleave, median, read_bandwidth, weight_bytes
from common.loader import find_checkpoint, load_model
from common.models import Linear, Model, ModelConfig
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    add_seed,
    run,
    stage_parser,
)
from common.terminal.console import heading, note, progress, table

from .engine import CausalAttention
from .lesson.agreement import Agreement, check, load_numpy, load_transformers, show_agreement
from .lesson.tensors import count_parameters, list_tensors

LENGTHS = (1, 16, 64, 256, 1024)
COMPARED = 64  # tokens of the layer-by-layer comparison
LIMIT = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}  # of the largest logit


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s01_forward_pass.bench",
        "Time of a forward pass by prompt length: ours, NumPy and transformers in turns.",
        ["--quick", "--model storyteller-llama --repeats 20"],
    )
    add_model_flags(parser)
    add_bench_flags(parser, repeats=15)
    add_seed(parser)
    parser.add_argument(
        "--quick", action="store_true", help="short prompts, three repeats; saved only with --results"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    folder = find_checkpoint(args.model)
    model, _, config = load_model(folder, args.device, args.dtype)
    lengths = [n for n in LENGTHS[: 3 if args.quick else None] if n <= config.max_positions]
    prompt = random_tokens(max(*lengths, COMPARED), config, args.seed)
    heading("First: is it right?")
    agreement = check(folder, config, model, prompt[: min(COMPARED, config.max_positions)])
    if not show_agreement(agreement):
        return 1
    sides = forward_passes(folder, model, config)
    result = new_result(args, model, lengths, sides, agreement)
    for part, count in count_parameters(list_tensors(folder)).items():
        result.add(f"parameters_{part}", count)
    record_differences(result, agreement)
    heading("Then: how fast?")
    rows = time_lengths(result, sides, prompt, lengths, model, 3 if args.quick else args.repeats)
    table(
        "one forward pass (median)",
        ["tokens", *(f"{name}, ms" for name in sides), "bound, ms", "set by", "reached"],
        rows,
    )
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
    return 0


def random_tokens(count: int, config: ModelConfig, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(config.vocab_size, (count,), generator=generator).tolist()
    return tokens


Forward = Callable[[list[int]], Any]


def forward_passes(folder: Path, model: Model, config: ModelConfig) -> dict[str, Forward]:
    """Prompt -> logits of its last token, for each implementation that there is, checked against each other."""
    device, dtype = model.device, model.dtype

    @torch.inference_mode()
    def ours(tokens: list[int]) -> Any:
        ids = torch.tensor(tokens, device=device)
        hidden = model(ids, torch.arange(len(tokens), device=device), CausalAttention())
        return model.logits(hidden[-1:])[0]

    sides: dict[str, Forward] = {"ours": ours}
    try:
        reference = load_transformers(folder).to(device, dtype)
    except ImportError as error:
        note(f"transformers is left out: {error}")
    else:

        @torch.inference_mode()
        def transformers(tokens: list[int]) -> Any:
            ids = torch.tensor([tokens], device=device)
            return reference(ids, use_cache=False, logits_to_keep=1).logits[0, -1]

        sides["transformers"] = transformers
    if config.model_type in ("gpt2", "llama") and device.type == "cpu" and dtype == torch.float32:
        numpy = load_numpy(folder, config)
        sides["numpy"] = lambda tokens: torch.from_numpy(numpy(tokens)["logits"][-1])
    return sides


def time_lengths(
    result: Result,
    sides: dict[str, Forward],
    prompt: list[int],
    lengths: Sequence[int],
    model: Model,
    repeats: int,
) -> list[list[object]]:
    """Check and time every side at every length; rows for the table."""
    bandwidth, rate = read_bandwidth(model.device), matmul_rate(model.device, model.dtype)
    result.add("read_bandwidth", bandwidth / 1e9, "GB/s")
    result.add("matmul_rate", rate / 1e12, "TFLOP/s")
    rows: list[list[object]] = []
    with progress("forward passes", len(lengths)) as advance:
        for n in lengths:
            require_equal(sides, prompt[:n], LIMIT[model.dtype])
            calls = {name: bind(forward, prompt[:n]) for name, forward in sides.items()}
            seconds = interleave(calls, repeats, warmup=2, device=model.device)
            for name, samples in seconds.items():
                result.add(f"{name}_{n}_ms", unit="ms", samples=[1000 * s for s in samples])
            memory, arithmetic = weight_bytes(model) / bandwidth, flops(model, n) / rate
            bound = max(memory, arithmetic)
            share = 100 * bound / median(seconds["ours"])
            result.add(
                f"bound_{n}_ms", 1000 * bound, "ms", note="memory" if bound == memory else "arithmetic"
            )
            result.add(f"reached_{n}", share, "%")
            times = [f"{1000 * median(samples):.2f}" for samples in seconds.values()]
            rows.append(
                [
                    n,
                    *times,
                    f"{1000 * bound:.2f}",
                    "memory" if bound == memory else "arithmetic",
                    f"{share:.0f} %",
                ]
            )
            advance()
    return rows


def bind(forward: Forward, tokens: list[int]) -> Callable[[], object]:
    return lambda: forward(tokens)


def require_equal(sides: dict[str, Forward], tokens: list[int], limit: float) -> None:
    """Raise RuntimeError unless all sides give the same last logits, within `limit` of the largest."""
    expected = sides["ours"](tokens).float()
    for name, forward in sides.items():
        error = float((forward(tokens).float() - expected).abs().max() / expected.abs().max())
        if not error <= limit:
            raise RuntimeError(
                f"{name} differs from ours by {error:.1e} of the largest logit at {len(tokens)} tokens"
            )


def flops(model: Model, n: int) -> float:
    """Multiplications and additions of a pass over n tokens: two for each weight and token, and the attention.

    The head is needed for one row only. Attention multiplies n^2 / 2 pairs of positions twice (q k^T, and the values).
    """
    linears = [module for module in model.blocks.modules() if isinstance(module, Linear)]
    blocks = 2 * n * sum(linear.weight.numel() for linear in linears)
    attention = sum(2 * n * n * info.num_heads * info.head_dim for info in model.layers_info)
    return float(blocks + attention + 2 * model.head.weight.numel())


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product: what this machine's arithmetic gives at best."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        with Timer(device) as timer:
            a @ b
        seconds.append(timer.seconds)
    return 2 * size**3 / min(seconds)


def record_differences(result: Result, agreement: Agreement) -> None:
    """The largest difference from the reference after each layer."""
    for name, key in (("ours (torch)", "ours"), ("NumPy", "numpy")):
        errors = {row.layer: row.errors[name] for row in agreement.rows if name in row.errors}
        for layer, error in errors.items():
            result.add(f"{key}_difference_{layer.replace(' ', '_')}", error)
        if errors:
            result.add(
                f"{key}_difference",
                max(errors.values()),
                note=f"largest of all layers, from {agreement.reference}",
            )


def new_result(
    args: argparse.Namespace,
    model: Model,
    lengths: Sequence[int],
    sides: dict[str, Forward],
    agreement: Agreement,
) -> Result:
    other = args.model != DEFAULT_MODEL
    name = "s01" + (f"_{re.sub(r'[^a-z0-9]+', '_', Path(args.model).name.lower())}" if other else "")
    model_flag = f" --model {args.model}" if other else ""
    workload = {
        "model": args.model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "lengths": list(lengths),
        "compared_tokens": COMPARED,
        "sides": list(sides),
    }
    checked = (
        f"every layer within 1e-4 of {agreement.reference} in float32; the last logits equal at each length"
    )
    command = f"python -m stages.s01_forward_pass.bench{model_flag} --seed {args.seed}"
    return Result(name, 1, command, workload, args.seed, checked, device=str(model.device))


if __name__ == "__main__":
    sys.exit(run(main))
