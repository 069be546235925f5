"""How large a cache is: the formula, the real object, and published models at three lengths.

The objects for published shapes are on the meta device: same class, same shapes, no memory.
"""

from __future__ import annotations

from typing import Any

import torch

from common.bench.shapes import PUBLISHED, published
from common.models import LayerInfo, new_model
from common.terminal.console import facts, note, table

from ..engine.kv_cache import KVCache

LENGTHS = (1024, 8192, 131072)
META = torch.device("meta")


def formula(layers: list[LayerInfo], tokens: int, itemsize: int) -> int:
    """2 * L * Hkv * D * T * itemsize: a key and a value per layer, head, dimension and token."""
    first = layers[0]
    return 2 * len(layers) * first.num_kv_heads * first.head_dim * tokens * itemsize


def show_cache(cache: KVCache, layers: list[LayerInfo]) -> bool:
    """Shows the formula with this model's numbers next to the object's own count. Returns whether they agree."""
    size, first = cache.k[0].element_size(), layers[0]
    expected = formula(layers, cache.capacity, size)
    facts({
        "formula": "2 (K and V) x layers x KV heads x head size x tokens x bytes per number",
        "this model": f"2 x {len(layers)} x {first.num_kv_heads} x {first.head_dim} x {cache.capacity} x {size} = {expected:,} bytes",
        "the object": f"{cache.nbytes:,} bytes",
        "per token": f"{cache.nbytes // cache.capacity:,} bytes",
    })  # fmt: skip
    return cache.nbytes == expected


def show_published() -> bool:
    """Shows published shapes in bfloat16. Returns whether every cache agrees with the formula."""
    rows, agree = [], True
    for name in PUBLISHED:
        config = published(name)
        layers = layers_of(config)
        caches = [KVCache(layers, tokens, META, torch.bfloat16) for tokens in LENGTHS]
        agree &= all(cache.nbytes == formula(layers, cache.capacity, 2) for cache in caches)
        sizes = [
            readable(cache.nbytes) + ("*" if cache.capacity > config.max_positions else "")
            for cache in caches
        ]
        heads = f"{config.num_kv_heads} of {config.num_heads}"
        rows.append(
            [name, config.num_layers, heads, config.head_dim, readable(caches[0].nbytes // 1024), *sizes]
        )
    lengths = [f"{n // 1024}k" for n in LENGTHS]
    lengths[0] += " tokens"
    table(None, ["bfloat16", "layers", "KV heads", "head dim", "per token", *lengths], rows)
    note("* longer than the model's window: what it would need.")
    return agree


def layers_of(config: Any) -> list[LayerInfo]:
    with torch.device("meta"):
        return new_model(config).layers_info


def readable(count: int) -> str:
    """Bytes in units of 1024: 36,864 is 36 KiB."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:,.3g} {units[0]}" if size < 1000 else f"{size:,.0f} {units[0]}"
