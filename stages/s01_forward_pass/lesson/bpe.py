"""Byte-level byte-pair encoding by hand: text to token ids and back.

Three steps: a pattern splits text into words, a word becomes bytes, and learned merges join neighbouring
bytes into tokens. Reading a tokenizer.json is in `bpe_file`, learning the merges in `bpe_train`.

Merges: Sennrich et al. 2016, "Neural machine translation of rare words with subword units", section 3.2.
Bytes instead of characters: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from unicodedata import normalize

import regex  # type: ignore[import-untyped]  # Python's re has no \p{L}

from common.errors import UserError

# A word keeps the space before it; letters, digits and other signs never share a word. Of several
# white-space characters, the last goes to the word that follows. What counts as a letter is decided by the
# Unicode tables of `regex`; a letter that is newer than those of tokenizers is split differently there.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Pair = tuple[bytes, bytes]


def byte_alphabet() -> dict[int, str]:
    """A visible character for each of the 256 bytes, as tokenizer files and our tables show them.

    Printable Latin-1 stands for itself. The other 68 bytes are numbered from U+0100 on, so that a
    space (the 33rd of them) becomes "Ġ" and a line feed "Ċ".
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)) - set(visible))
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


ALPHABET = byte_alphabet()


def show(token: bytes) -> str:
    """A token in the visible alphabet: b" cat" is "Ġcat"."""
    return "".join(ALPHABET[byte] for byte in token)


@dataclass(frozen=True, slots=True)
class MergeStep:
    """One merge of a word: the pair that was joined, its rank (0 was learned first), and the word after it."""

    pair: Pair
    rank: int
    symbols: tuple[bytes, ...]


@dataclass(slots=True)
class BPE:
    """A trained byte-level BPE.

    vocab maps each token's bytes to its id, ranks each mergeable pair to its place in the list of merges.
    special maps the tokens that are found in text before anything else ("<|endoftext|>") to their ids;
    those in special_normalized are looked for after `nfc`, the others before, as tokenizer.json has it.
    """

    vocab: dict[bytes, int]
    ranks: dict[Pair, int]
    special: dict[str, int] = field(default_factory=dict)
    special_normalized: dict[str, int] = field(default_factory=dict)
    patterns: tuple[str, ...] = (GPT2_PATTERN,)
    add_prefix_space: bool = False
    nfc: bool = False
    ignore_merges: bool = False  # a word that is a token as a whole is taken as it is
    _bytes: dict[int, bytes] = field(init=False, repr=False)
    _words: dict[bytes, list[int]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._bytes = {id: token for token, id in self.vocab.items()}
        self._bytes |= {id: text.encode() for text, id in (self.special | self.special_normalized).items()}

    def encode(self, text: str) -> list[int]:
        """Text to token ids, without the BOS that a model may want. Raises UserError for a lone surrogate."""
        ids: list[int] = []
        for plain, special in split_special(text, self.special):
            plain = normalize("NFC", plain) if self.nfc else plain
            for words, special_normalized in split_special(plain, self.special_normalized):
                for word in self.words(words):
                    ids += self.encode_word(to_bytes(word))
                ids += special_normalized
            ids += special
        return ids

    def words(self, text: str) -> list[str]:
        """Text split by the pattern into words, which merges never cross."""
        if self.add_prefix_space and text and not text.startswith(" "):
            text = " " + text
        words = [text]
        for pattern in self.patterns:
            words = [piece for word in words for piece in isolate(pattern, word)]
        return words

    def encode_word(self, word: bytes) -> list[int]:
        """One word's token ids. Words recur, so the last few thousand are remembered."""
        if word not in self._words:
            whole = self.ignore_merges and word in self.vocab
            ids = [self.vocab[symbol] for symbol in ([word] if whole else merge(word, self.ranks))]
            if len(self._words) >= 10_000:
                self._words.clear()
            self._words[word] = ids
        return self._words[word]

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text; bytes that are not UTF-8 become U+FFFD. Raises UserError for an unknown id."""
        return b"".join(self.token(id) for id in ids).decode("utf-8", errors="replace")

    def token(self, id: int) -> bytes:
        """The bytes of a token."""
        if id not in self._bytes:
            raise UserError(f"token id {id} is not in the vocabulary of {len(self._bytes)} tokens")
        return self._bytes[id]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token in the visible alphabet."""
        return [show(self.token(id)) for id in ids]

    def steps(self, word: str) -> Iterator[MergeStep]:
        """The merges of one word, in order: the rule as stated, which looks at all pairs in every step."""
        symbols = [bytes([byte]) for byte in to_bytes(word)]
        while pairs := [(self.ranks[p], i) for i, p in enumerate(pairwise(symbols)) if p in self.ranks]:
            rank, i = min(pairs)  # the pair learned first; if it occurs twice, the left one
            pair = symbols[i], symbols[i + 1]
            symbols[i : i + 2] = [pair[0] + pair[1]]
            yield MergeStep(pair, rank, tuple(symbols))


def merge(word: bytes, ranks: dict[Pair, int]) -> list[bytes]:
    """Joins the neighbours with the lowest rank until no pair is left: the rule of `BPE.steps` in O(n log n).

    A heap holds the pairs that can be joined, `after` and `before` link the symbols that are still there.
    """
    symbols = [bytes([byte]) for byte in word]
    after, before = list(range(1, len(word) + 1)), list(range(-1, len(word)))
    heap: list[tuple[int, int, bytes, bytes]] = []

    def propose(i: int) -> None:
        if i >= 0 and after[i] < len(word):
            pair = symbols[i], symbols[after[i]]
            if pair in ranks:
                heapq.heappush(heap, (ranks[pair], i, *pair))

    for i in range(len(word)):
        propose(i)
    while heap:
        _, i, left, right = heapq.heappop(heap)
        j = after[i]
        if symbols[i] != left or j >= len(word) or symbols[j] != right:
            continue  # one of the two has been joined with another neighbour since
        symbols[i], symbols[j] = left + right, b""
        after[i] = after[j]
        before[after[j]] = i
        propose(before[i])
        propose(i)
    return [symbol for symbol in symbols if symbol]


def isolate(pattern: str, text: str) -> Iterator[str]:
    """The matches of a pattern and the text between them, in order; joined, they are the whole text."""
    end = 0
    for match in regex.finditer(pattern, text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield match.group()
        end = match.end()
    if end < len(text):
        yield text[end:]


def split_special(text: str, special: dict[str, int]) -> Iterator[tuple[str, list[int]]]:
    """Text before each special token and that token's id ([] after the last). The longest token wins."""
    end = 0
    if special:
        tokens = "|".join(regex.escape(token) for token in sorted(special, key=len, reverse=True))
        for match in regex.finditer(tokens, text):
            yield text[end : match.start()], [special[match.group()]]
            end = match.end()
    yield text[end:], []


def to_bytes(text: str) -> bytes:
    """UTF-8, or a UserError for half of a surrogate pair, which is not a character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"text holds the lone surrogate U+{ord(text[error.start]):04X} and cannot be encoded"
        ) from None
