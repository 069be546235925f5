"""What a generation produced, and when. The same record for our loop and for the black box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # timed is whatever a token loop yields
    from ..engine import Token


@dataclass(slots=True)
class Outcome:
    """New tokens, without the prompt. seconds: of each, since the previous token; the first is the prefill."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None

    def add(self, token: Token, seconds: float) -> None:
        self.tokens.append(token.id)
        self.seconds.append(seconds)
        self.text += token.text
        self.finish_reason = token.finish_reason

    @property
    def prefill(self) -> float:
        """Seconds until the first token."""
        return self.seconds[0]

    @property
    def rate(self) -> float | None:
        """Tokens per second after the first token; None if there is no second one."""
        rest = self.seconds[1:]
        return len(rest) / sum(rest) if rest else None


def timed(tokens: Iterator[Token]) -> Iterator[tuple[Token, float]]:
    """Each token with the seconds it took to make. What the caller does between two tokens does not count."""
    while True:
        start = perf_counter()
        token = next(tokens, None)
        if token is None:
            return
        yield token, perf_counter() - start


def collect(tokens: Iterator[Token]) -> Outcome:
    """Runs a generation to its end."""
    outcome = Outcome()
    for token, seconds in timed(tokens):
        outcome.add(token, seconds)
    return outcome
