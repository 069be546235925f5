"""Exercise 1: from the last row of logits to the likeliest next tokens.

A logit is a score without a unit. Softmax turns the scores of the whole vocabulary into probabilities:

    p_i = exp(x_i) / sum_j exp(x_j)

Fill in the two functions. `.venv/bin/python -m pytest stages/s01_forward_pass/exercises/test_ex1_next_token.py` checks them.
"""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """logits [V] -> probabilities [V] in the same dtype, summing to 1.

    exp(100) does not fit a float32, and real logits may be larger than that. Subtracting the same number from all
    logits does not change the result (why?). Which number makes every exp fit? A logit of -inf is a forbidden token.
    """
    raise NotImplementedError("write softmax")


def top_k(probabilities: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The k likeliest tokens as (id, probability), the likeliest first; of equally likely ones, the lower id first.

    All tokens if there are fewer than k. Take care: np.argsort sorts upwards, and does not keep the order of equals
    unless you ask for it.
    """
    raise NotImplementedError("write top_k")
