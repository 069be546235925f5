"""One forward pass by each implementation, from a prompt to the logits of its last token, and how much arithmetic it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common.models import Linear, Model, ModelConfig
from common.terminal.console import note

from ..engine import CausalAttention
from .agreement import NUMPY_MODELS, load_numpy, load_transformers

# of the largest logit
LIMIT = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
Forward = Callable[[list[int]], Any]


def forward_passes(folder: Path, model: Model, config: ModelConfig) -> dict[str, Forward]:
    """Prompt -> logits of its last token, for each implementation that can run here."""
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
    if config.model_type in NUMPY_MODELS and device.type == "cpu" and dtype == torch.float32:
        numpy = load_numpy(folder, config)
        sides["numpy"] = lambda tokens: torch.from_numpy(numpy(tokens)["logits"][-1])
    return sides


def require_equal(sides: dict[str, Forward], tokens: list[int], dtype: torch.dtype) -> None:
    """Raise AssertionError unless all sides give the same last logits, within rounding of `dtype`."""
    expected = sides["ours"](tokens).float()
    for name, forward in sides.items():
        error = float((forward(tokens).float() - expected).abs().max() / expected.abs().max())
        if not error <= LIMIT[dtype]:
            raise AssertionError(
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
