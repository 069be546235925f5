"""The token loop: run the model over the new tokens, draw the next one, repeat.

It knows nothing about terminals or requests. The caller gets each token as soon as it is chosen, and ends the loop by
not asking for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.models import Model, ModelConfig
from common.tokenizer import Tokenizer

from .attention import CachedAttention
from .kv_cache import KVCache
from .sampler import Draw, Sampling, SamplingParams, TokenCounts, noise_key, sample
from .text import TextStream


@dataclass(frozen=True, slots=True)
class Token:
    """The outcome of one step."""

    id: int
    text: str  # may be empty: half a character, or the possible beginning of a stop string
    logits: Tensor  # [vocab_size], what the token was chosen from
    finish_reason: str | None = None  # on the last token: "stop" (end token, stop string) or "length"


def generate(
    model: Model,
    tokens: Sequence[int],
    max_new_tokens: int,
    *,
    params: SamplingParams | None = None,
    eos_ids: Sequence[int] = (),
    stop: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
) -> Iterator[Token]:
    """Decoding, greedy unless `params` say otherwise.

    Args:
        tokens: the prompt, at least one token.
        max_new_tokens: maximum number of tokens to add; with the prompt they must fit into the model's window.
        params: how to draw; its limits and stops are left to the caller.
        eos_ids: tokens that end the text. The one that does is yielded with empty text.
        stop: strings that end the text; they and what follows never appear in a `text`.
        tokenizer: turns tokens into `text`; needed for `stop`.

    Returns:
        an iterator over the new tokens; the last one carries the finish reason.

    Raises:
        UserError: an empty prompt or unknown tokens, nothing to add, a window too small, stop strings without a tokenizer.
    """
    check(tokens, max_new_tokens, model.config)
    if stop and (tokenizer is None or not all(stop)):
        raise UserError("stop strings need a tokenizer, and none of them may be empty")
    params = params or SamplingParams()
    so_far = Continuation(params, noise_key(params), TokenCounts(params, tokens), list(tokens))
    return loop(model, so_far, max_new_tokens, eos_ids, TextStream(tokenizer, stop, tokens))


@dataclass(slots=True)
class Continuation:
    """A text that is being continued, and what the sampler needs to know about it."""

    params: SamplingParams
    noise_key: int
    counts: TokenCounts
    tokens: list[int]

    def add(self, token: int) -> None:
        self.tokens.append(token)
        self.counts.add(token)


def check(tokens: Sequence[int], max_new_tokens: int, config: ModelConfig) -> None:
    """Raises UserError, with the numbers, if the request cannot be served."""
    if not tokens:
        raise UserError("the prompt is empty: give at least one token")
    if unknown := [token for token in tokens if not 0 <= token < config.vocab_size]:
        raise UserError(
            f"token {unknown[0]} is not in the vocabulary, whose ids go from 0 to {config.vocab_size - 1}"
        )
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}, but must be at least 1")
    if (total := len(tokens) + max_new_tokens) > config.max_positions:
        raise UserError(
            f"{len(tokens)} prompt tokens and {max_new_tokens} new ones make {total}, "
            f"but the model's window is {config.max_positions} tokens"
        )


@torch.inference_mode()
def loop(
    model: Model, so_far: Continuation, max_new_tokens: int, eos_ids: Sequence[int], text: TextStream
) -> Iterator[Token]:
    tokens = so_far.tokens
    cache = KVCache(model.layers_info, len(tokens) + max_new_tokens, model.device, model.dtype)
    attend = CachedAttention(cache)
    for left in reversed(range(max_new_tokens)):
        logits = forward(model, tokens, attend)
        token = draw(so_far, logits)
        so_far.add(token)
        tokens = [token]  # the only one that the cache does not hold yet
        if token in eos_ids:
            yield Token(token, text.flush(), logits, "stop")
            return
        piece = text.push(token)
        if not left:
            piece += text.flush()
        reason = "stop" if text.stopped else "length" if not left else None
        yield Token(token, piece, logits, reason)
        if reason:
            return


def draw(so_far: Continuation, logits: Tensor) -> int:
    """The next token. Raises RuntimeError if the logits [vocab_size] hold a NaN, or nothing finite."""
    draws = [Draw(so_far, position=len(so_far.tokens))]
    token = int(sample(logits[None], Sampling.build(draws, logits.device)).tokens)
    if token < 0:
        raise RuntimeError("the model's logits hold a NaN, or nothing finite: try another --dtype")
    return token


def forward(model: Model, tokens: list[int], attend: CachedAttention) -> Tensor:
    """Runs the tokens that the cache does not hold yet. Returns the logits [vocab_size] of the one that follows."""
    device = model.device
    start = attend.plan(len(tokens))
    positions = torch.arange(start, start + len(tokens), device=device)
    hidden = model(torch.tensor(tokens, device=device), positions, attend)
    return model.logits(hidden[-1:])[0]
