"""What is in a checkpoint: the tensors of its safetensors files, listed without reading them, or read into NumPy.

A safetensors file is eight bytes that hold the length of a header, the header (JSON: name, dtype, shape and place
of each tensor), and then the numbers themselves. So a few kilobytes describe a model of any size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError

# How NumPy holds each dtype of the format. It has no bfloat16: its 16 bits are read as they are, see `widen`.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
PARTS = ("embeddings", "attention", "mlp", "norms", "head", "other")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: `bytes` of data from offset `start` on."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    bytes: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    def read(self) -> np.ndarray:
        """The tensor in float32. Raises UserError for a dtype that NumPy cannot hold."""
        if self.dtype not in DTYPES:
            raise UserError(f"{self.file}: {self.name} is {self.dtype}; readable are {', '.join(DTYPES)}")
        raw = (
            np.memmap(self.file, DTYPES[self.dtype], "r", self.start, self.shape)
            if self.count
            else np.zeros(self.shape)
        )
        return widen(raw) if self.dtype == "BF16" else np.asarray(raw, dtype=np.float32)


def widen(bits: np.ndarray) -> np.ndarray:
    """bfloat16 to float32: bfloat16 is the upper half of a float32, so the lower half is zeros."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def list_tensors(folder: str | Path) -> list[TensorInfo]:
    """All tensors of a checkpoint folder, of one file or of several that an index lists. Raises UserError."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    names = (
        set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
    )
    return [info for name in sorted(names) for info in read_header(folder / name)]


def read_header(file: Path) -> list[TensorInfo]:
    """The tensors of one safetensors file in the order of their data."""
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header: Any = json.loads(handle.read(length)) if length < size else None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{file}: not a safetensors file, or cut short")
    infos = []
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            infos.append(TensorInfo(name, entry["dtype"], tuple(entry["shape"]), file, start, end - start))
    end = max((info.start + info.bytes for info in infos), default=0)
    if end > size:
        raise UserError(f"{file}: {size} bytes instead of {end}; the file is cut short")
    return sorted(infos, key=lambda info: info.start)


def read_weights(folder: str | Path, prefix: str = "") -> dict[str, np.ndarray]:
    """Every tensor by name, in float32; a prefix that some published files leave out is taken off."""
    return {info.name.removeprefix(prefix): info.read() for info in list_tensors(folder)}


def part_of(name: str) -> str | None:
    """The part of the model that a tensor belongs to; None for buffers, which are not parameters."""
    if name.endswith((".attn.bias", ".attn.masked_bias", "inv_freq")):
        return None
    rules = {
        "norms": ("norm", "ln_"),
        "embeddings": ("wte", "wpe", "embed_"),
        "head": ("lm_head",),
        "attention": ("attn",),
        "mlp": (".mlp.",),
    }
    return next((part for part, marks in rules.items() if any(mark in name for mark in marks)), "other")


def count_parameters(infos: Iterable[TensorInfo]) -> dict[str, int]:
    """Parameters by part. A head that repeats the embedding (the two are tied) is counted once, with the embedding."""
    infos = list(infos)
    counts = dict.fromkeys(PARTS, 0)
    for info in infos:
        part = part_of(info.name)
        if part and not (part == "head" and is_tied(info, infos)):
            counts[part] += info.count
    return {part: count for part, count in counts.items() if count or part != "other"}


def is_tied(head: TensorInfo, infos: Iterable[TensorInfo]) -> bool:
    """Whether a stored head holds the same numbers as the token embedding."""
    embeddings = [info for info in infos if part_of(info.name) == "embeddings" and info.shape == head.shape]
    return any(np.array_equal(info.read(), head.read()) for info in embeddings)
