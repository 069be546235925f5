"""One text under one preset: its tokens as they come, and how uncertain each draw was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.tokenizer import Tokenizer

from .. import engine
from .distribution import distribution, draw_after, entropy


@dataclass(frozen=True, slots=True)
class Scene:
    """A prompt, and the engine that continues it."""

    model: Any
    tokenizer: Tokenizer
    prompt: list[int]
    max_tokens: int
    eos_ids: tuple[int, ...]

    def tokens(self, params: Any) -> Iterator[Any]:
        """The engine's tokens. Raises UserError, at the call, for what cannot be generated."""
        return engine.generate(
            self.model, self.prompt, self.max_tokens, params=params, eos_ids=self.eos_ids, tokenizer=self.tokenizer
        )  # fmt: skip

    def text(self, params: Any) -> tuple[list[int], str]:
        """All tokens, and their text."""
        made = list(self.tokens(params))
        return [one.id for one in made], "".join(one.text for one in made)


@dataclass(slots=True)
class Run:
    """What a preset wrote. `model` and `drawn` hold, for each step, the entropy of the model's own distribution and
    of the one that was drawn from, in nats; `left` how many tokens could have been drawn."""

    params: Any
    text: str = ""
    ids: list[int] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    def follow(self, scene: Scene) -> Iterator[None]:
        """Writes the text, one token at a time."""
        for token in scene.tokens(self.params):
            before = [*scene.prompt, *self.ids]
            chances = distribution(token.logits, draw_after(self.params, before, len(scene.prompt)))
            self.model.append(entropy(token.logits.float().softmax(-1)))
            self.drawn.append(entropy(chances))
            self.left.append(int((chances > 0).sum()))
            self.ids.append(token.id)
            self.text += token.text
            yield


def repeated(tokens: Sequence[int]) -> float:
    """The share of groups of four tokens that repeat an earlier group."""
    fours = list(zip(*(tokens[i:] for i in range(4)), strict=False))
    return 1 - len(set(fours)) / len(fours) if fours else 0.0
