"""Solution of exercise 3."""

from __future__ import annotations

from typing import Any


def bytes_per_token(config: dict[str, Any], itemsize: int) -> int:
    return int(config["num_hidden_layers"]) * layer_bytes(config, itemsize)


def cache_bytes(config: dict[str, Any], tokens: int, itemsize: int) -> int:
    kinds = config.get("layer_types") or ["full_attention"] * config["num_hidden_layers"]
    kept = [
        min(tokens, config["sliding_window"]) if kind == "sliding_attention" else tokens for kind in kinds
    ]
    return sum(kept) * layer_bytes(config, itemsize)


def tokens_that_fit(config: dict[str, Any], budget: int, itemsize: int) -> int:
    return budget // bytes_per_token(config, itemsize)


def layer_bytes(config: dict[str, Any], itemsize: int) -> int:
    """A key and a value of one token in one layer."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return int(2 * kv_heads * head_dim * itemsize)
