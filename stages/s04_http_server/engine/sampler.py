"""What a request may ask for: how many tokens, and what ends them."""

from __future__ import annotations

from dataclasses import dataclass

from common.options import Options, option, strings


@dataclass(frozen=True, slots=True)
class SamplingParams(Options):
    max_tokens: int | None = option(16, "None: up to the end of the window", least=1)
    stop: tuple[str, ...] = ()  # strings that end the text and are not part of it
    ignore_eos: bool = option(False, "continue after the model's end token: for benchmarks")

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        object.__setattr__(self, "stop", strings("stop", self.stop))
