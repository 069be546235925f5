"""One text in four ways: the bare loop, the engine's facade, and HTTP with and without streaming, with times.

The first two run in this process, the others in the server's: the same weights, the same number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import ModuleType
from typing import Any

import httpx

from common.bench.measure import in_turns

from .. import engine as own
from .wire import payload, text_of

LABELS = {
    "loop": "bare loop",
    "engine": "Engine.stream",
    "stream": "HTTP, streamed",
    "whole": "HTTP, whole",
}
NAMES = tuple(LABELS)


@dataclass(slots=True)
class Trial:
    """One text. `seconds` are the times of its tokens, of its chunks with text, or of the whole answer."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)  # empty over HTTP, which sends text
    count: int = 0  # tokens, as the side reports them
    seconds: list[float] = field(default_factory=list)
    received: int = 0  # bytes of the answer's body

    @property
    def total(self) -> float:
        return self.seconds[-1]

    def until(self, n: int) -> float:
        """Seconds until token n; a chunk may hold the text of several tokens, so the share of chunks stands for it."""
        return self.seconds[max(0, round(n / self.count * len(self.seconds)) - 1)]


@dataclass(frozen=True, slots=True)
class Sides:
    """The same request in each way. All are greedy and continue after an end token."""

    bare: ModuleType  # the engine whose loop has no server around it
    engine: Any
    client: httpx.Client
    model: str  # as HTTP requests name it

    def run(self, name: str, prompt: Sequence[int], count: int) -> Trial:
        way: Callable[[list[int], int], Trial] = getattr(self, f"_{name}")
        return way(list(prompt), count)

    def in_turns(self, prompt: Sequence[int], count: int, repeats: int) -> dict[str, list[Trial]]:
        """Trials of all ways in turns. Raises AssertionError where one writes another text than the loop."""
        reference = self.run("loop", prompt, count)

        def run_once(name: str) -> Trial:
            trial = self.run(name, prompt, count)
            check({"loop": reference, name: trial}, count)
            return trial

        return in_turns(NAMES, repeats, run_once)

    def _loop(self, prompt: list[int], count: int) -> Trial:
        trial, start = Trial(), perf_counter()
        for token in self.bare.generate(self.engine.model, prompt, count, tokenizer=self.engine.tokenizer):
            trial.seconds.append(perf_counter() - start)
            trial.tokens.append(token.id)
            trial.text += token.text
        trial.count = len(trial.tokens)
        return trial

    def _engine(self, prompt: list[int], count: int) -> Trial:
        trial, start = Trial(), perf_counter()
        for output in self.engine.stream(prompt, own.SamplingParams(count, ignore_eos=True)):
            trial.seconds.append(perf_counter() - start)
            trial.tokens += output.tokens
            trial.text += output.text
        trial.count = len(trial.tokens)
        return trial

    def _stream(self, prompt: list[int], count: int) -> Trial:
        trial, body = Trial(), self.body(prompt, count)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        start = perf_counter()
        with self.client.stream("POST", "/v1/completions", json=body) as answer:
            refused(answer)
            for line in answer.iter_lines():
                at = perf_counter() - start
                trial.received += len(line.encode()) + 1
                chunk = payload(line)
                if chunk and chunk["choices"]:
                    trial.seconds.append(at)
                    trial.text += text_of(chunk)
                elif chunk:
                    trial.count = chunk["usage"]["completion_tokens"]
        return trial

    def _whole(self, prompt: list[int], count: int) -> Trial:
        start = perf_counter()
        answer = self.client.post("/v1/completions", json=self.body(prompt, count))
        refused(answer)
        body = answer.json()
        seconds = [perf_counter() - start]
        text, used = body["choices"][0]["text"], body["usage"]["completion_tokens"]
        return Trial(text, count=used, seconds=seconds, received=len(answer.content))

    def body(self, prompt: list[int], count: int) -> dict[str, Any]:
        return {"model": self.model, "prompt": prompt, "max_tokens": count, "ignore_eos": True}


def refused(answer: httpx.Response) -> None:
    """Raises httpx.HTTPStatusError with the server's words."""
    if answer.is_error:
        answer.read()
        message = json.loads(answer.text)["error"]["message"]
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)


def check(trials: dict[str, Trial], count: int) -> None:
    """All ways gave the same text. Raises AssertionError naming the first that did not."""
    reference = trials["loop"]
    for name, trial in trials.items():
        if trial.text != reference.text or trial.count != count:
            raise AssertionError(f"{name}: {trial.count} tokens {trial.text!r}, the loop {reference.text!r}")
        if trial.tokens and trial.tokens != reference.tokens:
            raise AssertionError(f"{name}: other tokens than the loop's")
