"""Other engines at the same work: a registry of peers, each of which becomes a `benchmarks.sides.Side`.

Says what is missing, what a peer cannot run, and makes it. No library is imported before it is asked for, and each
peer's module says how its library is used; what is compared and timed is left to those that call.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.sides import Side
from common.errors import UserError
from common.terminal.command_line import choose

if TYPE_CHECKING:
    from common.models import ModelConfig

__all__ = ["PEERS", "Peer", "PeerSide", "make", "missing", "rule", "supports"]


class PeerSide(Side, Protocol):
    @property
    def mixed(self) -> bool:
        """Whether prompts of different lengths and limits can be run at once; if not, `run` refuses them."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """What the registry knows of one."""

    module: str  # of this package, with `supports(name, config, device, dtype)` and `make(name, folder, device, dtype)`
    needs: tuple[str, ...]  # modules that must be there
    install: str  # what `pip install` is given
    about: str
    mixed: bool  # prompts of different lengths and limits at once
    extra: Callable[[], str | None] = lambda: None  # what else is missing on this machine


def no_compiler() -> str | None:
    """Inductor writes C++ for a CPU, and Triton's launchers are C: both are compiled against Python's headers."""
    if not any(shutil.which(name) for name in (environ.get("CXX") or "g++", "g++", "clang++")):
        return "torch.compile finds no C++ compiler; install g++ or clang++, or name one in CXX"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "torch.compile needs Python's headers (Python.h); install python3-dev"
    return None


def no_gpu() -> str | None:
    import torch

    return (
        None
        if torch.cuda.is_available()
        else "needs a CUDA GPU; where there is one: python -m pip install vllm"
    )


_HF, _HF_PIP = ("transformers",), "'transformers>=5'"
PEERS: dict[str, Peer] = {
    "transformers": Peer("generate", _HF, _HF_PIP, "generate() as it comes, a cache that grows", False),
    "transformers-static": Peer("generate", _HF, _HF_PIP, "generate() with a cache of fixed size", False),
    "transformers-compiled": Peer(
        "generate", _HF, _HF_PIP, "the same, each step one compiled graph", False, no_compiler
    ),
    "transformers-continuous": Peer("continuous", _HF, _HF_PIP, "its continuous batching, paged", True),
    "llama.cpp": Peer(
        "llamacpp",
        ("llama_cpp", "gguf"),
        "'llama-cpp-python>=0.3' gguf",
        "one batch of all sequences a step",
        True,
    ),
    "ctranslate2": Peer("ct2", ("ctranslate2",), "ctranslate2", "its Generator, one batch", True),
    "vllm": Peer("vllm_offline", ("vllm",), "vllm", "its offline LLM class", True, no_gpu),
}


def missing(name: str) -> str | None:
    """One line that says what a peer lacks here and how to get it; None where it can be used."""
    peer = PEERS[choose("peer", name, PEERS)]
    if lacks := peer.extra():
        return f"{name}: {lacks}"
    if all(importlib.util.find_spec(module) for module in peer.needs):
        return None
    return f"{name}: not installed; python -m pip install {peer.install}"


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    """One line that says why a peer cannot run this family, device or dtype; None where it can. Installed or not."""
    found: str | None = _module(name).supports(name, config, device, dtype)
    return f"{name}: {found}" if found else None


def rule(name: str, config: ModelConfig, dtype: str) -> dict[str, Any]:
    """What counts as a near tie between this peer and us, as arguments of `common.equality.assert_same_tokens`.

    That of `common.equality`, with one exception: llama.cpp on a CPU looks GELU up in a table of 16-bit numbers, so its
    scores of GPT-2 and Gemma differ in the third decimal even in float32.
    """
    from common.equality import near_tie_rule

    if dtype == "float32" and name == "llama.cpp" and config.model_type in ("gpt2", "gemma3_text"):
        return {"tolerance": 2e-2, "one_in": 50}
    return near_tie_rule(dtype)


def make(name: str, folder: Path, device: str, dtype: str) -> PeerSide:
    """A peer, its weights loaded.

    Args:
        folder: a checkpoint in Hugging Face's layout.
        device: "auto", "cpu", "cuda", ...
        dtype: of weights, computation and cache; "auto" as `common.loader` has it.

    Raises:
        UserError: in one line, where it is missing or cannot run this.
    """
    from common.loader import load_config, resolve_device, resolve_dtype

    where = resolve_device(device)
    kind = str(resolve_dtype(dtype, where)).removeprefix("torch.")
    if why := missing(name) or supports(name, load_config(folder), str(where), kind):
        raise UserError(why)
    made: PeerSide = _module(name).make(name, folder, str(where), kind)
    return made


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{PEERS[choose('peer', name, PEERS)].module}")
