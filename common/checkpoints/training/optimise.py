"""The training loop: initial weights, dropout, the schedule, AdamW. What is learned, the loss function says.

Weights stay float32 and computations run in bf16 under autocast. The schedule follows steps or the clock, whichever is
further, so that the learning rate has always come down when the time is up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.loader import build_model
from common.models import read_config

from .batched import run
from .shapes import Recipe
from .text import IGNORE

WARM_UP = 100  # steps, or a tenth of all if there are few


class Source(Protocol):
    def take(self, rows: int) -> tuple[Tensor, Tensor]: ...


Loss = Callable[[Any, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One run of the optimiser. `until`: when to be done, on the clock of time.monotonic()."""

    name: str
    lr: float
    rows: int
    steps: int
    until: float
    check: Callable[[], str] | None = None  # its answer is printed now and then


def new_model(recipe: Recipe, device: torch.device, seed: int) -> Any:
    """Random weights as GPT-2 has them: what adds to the residual stream is scaled down by the number of additions."""
    model: Any = build_model(read_config(recipe.config), device, torch.float32, seed)
    with torch.no_grad():
        for layer in model.blocks.layers:
            for module in (layer.attn.o, layer.mlp.down):
                module.weight /= math.sqrt(2 * len(model.blocks.layers))
    return model.requires_grad_(True)


def add_dropout(model: Any, p: float) -> list[Any]:
    """Dropout on the embedding and on what each half of a block adds; model files have none. Returns the hooks."""
    if p == 0:
        return []
    places = [model.embed]
    for layer in model.blocks.layers:
        places += [layer.attn.o, layer.mlp.down]
    return [m.register_forward_hook(lambda m, args, out: F.dropout(out, p, m.training)) for m in places]


def compile_layers(model: Any) -> None:
    """Every layer has the same code, so compiling one serves all: seconds instead of a minute."""
    for layer in model.blocks.layers:
        layer.compile(dynamic=False)


@contextmanager
def as_it_is(model: nn.Module) -> Iterator[None]:
    """In here the model is not compiled, has no dropout and keeps no gradients: for measuring between steps."""
    compiled = {m: m._compiled_call_impl for m in model.modules() if m._compiled_call_impl is not None}
    training = model.training
    for module in compiled:
        module._compiled_call_impl = None
    try:
        with torch.no_grad():
            yield model.eval()  # type: ignore[misc]
    finally:
        model.train(training)
        for module, call in compiled.items():
            module._compiled_call_impl = call


def next_token_loss(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats per target. inputs and targets [B, T]."""
    logits = model.logits(run(model, inputs).flatten(0, 1))
    return F.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORE)


def optimise(model: Any, source: Source, loss_of: Loss, phase: Phase) -> int:
    """Trains until the steps or the time are used up; returns the number of steps."""
    optimizer = adamw(model, phase.lr)
    warm_up = min(WARM_UP, phase.steps // 10 + 1)
    model.train()
    start, spent, step, loss = time.monotonic(), 0.0, 0, torch.zeros(())
    while spent < 1:
        if step == 3:  # compiling is over
            start = time.monotonic()
        clock = (time.monotonic() - start) / max(phase.until - start, 1e-9) if step >= 3 else 0.0
        spent = max(step / phase.steps, min(clock, 1.0))
        for group in optimizer.param_groups:
            group["lr"] = phase.lr * min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * spent))
        if step and (step % 250 == 0 or spent >= 1):
            report(phase, step, spent, loss)
        if spent < 1:
            loss = one_step(model, optimizer, loss_of, source.take(phase.rows), first=step == 0)
            step += 1
    return step


def adamw(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Weight decay for matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


def one_step(
    model: Any, optimizer: torch.optim.Optimizer, loss_of: Loss, batch: tuple[Tensor, Tensor], first: bool
) -> Tensor:
    """Forward, backward, update. If compiling fails, at the first step, the model goes on uncompiled."""
    device = batch[0].device.type
    try:
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(model, *batch)
        loss.backward()
    except Exception as error:
        compiled = [m for m in model.modules() if m._compiled_call_impl is not None]
        if not (first and compiled):
            raise
        print(f"  not compiled: {type(error).__name__}: {str(error).splitlines()[0][:200]}", flush=True)
        for module in compiled:
            module._compiled_call_impl = None
        optimizer.zero_grad(set_to_none=True)
        return one_step(model, optimizer, loss_of, batch, first=False)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def report(phase: Phase, step: int, spent: float, loss: Tensor) -> None:
    checked = f"  {phase.check()}" if phase.check and (step % 1000 == 0 or spent >= 1) else ""
    print(f"  {phase.name:6} step {step:5}  {spent:4.0%}  loss {float(loss):.3f}{checked}", flush=True)
