"""Memory of the device that a model runs on: the most used so far, and how much is still free.

Used by an engine to size its K/V cache before allocating it, by `/metrics` of a server and by benchmarks.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .errors import UserError

if TYPE_CHECKING:
    from .models import Model

__all__ = ["fit_kv_cache", "free_memory", "peak_memory"]

log = logging.getLogger("vitrine.engine")

# At most this part of the free memory holds K/V; the rest is for the tensors of a step.
KV_PART = 0.8
# A window that nobody asked for is not shortened below this many tokens to make room for more rows.
MIN_WINDOW = 2048

_CGROUPS = Path("/sys/fs/cgroup")
# (limit, used, the line of memory.stat that counts file pages the kernel gives back on demand), cgroup v2 and v1
_CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def peak_memory(device: str | torch.device | None = None) -> int:
    """Most bytes used so far: by tensors on a GPU (since the last reset), else by this process as a whole.

    device: if left out, the GPU, if there is one.
    """
    if torch.cuda.is_available() and (device is None or torch.device(device).type == "cuda"):
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def free_memory(device: str | torch.device) -> int:
    """Bytes that can still be allocated on `device`; in a container, no more than its limit leaves."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if kind == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_left_in_cgroups()]))


def fit_kv_cache(model: Model, rows: int | None, length: int | None, most_rows: int = 1) -> tuple[int, int]:
    """How many rows of how many tokens the K/V cache gets, so that it fits into what is free now.

    Args:
        rows, length: as the user wants them; None: chosen here, up to `most_rows` and the model's window.

    Returns:
        (rows, length).

    Raises:
        UserError: more than the model's window, or than fits into memory; with the numbers.
    """
    window, device = model.config.max_positions, model.device
    per_token = sum(2 * x.num_kv_heads * x.head_dim for x in model.layers_info) * model.kv_dtype.itemsize
    free = free_memory(device)
    room = int(KV_PART * free) // per_token
    if length is None:
        length = min(window, max(room // (rows or most_rows), MIN_WINDOW))
    if rows is None:
        rows = max(1, min(most_rows, room // length))
    if length > window:
        raise UserError(f"max_seq_len = {length}, but the model's window is {window} tokens")
    size = f"{rows} x {length} tokens of K/V take {rows * length * per_token / 1e9:.2f} GB"
    if rows * length > room:
        flags = "--max-seq-len" if rows == most_rows == 1 else "--max-seq-len or --max-num-seqs"
        raise UserError(
            f"{size}, but of the {free / 1e9:.2f} GB that are free on {device} they may take {KV_PART:.0%}, enough for "
            f"{room} tokens in all; lower {flags}"
        )
    log.info("%s", size)
    return rows, length


def _left_in_cgroups(root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Bytes left below each limit that the process's control groups set: its own group's and those above it."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers  # v1 has a tree for each controller; v2 has one for all
        group = top / path.strip("/")
        # Inside a container the path may be the host's and not exist here; the limit is then at the top.
        for folder in [folder for folder in (group, *group.parents) if folder.is_relative_to(top)]:
            yield from _left_in(folder)


def _left_in(folder: Path) -> Iterator[int]:
    for limit, used, reclaimable in _CGROUP_FILES:
        try:
            most = (folder / limit).read_text(encoding="ascii").strip()
            taken = int((folder / used).read_text(encoding="ascii"))
            stat = (folder / "memory.stat").read_text(encoding="ascii")
        except OSError:
            continue
        if most == "max":
            continue
        pages = [int(line.split()[1]) for line in stat.splitlines() if line.startswith(f"{reclaimable} ")]
        yield int(most) - taken + sum(pages)
