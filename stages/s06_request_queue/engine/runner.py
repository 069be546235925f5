"""Runs the model on what the scheduler chose. Knows tensors, but no queues."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import Model

from .attention import CachedAttention
from .config import EngineConfig
from .kv_cache import KVCache
from .request import Request


class ModelRunner:
    """A model and its K/V cache."""

    def __init__(self, model: Model, config: EngineConfig):
        assert config.max_seq_len  # settled by `fit`
        self.model = model
        self.cache = KVCache(model.layers_info, config.max_seq_len, model.device, model.dtype)
        self.attend = CachedAttention(self.cache)

    @torch.inference_mode()
    def run(self, request: Request) -> Tensor:
        """Runs the tokens that are not in the cache yet: logits [1, vocab] of the one that follows them."""
        if not request.num_output_tokens:
            self.cache.truncate_to(0)
        device = self.model.device
        tokens = request.tokens[self.cache.length :]
        start = self.attend.plan(len(tokens))
        positions = torch.arange(start, start + len(tokens), device=device)
        hidden = self.model(torch.tensor(tokens, device=device), positions, self.attend)
        return self.model.logits(hidden[-1:])
