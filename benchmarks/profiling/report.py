"""What a profile says in numbers: a table of kernels, a summary of a step, and the same as a result file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.bench.measure import Result, against_bound
from common.terminal.console import facts, note, table

from .kernels import Kernel, Trace

__all__ = ["Profile", "record_values", "show"]

RECORDED = 12  # kernels in a result file


@dataclass(frozen=True, slots=True)
class Profile:
    """A number of equal steps, run once without the profiler and once under it. Times in seconds, of all steps."""

    trace: Trace
    steps: int
    layers: int
    plain: float
    profiled: float
    tokens: int  # without the profiler: new ones, or with `prefill` those of the prompts
    profiled_tokens: int
    step_bytes: int | None = None  # that a decode step must read
    bandwidth: float = 0.0  # bytes/s

    @property
    def kernel_ms(self) -> float:
        """Of a step."""
        return self.trace.busy / 1e3 / self.steps

    @property
    def step_ms(self) -> float:
        return 1e3 * self.plain / self.steps

    @property
    def profiled_ms(self) -> float:
        return 1e3 * self.profiled / self.steps

    @property
    def gap_ms(self) -> float:
        """Of a step, time in which no kernel runs: the device waits for the host.

        The profiler slows the host and not a GPU's kernels, so there it is what they leave of a step without profiler. A
        CPU is both: what it slows is in ops and between them, and the parts only add up to a step under the profiler.
        """
        return max(0.0, (self.step_ms if self.trace.gpu else self.profiled_ms) - self.kernel_ms)

    @property
    def gap_share(self) -> float:
        return self.gap_ms / (self.step_ms if self.trace.gpu else self.profiled_ms)

    @property
    def rate(self) -> float:
        """Tokens a second without the profiler."""
        return self.tokens / self.plain

    @property
    def bound(self) -> float:
        """Tokens a second that memory bandwidth allows."""
        assert self.step_bytes
        return self.bandwidth / self.step_bytes * self.tokens / self.steps

    def share(self, kernel: Kernel) -> float:
        return kernel.microseconds / sum(k.microseconds for k in self.trace.kernels)


def rows_of(profile: Profile, top: int) -> list[tuple[str, float, float, float, float]]:
    """Name, calls a step, calls a layer, microseconds a step, percent. The rest is one row, so the shares are complete."""
    kernels = profile.trace.kernels
    shown, rest = kernels[:top], kernels[top:]
    if rest:
        words = f"{len(rest)} others"
        shown = [*shown, Kernel(words, sum(k.calls for k in rest), sum(k.microseconds for k in rest))]
    steps, layers = profile.steps, profile.layers
    return [
        (k.name, k.calls / steps, k.calls / steps / layers, k.microseconds / steps, 100 * profile.share(k))
        for k in shown
    ]


def show(profile: Profile, top: int, unit: str) -> None:
    """unit: what a step is, "decode step" or "prefill"."""
    what = "kernel" if profile.trace.gpu else "op (its own time)"
    rows = [
        [name, f"{calls:,.1f}", f"{a_layer:.2f}", f"{us:,.1f}", f"{share:.1f} %"]
        for name, calls, a_layer, us, share in rows_of(profile, top)
    ]
    table(f"A {unit}, by {what.partition(' ')[0]}", [what, "calls", "per layer", "us", "share"], rows)
    facts(summary(profile, unit))
    if not profile.trace.gpu:
        note("On a CPU ops call each other: their number counts all, their time only each one's own.")


def summary(profile: Profile, unit: str) -> Mapping[str, str]:
    p, what = profile, "kernels" if profile.trace.gpu else "ops"
    of = "" if p.trace.gpu else ", under the profiler"
    lines = {
        f"a {unit}": f"{p.step_ms:.3f} ms, {p.profiled_ms:.3f} ms under the profiler",
        f"time in {what}": f"{p.kernel_ms:.3f} ms",
        "gap": f"{p.gap_ms:.3f} ms, {100 * p.gap_share:.0f} % of a step{of}: no {what[:-1]} runs, the host is at work",
        what: f"{p.trace.calls / p.steps:,.0f} a step, {p.trace.calls / p.steps / p.layers:.1f} a layer ({p.layers} layers)",
        "launches": f"{p.trace.launches / p.steps:,.0f} a step by the host",
        "tokens/s": f"{p.rate:,.0f}, {p.profiled_tokens / p.profiled:,.0f} under the profiler",
    }
    if not p.trace.gpu:
        del lines["launches"]
    if p.step_bytes:
        ideal = 1e3 * p.step_bytes / p.bandwidth
        lines["bytes per step"] = (
            f"{p.step_bytes / 1e6:,.1f} MB: {ideal:.3f} ms at {p.bandwidth / 1e9:,.0f} GB/s"
        )
        lines["bound"] = against_bound(p.rate, p.bound)
    return lines


def record_values(result: Result, profile: Profile) -> None:
    p = profile
    result.add(
        "kernels_per_step",
        p.trace.calls / p.steps,
        note="" if p.trace.gpu else "ATen ops, all that were called",
    )
    result.add(
        "kernels_per_layer", p.trace.calls / p.steps / p.layers, note="all of a step's over the layers"
    )
    if p.trace.gpu:
        result.add(
            "launches_per_step",
            p.trace.launches / p.steps,
            note="by the host: a graph is one for many kernels",
        )
    result.add("step_ms", p.step_ms, "ms", note="without the profiler")
    result.add("profiled_step_ms", p.profiled_ms, "ms")
    result.add("kernel_ms", p.kernel_ms, "ms")
    result.add(
        "gap_ms",
        p.gap_ms,
        "ms",
        note="of a step " + ("without" if p.trace.gpu else "under") + " the profiler",
    )
    result.add("gap_share", 100 * p.gap_share, "%")
    result.add("tokens_per_s", p.rate, "tokens/s", note="without the profiler")
    result.add("profiled_tokens_per_s", p.profiled_tokens / p.profiled, "tokens/s")
    if p.step_bytes:
        result.add("step_bytes", p.step_bytes, "bytes")
        result.add("bandwidth", p.bandwidth / 1e9, "GB/s")
        result.add("memory_bound", p.bound, "tokens/s")
        result.add("bound_share", 100 * p.rate / p.bound, "%")
    used: set[str] = set()
    for kernel in p.trace.kernels[:RECORDED]:
        key = slug(kernel.name, used)
        result.add(f"{key}_us", kernel.microseconds / p.steps, "us", note=kernel.name)
        result.add(f"{key}_calls", kernel.calls / p.steps)
        result.add(f"{key}_share", 100 * p.share(kernel), "%")


def slug(name: str, used: set[str]) -> str:
    """A kernel's name as the beginning of a key, which no other one has."""
    base = "kernel_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    key, count = base, 1
    while key in used:
        count += 1
        key = f"{base}_{count}"
    used.add(key)
    return key
