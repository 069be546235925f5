"""Many texts at once through a model of ours: the `attend` for rows of equal length, and generation with it.

For training and for measuring checkpoints; how an engine does it properly is what the stages teach. Rows of different
lengths are filled up on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models.layers import LayerInfo


class BatchAttend:
    """Causal attention within each of `rows` texts of equal length, which lie flat one behind the other.

    Args:
        rows: B, how many texts.
        first: [B], the index of each text's first real token; those before it are filling. None: no filling.
        keep: remember keys and values, so that the next call may bring only what comes after them.
    """

    def __init__(self, rows: int, first: Tensor | None = None, keep: bool = False):
        self.rows, self.first, self.keep = rows, first, keep
        self.past: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B*T, Hq, D], k and v [B*T, Hkv, D] -> [B*T, Hq, D]."""
        # v comes straight from a projection; q and k may have left its dtype in a norm or a rotation.
        # [B, H, T, D]
        q, k, v = (x.to(v.dtype).unflatten(0, (self.rows, -1)).transpose(1, 2) for x in (q, k, v))
        if self.keep:
            if layer.index in self.past:
                past_k, past_v = self.past[layer.index]
                k, v = torch.cat((past_k, k), dim=2), torch.cat((past_v, v), dim=2)
            self.past[layer.index] = k, v
        mask = self.mask(layer.window, q.shape[2], k.shape[2], q.device)
        if layer.num_heads != layer.num_kv_heads:  # written out, for not every fast kernel knows groups
            groups = layer.num_heads // layer.num_kv_heads
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        causal = mask is None and q.shape[2] > 1
        out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=layer.scale)
        return out.transpose(1, 2).flatten(0, 1)

    def mask(self, window: int | None, new: int, total: int, device: torch.device) -> Tensor | None:
        """What the last `new` of `total` tokens may see: [new, total] or [B, 1, new, total]; None where plain
        causal attention says it all."""
        if window is not None and window >= total:
            window = None
        if window is None and self.first is None and new in (1, total):
            return None
        query = torch.arange(total - new, total, device=device)[:, None]
        key = torch.arange(total, device=device)[None]
        mask = key <= query
        if window is not None:
            mask = mask & (key > query - window)
        if self.first is not None:  # filling still sees itself, or its softmax would be 0 / 0
            mask = mask & (key >= self.first[:, None, None, None]) | (key == query)
        return mask


def run(model: Any, tokens: Tensor, attend: BatchAttend | None = None, start: int = 0) -> Tensor:
    """tokens [B, T], at positions from `start` on -> hidden states [B, T, hidden_size]."""
    rows, length = tokens.shape
    attend = attend or BatchAttend(rows)
    positions = torch.arange(start, start + length, device=tokens.device).repeat(rows)
    if attend.first is not None:
        positions = (positions - attend.first.repeat_interleave(length)).clamp(min=0)
    return model(tokens.flatten(), positions, attend).view(rows, length, -1)


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[list[int]],
    new: int,
    *,
    eos: Sequence[int] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Up to `new` tokens after each prompt; greedy at temperature 0. An end token is the last one kept."""
    device = model.device
    longest = max(map(len, prompts))
    filled = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    first = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    attend = BatchAttend(len(prompts), first if bool(first.any()) else None, keep=True)
    noise = torch.Generator(device).manual_seed(seed)
    ends = torch.tensor(list(eos), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    tokens, drawn = filled, []
    for step in range(new):
        hidden = run(model, tokens, attend, start=longest + step - tokens.shape[1])
        logits = model.logits(hidden[:, -1]).float()
        drawn.append(draw(logits, temperature, noise))
        tokens = drawn[-1][:, None]
        done |= torch.isin(drawn[-1], ends)
        if eos and step % 8 == 7 and bool(done.all()):
            break
    return [cut(row, eos) for row in torch.stack(drawn, dim=1).tolist()]


def draw(logits: Tensor, temperature: float, noise: torch.Generator) -> Tensor:
    """logits [B, V] -> tokens [B]: the likeliest, or with Gumbel noise a fair draw."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    uniform = torch.rand(logits.shape, generator=noise, device=logits.device).clamp(min=1e-20)
    return (logits / temperature - (-uniform.log()).log()).argmax(dim=-1)


def cut(tokens: list[int], eos: Sequence[int]) -> list[int]:
    """The tokens up to the first end token, which is kept."""
    return next((tokens[: i + 1] for i, token in enumerate(tokens) if token in eos), tokens)
