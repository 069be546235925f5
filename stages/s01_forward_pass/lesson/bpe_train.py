"""Learns byte-pair merges from a text: count all neighbouring pairs, join the most frequent, count again.

Recounting after each merge would read the text thousands of times. Instead words are counted once, and a
merge visits only the words that hold its pair, so learning 4,000 merges costs little more than the first hundred.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import regex  # type: ignore[import-untyped]

from common.errors import UserError

from .bpe import ALPHABET, BPE, GPT2_PATTERN, to_bytes


def train(text: str, vocab_size: int, special: Sequence[str] = (), min_count: int = 2) -> BPE:
    """A BPE of at most vocab_size tokens: the special ones first, then the 256 bytes, then one per merge.

    Stops early when no pair occurs min_count times. Of equally frequent pairs, the one with the lower ids
    is taken, which makes the result the same on every machine. Raises UserError if vocab_size is too small.
    """
    if vocab_size < 256 + len(special):
        raise UserError(f"vocab_size is {vocab_size}; 256 bytes and {len(special)} special tokens need more")
    learner = Learner(text, special)
    merges: list[tuple[bytes, bytes]] = []
    while len(learner.tokens) < vocab_size and (pair := learner.best(min_count)):
        merges.append((learner.tokens[pair[0]], learner.tokens[pair[1]]))
        learner.join(pair)
    vocab = {token: id for id, token in enumerate(learner.tokens) if id >= len(special)}
    return BPE(
        vocab,
        {pair: rank for rank, pair in enumerate(merges)},
        {token: id for id, token in enumerate(special)},
    )


class Learner:
    """The state while merges are learned: words as lists of token ids, and where each pair occurs."""

    def __init__(self, text: str, special: Sequence[str]) -> None:
        order = sorted(ALPHABET, key=lambda byte: ALPHABET[byte])  # the order of the visible characters
        self.tokens = [token.encode() for token in special] + [bytes([byte]) for byte in order]
        self.ids = {token: id for id, token in enumerate(self.tokens) if id >= len(special)}
        counts = Counter(plain_words(text, special))
        self.counts = list(counts.values())
        self.words = [[self.ids[bytes([byte])] for byte in to_bytes(word)] for word in counts]
        self.pair_counts: Counter[tuple[int, int]] = Counter()
        self.where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        self.heap: list[tuple[int, tuple[int, int]]] = []
        for index in range(len(self.words)):
            self.count(index, +1)
        self.propose(self.pair_counts)

    def count(self, index: int, sign: int) -> set[tuple[int, int]]:
        """Adds a word's pairs to the counts, or takes them away. Returns the pairs."""
        word = self.words[index]
        pairs = list(pairwise(word))
        for pair in pairs:
            self.pair_counts[pair] += sign * self.counts[index]
            self.where[pair].add(index)
        return set(pairs)

    def propose(self, pairs: Counter[tuple[int, int]] | set[tuple[int, int]]) -> None:
        for pair in pairs:
            heapq.heappush(self.heap, (-self.pair_counts[pair], pair))

    def best(self, min_count: int) -> tuple[int, int] | None:
        """The most frequent pair, or None. A heap entry whose count has changed is skipped: there is a newer one."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if -count == self.pair_counts[pair] and -count >= min_count:
                return pair
        return None

    def join(self, pair: tuple[int, int]) -> None:
        """Makes the pair one token, in every word that contains it."""
        token = self.tokens[pair[0]] + self.tokens[pair[1]]
        if token not in self.ids:  # two pairs may spell the same token: "a"+"bc" and "ab"+"c"
            self.ids[token] = len(self.tokens)
            self.tokens.append(token)
        changed: set[tuple[int, int]] = set()
        for index in self.where.pop(pair):
            changed |= self.count(index, -1)
            self.words[index] = join_pair(self.words[index], pair, self.ids[token])
            changed |= self.count(index, +1)
        self.propose({p for p in changed if self.pair_counts[p] > 0})


def join_pair(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The word with each occurrence of the pair replaced, from the left: a a a with (a, a) is aa a."""
    joined: list[int] = []
    for id in word:
        if joined and (joined[-1], id) == pair:
            joined[-1] = new
        else:
            joined.append(id)
    return joined


def plain_words(text: str, special: Sequence[str]) -> list[str]:
    """The words of a text with the special tokens left out."""
    parts = regex.split("|".join(map(regex.escape, special)), text) if special else [text]
    return [word for part in parts for word in regex.findall(GPT2_PATTERN, part)]
