"""GPT-2 (Radford et al., 2019) over a flat list of N tokens: learned positions, LayerNorm, GELU, biases everywhere.

Tokens meet in one place only, `attend`. Shapes: N tokens, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from common.fields import Fields

from .config import ModelConfig, finish
from .layers import MLP, Embedding, LayerInfo, LayerNorm, Linear, Target
from .model import Attend


@dataclass(frozen=True, slots=True, kw_only=True)
class GPT2Config(ModelConfig):
    @classmethod
    def from_fields(cls, fields: Fields) -> GPT2Config:
        """Raises UserError for a key that is missing, unknown, of a wrong type or not supported."""
        size, heads = fields.integer("n_embd"), fields.integer("n_head")
        if size % heads:
            raise fields.error(f"n_embd {size} is not a multiple of n_head {heads}")
        fields.choice("activation_function", ("gelu_new", "gelu_pytorch_tanh"), "gelu_new")
        return cls(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=size,
            intermediate_size=fields.integer("n_inner", None) or 4 * size,
            num_layers=fields.integer("n_layer"),
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=size // heads,
            max_positions=fields.integer("n_positions", 1024),
            tie_word_embeddings=fields.flag("tie_word_embeddings", True),
            norm_eps=fields.number("layer_norm_epsilon", 1e-5),
            **finish(fields, UNUSED, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False),
        )


UNUSED = """n_ctx attn_pdrop embd_pdrop resid_pdrop reorder_and_upcast_attn summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj"""


class Attention(nn.Module):
    def __init__(self, config: GPT2Config, index: int):
        super().__init__()
        n, heads = config.hidden_size, config.num_heads
        self.info = LayerInfo(index, config.head_dim**-0.5, None, heads, heads, config.head_dim)
        self.qkv = Linear(n, {"q": n, "k": n, "v": n}, bias=True)
        self.o = Linear(n, {"o": n}, bias=True)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        i = self.info
        q, k, v = self.qkv(x).unflatten(1, (-1, i.head_dim)).split(i.num_heads, dim=1)  # each [N, H, D]
        return self.o(attend(i, q, k, v).flatten(1))


class Block(nn.Module):
    def __init__(self, config: GPT2Config, index: int):
        super().__init__()
        self.attn_norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.attn = Attention(config, index)
        self.mlp_norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        x = x + self.attn(self.attn_norm(x), attend)
        return x + self.mlp(self.mlp_norm(x))


class Blocks(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_layers))

    def forward(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        for layer in self.layers:
            x = layer(x, attend)
        return x


class GPT2(nn.Module):
    """tokens [N], positions [N] -> hidden states [N, hidden_size]."""

    Config: type[ModelConfig] = GPT2Config
    prefix = "transformer."
    float16_overflows = False
    ignored: tuple[str, ...] = (r".*\.attn\.(masked_)?bias",)  # the causal mask, stored as a buffer

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = Embedding(config.max_positions, config.hidden_size)
        self.blocks = Blocks(config)
        self.norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.head = Linear(config.hidden_size, {"head": config.vocab_size})
        if config.tie_word_embeddings:
            self.head.weight = self.embed.weight
        self.weight_map = weight_map(self)

    @property
    def layers_info(self) -> list[LayerInfo]:
        return [layer.attn.info for layer in self.blocks.layers]

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        return self.norm(self.blocks(self.embed(tokens) + self.embed_positions(positions), positions, attend))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [R, hidden_size] -> [R, vocab_size]."""
        return self.head(hidden)


def weight_map(model: GPT2) -> dict[str, list[Target]]:
    """Which checkpoint tensor fills which module. GPT-2's files hold [in, out]: its layers were convolutions of width one."""
    head = Target("head", parts=model.head.parts)
    names = {
        "transformer.wte.weight": [Target("embed")],
        "transformer.wpe.weight": [Target("embed_positions")],
    }
    if model.config.tie_word_embeddings:
        names["transformer.wte.weight"].append(head)
    else:
        names["lm_head.weight"] = [head]
    linears = {
        "attn.c_attn": "attn.qkv",
        "attn.c_proj": "attn.o",
        "mlp.c_fc": "mlp.up",
        "mlp.c_proj": "mlp.down",
    }
    for kind in ("weight", "bias"):
        names[f"transformer.ln_f.{kind}"] = [Target("norm", kind)]
        for i, layer in enumerate(model.blocks.layers):
            theirs, ours = f"transformer.h.{i}.", f"blocks.layers.{i}."
            names[f"{theirs}ln_1.{kind}"] = [Target(ours + "attn_norm", kind)]
            names[f"{theirs}ln_2.{kind}"] = [Target(ours + "mlp_norm", kind)]
            for a, b in linears.items():
                parts = layer.get_submodule(b).parts
                names[f"{theirs}{a}.{kind}"] = [Target(ours + b, kind, parts, transposed=kind == "weight")]
    return names
