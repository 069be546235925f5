"""Qwen 3 (Yang et al., 2025): Llama, with a norm on every query and key head and a head size of its own.

The norm keeps attention scores from growing during training (Henry et al., 2020), so the biases that Qwen 2 had
on its projections are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import config as read
from . import llama
from .config import ModelConfig
from .layers import LayerInfo, RMSNorm, Target
from .llama import Llama, LlamaConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3Config(LlamaConfig):
    windows: tuple[int | None, ...]  # of each layer

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Qwen3Config:
        """Raises UserError where a key is missing, unknown or not supported."""
        used = [*llama.USED, "layer_types", "sliding_window", "use_sliding_window", "max_window_layers"]
        read.check_keys(raw, used, only={"hidden_act": "silu"})
        return cls(**llama.common_fields(raw), mlp_bias=False, windows=windows(raw))


def windows(raw: dict[str, Any]) -> tuple[int | None, ...]:
    """The window of each layer: from `layer_types`, or, in older files, from `max_window_layers` on."""
    n, window = read.need(raw, "num_hidden_layers"), raw.get("sliding_window")
    if not raw.get("use_sliding_window"):
        return (None,) * n
    default = [
        "full_attention" if i < raw.get("max_window_layers", n) else "sliding_attention" for i in range(n)
    ]
    return read.layer_windows(raw.get("layer_types") or default, n, window)


class Attention(llama.Attention):
    def __init__(self, config: Qwen3Config, index: int):
        super().__init__(config, index)
        i = self.info
        self.info = LayerInfo(index, i.scale, config.windows[index], i.num_heads, i.num_kv_heads, i.head_dim)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        i = self.info
        qk, v = super().heads(x)
        q, k = qk.split((i.num_heads, i.num_kv_heads), dim=1)
        return torch.cat((self.q_norm(q), self.k_norm(k)), dim=1), v


class Block(llama.Block):
    attention = Attention


class Qwen3(Llama):
    """tokens [N], positions [N] -> hidden states [N, hidden_size]."""

    Config: type[ModelConfig] = Qwen3Config
    block = Block

    def __init__(self, config: Qwen3Config):
        super().__init__(config)
        for i in range(config.num_layers):
            for norm in ("q_norm", "k_norm"):
                self.weight_map[f"model.layers.{i}.self_attn.{norm}.weight"] = [
                    Target(f"blocks.layers.{i}.attn.{norm}")
                ]
