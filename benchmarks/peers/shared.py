"""What peers share: which requests can be served at all, versions, converted checkpoints, a clock that holds no GPU up."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.checkpoints import cache_folder, whole
from common.errors import UserError

__all__ = ["Clock", "converted", "require_servable", "versions"]


def require_servable(
    name: str, prompts: Sequence[Sequence[int]], limits: Sequence[int], window: int, mixed: bool
) -> None:
    """Raises UserError for requests that do not fit the model's window, or that must be alike and are not."""
    if not prompts or len(prompts) != len(limits):
        raise UserError(f"{name}: {len(prompts)} prompts and {len(limits)} limits; give one limit a prompt")
    if not all(prompts) or min(limits) < 1:
        raise UserError(f"{name}: each prompt needs at least one token, and each limit must be at least 1")
    longest = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
    if longest > window:
        raise UserError(f"{name}: prompt and limit make {longest} tokens, the model's window is {window}")
    lengths = sorted(map(len, prompts))
    if not mixed and (lengths[0], min(limits)) != (lengths[-1], max(limits)):
        raise UserError(
            f"{name}: takes prompts of one length with one limit, not {lengths[0]} to {lengths[-1]} tokens "
            f"and {min(limits)} to {max(limits)} new ones"
        )


def versions(*packages: str) -> str:
    """ "transformers 5.23.0, torch 2.13.0"."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # there, but not through pip
            found.append(package)
    return ", ".join(found)


class Clock:
    """Seconds since it was made. On a GPU it marks with events, so that it adds no waiting of its own."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        if self.cuda:
            torch.cuda.synchronize(device)
            self.begin = self._event()
        self.start = perf_counter()
        self.marks: list[Any] = []

    def mark(self) -> None:
        self.marks.append(self._event() if self.cuda else perf_counter())

    def stamps(self) -> list[float]:
        """Of each mark; to be asked when the work is done."""
        if not self.cuda:
            return [mark - self.start for mark in self.marks]
        torch.cuda.synchronize()
        return [self.begin.elapsed_time(mark) / 1000 for mark in self.marks]

    @property
    def now(self) -> float:
        return perf_counter() - self.start

    @staticmethod
    def _event() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def converted(folder: Path, kind: str, dtype: str, write: Callable[[Path, Path, str], None]) -> Path:
    """A folder in the cache with a checkpoint in another format, made where it is not there yet.

    Args:
        kind: the format's name.
        write: called with the checkpoint, the folder to fill, and the dtype. Its source is part of the cache's key.
    """
    files = sorted(folder.glob("*.safetensors"))
    key = [str(folder.resolve()), (folder / "config.json").read_text(encoding="utf-8")]
    key += [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    key.append(Path(inspect.getfile(write)).read_text(encoding="utf-8"))
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:12]
    place = cache_folder() / kind / f"{folder.name}-{dtype}-{digest}"
    if not place.is_dir():
        with whole(place) as part:
            write(folder, part, dtype)
    return place
