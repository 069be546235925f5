"""What the families are made of: linear layers, norms, embeddings, rotary positions, MLPs.

Every module takes its weights one by one through `load(part, tensor)`, so a module can be replaced by one that stores them in
another way (quantised, sharded, with adapters) before a single weight is read. `attend`, which mixes tokens, is not here: every
stage brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Rope
from .cpu_linear import linear


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """What `attend` needs to know about a layer. `window` counts the token itself; None means all tokens before it."""

    index: int
    scale: float
    window: int | None
    num_heads: int  # Hq
    num_kv_heads: int  # Hkv
    head_dim: int  # D


@dataclass(frozen=True, slots=True)
class Target:
    """Where a checkpoint tensor goes: into a module's weight or bias, or into some of its parts (name -> number of rows)."""

    module: str
    kind: str = "weight"  # or "bias"
    parts: dict[str, int] = field(default_factory=dict)
    transposed: bool = False  # the file holds [in, out]


class Loads:
    """For modules whose checkpoint tensors are whole parameters."""

    def load(self, part: str, tensor: Tensor) -> None:
        copy_into(getattr(self, part), tensor)


class Embedding(Loads, nn.Module):
    """token ids [N] -> [N, size], times `scale`."""

    def __init__(self, num: int, size: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num, size), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        out = F.embedding(ids, self.weight)
        # The factor is rounded to the model's type first, as it was in training.
        return out if self.scale == 1.0 else out * torch.tensor(self.scale, dtype=out.dtype)


class LayerNorm(Loads, nn.Module):
    """(x - mean) / std * weight + bias over the last dimension (Ba et al., 2016)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(Loads, nn.Module):
    """x / rms(x) * weight over the last dimension (Zhang & Sennrich, 2019)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Linear(nn.Module):
    """y = x W^T + b: [N, in_features] -> [N, rows], where W may be several projections stacked.

    `parts` names them: `{"q": 64, "k": 32, "v": 32}` is one matrix product instead of three.
    """

    def __init__(self, in_features: int, parts: dict[str, int], bias: bool = False):
        super().__init__()
        self.in_features, self.parts = in_features, parts
        rows = sum(parts.values())
        self.weight = nn.Parameter(torch.empty(rows, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(rows), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def load(self, part: str, tensor: Tensor, columns: slice = slice(None)) -> None:
        """part: "q.weight" or "q.bias". The tensor has whole rows. A shard keeps only `columns` of them, and selects them here,
        so that a quantiser sees whole rows and all shards agree on the scales."""
        name, _, kind = part.rpartition(".")
        copy_into(getattr(self, kind)[rows_of(self.parts, name)], tensor[..., columns])


class MLP(nn.Module):
    """down(act(up(x))), as in GPT-2: GELU in its tanh form."""

    def __init__(self, size: int, inner: int):
        super().__init__()
        self.up = Linear(size, {"up": inner}, bias=True)
        self.down = Linear(inner, {"down": size}, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x)) (Shazeer, 2020): SwiGLU with `act` "silu", GeGLU with "gelu"."""

    def __init__(self, size: int, inner: int, act: str = "silu", bias: bool = False):
        super().__init__()
        self.act = act
        self.gate_up = Linear(size, {"gate": inner, "up": inner}, bias)
        self.down = Linear(inner, {"down": size}, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        gate = F.silu(gate) if self.act == "silu" else F.gelu(gate, approximate="tanh")
        return self.down(gate * up)


class Rotary(nn.Module):
    """positions [N] -> (cos, sin), each [N, 1, D]: the angles of RoPE (Su et al., 2021).

    Computed once per step, for all layers and for any position. A table indexed by position would save 10 of about 520 kernels
    in a step of Llama 3.2 1B: too few to measure on an H200, for 64 MiB of its memory.
    """

    inv_freq: Tensor

    def __init__(self, rope: Rope, head_dim: int):
        super().__init__()
        # Not in the checkpoint, so it is made on a real device even while the model is built on meta.
        self.register_buffer("inv_freq", inverse_frequencies(rope, head_dim), persistent=False)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        # [N, D/2], in float32: 16 bits cannot tell position 4097 from 4096.
        angles = positions[:, None].float() * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


def inverse_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """How fast each pair of dimensions turns, in radians per position: [D/2], float32, on the CPU."""
    freq = 1.0 / rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim)
    s = rope.scaling
    if rope.kind == "linear":
        return freq / s["factor"]
    if rope.kind == "llama3":
        # Slow dimensions, which would not complete a turn within the original context, are stretched. Fast ones, which tell
        # neighbours apart, stay as they are. Those in between are interpolated.
        turns = s["original_max_position_embeddings"] * freq / (2 * torch.pi)
        keep = ((turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])).clamp(0, 1)
        return keep * freq + (1 - keep) * freq / s["factor"]
    return freq


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [N, H, D], rotated by the angles of its position. Dimension i pairs with i + D/2, as Hugging Face stores it."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


def rows_of(parts: dict[str, int], name: str) -> slice:
    """The rows of a part in the stacked weight. Raises KeyError."""
    start = 0
    for part, rows in parts.items():
        if part == name:
            return slice(start, start + rows)
        start += rows
    raise KeyError(name)


def copy_into(target: Tensor, tensor: Tensor) -> None:
    """Raises ValueError for shapes that differ, and for integers, which only a quantised checkpoint stores."""
    if target.is_floating_point() and not tensor.is_floating_point():
        raise ValueError(
            f"has type {str(tensor.dtype).removeprefix('torch.')}: quantised checkpoints are not supported"
        )
    if target.shape != tensor.shape:
        raise ValueError(f"shape {list(tensor.shape)} instead of {list(target.shape)}")
    target.copy_(tensor)
