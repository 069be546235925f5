"""Solution of exercise 2."""

from __future__ import annotations

from itertools import pairwise


def merge_word(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    symbols = [bytes([byte]) for byte in word]
    while len(symbols) > 1:
        pairs = list(pairwise(symbols))
        best = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], len(ranks)))  # the leftmost of equals
        if pairs[best] not in ranks:
            break
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
    return symbols
