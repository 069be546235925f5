"""Solution of exercise 1."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())  # exp(x - m) / sum exp(x - m): exp(-m) cancels
    return powers / powers.sum()


def top_k(probabilities: np.ndarray, k: int) -> list[tuple[int, float]]:
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(int(i), float(probabilities[i])) for i in order]
