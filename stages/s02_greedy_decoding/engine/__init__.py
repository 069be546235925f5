"""The engine: an `attend` for a model to call, and the loop that turns its logits into text."""

from .attention import CausalAttention
from .generate import Token, generate

__all__ = ["CausalAttention", "Token", "generate"]
