"""Computes one prompt with our model, with NumPy and with transformers, and says where they agree.

    python -m stages.s01_forward_pass.lesson.agreement --model storyteller --prompt "Hello world"

All of it runs in float32 on the CPU, so that differences come from the order of the arithmetic alone.
Exit status 1 if a layer is over tolerance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.text import Text

from common.errors import UserError
from common.loader import find_checkpoint, load_model
from common.models import Model, ModelConfig
from common.terminal.command_line import add_prompt, number, read_prompt, run, stage_parser
from common.terminal.console import note, show, table

from .compare import TOLERANCE, Row, compare, first_over, torch_trace, transformers_trace
from .numpy_gpt2 import NumpyGPT2, Trace, check_tokens
from .numpy_llama import NumpyLlama

NUMPY_MODELS: dict[str, type[NumpyGPT2] | type[NumpyLlama]] = {"gpt2": NumpyGPT2, "llama": NumpyLlama}


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison for one prompt. `skipped` says what could not be compared, and why."""

    reference: str
    rows: list[Row]
    skipped: list[str] = field(default_factory=list)

    def first_over(self, tolerance: float = TOLERANCE) -> dict[str, str | None]:
        """For each model, the first layer over tolerance; None if there is none."""
        return first_over(self.rows, tolerance)


def load_numpy(folder: Path, config: ModelConfig) -> NumpyGPT2 | NumpyLlama:
    """The NumPy model of a checkpoint. Raises UserError for families that this stage has no NumPy version of."""
    if config.model_type not in NUMPY_MODELS:
        raise UserError(f"no NumPy model for {config.model_type}; there are {', '.join(NUMPY_MODELS)}")
    return NUMPY_MODELS[config.model_type].from_folder(folder)


def load_transformers(folder: Path) -> Any:
    """The same checkpoint in transformers, float32 on the CPU. Raises ImportError where it is not installed."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def check(folder: Path, config: ModelConfig, model: Model, tokens: Sequence[int]) -> Agreement:
    """Compares whatever can be computed here; transformers is the reference if it is installed.

    model: ours, loaded from the same folder; a float32 copy is loaded if it is not float32 on the CPU.
    """
    if model.dtype != torch.float32 or model.device.type != "cpu":
        model = load_model(folder, "cpu", "float32")[0]
    ways: dict[str, Callable[[], Trace]] = {
        "transformers": lambda: transformers_trace(load_transformers(folder), tokens),
        "NumPy": lambda: load_numpy(folder, config)(tokens),
        "ours (torch)": lambda: torch_trace(model, tokens),
    }
    traces: dict[str, Trace] = {}
    skipped = []
    for name, trace in ways.items():
        try:
            traces[name] = trace()
        except (ImportError, UserError) as error:
            skipped.append(f"{name} is left out: {error}")
    reference = next(iter(traces))
    return Agreement(reference, compare(traces.pop(reference), dict(reversed(traces.items()))), skipped)


def show_agreement(agreement: Agreement, tolerance: float = TOLERANCE) -> bool:
    """Prints the largest difference per layer. Returns whether all are within tolerance."""
    for line in agreement.skipped:
        note(line)
    over = agreement.first_over(tolerance)
    if not over:
        note(f"only {agreement.reference} could be computed, so there is nothing to compare")
        return True
    rows = [
        [row.layer, f"{row.largest:.2f}", *(mark(row, name, tolerance) for name in row.errors)]
        for row in agreement.rows
    ]
    table(f"largest difference from {agreement.reference}", ["after", "largest value", *over], rows)
    for name, layer in over.items():
        verdict = (
            f"first layer over tolerance: {layer}" if layer else f"within {tolerance:g} of it in all layers"
        )
        show(Text(f"{name}: {verdict}", style="red" if layer else "green"))
    return not any(over.values())


def mark(row: Row, name: str, tolerance: float) -> Text:
    """An error as text, red where it is over tolerance."""
    return Text(f"{row.errors[name]:.1e}", style="" if row.within(name, tolerance) else "bold red")


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(
        "python -m stages.s01_forward_pass.lesson.agreement",
        "Compare ours, NumPy and transformers layer by layer on one prompt.",
        ["--model storyteller-llama", "--tolerance 1e-6"],
    )
    parser.add_argument("--model", default="storyteller", metavar="NAME", help="(%(default)s)")
    add_prompt(parser, "Hello world")
    parser.add_argument(
        "--tolerance",
        type=number(float, 0.0),
        default=TOLERANCE,
        metavar="X",
        help="largest difference allowed, as a share of the layer's largest value, if that is over 1 (%(default)g)",
    )
    args = parser.parse_args(argv)
    folder = find_checkpoint(args.model)
    model, tokenizer, config = load_model(folder, "cpu", "float32")
    tokens = tokenizer.encode(read_prompt(args))
    check_tokens(tokens, config)
    return 0 if show_agreement(check(folder, config, model, tokens), args.tolerance) else 1


if __name__ == "__main__":
    sys.exit(run(main))
