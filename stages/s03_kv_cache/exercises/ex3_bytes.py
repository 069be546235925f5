"""Exercise 3: from a model's `config.json` to the bytes of its cache, before anything is loaded.

A token leaves a key and a value of head_dim numbers in each KV head of each layer. Fill in the three functions;
`.venv/bin/python -m pytest stages/s03_kv_cache/exercises/test_ex3_bytes.py` checks them, with published models.
"""

from __future__ import annotations

from typing import Any


def bytes_per_token(config: dict[str, Any], itemsize: int) -> int:
    """Bytes that one token adds to the cache. itemsize: bytes of one number, 2 for bfloat16.

    config: has num_hidden_layers, num_attention_heads and hidden_size. If num_key_value_heads is missing, there are as many
    as attention heads; if head_dim is missing, hidden_size is divided evenly among the heads.
    """
    raise NotImplementedError("count the numbers, times their size")


def cache_bytes(config: dict[str, Any], tokens: int, itemsize: int) -> int:
    """Bytes for a text of `tokens`, if a layer with a sliding window keeps no more than its window.

    config: may have layer_types, a list with "sliding_attention" or "full_attention" for each layer, and then sliding_window.
    """
    raise NotImplementedError("add up the layers")


def tokens_that_fit(config: dict[str, Any], budget: int, itemsize: int) -> int:
    """The longest text whose cache fits into `budget` bytes; every layer keeps the whole text."""
    raise NotImplementedError("divide")
