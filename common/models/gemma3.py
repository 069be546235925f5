"""Gemma 3, text only (Gemma Team, 2025): local and global layers, four norms per block, GeGLU, scaled embeddings.

Five layers in six see only a window of the last tokens and have their own RoPE (base 10,000); every sixth layer sees all tokens
(base 1,000,000). Each half of a block has a norm before and after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.fields import Fields

from . import llama
from .config import ModelConfig, Rope, finish, read_decoder, read_windows, rope_of
from .layers import Embedding, GatedMLP, LayerInfo, Linear, RMSNorm, Rotary, Target
from .model import Attend


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemma3Config(ModelConfig):
    rope: Rope  # of global layers
    local_rope: Rope
    attention_bias: bool
    windows: tuple[int | None, ...]  # of each layer
    scale: float  # of attention scores

    @classmethod
    def from_fields(cls, fields: Fields) -> Gemma3Config:
        """Raises UserError for a key that is unknown, of a wrong type or not supported. All sizes have a default."""
        sizes = read_decoder(fields, **SIZES)
        fields.choice("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        global_rope, local_rope = read_ropes(fields, sizes["max_positions"])
        n, every = sizes["num_layers"], fields.integer("sliding_window_pattern", 6)
        kinds = ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(n)]
        return cls(
            **sizes,
            rope=global_rope,
            local_rope=local_rope,
            windows=read_windows(fields, n, fields.integer("sliding_window", 4096), kinds),
            scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
            **finish(
                fields,
                "_sliding_window_pattern",
                hidden_act="gelu_pytorch_tanh",
                use_bidirectional_attention=False,
            ),
        )


SIZES: dict[str, Any] = {
    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip


def read_ropes(fields: Fields, max_positions: int) -> tuple[Rope, Rope]:
    """(of global layers, of local ones): older files scale the global one only, newer ones name both."""
    theta, local_theta = fields.number("rope_theta", 1e6), fields.number("rope_local_base_freq", 1e4)
    older, newer = fields.object("rope_scaling"), fields.object("rope_parameters")
    far, near = (newer.object(key) if newer else None for key in ("full_attention", "sliding_attention"))
    if newer:
        newer.done()
    rope = rope_of(far, theta, max_positions)
    if older:
        rope = rope_of(older, rope.theta, max_positions)
    return rope, rope_of(near, local_theta, max_positions)


class Norm(RMSNorm):
    """RMSNorm whose checkpoint stores the weight minus one; computed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, 1.0 + self.weight.float(), self.eps).to(x.dtype)


class Attention(llama.Attention):
    def __init__(self, config: Gemma3Config, index: int):
        super().__init__(config, index)  # type: ignore[arg-type]  # it has every field that Llama's attention reads
        i = self.info
        self.info = LayerInfo(
            index, config.scale, config.windows[index], i.num_heads, i.num_kv_heads, i.head_dim
        )
        self.q_norm = Norm(config.head_dim, config.norm_eps)
        self.k_norm = Norm(config.head_dim, config.norm_eps)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        i = self.info
        qk, v = super().heads(x)
        q, k = qk.split((i.num_heads, i.num_kv_heads), dim=1)
        return torch.cat((self.q_norm(q), self.k_norm(k)), dim=1), v


class Block(nn.Module):
    """Each half is normalised before and after ("sandwich norms")."""

    def __init__(self, config: Gemma3Config, index: int):
        super().__init__()
        size, eps = config.hidden_size, config.norm_eps
        self.attn_norm, self.attn_post_norm = Norm(size, eps), Norm(size, eps)
        self.attn = Attention(config, index)
        self.mlp_norm, self.mlp_post_norm = Norm(size, eps), Norm(size, eps)
        self.mlp = GatedMLP(size, config.intermediate_size, "gelu")

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        x = x + self.attn_post_norm(self.attn(self.attn_norm(x), rope, attend))
        return x + self.mlp_post_norm(self.mlp(self.mlp_norm(x)))


class Blocks(nn.Module):
    def __init__(self, config: Gemma3Config):
        super().__init__()
        self.rotary = Rotary(config.rope, config.head_dim)
        self.local_rotary = Rotary(config.local_rope, config.head_dim)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_layers))

    def forward(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        rope, local_rope = self.rotary(positions, x.dtype), self.local_rotary(positions, x.dtype)
        for layer in self.layers:
            x = layer(x, rope if layer.attn.info.window is None else local_rope, attend)
        return x


class Gemma3(nn.Module):
    """tokens [N], positions [N] -> hidden states [N, hidden_size]."""

    Config: type[ModelConfig] = Gemma3Config
    prefix = "model."
    ignored = llama.Llama.ignored
    float16_overflows = True

    def __init__(self, config: Gemma3Config):
        super().__init__()
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size, scale=config.hidden_size**0.5)
        self.blocks = Blocks(config)
        self.norm = Norm(config.hidden_size, config.norm_eps)
        self.head = Linear(config.hidden_size, {"head": config.vocab_size})
        if config.tie_word_embeddings:
            self.head.weight = self.embed.weight
        norms = {"input_layernorm": "attn_norm", "post_attention_layernorm": "attn_post_norm",
                 "pre_feedforward_layernorm": "mlp_norm", "post_feedforward_layernorm": "mlp_post_norm",
                 "self_attn.q_norm": "attn.q_norm", "self_attn.k_norm": "attn.k_norm"}  # fmt: skip
        self.weight_map: dict[str, list[Target]] = llama.weight_map(self, norms)  # type: ignore[arg-type]

    @property
    def layers_info(self) -> list[LayerInfo]:
        return [layer.attn.info for layer in self.blocks.layers]

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return self.norm(self.blocks(self.embed(tokens), positions, attend))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [R, hidden_size] -> [R, vocab_size]."""
        return self.head(hidden)
