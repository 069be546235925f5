"""Llama in NumPy: what changed since GPT-2, by hand. RMSNorm, rotary positions, grouped heads, SwiGLU.

Shapes: N tokens, C channels (hidden_size), Hq query heads, Hkv key/value heads, D numbers per head, F the width of
the MLP, V words. Weights of a linear layer are stored [out, in], so a layer is x @ W.T; there is no bias.

Touvron et al. 2023, "LLaMA: Open and efficient foundation language models", section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.loader import load_config
from common.models.llama import LlamaConfig

from .numpy_gpt2 import Array, Trace, causal_attention, check_tokens, join_heads, split_heads
from .tensors import read_weights


@dataclass(slots=True)
class NumpyLlama:
    """Calling it with token ids [N] gives the hidden states [N, C] after each layer and the logits [N, V]."""

    weights: dict[str, Array]
    config: LlamaConfig

    @classmethod
    def from_folder(cls, folder: str | Path) -> NumpyLlama:
        """Raises UserError if the folder holds another kind of model, or uses an option that is not written out here."""
        config = load_config(Path(folder))
        if not isinstance(config, LlamaConfig) or config.model_type != "llama":
            raise UserError(f"{folder} holds a {config.model_type} model, not llama")
        if config.rope.kind != "default" or config.attention_bias or config.mlp_bias:
            raise UserError(f"{folder} uses scaled RoPE or biases, which the NumPy Llama leaves out")
        return cls(read_weights(folder, prefix="model."), config)

    def __call__(self, tokens: Sequence[int]) -> Trace:
        w = self.weights
        check_tokens(tokens, self.config)
        x = w["embed_tokens.weight"][tokens]  # [N, C]: which token it is; where it is comes in with the heads
        trace = {"embedding": x}
        for i in range(self.config.num_layers):
            x = x + self.attention(f"layers.{i}.self_attn", self.norm(f"layers.{i}.input_layernorm", x))
            x = x + self.mlp(f"layers.{i}.mlp", self.norm(f"layers.{i}.post_attention_layernorm", x))
            trace[f"layer {i}"] = x
        trace["final norm"] = self.norm("norm", x)  # [N, C]
        head = w["embed_tokens.weight"] if self.config.tie_word_embeddings else w["lm_head.weight"]  # [V, C]
        trace["logits"] = trace["final norm"] @ head.T  # [N, V]
        return trace

    def norm(self, name: str, x: Array) -> Array:
        """RMSNorm: divided by the root of the mean square; no mean is subtracted, and there is no bias (Zhang and Sennrich 2019)."""
        mean_square = (x * x).mean(-1, keepdims=True)  # [N, 1]
        return x / np.sqrt(mean_square + np.float32(self.config.norm_eps)) * self.weights[f"{name}.weight"]

    def attention(self, name: str, x: Array) -> Array:
        """GPT-2's attention, with positions in the rotation of q and k, and with fewer heads for k and v."""
        Hq, Hkv = self.config.num_heads, self.config.num_kv_heads
        q = split_heads(self.linear(f"{name}.q_proj", x), Hq)  # [Hq, N, D]
        k = split_heads(self.linear(f"{name}.k_proj", x), Hkv)  # [Hkv, N, D]
        v = split_heads(self.linear(f"{name}.v_proj", x), Hkv)  # [Hkv, N, D]
        cos, sin = rotations(len(x), self.config.head_dim, self.config.rope.theta)  # [N, D] each
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        # Grouped-query attention: Hq / Hkv neighbouring query heads share one key/value head (Ainslie et al. 2023).
        k, v = np.repeat(k, Hq // Hkv, axis=0), np.repeat(v, Hq // Hkv, axis=0)  # [Hq, N, D]
        return self.linear(f"{name}.o_proj", join_heads(causal_attention(q, k, v)))  # [N, C]

    def mlp(self, name: str, x: Array) -> Array:
        """SwiGLU: one projection decides how much of the other passes (Shazeer 2020)."""
        gate, up = self.linear(f"{name}.gate_proj", x), self.linear(f"{name}.up_proj", x)  # [N, F] each
        return self.linear(f"{name}.down_proj", silu(gate) * up)  # [N, C]

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T


def rotations(N: int, D: int, theta: float) -> tuple[Array, Array]:
    """Cosine and sine of each token's angles, [N, D]: pair d of a head turns by position / theta^(2d / D).

    Su et al. 2021, "RoFormer: Enhanced transformer with rotary position embedding", section 3.2.2.
    """
    frequencies = theta ** -(np.arange(0, D, 2) / D)  # [D / 2], from one radian a token down to almost none
    angles = np.outer(np.arange(N), frequencies)  # [N, D / 2]
    angles = np.concatenate([angles, angles], axis=-1)  # [N, D]: a pair is (d, d + D / 2), both turn alike
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn every pair (a, b) of a head by its angle: (a cos - b sin, b cos + a sin). x [H, N, D] -> [H, N, D].

    The paper pairs neighbours (0, 1), (2, 3); published Llama weights are ordered for halves, (0, D / 2), (1, D / 2 + 1).
    """
    a, b = np.split(x, 2, axis=-1)  # [H, N, D / 2] each
    return x * cos + np.concatenate([-b, a], axis=-1) * sin


def silu(x: Array) -> Array:
    """x * sigmoid(x), with the sigmoid as a tanh, which cannot overflow."""
    return x * (0.5 + 0.5 * np.tanh(0.5 * x))
