"""Who takes part: stages by number and peers by name, and who is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from common.errors import UserError
from common.loader import load_config
from common.terminal.command_line import choose
from common.tutorial.chain import find_stage, stages

__all__ = ["QUICK", "Contestant", "choose_peers", "choose_stages", "for_batches"]

CONTINUOUS = 8  # the stage that brought batches which requests join and leave
QUICK = ("transformers", "llama.cpp", "ctranslate2")  # peers that need no compiler and no minute


@dataclass(frozen=True, slots=True)
class Contestant:
    side: str  # "s08", "llama.cpp": what `measure` opens
    key: str  # "s08", "llama_cpp": what its numbers are called
    label: str  # "08", "llama.cpp"
    title: str = ""  # a stage's

    @property
    def full(self) -> str:
        return f"stage {self.label}" if self.title else self.label

    @classmethod
    def stage(cls, number: int) -> Contestant:
        found = find_stage(number)
        return cls(f"s{found.nn}", f"s{found.nn}", found.nn, found.title)

    @classmethod
    def peer(cls, name: str) -> Contestant:
        return cls(name, name.replace(".", "_").replace("-", "_"), name)


def choose_stages(text: str) -> list[int]:
    """ "all" or "2,3,7-8" -> numbers in order. Raises UserError naming those there are."""
    if text == "all":
        return [stage.number for stage in stages()]
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if dash and first.isdigit() and last.isdigit():
            ends = find_stage(first).number, find_stage(last).number
            found.update(stage.number for stage in stages() if ends[0] <= stage.number <= ends[1])
        else:
            found.add(find_stage(part).number)
    if not found:
        raise UserError(f"--stages {text!r} names no stage; write all or numbers such as 2,3,7-8")
    return sorted(found)


def choose_peers(text: str, folder: Path, device: str, dtype: str, only: Sequence[str] = (), mixed: bool = False
                 ) -> tuple[list[str], dict[str, str]]:  # fmt: skip
    """Names of peers that can take part, and of those that cannot: why, in a line with what installs them.

    Args:
        text: "all", "none", or names. Raises UserError for one that does not exist.
        only: of "all" just these.
        mixed: the work has prompts of different lengths.
    """
    if text == "none":
        return [], {}
    names = [name for name in peers.PEERS if not only or name in only]
    if text != "all":
        names = [choose("peer", part.strip(), (*peers.PEERS, "all", "none")) for part in text.split(",")]
        if {"all", "none"} & set(names):
            raise UserError(f"--peers {text!r}: all and none stand alone")
    config, able, out = load_config(folder), [], {}
    for name in dict.fromkeys(names):
        why = _unable(name, config, device, dtype, mixed)
        if why:
            out[name] = why
        else:
            able.append(name)
    return able, out


def _unable(name: str, config: Any, device: str, dtype: str, mixed: bool) -> str | None:
    if mixed and not peers.PEERS[name].mixed:
        return f"{name}: takes prompts of one length only"
    if why := peers.missing(name):
        return why
    try:
        return peers.supports(name, config, device, dtype)
    except ImportError as error:
        return f"{name}: cannot be imported ({error})"


def for_batches(numbers: Sequence[int], explicit: bool, continuous: bool) -> list[int]:
    """The stages that serve several requests at once. explicit: all of them were asked for by number, and stay.

    continuous: only those that take requests of any lengths into a running batch, from stage 08 on.
    """
    from .sides import is_queued

    if explicit:
        return list(numbers)
    return [n for n in numbers if (n >= CONTINUOUS if continuous else is_queued(n))]
