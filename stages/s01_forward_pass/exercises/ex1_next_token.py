"""Exercise 1: from the last row of logits to the likeliest next tokens.

A logit is a score without a unit. Softmax makes the scores of the whole vocabulary probabilities:

    p_i = exp(x_i) / sum_j exp(x_j)

Fill in the two functions. `pytest stages/s01_forward_pass/exercises/test_ex1_next_token.py` checks them.
"""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """logits [V] -> probabilities [V] in the same dtype, summing to 1.

    exp(100) does not fit a float32, and real logits may be larger than that. The same number may be taken off all
    logits without changing the result (why?): which one makes every exp fit? A logit of -inf is a forbidden token.
    """
    raise NotImplementedError("write softmax")


def top_k(probabilities: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The k likeliest tokens as (id, probability), the likeliest first; of equally likely ones the lower id first.

    All tokens if there are fewer than k. Take care: np.argsort counts upwards, and keeps no order among equals
    unless it is told to.
    """
    raise NotImplementedError("write top_k")
