"""`attend` for a flat batch, in four ways that give the same numbers: every token sees its own request's past only.

eager   writes all scores down and takes their softmax: the reference.
tiled   the same in tiles of keys, in plain torch (flash.py).
sdpa    torch's fused kernel, one call for all requests that decode and one for each chunk of a prompt.
varlen  the same, but all chunks in one call of torch's variable-length kernel, where there is one (varlen.py).

Shapes: N tokens in all, T new tokens of one request, S tokens in the longest context, Hq query heads, Hkv key/value
heads, D head size, G = Hq / Hkv query heads per key/value head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

from common.models import LayerInfo

from .batch import Inputs
from .flash import tiled_attention
from .kv_cache import KVCache
from .varlen import Chunks

# The fastest on each device, as measured.
AUTO = {"cpu": "sdpa", "mps": "sdpa", "cuda": "varlen"}
# GPU kernels copy a mask unless its rows begin at multiples of this many elements.
ALIGN = 16


@dataclass(slots=True)
class Group:
    """B rows of the cache, with T tokens each in this step, which one call can serve."""

    tokens: slice  # of the flat list
    positions: Tensor  # [B, T]
    cache_rows: Tensor | slice  # B of them; a slice is read in place
    length: int  # S
    # The row of each token, if there may be idle rows among the B: [number of tokens].
    busy: Tensor | None = None
    # One prompt from its first token on.
    fresh: bool = False
    masks: dict[int | None, Tensor] = field(default_factory=dict)
    biases: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """[B, T, S], made once per step and window."""
        if window not in self.masks:
            self.masks[window] = causal_mask(self.positions, self.length, window)
        return self.masks[window]

    def bias(self, window: int | None, groups: int, dtype: torch.dtype) -> Tensor:
        """The mask as numbers to add to the scores, 0 or -inf, for G query heads that are rows of one product.

        [B, 1, G * T, S], made once per step, window and G.
        """
        if (window, groups) not in self.biases:
            hidden = ~self.mask(window).repeat(1, groups, 1)[:, None]
            zeros = torch.zeros_like(hidden, dtype=dtype)
            self.biases[window, groups] = zeros.masked_fill_(hidden, -torch.inf)
        return self.biases[window, groups]

    def split(self, q: Tensor) -> Tensor:
        """q [tokens, Hq, D] -> [B, T, Hq, D]; idle rows are zero."""
        if self.busy is None:
            return q.unflatten(0, self.positions.shape)
        by_row = q.new_zeros(len(self.positions), *q.shape[1:])
        by_row[self.busy] = q
        return by_row[:, None]

    def join(self, out: Tensor) -> Tensor:
        """[B, T, Hq, D] -> [tokens, Hq, D]."""
        return out.flatten(0, 1) if self.busy is None else out[self.busy, 0]


class RaggedAttention:
    """Planned once per step, called once per layer."""

    def __init__(self, cache: KVCache, way: str = "auto"):
        k = cache.k[0]
        self.cache = cache
        self.way = AUTO[k.device.type] if way == "auto" else way
        self.attend = {"eager": eager_attention, "tiled": tiles}.get(self.way, sdpa_attention)
        # torch's variable-length kernel exists for GPUs and 16 bits.
        self.varlen = self.way == "varlen" and k.is_cuda and k.dtype != torch.float32

    @property
    def runs(self) -> str:
        """What really runs, for people: which of its kernels torch chooses is read back from torch."""
        k = self.cache.k[0][:1, :, :ALIGN]
        if self.way not in ("sdpa", "varlen"):
            return self.way
        if k.device.type not in ("cpu", "cuda"):
            # torch does not tell.
            return "sdpa"
        bias = k.new_zeros(1, k.shape[1], 1, k.shape[2])
        decode = backend(torch._fused_sdp_choice(k[:, :, :1], k, k, bias))
        prompt = "varlen" if self.varlen else backend(torch._fused_sdp_choice(k, k, k, is_causal=True))
        if prompt == decode:
            return f"sdpa: {prompt}"
        prompt = prompt if self.varlen else f"sdpa: {prompt}"
        return f"{prompt} (prompts), sdpa: {decode} (decode)"

    def plan(self, inputs: Inputs) -> None:
        """Once per step, before the layers run."""
        self.places = self.cache.places(inputs.slot_mapping)
        lens = inputs.query_lens
        # Requests that decode come first, one token each.
        decodes = next((i for i, n in enumerate(lens) if n > 1), len(lens))
        self.groups = [self.decodes(inputs, decodes)] if decodes else []
        self.chunks = Chunks(inputs, decodes) if self.varlen and decodes < len(lens) else None
        if self.chunks is None:
            at = decodes
            for i in range(decodes, len(lens)):
                self.groups.append(self.chunk(inputs, at, i))
                at += lens[i]

    def decodes(self, inputs: Inputs, count: int) -> Group:
        """The first `count` requests. sdpa reads rows 0 to the last busy one in place, idle rows between included."""
        rows, positions = inputs.cache_rows[:count], inputs.positions[:count]
        length = max(inputs.context_lens[:count])
        if self.attend is not sdpa_attention:
            return Group(slice(count), positions[:, None], rows, length)
        if inputs.row_ids[:count] == list(range(count)):
            return Group(slice(count), positions[:, None], slice(count), self.align(length))
        num_rows = 1 + max(inputs.row_ids[:count])
        by_row = positions.new_zeros(num_rows).index_put((rows,), positions)[:, None]
        return Group(slice(count), by_row, slice(num_rows), self.align(length), busy=rows)

    def chunk(self, inputs: Inputs, at: int, i: int) -> Group:
        """Request number i, whose tokens begin at `at` in the flat list."""
        n, length, row = inputs.query_lens[i], inputs.context_lens[i], inputs.row_ids[i]
        tokens, rows = slice(at, at + n), slice(row, row + 1)
        return Group(tokens, inputs.positions[None, tokens], rows, self.align(length), fresh=n == length)

    def align(self, length: int) -> int:
        return min(-(-length // ALIGN) * ALIGN, self.cache.capacity)

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] of the new tokens -> [N, Hq, D]."""
        self.cache.write(layer.index, self.places, k, v)
        parts = []
        for group in self.groups:
            keys, values = self.cache.read(layer.index, group.cache_rows, group.length)
            parts.append(group.join(self.attend(layer, group.split(q[group.tokens]), keys, values, group)))
        if self.chunks is not None:
            parts.append(self.chunks(layer, q[self.chunks.tokens], self.cache))
        # In a step that only decodes nothing has to be put together.
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def backend(choice: int) -> str:
    """The name of one of torch's kernels: flash, efficient, cudnn, or math (no fused kernel)."""
    return SDPBackend(choice).name.lower().removesuffix("_attention")


