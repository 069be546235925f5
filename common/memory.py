"""Memory of the device a model runs on: the most that was used so far, and how much more may be taken.

Used by an engine that computes its K/V cache before it takes it, by `/metrics` of a server and by benchmarks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

__all__ = ["free_memory", "peak_memory"]

_CGROUPS = Path("/sys/fs/cgroup")
# (limit, used, the line of memory.stat that counts file pages the kernel gives back on demand), cgroup v2 and v1
_CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def peak_memory(device: str | torch.device | None = None) -> int:
    """Most bytes used so far: by tensors on a GPU (since the last reset), else by this process as a whole.

    device: the GPU if there is one when left out.
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
