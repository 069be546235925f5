"""A trace of torch.profiler -> which kernels ran, how often and for how long.

On a GPU a kernel is what the device ran. On a CPU it is an ATen op, with the time that it spent itself and not in the ops
it called. Reads the file that a viewer opens, so that table and picture cannot disagree.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Kernel", "Trace", "read_trace", "short_name", "summarise"]

ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
ON_HOST = ("cuda_runtime", "cuda_driver")
LONGEST = 52  # characters of a name
DOES = re.compile(r"Functor|kernel_(cuda|impl)|Ops?$")  # what PyTorch calls the body of a kernel
Event = dict[str, Any]


@dataclass(slots=True)
class Kernel:
    """All calls of one kernel."""

    name: str
    calls: int = 0
    microseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trace:
    """What a trace says, of all its steps together."""

    kernels: list[Kernel]  # by total time, longest first
    busy: float  # microseconds in which at least one kernel ran
    launches: int  # calls by which the host started kernels or whole graphs; on a CPU the ops themselves
    gpu: bool

    @property
    def calls(self) -> int:
        return sum(kernel.calls for kernel in self.kernels)


def read_trace(path: Path) -> Trace:
    """path: as `export_chrome_trace` writes it, compressed."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return summarise(json.load(file)["traceEvents"])


def summarise(events: Iterable[Event]) -> Trace:
    events = [e for e in events if e.get("ph") == "X"]
    device = [e for e in events if e.get("cat") in ON_GPU]
    if device:
        launches = sum(e.get("cat") in ON_HOST and "Launch" in e["name"] for e in events)
        spans = [(e["ts"], e["ts"] + e["dur"]) for e in device]
        return Trace(_grouped((e["name"], e["dur"]) for e in device), covered(spans), launches, True)
    ops = self_times([e for e in events if e.get("cat") == "cpu_op"])
    return Trace(_grouped(ops), sum(own for _, own in ops), len(ops), False)


def _grouped(calls: Iterable[tuple[str, float]]) -> list[Kernel]:
    found: dict[str, Kernel] = {}
    for name, microseconds in calls:
        short = short_name(name)
        kernel = found.setdefault(short, Kernel(short))
        kernel.calls += 1
        kernel.microseconds += microseconds
    return sorted(found.values(), key=lambda kernel: -kernel.microseconds)


def self_times(ops: Sequence[Event]) -> list[tuple[str, float]]:
    """Name and own microseconds of each op: its duration less that of the ops that it called."""
    own = [float(op["dur"]) for op in ops]
    open_ones: dict[tuple[Any, Any], list[int]] = {}  # of each thread, outermost first
    for i in sorted(range(len(ops)), key=lambda i: (ops[i]["ts"], -ops[i]["dur"])):
        stack = open_ones.setdefault((ops[i].get("pid"), ops[i].get("tid")), [])
        while stack and _end(ops[stack[-1]]) <= ops[i]["ts"]:
            stack.pop()
        if stack:
            own[stack[-1]] -= ops[i]["dur"]
        stack.append(i)
    return [(op["name"], max(0.0, left)) for op, left in zip(ops, own, strict=True)]


def _end(op: Event) -> float:
    return float(op["ts"] + op["dur"])


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union: kernels of two streams at once count once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def short_name(name: str) -> str:
    """A kernel's name as one would say it.

    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, ...>(int, ...)" ->
    "vectorized_elementwise_kernel<CUDAFunctor_add>": PyTorch's families of kernels say in an argument what they compute.
    """
    text = name.removeprefix("void ").removeprefix("aten::").replace("(anonymous namespace)::", "")
    head, _, arguments = text.partition("<")
    base = head.partition("(")[0].rpartition("::")[2].strip()
    if base in ("Kernel", "Kernel2"):  # CUTLASS: the kernel itself is the argument
        return _cut(re.split(r"[<>(,]", arguments)[0].rpartition("::")[2])
    does = [word for word in re.findall(r"\w+", arguments) if DOES.search(word)]
    return _cut(f"{base}<{does[-1]}>" if does else base)  # the innermost of several


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
