"""From one run of a side to numbers, by the names that they have in result files.

Knows no side and no file. What a side does not stamp, it gets no number for.
"""

from __future__ import annotations

from benchmarks.sides import Served
from common.bench.timing import median, percentiles

from .task import Job

__all__ = ["of_run", "unit_of"]

_UNITS = {"_tokens_per_s": "tokens/s", "_ms": "ms", "_s": "s", "_bytes": "bytes", "_share": "%"}


def unit_of(key: str) -> str:
    """Of a key's last words. The longest ending decides."""
    return next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), "")


def of_run(job: Job, served: Served) -> dict[str, float]:
    """The numbers of a job, each with the job's name where several jobs have one."""
    if job.name.startswith("context_"):
        return {}  # of these only the memory counts
    if job.name == "alone":
        return alone(served, len(job.prompts[0]))
    kind = batch if job.name.startswith("batch_") else together if job.name == "crowd" else throughput
    return {f"{job.name}_{name}": value for name, value in kind(served).items()}


def alone(served: Served, prompt_tokens: int) -> dict[str, float]:
    """One request and no other."""
    if not served.stamps:
        return throughput(served) if served.count > 1 else {}
    made = {"ttft_ms": 1e3 * served.ttft[0], "prefill_tokens_per_s": prompt_tokens / served.ttft[0]}
    if served.count > 1:
        made |= {"decode_tokens_per_s": served.decode_rate, "itl_p50_ms": 1e3 * median(served.gaps)}
    return made


def together(served: Served) -> dict[str, float]:
    """Several that come at once; their prompts are part of the time."""
    made = throughput(served)
    if served.stamps:
        made["ttft_p50_ms"] = 1e3 * median(served.ttft)
        if served.gaps:
            made["itl_p99_ms"] = 1e3 * percentiles(served.gaps)["p99"]
    return made


def batch(served: Served) -> dict[str, float]:
    """Tokens per second once all have their first one: what a bound for decode steps can be compared with."""
    made = {"total_tokens_per_s": served.count / served.total}
    if served.stamps:
        made |= {"tokens_per_s": served.decode_rate, "ttft_p50_ms": 1e3 * median(served.ttft),
                 "itl_p50_ms": 1e3 * median(served.gaps)}  # fmt: skip
    return made


def throughput(served: Served) -> dict[str, float]:
    return {"tokens_per_s": served.count / served.total}
