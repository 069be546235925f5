"""Exercise 2: which tiles can be skipped?

A step has queries at positions `first` to `last`. Keys come in tiles: tile i holds positions i * size to (i + 1) * size - 1. A
tile needs no work if no query may look at any of its keys, because they are all in the future or outside every query's
window (which counts the query itself). A tile needs no mask if every query may look at every key in it.

Fill in the function. `.venv/bin/python -m pytest stages/s09_flash_attention/exercises/test_ex2_tiles.py` checks it.
"""

from __future__ import annotations


def tiles(first: int, last: int, size: int, window: int | None) -> tuple[list[int], list[int]]:
    """Returns (the tiles that need work, those among them that need no mask), both in ascending order."""
    raise NotImplementedError("compare the first and last key of a tile with the first and last query")
