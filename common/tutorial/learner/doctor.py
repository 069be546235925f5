"""`make doctor`: what this machine has, and whether what the course needs works on it.

Every line is measured or tried, not assumed: memory is read, a kernel is run, values are compared.
A missing GPU is a note, as every stage runs on a CPU; the exit status is 1 where something essential fails.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from common.errors import UserError
from common.terminal.command_line import stage_parser
from common.terminal.console import facts, heading, show
from common.tutorial.chain import ROOT, stages

__all__ = ["Finding", "main"]

OK, NOTE, FAILED = "ok", "note", "FAILED"
STYLES = {OK: "green", NOTE: "yellow", FAILED: "bold red"}
PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "huggingface_hub",
    "fastapi",
)
OPTIONAL = {"triton": "the Triton kernels fall back to torch"}
KERNEL_SECONDS = 300  # a first compilation on a busy machine


class Finding(NamedTuple):
    """One line of the report."""

    state: str
    name: str
    text: str


def tested_versions() -> dict[str, str]:
    """Package -> the version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(re.fullmatch(r"([\w.-]+)==(\S+)", line).groups() for line in lines if "==" in line[:60])  # type: ignore[union-attr,misc]


def check_packages(device: str) -> Iterator[Finding]:
    """Installed versions, beside the tested ones where they differ."""
    tested = tested_versions()
    same, other = [], []
    for name in PACKAGES:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            state, why = (NOTE, OPTIONAL[name]) if name in OPTIONAL else (FAILED, "run make setup")
            yield Finding(state, name, f"not installed: {why}")
            continue
        if version.split("+")[0] == tested.get(name):
            same.append(f"{name} {version}")
        else:
            other.append(f"{name} {version} (tested with {tested.get(name)})")
    if same:
        yield Finding(OK, "packages", ", ".join(same))
    if other:
        yield Finding(NOTE, "other versions", ", ".join(other))


def check_bandwidth(device: str) -> Iterator[Finding]:
    """Read bandwidth of the memory that will hold the weights, and what it means for decoding."""
    from common.bench.measure import read_bandwidth

    rate = read_bandwidth(device)
    bound = rate / (12e6 * 4)  # one decode step reads all weights once
    yield Finding(OK, "memory bandwidth", f"{rate / 1e9:.1f} GB/s read on {device}; a 12 M model in float32 "
                  f"can decode at most {bound:,.0f} tokens/s, one at a time")  # fmt: skip


def check_device(device: str) -> Iterator[Finding]:
    """The GPU if there is one; without, what the course does instead."""
    import torch

    if device.startswith("cuda"):
        index = torch.device(device)
        major, minor = torch.cuda.get_device_capability(index)
        size = torch.cuda.get_device_properties(index).total_memory
        text = (
            f"{torch.cuda.get_device_name(index)}, {size / 2**30:.0f} GiB, compute capability {major}.{minor}"
        )
        yield Finding(OK, "GPU", text)
        if (major, minor) < (8, 0):
            yield Finding(
                NOTE, "GPU", "older than compute capability 8.0: no bfloat16 in hardware, float16 is used"
            )
    else:
        yield Finding(
            NOTE, "GPU", f"none used ({device}): every stage runs here; Triton kernels run in its interpreter"
        )


def check_kernel(device: str) -> Iterator[Finding]:
    """A Triton kernel in a process of its own, its values against torch's."""
    on_gpu = device.startswith("cuda")
    how = "compiled" if on_gpu else "interpreter"
    try:
        metadata.version("triton")
    except metadata.PackageNotFoundError:
        return  # check_packages has said so
    environment = {**os.environ, "TRITON_INTERPRET": "0" if on_gpu else "1"}
    command = [sys.executable, "-m", "common.tutorial.learner.kernel_check", device if on_gpu else "cpu"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                              timeout=KERNEL_SECONDS, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Finding(FAILED, "kernel", f"no answer after {KERNEL_SECONDS} s ({how})")
        return
    said = (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip().splitlines() or [
        "no output"
    ]
    yield Finding(OK if done.returncode == 0 else FAILED, "kernel", f"RMSNorm in {said[-1]} ({how})")


def check_checkpoints(device: str) -> Iterator[Finding]:
    """The shipped models, with the size of their files."""
    from common.loader import CHECKPOINTS, SHIPPED

    sizes = {}
    for name in SHIPPED:
        files = [path for path in (CHECKPOINTS / name).glob("*") if path.is_file()]
        if not (CHECKPOINTS / name / "model.safetensors").is_file():
            yield Finding(FAILED, "checkpoint", f"{name}: no model.safetensors in {CHECKPOINTS / name}")
            continue
        sizes[name] = sum(path.stat().st_size for path in files)
    if sizes:
        text = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
        yield Finding(OK, "checkpoints", f"{text}; together {sum(sizes.values()) / 1e6:.1f} MB")


def check_stages(device: str) -> Iterator[Finding]:
    """Which stages this checkout has."""
    chain = stages()
    text = f"{chain[0].nn} to {chain[-1].nn}" if chain else "none"
    yield Finding(OK if chain else FAILED, "stages", text)


CHECKS: tuple[Callable[[str], Iterator[Finding]], ...] = (
    check_packages,
    check_stages,
    check_checkpoints,
    check_device,
    check_bandwidth,
    check_kernel,
)


def findings(device: str) -> Iterator[Finding]:
    """All checks, one after the other; one that breaks is a finding and does not end the report."""
    for check in CHECKS:
        try:
            yield from check(device)
        except Exception as error:  # a broken installation may raise anything; the report must still be whole
            name = check.__name__.removeprefix("check_")
            yield Finding(
                FAILED, name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )


def show_machine() -> None:
    """What the result files of the benchmarks will say about this machine."""
    heading("This machine")
    try:
        from common.bench.measure import machine

        found = {name: value for name, value in machine().items() if value and name != "versions"}
        known = {name.replace("_gb", ", GB"): value for name, value in found.items()}
    except ImportError as error:
        known = {
            "system": platform.platform(),
            "python": platform.python_version(),
            "measuring": f"not possible: {error}",
        }
    facts(known)


def show_finding(found: Finding) -> None:
    """One finding in three columns; a long text stays in its own."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=6)
    grid.add_column(width=16)
    grid.add_column(overflow="fold")
    grid.add_row(Text(found.state, style=STYLES[found.state]), Text(found.name), Text(found.text))
    show(grid)


def main(argv: list[str]) -> int:
    parser = stage_parser("python -m common.tutorial doctor", "What this machine has, and whether it works.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (%(default)s)")
    args = parser.parse_args(argv)
    try:
        from common.loader import resolve_device

        device = str(resolve_device(args.device))
    except ImportError:
        device = "cpu"
    show_machine()
    heading("Checks")
    failed = 0
    for found in findings(device):
        show_finding(found)
        failed += found.state == FAILED
    if failed:
        raise UserError(f"{failed} of the checks above failed")
    return 0
