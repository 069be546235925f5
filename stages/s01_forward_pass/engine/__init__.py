"""The engine: an `attend` for a model to call. `model(tokens, positions, attend)` does the rest."""

from .attention import CausalAttention

__all__ = ["CausalAttention"]
