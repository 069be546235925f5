"""One layer of the engine's attention, without a model around it: any length, any way, its time and its memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.models import LayerInfo, Model

from ..engine.attention import RaggedAttention
from ..engine.batch import Inputs
from ..engine.kv_cache import KVCache

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


def peak_bytes(call: Callable[[], Tensor], device: torch.device) -> int | None:
    """How much memory a call takes at its highest, above what was taken before. None where it cannot be measured.

    On a GPU torch counts; on Linux the kernel does: writing 5 to clear_refs sets the process's peak back to its present.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        # Memory that was freed but kept for reuse would hide what the call takes: give it back first.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmHWM")
        out = call()
        return max(out.nbytes, resident("VmHWM") - before)
    except (OSError, AttributeError):
        return None


def resident(what: str) -> int:
    """Bytes of a line in /proc/self/status: VmRSS, or VmHWM, its highest value so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {what}")
