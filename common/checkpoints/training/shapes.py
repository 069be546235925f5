"""The five shipped models: their `config.json`, and how each is trained.

Sizes are chosen so that all weights together stay under 45 MB in bf16, and widths so that they divide well: head sizes
are powers of two, inner sizes multiples of 64, heads even in number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

CONTEXT = 1024
VOCABULARY = 4096
SPECIAL = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")  # ids 0 .. 4
END_OF_TEXT, USER, ASSISTANT, SYSTEM, END = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one checkpoint is made. `share` weighs its part of the time; `steps` are the most it is given."""

    name: str
    config: dict[str, Any]
    share: float
    lr: float
    rows: int  # texts of 1024 tokens in a step
    steps: int
    dropout: float = 0.0
    teacher: str | None = None  # distilled from this checkpoint


def _common(architecture: str, model_type: str) -> dict[str, Any]:
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": VOCABULARY, "tie_word_embeddings": True,
            "bos_token_id": END_OF_TEXT, "eos_token_id": END_OF_TEXT, "pad_token_id": END_OF_TEXT}  # fmt: skip


def gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": CONTEXT}
    more = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    return _common("GPT2LMHeadModel", "gpt2") | sizes | more


def gated(
    architecture: str, model_type: str, width: int, layers: int, heads: int, kv_heads: int, head_dim: int, inner: int
) -> dict[str, Any]:  # fmt: skip
    """What Llama and its descendants share."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
             "head_dim": head_dim, "intermediate_size": inner, "max_position_embeddings": CONTEXT}  # fmt: skip
    more = {"rms_norm_eps": 1e-6, "attention_bias": False}
    return _common(architecture, model_type) | sizes | more


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


LLAMA = gated("LlamaForCausalLM", "llama", 192, 4, 6, 2, 32, 448) | {
    "hidden_act": "silu", "mlp_bias": False, "rope_parameters": _rope(1e4)}  # fmt: skip
QWEN3 = gated("Qwen3ForCausalLM", "qwen3", 128, 6, 4, 2, 64, 384) | {
    "hidden_act": "silu", "rope_parameters": _rope(1e6)}  # fmt: skip
GEMMA3 = gated("Gemma3ForCausalLM", "gemma3_text", 128, 6, 4, 1, 64, 384) | {
    "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64, "sliding_window": 128,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    "rope_parameters": {"full_attention": _rope(1e6), "sliding_attention": _rope(1e4)}}  # fmt: skip

RECIPES = (
    Recipe(name="storyteller", config=gpt2(384, 6, 6), share=7.5, lr=1.5e-3, rows=64, steps=3500, dropout=0.15),
    Recipe(name="storyteller-draft", config=gpt2(128, 2, 4), share=4.5, lr=3e-3, rows=32, steps=12000, teacher="storyteller"),
    Recipe(name="storyteller-llama", config=LLAMA, share=2, lr=3e-3, rows=32, steps=6000),
    Recipe(name="storyteller-qwen3", config=QWEN3, share=2.2, lr=3e-3, rows=32, steps=6000),
    Recipe(name="storyteller-gemma3", config=GEMMA3, share=2.4, lr=3e-3, rows=32, steps=6000),
)  # fmt: skip


def tiny(recipe: Recipe) -> Recipe:
    """The same family at a size that a smoke test trains on a CPU in a second."""
    small = {"n_embd": 64, "n_layer": 2, "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 16, "intermediate_size": 64,
             "n_head": 4, "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
    config = {key: small.get(key, value) for key, value in recipe.config.items()}
    if "num_attention_heads" in config:
        config |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    return replace(recipe, config=config, rows=2)
