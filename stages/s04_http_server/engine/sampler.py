"""What a request may ask for: how many tokens, and what ends them."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import UserError


@dataclass(frozen=True, slots=True)
class SamplingParams:
    max_tokens: int | None = 16  # None: up to the end of the window
    stop: tuple[str, ...] = ()  # strings that end the text and are not part of it
    ignore_eos: bool = False  # continue after the model's end token: for benchmarks

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UserError(f"max_tokens = {self.max_tokens}, but must be at least 1")
        if not all(self.stop):
            raise UserError("stop: a stop string must not be empty")
