"""One layer of the engine's attention, without a model around it, for prompts of any length; and the memory it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from common.models import LayerInfo, Model

from ..engine.attention import RaggedAttention
from ..engine.batch import Inputs
from ..engine.kv_cache import KVCache

# torch's profiler writes a line when it starts and one when it stops; not in our demo.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

WAYS = ("eager", "tiled", "sdpa", "varlen")


@dataclass(slots=True)
class Layer:
    """A layer's attention over one prompt, or for one token that follows it. q, k, v are random."""

    info: LayerInfo
    device: torch.device
    dtype: torch.dtype
    kv_dtype: torch.dtype

    @classmethod
    def of(cls, model: Model) -> Layer:
        """The first layer's shape."""
        return cls(model.layers_info[0], model.device, model.dtype, model.kv_dtype)

    def call(self, way: str, length: int, new: int | None = None) -> Callable[[], Tensor]:
        """A function that attends from the last `new` of `length` tokens (None: from all), and returns [new, Hq, D].

        Planning and the K/V of earlier tokens are not part of it.
        """
        new, info = new or length, self.info
        generator = torch.Generator().manual_seed(length)
        q, k, v = (
            torch.randn(length, heads, info.head_dim, generator=generator).to(self.device, self.dtype)
            for heads in (info.num_heads, info.num_kv_heads, info.num_kv_heads)
        )
        cache = KVCache([info], 1, length, self.device, self.kv_dtype)
        cache.write(0, cache.places(torch.arange(length, device=self.device)), k, v)
        attend = RaggedAttention(cache, way)
        attend.plan(inputs(length, new, self.device))
        q, k, v = (x[-new:] for x in (q, k, v))
        first = LayerInfo(0, info.scale, None, info.num_heads, info.num_kv_heads, info.head_dim)
        return lambda: attend(first, q, k, v)


def inputs(length: int, new: int, device: torch.device) -> Inputs:
    """A step of one request in row 0, the last `new` tokens of `length`."""

    def tensor(*values: int) -> Tensor:
        return torch.tensor(values, device=device)

    positions = torch.arange(length - new, length, device=device)
    return Inputs(
        tokens=positions, positions=positions, slot_mapping=positions, cache_rows=tensor(0),
        logits_indices=tensor(new - 1), cu_seqlens_q=tensor(0, new), cu_seqlens_k=tensor(0, length),
        query_lens=[new], context_lens=[length], row_ids=[0],
    )  # fmt: skip


def peak_bytes(call: Callable[[], Tensor], device: torch.device) -> int:
    """How much memory a call takes at its highest, above what was taken before, as torch's allocator counts it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    assert seen.profiler and seen.profiler.kineto_results
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    # Each says how many bytes were taken (above zero) or given back.
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return max(accumulate(changes, initial=0))
