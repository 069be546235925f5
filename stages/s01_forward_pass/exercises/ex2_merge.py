"""Exercise 2: the rule of byte-pair encoding.

A word starts as single bytes. Of all pairs of neighbours that are in the table of merges, the one with the lowest
rank is joined; if the same pair occurs twice, the one further left. This is repeated until no pair is in the table.
 `make stage-01 ARGS='--word princess'` shows it at work.

`.venv/bin/python -m pytest stages/s01_forward_pass/exercises/test_ex2_merge.py` checks your function.
"""

from __future__ import annotations


def merge_word(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """The tokens of a word.

    ranks: (left, right) -> rank; 0 was learned first. With {(b"l", b"o"): 0, (b"lo", b"w"): 1} the word
    b"slow" becomes [b"s", b"low"].
    """
    raise NotImplementedError("write merge_word")
