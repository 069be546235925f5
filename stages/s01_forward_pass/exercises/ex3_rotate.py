"""Exercise 3: rotary position embedding.

GPT-2 adds a learned vector for each position. Llama turns queries and keys instead: a head of D numbers is D / 2
pairs, pair d is (x[d], x[d + D / 2]), and at position p it is turned by the angle p * theta ** (-2 * d / D):

    a' = a cos - b sin        b' = b cos + a sin

The dot product of two turned vectors then depends only on how far apart they are.

`.venv/bin/python -m pytest stages/s01_forward_pass/exercises/test_ex3_rotate.py` checks your function.
"""

from __future__ import annotations

import numpy as np


def rotate(x: np.ndarray, positions: np.ndarray, theta: float = 10000.0) -> np.ndarray:
    """x [N, D] with D even, positions [N] -> [N, D]: row n is turned by the angles of its position."""
    raise NotImplementedError("write rotate")
