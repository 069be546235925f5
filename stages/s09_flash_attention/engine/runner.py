"""Runs the model on what the scheduler chose. Knows tensors, but no queues."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import Model

from .attention import RaggedAttention
from .batch import Batch, Inputs
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
        self.attend = RaggedAttention(self.cache, config.attention)
        # Tokens that went through the model.
        self.num_computed = 0

    def run(self, batch: Batch) -> Tensor:
        """Logits [R, vocab], one row for each request whose scheduled tokens reach the end of its text."""
        return self.forward(self.prepare(batch))

    def prepare(self, batch: Batch) -> Inputs:
        """From requests to tensors."""
        batch.sampling = Sampling.build(batch.draws, self.model.device)
        return batch.inputs(self.cache.slot, self.model.device)

    @torch.inference_mode()
    def forward(self, inputs: Inputs) -> Tensor:
        self.attend.plan(inputs)
        hidden = self.model(inputs.tokens, inputs.positions, self.attend)
        self.num_computed += len(inputs.tokens)
        return self.model.logits(hidden[inputs.logits_indices])
