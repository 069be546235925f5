"""Greedy tokens of the shipped checkpoints as transformers writes them: a reference outside every engine of the course.

An engine that is compared with itself, batched against alone, agrees even where both are wrong. These tokens were
recorded once, so that a test need not wait for transformers: `python -m tests.parity.record` writes them.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from common.loader import CHECKPOINTS

__all__ = ["FAMILIES", "RECORDED", "Reference", "references"]

RECORDED = CHECKPOINTS / "reference_tokens.json"
# The smallest shipped checkpoint of each family. Gemma 3's looks back over 128 tokens in five layers of six.
FAMILIES = {
    "gpt2": "storyteller-draft",
    "llama": "storyteller-llama",
    "qwen3": "storyteller-qwen3",
    "gemma3": "storyteller-gemma3",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A prompt and the tokens that follow it. An end token among them is a token like any other."""

    prompt: list[int]
    tokens: list[int]


@functools.cache
def references(family: str, file: Path = RECORDED) -> tuple[Reference, ...]:
    """Those of one family, by length of the prompt: from one token to far past Gemma 3's window.

    No token is a near tie (`common.equality`), so in float32 every correct engine writes exactly these.
    """
    recorded = json.loads(file.read_text(encoding="utf-8"))
    text = recorded["text"]
    return tuple(
        Reference(text[one["start"] : one["start"] + one["length"]], one["tokens"])
        for one in recorded["families"][family]
    )
