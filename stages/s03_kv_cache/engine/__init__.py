"""The engine: an `attend` that remembers, and the loop that turns a model's logits into text."""

from .attention import CachedAttention
from .generate import Token, generate
from .kv_cache import KVCache

__all__ = ["CachedAttention", "KVCache", "Token", "generate"]
