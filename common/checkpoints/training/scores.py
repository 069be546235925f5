"""How good a checkpoint is: loss and perplexity on texts, and how often a draft's proposals are accepted.

All of it runs on CPU or GPU, at whatever dtype the model has. The numbers in the model card come from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.tokenizer import Tokenizer

from .batched import generate, run
from .shapes import END, END_OF_TEXT
from .text import IGNORE


@torch.no_grad()
def loss_on(model: Any, inputs: Tensor, targets: Tensor, rows: int = 16) -> float:
    """Mean cross entropy in nats per target, over all rows. inputs and targets [R, T]."""
    device = model.device
    total, count = 0.0, 0
    for some, wanted in zip(inputs.split(rows), targets.split(rows), strict=True):
        logits = model.logits(run(model, some.to(device)).flatten(0, 1)).float()
        wanted = wanted.flatten().to(device)
        total += float(F.cross_entropy(logits, wanted, ignore_index=IGNORE, reduction="sum"))
        count += int((wanted != IGNORE).sum())
    return total / max(count, 1)


def perplexity(model: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Each text by itself, from <|endoftext|> to <|endoftext|>, no longer than the context."""
    loss, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([END_OF_TEXT, *tokenizer.encode(text), END_OF_TEXT])[None]
        loss += loss_on(model, ids[:, :-1], ids[:, 1:]) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    size = sum(len(text.encode()) for text in texts)
    return {
        "perplexity": math.exp(loss / tokens),
        "bits_per_byte": loss / math.log(2) / size,
        "tokens": tokens,
    }


@torch.no_grad()
def agreement(target: Any, draft: Any, inputs: Tensor, rows: int = 16) -> float:
    """How often the two models' likeliest next tokens are the same, on given text [R, T]."""
    device = next(target.parameters()).device
    same = [best(target, some) == best(draft, some) for some in inputs.to(device).split(rows)]
    return float(torch.cat(same).float().mean())


def best(model: Any, tokens: Tensor) -> Tensor:
    """The likeliest next token at every position: [B, T] -> [B, T]."""
    return model.logits(run(model, tokens).flatten(0, 1)).argmax(dim=-1).view_as(tokens)


@torch.no_grad()
def acceptance(
    target: Any, draft: Any, prompts: Sequence[list[int]], new: int, proposals: int = 4
) -> dict[str, float]:
    """Greedy speculative decoding of `new` tokens after each prompt, counted and not timed.

    Accepted proposals are the target's own greedy tokens, so all that matters is where the draft, reading the
    target's text, agrees: one forward pass of the draft over it tells everything.

    Returns:
        rate: accepted of all proposed tokens; per_step: tokens that one pass of the target yields, its own included.
    """
    accepted = steps = made = 0
    device = next(target.parameters()).device
    for prompt, text in zip(prompts, generate(target, prompts, new, eos=(END_OF_TEXT, END)), strict=True):
        guesses = best(draft, torch.tensor([prompt + text], device=device))[0, len(prompt) - 1 : -1].tolist()
        agree = [guess == token for guess, token in zip(guesses, text, strict=True)]
        at = 0
        while at + proposals <= len(text):  # whole steps only: the end of a text would cut proposals off
            run_length = [*agree[at : at + proposals], False].index(False)
            accepted, steps, made = accepted + run_length, steps + 1, made + run_length + 1
            at += run_length + 1
    return {"rate": accepted / max(1, steps * proposals), "per_step": made / max(1, steps)}


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
