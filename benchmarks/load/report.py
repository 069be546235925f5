"""What a run says: a table in the terminal and the numbers of its result file. Computes nothing of its own."""

from __future__ import annotations

from collections.abc import Sequence

from common.bench.measure import Result, percentiles
from common.terminal.console import note, table, warn

from .metrics import LATENCIES, Summary
from .record import Record, Status

__all__ = ["problems", "record_values", "show_problems", "show_summary"]

KEPT = 2000  # samples of one latency in a result file
LATE = 0.02  # seconds; a client that sends later than this distorts what it measures
FEW = 0.9  # pieces of a token: with less, streaming shows something else than the tokens' pace
MILLISECONDS = "{:.1f}"


def show_summary(title: str, summary: Summary) -> None:
    rows = []
    for name, samples in summary.samples.items():
        if samples:
            p = percentiles([1000 * s for s in samples])
            rows.append(
                [f"{name.upper()} ms", *(MILLISECONDS.format(p[k]) for k in ("mean", "p50", "p95", "p99"))]
            )
    if rows:
        table(title, ["", "mean", "P50", "P95", "P99"], rows)
    rates = summary.rates
    note(
        f"{summary.seconds:.2f} s: {rates['requests_per_second']:.2f} requests/s, "
        f"{rates['output_tokens_per_second']:.1f} output tokens/s, "
        f"{rates['total_tokens_per_second']:.1f} tokens/s with prompts"
    )
    ended = ", ".join(f"{n} {status}" for status, n in summary.counts.items() if n or status is Status.OK)
    note(f"of {summary.requests} requests: {ended}")


def problems(summary: Summary, records: Sequence[Record], ignore_eos: bool) -> list[str]:
    """What a reader must know before trusting the numbers, a line each."""
    kinds = [(s, [r for r in records if r.status is s]) for s in (Status.FAILED, Status.LOST, Status.REFUSED)]
    made = [
        f"{len(those)} {status}; request {those[0].index}: {those[0].detail or 'no reason given'}"
        for status, those in kinds
        if those
    ]
    if summary.short and ignore_eos:
        made.append(f"{summary.short} outputs are shorter than asked; does the server know ignore_eos?")
    if summary.pieces < FEW * summary.output_tokens:
        made.append(
            f"{summary.output_tokens:,} tokens came in {summary.pieces:,} pieces: TTFT and ITL are those of pieces"
        )
    if summary.lag > LATE:
        made.append(f"this client itself was up to {1000 * summary.lag:.0f} ms late: the machine is too busy")
    if summary.retries:
        made.append(f"{summary.retries} retries; latencies count from the first try")
    return made


def record_values(result: Result, summary: Summary) -> None:
    for name, samples in summary.samples.items():
        if samples:
            kept, remark = thinned([1000 * s for s in samples])
            result.add(name, unit="ms", samples=kept, note="; ".join(filter(None, (LATENCIES[name], remark))))
    for name, rate in summary.rates.items():
        result.add(name, rate, "requests/s" if name.startswith("requests") else "tokens/s")
    result.add("duration", summary.seconds, "s")
    result.add("output_tokens", summary.output_tokens, "tokens")
    result.add("prompt_tokens", summary.prompt_tokens, "tokens")
    for status, count in summary.counts.items():
        result.add(status.replace(" ", "_"), count, "requests")
    result.add("client_lag", 1000 * summary.lag, "ms", note="longest delay of a request by the client itself")


def thinned(samples: list[float]) -> tuple[list[float], str]:
    """At most KEPT + 1 samples: evenly spaced order statistics keep every percentile where it was."""
    if len(samples) <= KEPT:
        return samples, ""
    ordered, last = sorted(samples), len(samples) - 1
    return (
        [ordered[round(i * last / KEPT)] for i in range(KEPT + 1)],
        f"{KEPT + 1:,} evenly spaced of {len(samples):,} sorted samples",
    )


def show_problems(lines: Sequence[str]) -> None:
    for line in lines:
        warn(line)
