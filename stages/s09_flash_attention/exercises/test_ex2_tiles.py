"""Checks exercise 2."""

from __future__ import annotations

import pytest

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


@pytest.mark.parametrize("window", [None, 1, 3, 8, 9, 20])
@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 7), (0, 30), (13, 13), (16, 23), (5, 40), (24, 24)])
@pytest.mark.parametrize("size", [1, 4, 8])
def test_tiles_are_those_that_a_mask_would_show(first, last, size, window):
    def sees(query, key):
        return key <= query and (window is None or query - key < window)

    work, unmasked = [], []
    for tile in range(last // size + 1):
        pairs = [
            sees(query, key)
            for query in range(first, last + 1)
            for key in range(tile * size, (tile + 1) * size)
        ]
        if any(pairs):
            work.append(tile)
        if all(pairs):
            unmasked.append(tile)
    assert exercise.tiles(first, last, size, window) == (work, unmasked)
