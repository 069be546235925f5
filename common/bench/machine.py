"""What a number was measured on: processor, GPU, memory, driver, versions, commit. Names no host and no user."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["commit", "machine", "machine_folder"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "triton", "transformers", "tokenizers", "numpy")
# Written by the programs whose commit is asked for: a new result does not make the code another one.
_GENERATED = ("benchmarks/results", "articles")


def machine(device: str | torch.device | None = None) -> dict[str, Any]:
    """A description for result files. device: describes the GPU unless it is a CPU (default: the GPU if there is one)."""
    import psutil
    import torch

    made: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.system(),
    }
    if _uses_gpu(device):
        properties = torch.cuda.get_device_properties(_index(device))
        made |= {
            "gpu": properties.name,
            "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
            "gpu_count": torch.cuda.device_count(),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    return made | {"versions": {"python": platform.python_version(), **_versions()}}


def machine_folder(device: str | torch.device | None = None) -> str:
    """Where results of this machine belong below benchmarks/results: "cpu", "h200" or the GPU's name as a slug."""
    if not _uses_gpu(device):
        return "cpu"
    import torch

    return gpu_folder(torch.cuda.get_device_name(_index(device)))


def gpu_folder(name: str) -> str:
    """ "NVIDIA GeForce RTX 4090" -> "nvidia-geforce-rtx-4090"."""
    return "h200" if "H200" in name else re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _uses_gpu(device: str | torch.device | None) -> bool:
    import torch

    return torch.cuda.is_available() and (device is None or str(device).startswith("cuda"))


def _index(device: str | torch.device | None) -> torch.device:
    import torch

    return torch.device("cuda" if device is None else device)


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    if found:
        return found[1].strip()
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0] or None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """HEAD of this checkout, with "-dirty" if tracked files differ from it.

    Outside git, as on a GPU box that got a copy of the tree, the environment variable VITRINE_COMMIT may say which commit it
    is a copy of: 7 to 64 hexadecimal digits, anything else is ignored. Without it "unknown".
    """
    head = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    if not head:
        told = os.environ.get("VITRINE_COMMIT", "").lower()
        return told if re.fullmatch(r"[0-9a-f]{7,64}", told) else "unknown"
    others = [f":(exclude){path}" for path in _GENERATED]
    changes = _output(
        "git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", ".", *others
    )
    return f"{head}-dirty" if changes else head


def _output(*command: str) -> str:
    """What a command prints, or "" if it cannot be run or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
