"""How a generation is shown: one step with its candidates, and outcomes side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.text import Text
from torch import Tensor

from common.terminal.console import Candidate, candidates, piece, show, table
from common.tokenizer import Tokenizer

from .outcome import Outcome

if TYPE_CHECKING:  # shown and timed is whatever a token loop yields
    from ..engine import Token


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token's text; its vocabulary entry if it has no text of its own (part of a character)."""
    entry = tokenizer.pieces([token])[0]
    if entry.startswith("▁"):
        return entry.replace("▁", " ")  # decoded alone, the space would be dropped
    text = tokenizer.decode([token], skip_special=False)
    return entry if not text or "\ufffd" in text else text


def top(tokenizer: Tokenizer, logits: Tensor, count: int = 5) -> list[Candidate]:
    """The likeliest next tokens. logits: [vocab_size]."""
    best = logits.float().softmax(-1).topk(min(count, len(logits)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Candidate(token_text(tokenizer, token), token, p) for token, p in pairs]


def show_step(number: int, tokenizer: Tokenizer, token: Token, seconds: float) -> None:
    """Shows one step: what was chosen, from which five, in how many milliseconds."""
    ends = f", ends the text ({token.finish_reason})" if token.finish_reason else ""
    title = f"step {number}: {piece(token_text(tokenizer, token.id))}  {1000 * seconds:.1f} ms{ends}"
    rows = top(tokenizer, token.logits)
    chosen = next((i for i, row in enumerate(rows) if row.token_id == token.id), None)  # not 0 among equals
    show(Text(title, style="bold"), candidates(rows, chosen), "")


def show_outcomes(outcomes: Mapping[str, Outcome], prompt_tokens: int) -> None:
    """Shows texts and statistics, one column each."""
    sides = list(outcomes.values())
    rates = [f"{side.rate:,.1f}" if side.rate else "-" for side in sides]
    rows: list[tuple[object, ...]] = [
        ("prompt tokens", *[prompt_tokens for _ in sides]),
        ("new tokens", *[len(side.tokens) for side in sides]),
        ("total tokens", *[prompt_tokens + len(side.tokens) for side in sides]),
        ("prefill, s (until the first token)", *[f"{side.prefill:.3f}" for side in sides]),
        ("tokens/s after that", *rates),
        ("finish reason", *[side.finish_reason for side in sides]),
        ("text", *[side.text.strip() for side in sides]),
    ]
    table(None, ["", *outcomes], rows)
