"""Solution of exercise 2."""

from __future__ import annotations


def tiles(first: int, last: int, size: int, window: int | None) -> tuple[list[int], list[int]]:
    work, unmasked = [], []
    for tile in range(last // size + 1):
        low, high = tile * size, (tile + 1) * size - 1
        # The first query looks furthest back.
        if window is not None and high <= first - window:
            continue
        work.append(tile)
        if high <= first and (window is None or low > last - window):
            unmasked.append(tile)
    return work, unmasked
