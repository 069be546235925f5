"""Many streaming clients at once, and whether a text is one that its request may give.

A text is right if it is its solo run's. Where it is not, it may still be a near tie (`common.equality`): then it must be
the text of tokens each of which was the best for what stood before it, within the tolerance.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import torch

from common.equality import NEAR_TIE, Tally
from tests.contract.checkpoint import Checkpoint, look_back
from tests.contract.servers import PATIENCE, Server
from tests.contract.subjects import subjects

STARTS = (
    "Once upon a time",
    "The king",
    "A little fox",
    "In the great forest",
    "Grüße 🦊",
    "Then",
    "Her daughter said",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One client's request. Without a temperature above 0 it is greedy."""

    prompt: str
    max_tokens: int
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "max_tokens": self.max_tokens, "temperature": 0, **self.more}


@dataclass(slots=True)
class Answer:
    """What its client got."""

    text: str = ""
    reason: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    status: int = 0
    done: bool = False  # the stream came to its end
    seconds: float = 0.0


def asks(count: int, sampling: bool, seed: int = 0) -> list[Ask]:
    """Prompts of one word and of hundreds, limits from 1 on; every second one draws, where the server can."""
    draw, made = random.Random(seed), []
    for i in range(count):
        words = draw.choice((1, 1, 1, 4, 12))
        prompt = " and ".join([f"{draw.choice(STARTS)} {draw.randrange(99)}"] * words)
        more: dict[str, Any] = {"ignore_eos": draw.random() < 0.7}
        if sampling and i % 2:
            more |= {"temperature": draw.choice((0.6, 1.0, 1.4)), "seed": draw.randrange(2**31)}
            more |= {"top_k": 40} if i % 3 == 0 else {}
        made.append(Ask(prompt, draw.choice((1, 4, 12, 24, 48)), more))
    return made


def together(server: Server, wanted: Sequence[Ask]) -> list[Answer]:
    """All at once, each by a client that streams."""

    async def all_of_them() -> list[Answer]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=limits) as http:
            return list(await asyncio.gather(*(stream(http, server.model, ask) for ask in wanted)))

    return asyncio.run(all_of_them())


async def stream(http: httpx.AsyncClient, model: str, ask: Ask) -> Answer:
    answer, began = Answer(), time.perf_counter()
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **ask.fields}
    async with http.stream("POST", "/v1/completions", json=body) as response:
        answer.status = response.status_code
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                answer.done = True
            elif line.startswith("data: "):
                chunk = json.loads(line[6:])
                answer.usage = chunk.get("usage") or answer.usage
                for choice in chunk.get("choices", ()):
                    answer.text += choice["text"]
                    answer.reason = choice["finish_reason"] or answer.reason
    answer.seconds = time.perf_counter() - began
    return answer


def alone(server: Server, ask: Ask) -> Answer:
    """The same request with nobody else there, and not as a stream."""
    response = server.complete(**ask.fields)
    assert response.status_code == 200, response.text
    answer = response.json()
    choice = answer["choices"][0]
    return Answer(choice["text"], choice["finish_reason"], answer["usage"], 200, True)


def require_same(checkpoint: Checkpoint, ask: Ask, crowd: Answer, solo: Answer, tally: Tally) -> None:
    """Raises AssertionError where a client of a crowd got what its request does not give alone."""
    count = solo.usage["completion_tokens"]
    tally.compared += count
    assert crowd.done, f"{ask}: its stream broke off behind {crowd.text!r}"
    assert crowd.usage["prompt_tokens"] == solo.usage["prompt_tokens"] == len(checkpoint.encode(ask.prompt))
    if (crowd.text, crowd.reason, crowd.usage) == (solo.text, solo.reason, solo.usage):
        return
    assert explained(checkpoint, ask, crowd.text, crowd.usage["completion_tokens"]), (
        f"{ask}: {crowd.text!r} ({crowd.reason}, {crowd.usage}) instead of {solo.text!r} ({solo.reason}, {solo.usage})"
    )
    tally.forgiven += 1


@torch.inference_mode()
def explained(checkpoint: Checkpoint, ask: Ask, text: str, count: int) -> bool:
    """Whether `text` is `count` tokens, each of them the best behind the ones before it, or nearly."""
    prompt = checkpoint.encode(ask.prompt)
    # The token that ends a text is not shown; one that is ignored is, as any other.
    ends = set() if ask.more.get("ignore_eos") else set(checkpoint.model.config.eos_token_ids)
    paths: list[list[int]] = [[]]
    for _ in range(count):
        longer = []
        for path in paths:
            found = scores(checkpoint, ask, prompt + path)
            near = (found >= found.max() - NEAR_TIE).nonzero()[:, 0].tolist()
            longer += [[*path, t] for t in near if begins(checkpoint, [*path, t], ends, text)]
        paths = longer
    return any(shown(checkpoint, path, ends) == text for path in paths)


def shown(checkpoint: Checkpoint, tokens: Sequence[int], ends: set[int]) -> str:
    return str(checkpoint.tokenizer.decode([t for t in tokens if t not in ends]))


def begins(checkpoint: Checkpoint, tokens: Sequence[int], ends: set[int], text: str) -> bool:
    """Half a character at the end is no difference yet."""
    return text.startswith(shown(checkpoint, tokens, ends).rstrip("\ufffd"))


def scores(checkpoint: Checkpoint, ask: Ask, tokens: list[int]) -> torch.Tensor:
    """[vocab] of the next token: logits, or logits over the temperature plus noise as the first stage that draws has it."""
    hidden = checkpoint.model(torch.tensor(tokens), torch.arange(len(tokens)), look_back)
    logits = checkpoint.model.logits(hidden[-1:])[0]
    temperature = ask.more.get("temperature", 0)
    if not temperature:
        return logits
    sampler = next(s for s in subjects() if "seed" in s.capabilities).module("engine.sampler")
    key = sampler.noise_key(sampler.SamplingParams(temperature=temperature, seed=ask.more["seed"]))
    noise = sampler.gumbel(torch.tensor([[key], [len(tokens)]]), torch.arange(len(logits)))[0]
    if top_k := ask.more.get("top_k"):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    return logits / temperature + noise
