"""Solution of exercise 1."""

from __future__ import annotations


def tokens_computed(prompt: int, new: int) -> int:
    return new * prompt + new * (new - 1) // 2  # P + (P + 1) + ... + (P + new - 1)


def tokens_repeated(prompt: int, new: int) -> int:
    return tokens_computed(prompt, new) - (prompt + new - 1)  # the last pass holds each of them once
