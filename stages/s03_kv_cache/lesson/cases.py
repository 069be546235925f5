"""What the benchmark measures: a model, a prompt, lengths; published shapes get random weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from common.bench.shapes import PUBLISHED, published
from common.equality import Tally
from common.errors import UserError
from common.loader import build_model, load_model
from common.models import Model

from .runs import Run

PROMPT = 16
OPENING = (
    "Once upon a time there lived a poor miller who had three sons and nothing to leave them but his mill."
)
WHOLE_UP_TO = 50_000_000  # parameters; a larger model's steps without a cache are sampled on a CPU


@dataclass(slots=True)
class Case:
    """One model and what is measured with it."""

    name: str  # of the result
    model: Model
    prompt: list[int]
    lengths: tuple[int, ...]
    sampled: int  # steps without a cache that are run for each doubling of the length; 0: all
    weights: str  # in words
    seed: int | None
    runs: dict[str, list[Run]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)  # of timed steps without a cache, against the text with it

    @property
    def total(self) -> int:
        return self.lengths[-1]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype


def prepare(name: str, device: torch.device, dtype: torch.dtype, lengths: Sequence[int]) -> Case:
    """Raises UserError for a model that cannot be loaded, or whose window is too small."""
    if name in PUBLISHED:
        seed, weights = 0, f"the shape of {name} with random weights"
        model = build_model(published(name), device, dtype, seed)
        enliven(model)
        prompt = torch.randint(
            model.config.vocab_size, (PROMPT,), generator=torch.Generator().manual_seed(seed)
        )
        tokens = prompt.tolist()
    else:
        seed, weights = None, name
        model, tokenizer, _ = load_model(name, device, dtype)
        tokens = tokenizer.encode(OPENING)[:PROMPT]
    fitting = tuple(n for n in lengths if n <= model.config.max_positions)
    if len(tokens) < PROMPT:
        raise UserError(f"model {name!r} makes only {len(tokens)} tokens of the opening, {PROMPT} are needed")
    if not fitting:
        raise UserError(
            f"model {name!r} has a window of {model.config.max_positions} tokens, too few to measure"
        )
    large = sum(p.numel() for p in model.parameters()) > WHOLE_UP_TO and device.type == "cpu"
    slug = re.sub(r"[^a-z0-9]+", "-", Path(name).name.lower()).strip("-")
    result = "s03" if name == "storyteller" else f"s03-{slug}"
    return Case(result, model, tokens, fitting, 8 if large else 0, weights, seed)


@torch.inference_mode()
def enliven(model: Model) -> None:
    """With weights as they are initialised a model mostly repeats its input; twice as large, it wanders."""
    for parameter in model.blocks.parameters():
        if parameter.dim() > 1:
            parameter.mul_(2)
