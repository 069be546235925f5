"""Runs the model on what the scheduler chose. Knows tensors, but no queues."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import Model

from .attention import PaddedAttention
from .batch import Batch
from .config import EngineConfig
from .kv_cache import KVCache
from .sampler import Sampling


class ModelRunner:
    """A model and its K/V cache."""

    def __init__(self, model: Model, config: EngineConfig):
        assert config.max_num_seqs and config.max_seq_len  # settled by `fit`
        self.model = model
        self.cache = KVCache(
            model.layers_info, config.max_num_seqs, config.max_seq_len, model.device, model.kv_dtype
        )
        self.attend = PaddedAttention(self.cache)
        # Tokens that went through the model, and how many of them were padding.
        self.num_computed = 0
        self.num_padding = 0

    @torch.inference_mode()
    def run(self, batch: Batch) -> Tensor:
        """Runs the batch's tokens: logits [B, vocab] of the one that follows in each row."""
        device = self.model.device
        batch.sampling = Sampling.build(batch.draws, device)
        inputs = batch.inputs(device)
        self.num_computed += inputs.tokens.numel()
        self.num_padding += inputs.num_padding
        self.attend.plan(inputs)
        hidden = self.model(inputs.tokens.flatten(), inputs.positions.flatten(), self.attend)
        return self.model.logits(hidden[inputs.logits_indices])
