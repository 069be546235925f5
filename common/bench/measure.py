"""Measuring, in one import: clocks (`timing`), the bandwidth bound (`bandwidth`), the machine and result files.

A benchmark reads like this:

    result = Result("s03", 3, command, workload, seed, checked="64 tokens equal with and without the cache")
    seconds = interleave({"with": cached, "without": uncached}, repeats=5, device=device)
    result.add("speedup", unit="x", value=median(seconds["without"]) / median(seconds["with"]))
    result.save()
"""

from __future__ import annotations

from common.bench.bandwidth import (
    against_bound,
    decode_bound,
    decode_bytes,
    kv_bytes,
    kv_bytes_per_token,
    matmul_rate,
    read_bandwidth,
    total_bytes,
    weight_bytes,
)
from common.bench.machine import commit, machine, machine_folder
from common.bench.results import RESULTS, UNITS, Result, code_hash, load_result, r, validate
from common.bench.timing import Timer, in_turns, interleave, median, now, percentiles, synchronize

__all__ = [
    "RESULTS",
    "UNITS",
    "Result",
    "Timer",
    "against_bound",
    "code_hash",
    "commit",
    "decode_bound",
    "decode_bytes",
    "in_turns",
    "interleave",
    "kv_bytes",
    "kv_bytes_per_token",
    "load_result",
    "machine",
    "machine_folder",
    "matmul_rate",
    "median",
    "now",
    "percentiles",
    "r",
    "read_bandwidth",
    "synchronize",
    "total_bytes",
    "validate",
    "weight_bytes",
]
