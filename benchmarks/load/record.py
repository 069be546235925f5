"""One request's timeline on the client's clock, and how it ended. Who drives a server writes it; metrics read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from .prompts import Planned

__all__ = ["Info", "Record", "Status", "Target"]


class Status(StrEnum):
    """Every request ends as exactly one of these."""

    OK = "completed"
    REFUSED = "refused"  # 429 or 503 before any output: the server protects itself
    FAILED = "failed"  # an error that the server or the connection reported
    LOST = "lost"  # sent, and then no end: the stream broke off, or nothing came in time
    HUNG_UP = "hung up"  # by us, on purpose
    INTERRUPTED = "interrupted"  # by Ctrl-C


@dataclass(slots=True)
class Record:
    """Times are seconds of `time.perf_counter`; 0: not reached."""

    index: int
    prompt_tokens: int
    asked: int  # output tokens
    due: float = 0.0  # when it should have been sent
    sent: float = 0.0
    finished: float = 0.0
    times: list[float] = field(default_factory=list)  # of each piece of output, of one or more tokens
    num_tokens: int = 0  # of output
    tokens: list[int] = field(default_factory=list)  # the output, where ids are known (in-process)
    text: str = ""  # the output, where text is known (HTTP)
    status: Status | None = None  # None: under way
    finish_reason: str | None = None
    detail: str = ""  # what went wrong, in one line
    retries: int = 0
    retry_after: float = 1.0  # seconds that a refusing server asked us to wait
    # Events of a stream, read after the run.
    raw: list[tuple[float, bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, request: Planned) -> Record:
        return cls(request.index, request.prompt_tokens, request.max_tokens)

    def end(self, status: Status, detail: str = "") -> None:
        self.status, self.detail = status, " ".join(detail.split())[:300]

    @property
    def ended(self) -> bool:
        return self.status is not None

    @property
    def ttft(self) -> float:
        """Time to first token."""
        return self.times[0] - self.sent

    @property
    def latency(self) -> float:
        """End to end."""
        return self.finished - self.sent

    @property
    def tpot(self) -> float | None:
        """Time per output token after the first. None where all came at once."""
        if self.num_tokens < 2 or len(self.times) < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.num_tokens - 1)

    @property
    def gaps(self) -> list[float]:
        """Inter-token latencies: between each piece of output and the next."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@dataclass(slots=True)
class Info:
    """What is known of a server before it is asked for anything. None: it does not say."""

    model: str
    window: int | None = None  # tokens of prompt and output together
    vocab: int | None = None
    device: str | None = None
    dtype: str | None = None


class Target(Protocol):
    """What can be driven: a server over HTTP, or an engine in this process."""

    async def describe(self) -> Info: ...

    async def send(self, request: Planned, record: Record) -> None:
        """Runs one request to its end and writes its record. Being cancelled, it goes away at once."""

    def settle(self, record: Record) -> None:
        """Work on a record that can wait until all requests are done."""

    async def close(self) -> None: ...
