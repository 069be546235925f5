"""GPT-2 in NumPy: one pass from token ids to logits, every formula written out, weights straight from the file.

Shapes: N tokens, C channels (hidden_size), H heads, D = C / H numbers per head, V words in the vocabulary.
Weights of a linear layer are stored [in, out], so a layer is x @ W + b.

Radford et al. 2019, "Language models are unsupervised multitask learners"; the block is that of Vaswani et al. 2017,
"Attention is all you need", with the norms moved in front of each half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.loader import load_config
from common.models import ModelConfig

from .tensors import read_weights

Array = np.ndarray
Trace = dict[str, Array]  # what the model held after "embedding", "layer 0" ..., "final norm", "logits"


@dataclass(slots=True)
class NumpyGPT2:
    """Calling it with token ids [N] gives the hidden states [N, C] after each layer and the logits [N, V]."""

    weights: dict[str, Array]
    config: ModelConfig

    @classmethod
    def from_folder(cls, folder: str | Path) -> NumpyGPT2:
        """Raises UserError if the folder holds another kind of model."""
        config = load_config(Path(folder))
        if config.model_type != "gpt2":
            raise UserError(f"{folder} holds a {config.model_type} model, not gpt2")
        return cls(read_weights(folder, prefix="transformer."), config)

    def __call__(self, tokens: Sequence[int]) -> Trace:
        w = self.weights
        N = len(tokens)
        check_tokens(tokens, self.config)
        x = w["wte.weight"][tokens] + w["wpe.weight"][:N]  # [N, C]: which token it is, and where it is
        trace = {"embedding": x}
        for i in range(self.config.num_layers):
            x = x + self.attention(f"h.{i}.attn", self.norm(f"h.{i}.ln_1", x))  # [N, C]
            x = x + self.mlp(f"h.{i}.mlp", self.norm(f"h.{i}.ln_2", x))  # [N, C]
            trace[f"layer {i}"] = x
        trace["final norm"] = self.norm("ln_f", x)  # [N, C]
        head = w["wte.weight"] if self.config.tie_word_embeddings else w["lm_head.weight"]  # [V, C]
        trace["logits"] = trace["final norm"] @ head.T  # [N, V]: how well each token fits next
        return trace

    def norm(self, name: str, x: Array) -> Array:
        """LayerNorm: each token's channels are brought to mean 0 and variance 1, then scaled and shifted."""
        mean = x.mean(-1, keepdims=True)  # [N, 1]
        variance = x.var(-1, keepdims=True)  # [N, 1]
        normal = (x - mean) / np.sqrt(variance + self.config.norm_eps)  # [N, C]
        return normal * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, name: str, x: Array) -> Array:
        """Each token looks at itself and at those before it, in H ways at once."""
        qkv = self.linear(f"{name}.c_attn", x)  # [N, 3C]
        # [H, N, D] each
        q, k, v = (split_heads(part, self.config.num_heads) for part in np.split(qkv, 3, axis=-1))
        return self.linear(f"{name}.c_proj", join_heads(causal_attention(q, k, v)))  # [N, C]

    def mlp(self, name: str, x: Array) -> Array:
        """Each token by itself: four times wider, bent, and back."""
        # [N, C] -> [N, 4C] -> [N, C]
        return self.linear(f"{name}.c_proj", gelu(self.linear(f"{name}.c_fc", x)))

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def causal_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(Q K^T / sqrt(D) + mask) V for each head; q, k, v [H, N, D] -> [H, N, D]."""
    N, D = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(D))  # [H, N, N]: how much token i wants of token j
    future = np.triu(np.ones((N, N), dtype=bool), k=1)  # [N, N]: j > i
    return softmax(np.where(future, np.float32(-np.inf), scores)) @ v


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis. The largest is subtracted first, so that exp cannot overflow."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def gelu(x: Array) -> Array:
    """GELU in its tanh form (Hendrycks and Gimpel 2016, section 2)."""
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))


def split_heads(x: Array, heads: int) -> Array:
    """[N, H * D] -> [H, N, D]."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def join_heads(x: Array) -> Array:
    """[H, N, D] -> [N, H * D]."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def check_tokens(tokens: Sequence[int], config: ModelConfig) -> None:
    """Raises UserError for a prompt that is empty or too long, or that holds an unknown token."""
    if not 0 < len(tokens) <= config.max_positions:
        raise UserError(
            f"the prompt is {len(tokens)} tokens long; this model takes 1 to {config.max_positions}"
        )
    if unknown := [token for token in tokens if not 0 <= token < config.vocab_size]:
        raise UserError(f"token id {unknown[0]} is outside the vocabulary of {config.vocab_size}")
