"""From timelines to numbers: the field's four latencies, throughput, and what became of every request.

Latencies are of completed requests only; tokens count wherever they arrived, for the server has made them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .record import Record, Status

__all__ = ["LATENCIES", "Summary", "summarise"]

LATENCIES = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first",
    "itl": "between two pieces of output",
    "e2e": "from sending to the end",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds, except where the name says otherwise."""

    counts: dict[Status, int]  # of all six, so that they add up to the number of requests
    seconds: float  # from the first request sent to the last one ended
    prompt_tokens: int  # of completed requests
    pieces: int  # that the output came in
    output_tokens: int  # received, whatever became of the request
    samples: dict[str, list[float]]  # by the names in LATENCIES; itl of all requests pooled
    short: int  # completed requests with fewer tokens than asked for
    retries: int
    lag: float  # longest delay of a request by this client itself

    @property
    def requests(self) -> int:
        return sum(self.counts.values())

    def per_second(self, amount: float) -> float:
        return amount / self.seconds if self.seconds > 0 else 0.0

    @property
    def rates(self) -> dict[str, float]:
        """Requests, output tokens, and prompt and output tokens together, each a second."""
        return {
            "requests_per_second": self.per_second(self.counts[Status.OK]),
            "output_tokens_per_second": self.per_second(self.output_tokens),
            "total_tokens_per_second": self.per_second(self.prompt_tokens + self.output_tokens),
        }


def summarise(records: Sequence[Record]) -> Summary:
    """All of a run, warm-up requests not among them."""
    done = [r for r in records if r.status is Status.OK]
    sent = [r for r in records if r.sent]
    seconds = max(r.finished for r in sent) - min(r.sent for r in sent) if sent else 0.0
    found = Counter(r.status for r in records)
    return Summary(
        counts={status: found[status] for status in Status},
        seconds=seconds,
        prompt_tokens=sum(r.prompt_tokens for r in done),
        pieces=sum(len(r.times) for r in records),
        output_tokens=sum(r.num_tokens for r in records),
        samples={
            "ttft": [r.ttft for r in done],
            "tpot": [r.tpot for r in done if r.tpot is not None],
            "itl": [gap for r in done for gap in r.gaps],
            "e2e": [r.latency for r in done],
        },
        short=sum(r.num_tokens < r.asked for r in done),
        retries=sum(r.retries for r in records),
        lag=max((r.sent - r.due for r in sent), default=0.0),
    )
