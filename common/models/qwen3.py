"""Qwen 3 (Yang et al., 2025): Llama, with a norm on every query and key head and an independent head size.

The norm keeps attention scores from growing during training (Henry et al., 2020). The biases that Qwen 2 had on its projections
are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.fields import Fields

from . import llama
from .config import ModelConfig, finish, read_decoder, read_rope, read_windows
from .layers import LayerInfo, RMSNorm, Target
from .llama import Llama, LlamaConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3Config(LlamaConfig):
    windows: tuple[int | None, ...]  # of each layer

    @classmethod
    def from_fields(cls, fields: Fields) -> Qwen3Config:
        """Raises UserError for a key that is missing, unknown, of a wrong type or not supported."""
        sizes = read_decoder(fields, head_dim=128, num_key_value_heads=32, max_position_embeddings=32768)
        fields.choice("hidden_act", ("silu",), "silu")
        rope, n = read_rope(fields, sizes["max_positions"]), sizes["num_layers"]
        window, first = (
            fields.integer("sliding_window", None),
            fields.integer("max_window_layers", 28, least=0),
        )
        # Files without `layer_types` have windows from layer `max_window_layers` on.
        kinds = ["full_attention" if i < first or window is None else "sliding_attention" for i in range(n)]
        windows = read_windows(fields, n, window, kinds)
        if not fields.flag("use_sliding_window", False):
            windows = (None,) * n
        return cls(**sizes, rope=rope, mlp_bias=False, windows=windows, **finish(fields))


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
