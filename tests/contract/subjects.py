"""Which stages the suite runs against, and what each claims to do.

What a stage claims stands in its manifest; until it has one, in CLAIMS. A test names the capabilities it is about, and
runs on the stages that claim them all.
"""

from __future__ import annotations

import functools
import importlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# What each stage brings; it keeps what the stages before it brought.
BRINGS: dict[int, tuple[str, ...]] = {
    1: ("forward",),
    2: ("generate",),
    3: ("kv_cache",),
    4: ("engine", "http", "chat", "streaming", "metrics_in_response", "cancel"),
    5: ("sampling", "seed", "n", "penalties", "logit_bias"),
    6: ("queue", "request_status", "bounded_queue"),
    7: ("batching",),
    8: ("continuous_batching",),
    9: ("attention_backends",),
    10: ("logprobs", "prompt_logprobs", "structured_output"),
    11: ("telemetry",),
    12: ("paging", "prefix_cache", "preemption"),
    13: ("kernels",),
    14: ("web_chat",),
    15: ("admission",),
    16: ("speculation",),
    17: ("quantization",),
    18: ("lora",),
    19: ("cost",),
    20: ("parallel",),
}
KNOWN = frozenset(name for names in BRINGS.values() for name in names)


@dataclass(frozen=True, slots=True)
class Subject:
    """One stage under test."""

    number: int
    folder: Path
    capabilities: frozenset[str]

    def __str__(self) -> str:
        return f"s{self.number:02d}"

    @property
    def package(self) -> str:
        """`stages.s04_http_server`: what to import."""
        return f"stages.{self.folder.name}"

    def module(self, name: str) -> Any:
        """`engine.server.app` of this stage."""
        return importlib.import_module(f"{self.package}.{name}")

    @property
    def engine(self) -> ModuleType:
        """The stage's `engine` package."""
        module: ModuleType = self.module("engine")
        return module


@functools.cache
def subjects() -> tuple[Subject, ...]:
    """All stages that have an engine, in order."""
    found = []
    for folder in sorted((ROOT / "stages").glob("s[0-9][0-9]_*")):
        if (folder / "engine" / "__init__.py").exists():
            number = int(folder.name[1:3])
            found.append(Subject(number, folder, claims(number, folder)))
    return tuple(found)


def claims(number: int, folder: Path) -> frozenset[str]:
    manifest = folder / "stage.toml"
    if manifest.exists():
        return frozenset(tomllib.loads(manifest.read_text(encoding="utf-8"))["capabilities"])
    return frozenset(name for n, names in BRINGS.items() if n <= number for name in names)


def select(
    needs: Iterable[str], without: Iterable[str], ends: bool, chosen: frozenset[int] | None
) -> list[Subject]:
    """The stages with all of `needs` and none of `without`.

    ends: only the first and the newest of them, for what takes long.
    chosen: the numbers the user asked for; None for all.
    """
    needs, without = frozenset(needs), frozenset(without)
    fit = [s for s in subjects() if needs <= s.capabilities and not without & s.capabilities]
    if ends and len(fit) > 2:
        fit = [fit[0], fit[-1]]
    return [s for s in fit if chosen is None or s.number in chosen]


def parse(text: str) -> int:
    """ "04", "4", "s04" -> 4. Raises ValueError for a stage that does not exist, naming those that do."""
    match = re.fullmatch(r"s?(\d{1,2})", text)
    there = [s.number for s in subjects()]
    if not match or int(match[1]) not in there:
        raise ValueError(f"--stage {text}: there are {', '.join(f'{n:02d}' for n in there)}")
    return int(match[1])
