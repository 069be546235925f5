"""What the benchmark times: strategies, logits to draw from, and a decode step with the keys and values of a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from common.bench.shapes import PUBLISHED, published
from common.loader import build_model, load_model

from .. import engine
from ..engine.generate import forward
from ..engine.sampler import SamplingParams

STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 1.0},
    "topk": {"temperature": 1.0, "top_k": 50},
    "topp": {"temperature": 1.0, "top_p": 0.9},
    "minp": {"temperature": 1.0, "min_p": 0.05},
    "full": {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.02},
    "penalties": {"temperature": 1.0, "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.2},
}  # fmt: skip
LABELS = {
    "greedy": "greedy", "temperature": "temperature", "topk": "top-k 50", "topp": "top-p 0.9", "minp": "min-p 0.05",
    "full": "top-k, top-p, min-p", "penalties": "three penalties", "transformers": "the same three, transformers",
}  # fmt: skip
PARTS = {
    "scale": "temperature", "truncate": "top-k, top-p, min-p", "sort": "of which the sort", "sort_floats": "the sort, if of floats", "gumbel": "noise", "argmax": "argmax",
}  # fmt: skip
CONTEXT = 256  # tokens of the text so far


def strategies() -> list[tuple[str, SamplingParams]]:
    return [(name, SamplingParams(seed=7, **values)) for name, values in STRATEGIES.items()]


def zipf(vocab: int, seed: int = 0, device: str | torch.device = "cpu") -> Tensor:
    """Logits [vocab] as uneven as a language model's: the n-th token has a probability in proportion to n**-1.5."""
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.randperm(vocab, generator=generator) + 1
    return (-1.5 * ranks.log()).to(device)


def flat(vocab: int, seed: int = 0, device: str | torch.device = "cpu") -> Tensor:
    """Logits [vocab] of a model that has learned nothing: thousands of tokens make up top-p."""
    return torch.randn(vocab, generator=torch.Generator().manual_seed(seed)).to(device)


class DecodeStep:
    """One decode step of a model, again and again at the same length of text."""

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype):
        self.name = Path(name).name
        self.slug = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
        self.random = self.is_random(name)
        if self.random:
            self.model: Any = build_model(published(name), device, dtype, 0)
        else:
            self.model = load_model(name, device, dtype)[0]
        self.vocab = self.model.config.vocab_size
        context = min(CONTEXT, self.model.config.max_positions - 1)
        cache = engine.KVCache(self.model.layers_info, context + 1, device, dtype)
        self.attend = engine.CachedAttention(cache)
        self.cache, self.context = cache, context
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(self.vocab, (context,), generator=generator).tolist()
        with torch.inference_mode():
            forward(self.model, self.tokens, self.attend)

    @staticmethod
    def is_random(name: str) -> bool:
        """Whether there are no weights for it, only a shape."""
        return name in PUBLISHED

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        """-> logits [vocab] of the token after the next."""
        logits = forward(self.model, [self.tokens[-1]], self.attend)
        self.cache.truncate_to(self.context)
        return logits

    def logits(self, computed: Tensor) -> Tensor:
        """The step's logits, fresh from the model. Those of random weights are flat: they get a language model's shape."""
        return computed * 0 + zipf(self.vocab, device=computed.device) if self.random else computed


class Operations(TorchDispatchMode):
    """Counts the operations that reach torch's kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))
