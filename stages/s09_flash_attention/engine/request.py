"""A request: what was asked for, how far it has come, and when it reached each milestone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .penalties import TokenCounts
from .sampler import SamplingParams, noise_key
from .text import TextStream


class Status(StrEnum):
    """waiting -> running -> finished, cancelled or failed; a waiting request can also be cancelled or fail."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Output:
    """What one step produced for one request. `text` is empty while a character or a possible stop string is incomplete."""

    request_id: str
    tokens: list[int]
    text: str
    finish_reason: str | None = None  # on the last output: "stop", "length", "abort" or "error"
    metrics: dict[str, float] | None = None  # on the last output
    error: str | None = None  # why the request failed


@dataclass(slots=True, eq=False)
class Request:
    """Created by the thread that calls `Engine.add`; after that only the engine's thread changes it."""

    id: str
    tokens: list[int]  # prompt, then output
    num_prompt_tokens: int
    params: SamplingParams
    max_tokens: int
    eos_ids: Sequence[int]
    stream: TextStream
    on_output: Callable[[Output], None]  # called by the engine's thread; must not block
    noise_key: int = field(init=False)
    counts: TokenCounts = field(init=False)  # what penalties and bias need to know about the text
    status: Status = Status.WAITING
    finish_reason: str | None = None
    error: str | None = None
    num_computed_tokens: int = 0  # tokens in the cache, or on their way into it by the current step
    cache_row: int = -1  # while the request runs
    # Seconds of time.perf_counter; 0: not reached.
    arrived: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    first_token: float = 0.0
    finished: float = 0.0

    def __post_init__(self) -> None:
        self.noise_key = noise_key(self.params)
        self.counts = TokenCounts(self.params, self.tokens)

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def max_len(self) -> int:
        """Cache capacity needed: every token but the last is fed back."""
        return self.num_prompt_tokens + self.max_tokens - 1

    @property
    def decoding(self) -> bool:
        """Whether all but the last token are in the cache."""
        return self.num_computed_tokens == self.num_tokens - 1

    @property
    def done(self) -> bool:
        return self.status not in (Status.WAITING, Status.RUNNING)

    def start(self) -> None:
        self.started = time.perf_counter()
        self.status = Status.RUNNING

    def write(self, at: int, token: int) -> str:
        """Puts the token at position `at` and returns the text that is now certain. May finish the request."""
        self.tokens[at : at + 1] = [token]
        self.counts.add(token)
        self.first_token = self.first_token or time.perf_counter()
        if token in self.eos_ids:
            self.finish(Status.FINISHED, "stop")
            return self.stream.flush()
        text = self.stream.push(token)
        last = at + 1 >= self.num_prompt_tokens + self.max_tokens
        if last:
            text += self.stream.flush()
        if last or self.stream.stopped:
            self.finish(Status.FINISHED, "stop" if self.stream.stopped else "length")
        return text

    def finish(self, status: Status, reason: str, error: str | None = None) -> None:
        self.finished = time.perf_counter()
        self.finish_reason, self.error = reason, error
        # Set last: a thread that sees the new status also sees the fields above.
        self.status = status

    def output(self, tokens: list[int], text: str) -> Output:
        metrics = self.metrics() if self.done else None
        return Output(self.id, tokens, text, self.finish_reason, metrics, self.error)

    def metrics(self) -> dict[str, float]:
        """What the client is told: seconds, and output tokens per second after the first token."""
        decode, more = self.finished - self.first_token, self.num_output_tokens - 1
        return {
            "queue": (self.started or self.finished) - self.arrived,
            "ttft": self.first_token - self.arrived if self.first_token else 0.0,
            "latency": self.finished - self.arrived,
            "tokens_per_second": more / decode if more > 0 and decode > 0 else 0.0,
        }

    def snapshot(self) -> dict[str, Any]:
        """The request as the queue page shows it; times in seconds since it arrived."""
        # Read first: the fields that belong to this status are set by now.
        status = self.status
        times = {name: getattr(self, name) for name in ("started", "first_token", "finished")}
        return {
            "id": self.id,
            "status": status.value,
            "finish_reason": self.finish_reason,
            "error": self.error,
            "prompt_tokens": self.num_prompt_tokens,
            "output_tokens": self.num_output_tokens,
            "max_tokens": self.max_tokens,
            "age": time.perf_counter() - self.arrived,
            **{name: at - self.arrived if at else None for name, at in times.items()},
        }
