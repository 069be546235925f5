"""Layer by layer: where do two computations of the same model part ways?

A trace is what a model holds after each layer. For our models and for transformers it is read from outside, by forward
hooks; the NumPy models return theirs. Loading the models and printing the table is left to `agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.models import Model

from ..engine import CausalAttention
from .numpy_gpt2 import Trace

TOLERANCE = 1e-4  # for float32 arithmetic in another order, relative to the largest number of a layer


@dataclass(frozen=True, slots=True)
class Row:
    """One layer: the largest absolute number in the reference, and the largest difference of each other model."""

    layer: str
    largest: float
    errors: dict[str, float]

    def within(self, name: str, tolerance: float) -> bool:
        """Whether the error is tolerable. NaN never is."""
        return self.errors[name] <= tolerance * max(1.0, self.largest)


class Hooks:
    """While open, keeps what modules return (or receive, with inputs=True). The modules are not changed."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def watch(self, name: str, module: nn.Module, inputs: bool = False) -> None:
        def keep(_module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
            value = args[0] if inputs else out
            self.seen[name] = value[0] if isinstance(value, tuple) else value

        self._handles.append(module.register_forward_hook(keep))

    def __enter__(self) -> Hooks:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


@torch.inference_mode()
def torch_trace(model: Model, tokens: Sequence[int]) -> Trace:
    """The trace of one of our models for a prompt [N]."""
    device = model.device
    ids, positions = torch.tensor(tokens, device=device), torch.arange(len(tokens), device=device)
    with Hooks() as hooks:
        hooks.watch("embedding", model.blocks.layers[0], inputs=True)
        for i, layer in enumerate(model.blocks.layers):
            hooks.watch(f"layer {i}", layer)
        hidden = model(ids, positions, CausalAttention())
        return to_numpy(hooks.seen | {"final norm": hidden, "logits": model.logits(hidden)})


@torch.inference_mode()
def transformers_trace(model: Any, tokens: Sequence[int]) -> Trace:
    """The trace of transformers' model for the same prompt."""
    body = model.base_model
    layers, norm = (body.h, body.ln_f) if hasattr(body, "h") else (body.layers, body.norm)
    with Hooks() as hooks:
        hooks.watch("embedding", layers[0], inputs=True)
        for i, layer in enumerate(layers):
            hooks.watch(f"layer {i}", layer)
        hooks.watch("final norm", norm)
        logits = model(torch.tensor([list(tokens)]), use_cache=False).logits
        return to_numpy(hooks.seen | {"logits": logits})


def to_numpy(seen: dict[str, Tensor]) -> Trace:
    """float32 on the CPU, without the batch dimension of transformers."""
    return {name: value.float().cpu().numpy().reshape(-1, value.shape[-1]) for name, value in seen.items()}


def compare(reference: Trace, others: dict[str, Trace]) -> list[Row]:
    """The largest difference of each of the others from the reference, layer by layer.

    Raises UserError if two traces differ in layers or shapes, so that they cannot be of the same model.
    """
    rows = []
    for layer, expected in reference.items():
        errors = {}
        for name, trace in others.items():
            found = trace.get(layer)
            if found is None or found.shape != expected.shape:
                raise UserError(
                    f"{name}: {layer!r} is {getattr(found, 'shape', 'missing')} instead of {expected.shape}"
                )
            errors[name] = float(np.abs(found - expected).max())
        rows.append(Row(layer, float(np.abs(expected).max()), errors))
    return rows


def first_over(rows: Sequence[Row], tolerance: float = TOLERANCE) -> dict[str, str | None]:
    """For each model, the first layer over tolerance, which is where to look for the fault. None: there is none."""
    names = rows[0].errors
    return {
        name: next((row.layer for row in rows if not row.within(name, tolerance)), None) for name in names
    }
