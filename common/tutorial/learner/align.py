"""Which old line stands opposite which new one inside a change, so that a reader sees what became of it.

Only the look of a diff depends on this; locks and budgets count whole hunks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["Pair", "align"]

Pair = tuple[int | None, int | None]

WORD = re.compile(r"\w+|[^\w\s]")
SIMILAR = 0.55  # share of words that two versions of one line have in common
BLANK = 0.05  # what it is worth to keep a blank line opposite a blank line
LARGEST = 20_000  # pairs to compare; beyond it lines are paired in order


def align(old: Sequence[str], new: Sequence[str]) -> list[Pair]:
    """Index pairs in order: (i, j) for two versions of a line, (i, None) removed, (None, j) added.

    Needleman and Wunsch (1970) over the similarity of lines.
    """
    if len(old) * len(new) > LARGEST:
        return _in_order(len(old), len(new))
    words = [[Counter(WORD.findall(line)) for line in side] for side in (old, new)]
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    score = [[_similarity(a, b) for b in words[1]] for a in words[0]]
    for i in range(len(old) - 1, -1, -1):
        for j in range(len(new) - 1, -1, -1):
            paired = best[i + 1][j + 1] + score[i][j] if score[i][j] else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    pairs: list[Pair] = []
    i = j = 0
    while i < len(old) and j < len(new):
        skip = best[i][j] in (best[i + 1][j], best[i][j + 1])  # a blank line waits for the line below it
        if (
            score[i][j]
            and best[i][j] == best[i + 1][j + 1] + score[i][j]
            and not (skip and score[i][j] == BLANK)
        ):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return [*pairs, *((i, None) for i in range(i, len(old))), *((None, j) for j in range(j, len(new)))]


def _in_order(old: int, new: int) -> list[Pair]:
    return [(i if i < old else None, i if i < new else None) for i in range(max(old, new))]


def _similarity(a: Counter[str], b: Counter[str]) -> float:
    """Share of common words, 0 below SIMILAR; blank lines are worth a little to each other."""
    total = a.total() + b.total()
    if not total:
        return BLANK
    share = 2 * (a & b).total() / total
    return share if share >= SIMILAR else 0.0
