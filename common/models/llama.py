"""Llama 2 and 3 (Touvron et al., 2023; Grattafiori et al., 2024) over a flat list of N tokens.

Tokens meet in one place only, `attend`. Everything else works on each token alone, so nothing here knows about requests,
batches, caches or padding. Shapes: N tokens, Hq query heads, Hkv key/value heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from common.fields import Fields

from .config import ModelConfig, Rope, finish, read_decoder, read_rope
from .layers import Embedding, GatedMLP, LayerInfo, Linear, RMSNorm, Rotary, Target, rotate
from .model import Attend


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig(ModelConfig):
    rope: Rope
    attention_bias: bool
    mlp_bias: bool

    @classmethod
    def from_fields(cls, fields: Fields) -> LlamaConfig:
        """Raises UserError for a key that is missing, unknown, of a wrong type or not supported."""
        sizes = read_decoder(fields)
        fields.choice("hidden_act", ("silu",), "silu")
        rope, bias = read_rope(fields, sizes["max_positions"]), fields.flag("mlp_bias", False)
        return cls(**sizes, rope=rope, mlp_bias=bias, **finish(fields))


class Attention(nn.Module):
    """Project to queries, keys and values; rotate by position; attend; project back."""

    def __init__(self, config: LlamaConfig, index: int):
        super().__init__()
        d = config.head_dim
        self.info = LayerInfo(index, d**-0.5, None, config.num_heads, config.num_kv_heads, d)
        parts = {"q": config.num_heads * d, "k": config.num_kv_heads * d, "v": config.num_kv_heads * d}
        self.qkv = Linear(config.hidden_size, parts, config.attention_bias)
        self.o = Linear(config.num_heads * d, {"o": config.hidden_size}, config.attention_bias)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        i = self.info
        qk, v = self.heads(x)
        q, k = rotate(qk, *rope).split((i.num_heads, i.num_kv_heads), dim=1)
        out = attend(i, q, k, v)  # [N, Hq, D]
        return self.o(out.flatten(1))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, hidden] -> queries and keys [N, Hq + Hkv, D], values [N, Hkv, D].

        Queries and keys stay in one tensor because both are rotated: half as many GPU kernels as rotating each by itself.
        """
        i = self.info
        qkv = self.qkv(x).unflatten(1, (-1, i.head_dim))
        qk, v = qkv.split((i.num_heads + i.num_kv_heads, i.num_kv_heads), dim=1)
        return qk, v


class Block(nn.Module):
    """Normalise, attend, add; normalise, transform, add."""

    attention: type[Attention] = Attention

    def __init__(self, config: LlamaConfig, index: int):
        super().__init__()
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attn = self.attention(config, index)
        self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, "silu", config.mlp_bias)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        x = x + self.attn(self.attn_norm(x), rope, attend)
        return x + self.mlp(self.mlp_norm(x))


class Blocks(nn.Module):
    def __init__(self, config: LlamaConfig, block: type[Block]):
        super().__init__()
        self.rotary = Rotary(config.rope, config.head_dim)
        self.layers = nn.ModuleList(block(config, i) for i in range(config.num_layers))

    def forward(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        rope = self.rotary(positions, x.dtype)  # once for all layers
        for layer in self.layers:
            x = layer(x, rope, attend)
        return x


class Llama(nn.Module):
    """tokens [N], positions [N] -> hidden states [N, hidden_size]."""

    Config: type[ModelConfig] = LlamaConfig
    block: type[Block] = Block
    prefix = "model."  # of checkpoint names
    float16_overflows = False
    ignored: tuple[str, ...] = (r".*\.rotary_emb\.inv_freq",)  # tensors in old files that are computed here

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = Blocks(config, self.block)
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = Linear(config.hidden_size, {"head": config.vocab_size})
        if config.tie_word_embeddings:
            self.head.weight = self.embed.weight
        self.weight_map = weight_map(self)

    @property
    def layers_info(self) -> list[LayerInfo]:
        return [layer.attn.info for layer in self.blocks.layers]

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return self.norm(self.blocks(self.embed(tokens), positions, attend))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [R, hidden_size] -> [R, vocab_size]."""
        return self.head(hidden)


def weight_map(model: Llama, norms: dict[str, str] | None = None) -> dict[str, list[Target]]:
    """Which checkpoint tensor fills which module. norms: checkpoint name -> our name, for the norms of a layer."""
    head = Target("head", parts=model.head.parts)
    names = {"model.embed_tokens.weight": [Target("embed")], "model.norm.weight": [Target("norm")]}
    if model.config.tie_word_embeddings:
        names["model.embed_tokens.weight"].append(head)
    else:
        names["lm_head.weight"] = [head]
    norms = norms or {"input_layernorm": "attn_norm", "post_attention_layernorm": "mlp_norm"}
    for i, layer in enumerate(model.blocks.layers):
        theirs, ours = f"model.layers.{i}.", f"blocks.layers.{i}."
        names |= {f"{theirs}{a}.weight": [Target(ours + b)] for a, b in norms.items()}
        for group, module in (
            ("self_attn", "attn.qkv"),
            ("self_attn", "attn.o"),
            ("mlp", "mlp.gate_up"),
            ("mlp", "mlp.down"),
        ):
            linear = layer.get_submodule(module)
            for part, rows in linear.parts.items():
                for kind in ("weight", "bias") if linear.bias is not None else ("weight",):
                    names[f"{theirs}{group}.{part}_proj.{kind}"] = [Target(ours + module, kind, {part: rows})]
    return names
