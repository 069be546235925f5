"""From one run of a side to numbers, by the names that they have in result files.

Knows no side and no file. What a side does not stamp, it gets no number for.
"""

from __future__ import annotations

from benchmarks.sides import Served
from common.bench.timing import percentiles

from .task import Job

__all__ = ["of_run", "unit_of"]

Numbers = dict[str, float]
_UNITS = {"_tokens_per_s": "tokens/s", "_ms": "ms", "_s": "s", "_bytes": "bytes", "_share": "%"}


def unit_of(key: str) -> str:
    """Of a key's last words. The longest ending decides."""
    for ending, unit in _UNITS.items():
        if key.endswith(ending):
            return unit
    return ""


def of_run(job: Job, served: Served) -> Numbers:
    """The numbers of a job, each with the job's name where several jobs have one."""
    if job.name == "alone":
        return alone(served, len(job.prompts[0]))
    if job.name.startswith("batch_"):
        return {f"{job.name}_{name}": value for name, value in batch(served).items()}
    if job.name == "crowd":
        return {f"crowd_{name}": value for name, value in crowd(served).items()}
    if job.name.startswith("context_"):
        return {}  # of these only the memory counts
    return {f"{job.name}_{name}": value for name, value in throughput(served).items()}


def alone(served: Served, prompt_tokens: int) -> Numbers:
    """One request with nobody else there."""
    if not served.stamps:
        return throughput(served) if served.count > 1 else {}
    made = {"ttft_ms": 1e3 * served.ttft[0], "prefill_tokens_per_s": prompt_tokens / served.ttft[0]}
    if served.count > 1:
        made |= {
            "decode_tokens_per_s": served.decode_rate,
            "itl_p50_ms": 1e3 * percentiles(served.gaps)["p50"],
        }
    return made


def crowd(served: Served) -> Numbers:
    """Many that come at once; their prompts are part of the time."""
    made = throughput(served)
    if served.stamps:
        made["ttft_p50_ms"] = 1e3 * percentiles(served.ttft)["p50"]
        if served.gaps:
            made["itl_p99_ms"] = 1e3 * percentiles(served.gaps)["p99"]
    return made


def batch(served: Served) -> Numbers:
    """Tokens a second once all have their first one: what a bound for decode steps can be compared with."""
    if not served.stamps:
        return {"total_tokens_per_s": served.count / served.total}
    return {
        "tokens_per_s": served.decode_rate,
        "total_tokens_per_s": served.count / served.total,
        "ttft_p50_ms": 1e3 * percentiles(served.ttft)["p50"],
        "itl_p50_ms": 1e3 * percentiles(served.gaps)["p50"],
    }


def throughput(served: Served) -> Numbers:
    return {"tokens_per_s": served.count / served.total}
