"""Running a batch on the device. Knows tensors and no queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from common.models import computes_in

from .attention import RaggedAttention
from .batch import Batch, Inputs
from .kv_cache import KVCache
from .request import Request
from .sampler import Sampling


class ModelRunner:
    """A model, its cache, and the plans that are made once per step from the batch's inputs."""

    def __init__(self, model: Any, rows: int, capacity: int, slot: Callable[[Request, int], int]):
        weight = model.embed.weight
        self.model, self.device, self.dtype, self.slot = model, weight.device, weight.dtype, slot
        # K and V are read at every step: a processor that must widen them does so once, as they are written.
        kept = computes_in(self.dtype, self.device)
        self.cache = KVCache(model.layers_info, rows, capacity, self.device, kept)
        self.attend = RaggedAttention(self.cache)
        self.plans = [self.attend]
        self.num_computed = 0  # tokens that went through the model

    def run(self, batch: Batch) -> Tensor:
        """-> logits [R, vocab], a row for each request whose share ends its text."""
        return self.forward(self.prepare(batch))

    def prepare(self, batch: Batch) -> Inputs:
        batch.sampling = Sampling.build([s.request for s in batch.scheduled if s.samples], self.device)
        return batch.inputs(self.slot, self.device)

    @torch.inference_mode()
    def forward(self, inputs: Inputs) -> Tensor:
        for plan in self.plans:
            plan.plan(inputs)
        hidden = self.model(inputs.tokens, inputs.positions, self.attend)
        self.num_computed += len(inputs.tokens)
        return self.model.logits(hidden[inputs.logits_indices])
