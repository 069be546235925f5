"""Published model shapes, as their `config.json` gives them: for arithmetic about real models without their weights.

Build one with random weights (`common.loader.build_model`) to time it, or on the meta device to count its bytes.
"""

from __future__ import annotations

from typing import Any

import torch

from common.loader import build_model, load_model
from common.models import ModelConfig, read_config
from common.terminal.command_line import choose

__all__ = ["PUBLISHED", "load_parts", "published"]


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    """Radford et al., 2019, table 2."""
    return {"model_type": "gpt2", "vocab_size": 50257, "n_embd": width, "n_layer": layers, "n_head": heads}


def _llama(width: int, inner: int, layers: int, stretch: float, tied: bool) -> dict[str, Any]:
    """Grattafiori et al., 2024, table 3; and the model cards of Llama 3.1 and 3.2."""
    rope = {"rope_type": "llama3", "factor": stretch, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": width // 32,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": tied,
        "rope_scaling": rope | {"original_max_position_embeddings": 8192},
    }  # fmt: skip


PUBLISHED: dict[str, dict[str, Any]] = {
    "gpt2-124m": _gpt2(768, 12, 12),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "llama-3.2-1b": _llama(2048, 8192, 16, 32.0, True),
    "llama-3.1-8b": _llama(4096, 14336, 32, 8.0, False),
    "qwen3-0.6b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 40960, "rope_theta": 1000000.0, "tie_word_embeddings": True,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
        "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256,
    },
}  # fmt: skip


def published(name: str) -> ModelConfig:
    """The config of a published shape. Raises UserError naming those there are."""
    return read_config(PUBLISHED[choose("shape", name, PUBLISHED)])


def load_parts(
    name: str, device: str | torch.device, dtype: str | torch.dtype
) -> tuple[Any, Any, ModelConfig]:
    """(model, tokenizer, config), as `load_model`; a published shape has random weights and no tokenizer (None)."""
    if name not in PUBLISHED:
        return load_model(name, device, dtype)
    shape = published(name)
    return build_model(shape, device, dtype), None, shape
