"""Three prompts of 3, 5 and 9 tokens, 4 new tokens each. The second and third share a block; the third comes late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from common.errors import UserError

MODEL = "storyteller-draft"
BLOCK_SIZE = 4
NEW_TOKENS = 4
LATE_STEP = 3  # where requests run together, C arrives after this many steps
TEXTS = {
    "A": ("Once upon a time", 3),
    "B": ("There was once a king who had a daughter", 5),
    "C": ("There was once a poor woodcutter who lived in a great forest with his wife", 9),
}


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    tokens: tuple[int, ...]
    arrives: int = 0  # after this many steps


@dataclass(frozen=True, slots=True)
class Scenario:
    """What runs, and on which model (fp32 on the CPU, so that every machine sees the same tokens)."""

    model: Any
    requests: tuple[Request, ...]
    tokenizer: Any = None
    title: str = ""
    new_tokens: int = NEW_TOKENS
    block_size: int = BLOCK_SIZE

    def text(self, tokens: Sequence[int]) -> str:
        """What the tokens say; "" without a tokenizer."""
        return self.tokenizer.decode(list(tokens), skip_special=False) if self.tokenizer else ""


def shipped(name: str = MODEL) -> Scenario:
    """The scenario on a checkpoint. Raises UserError where there is none of that name."""
    from common.loader import load_model

    model, tokenizer, _ = load_model(name, device="cpu", dtype="float32")
    prompts = {}
    for who, (text, count) in TEXTS.items():
        tokens = tokenizer.encode(text, special=False)
        if len(tokens) < count:
            raise UserError(
                f"{name}: prompt {who} has {len(tokens)} tokens in this vocabulary, {count} are needed"
            )
        prompts[who] = tokens[:count]
    return Scenario(model, requests(prompts), tokenizer, name)


def requests(prompts: dict[str, list[int]]) -> tuple[Request, ...]:
    """The last one of several comes late."""
    last = list(prompts)[-1] if len(prompts) > 1 else None
    return tuple(Request(who, tuple(ids), LATE_STEP if who == last else 0) for who, ids in prompts.items())


def random_scenario(seed: int = 0, vocab: int = 97) -> Scenario:
    """The same lengths on a tiny GPT-2 with random weights, for tests of the tools."""
    from common.loader import build_model
    from common.models import read_config

    raw: dict[str, Any] = {
        "model_type": "gpt2",
        "vocab_size": vocab,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
    }
    raw["tie_word_embeddings"] = False  # tied and untrained, a model would only repeat its last token
    model = build_model(read_config(raw), seed=seed)
    ids = torch.randint(0, vocab, (17,), generator=torch.Generator().manual_seed(seed)).tolist()
    prompts = {"A": ids[:3], "B": ids[3:8], "C": ids[3:7] + ids[8:13]}
    return Scenario(model, requests(prompts), None, f"a random GPT-2, seed {seed}")