# What a group is computed with: q [B, T, Hq, D], k and v [B, Hkv, S, D] -> [B, T, Hq, D].


def eager_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
    return softmax_attention(layer, q, k, v, group.mask(layer.window))


def tiles(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
    return tiled_attention(layer, q, k, v, group.positions)


def sdpa_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
    """What `softmax_attention` returns, from torch's fused kernel."""
    t, groups, dtype = q.shape[1], layer.num_heads // layer.num_kv_heads, q.dtype
    if group.fresh and (layer.window is None or t <= layer.window):
        # Causal from the first token on: the kernel needs no mask, and skips the tiles above the diagonal.
        q, k, v = q.transpose(1, 2).to(k.dtype), k[:, :, :t], v[:, :, :t]
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=layer.scale, enable_gqa=groups > 1
        )
        return out.transpose(1, 2).to(dtype)
    # The G query heads that share a key head become more rows of one product, so no key is copied.
    q = q.unflatten(2, (layer.num_kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3).to(k.dtype)
    bias = group.bias(layer.window, groups, k.dtype).expand(-1, layer.num_kv_heads, -1, -1)
    out = F.scaled_dot_product_attention(q, k, v, bias, scale=layer.scale).to(dtype)
    return out.unflatten(2, (-1, t)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def softmax_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) with grouped heads (Ainslie et al., 2023).

    Args:
        q: [B, T, Hq, D].
        k, v: [B, Hkv, S, D]. Query heads 0 to G-1 share key/value head 0, the next G head 1, and so on.
        mask: [B, T, S], True where a query may look at a key.

    Returns:
        [B, T, Hq, D].
    """
    t, dtype = q.shape[1], q.dtype
    # The G query heads that share a key head become more rows of one product, so no key is copied.
    q = (q * layer.scale).unflatten(2, (layer.num_kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    scores = q.to(k.dtype) @ k.transpose(2, 3)  # [B, Hkv, G * T, S]
    scores = scores.unflatten(2, (-1, t)).masked_fill(~mask[:, None, None], -torch.inf)
    # Summed in float32: 16 bits are too few for a sum over a whole text.
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    out = (weights.flatten(2, 3) @ v).to(dtype)  # [B, Hkv, G * T, D]
    return out.unflatten(2, (-1, t)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def causal_mask(positions: Tensor, length: int, window: int | None) -> Tensor:
    """positions [B, T] -> [B, T, length], True where a query may look: at itself and at what comes before it."""
    distance = positions[..., None] - torch.arange(length, device=positions.device)
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)
