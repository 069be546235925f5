"""Tells which request each token of a step belongs to, from tokens and positions alone.

From outside, a batch is a flat list of tokens with positions. Each request's text is known, so a share of
the list is recognised by what the text has at those positions.
"""

from __future__ import annotations

UNKNOWN = "pad"  # tokens of no request's text: padding, or a mistake that looks like it


class Ledger:
    """The text of each request, and how much of it has been seen."""

    def __init__(self) -> None:
        self.texts: dict[str, list[int]] = {}
        self.next: dict[str, int] = {}  # position after the last one computed

    def add(self, name: str, tokens: list[int]) -> None:
        self.texts[name], self.next[name] = list(tokens), 0

    def extend(self, name: str, tokens: list[int]) -> None:
        """The request gained tokens."""
        self.texts[name] += tokens

    def remove(self, name: str) -> None:
        """The request is finished: its last token never runs, and must not be mistaken for another request's."""
        del self.texts[name], self.next[name]

    def whose(self, tokens: list[int], positions: list[int]) -> list[tuple[str, int, int]]:
        """tokens and positions [N] of a step -> (request, start, end) of each share, in order."""
        shares: list[tuple[str, int, int]] = []
        at = 0
        while at < len(tokens):
            name = self._owner(tokens[at], positions[at], {share[0] for share in shares})
            end = at + 1
            while end < len(tokens) and self._continues(name, tokens, positions, end):
                end += 1
            shares.append((name, at, end))
            if name != UNKNOWN:
                self.next[name] = positions[end - 1] + 1
            at = end
        return shares

    def _owner(self, token: int, position: int, busy: set[str]) -> str:
        """The request whose text has this token there; where several do, the one whose turn it is."""
        idle = [name for name in self.texts if name not in busy]
        fits = [name for name in idle if self._has(name, token, position)]
        expected = [name for name in fits if self.next[name] == position]
        # A wrong position must not hide who ran: then the token that was due tells.
        due = [name for name in idle if self._has(name, token, self.next[name])]
        return next(iter([*expected, *fits, *due]), UNKNOWN)

    def _continues(self, name: str, tokens: list[int], positions: list[int], at: int) -> bool:
        if name == UNKNOWN:
            return self._owner(tokens[at], positions[at], set()) == UNKNOWN
        return positions[at] == positions[at - 1] + 1 and self._has(name, tokens[at], positions[at])

    def _has(self, name: str, token: int, position: int) -> bool:
        text = self.texts[name]
        return 0 <= position < len(text) and text[position] == token
