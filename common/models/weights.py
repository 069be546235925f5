"""Checkpoint tensors into a model and back, strictly: every tensor has its place, every place gets its tensor.

Tensors are read one at a time, so no second copy of the model is ever in memory. `model.weight_map` has names and places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from common.errors import UserError
from common.fields import Fields, read_json

from .cpu_linear import computes_in
from .layers import Target, rows_of
from .model import Model

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD = "lm_head.weight"


def materialize(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Gives memory to what is on meta, and tells the model where it is. A Parameter that two modules share stays shared;
    buffers keep their dtype. Raises UserError if there is not enough memory."""
    model.device, model.dtype, model.kv_dtype = device, dtype, computes_in(dtype, device)
    made: dict[nn.Parameter, nn.Parameter] = {}
    try:
        for module in model.modules():
            for name, p in module._parameters.items():
                if p is not None and p.is_meta:
                    if p not in made:
                        memory = torch.empty_like(p, device=device, dtype=dtype)
                        made[p] = nn.Parameter(memory, requires_grad=False)
                    module._parameters[name] = made[p]
            for name, b in module._buffers.items():
                if b is not None:
                    module._buffers[name] = torch.empty_like(b, device=device) if b.is_meta else b.to(device)
    except (RuntimeError, MemoryError):
        size = sum(p.numel() for p in model.parameters()) * dtype.itemsize
        raise UserError(
            f"model: {size / 1e9:,.1f} GB of weights do not fit in the memory of {device}"
        ) from None


def fill(model: Any, folder: Path) -> None:
    """Reads every tensor of a checkpoint into its place. Raises UserError for the first that does not fit."""
    stored = {full_name(model, name): name for name in stored_names(folder)}
    tied = tied_name(model)
    if has_other_head(model, folder):
        raise UserError(f"{folder}: tensor {HEAD!r} differs from the embedding that the config ties it to")
    if tied and tied not in stored and HEAD in stored:
        stored[tied] = stored.pop(HEAD)
    if missing := sorted(model.weight_map.keys() - stored.keys()):
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{folder}: tensor {missing[0]!r} is missing{rest}")
    names = {theirs: ours for ours, theirs in stored.items()}
    for name, tensor in read_tensors(folder):
        ours = names.get(name)
        if ours in model.weight_map:
            try:
                place(model, model.weight_map[ours], tensor)
            except ValueError as e:
                raise UserError(f"{folder}: tensor {name!r}: {e}") from None
        elif not (ours == HEAD and tied) and not any(re.fullmatch(p, name) for p in model.ignored):
            raise UserError(f"{folder}: unexpected tensor {name!r} {list(tensor.shape)}")


def full_name(model: Any, name: str) -> str:
    """A stored tensor's name as the weight map has it. A model saved without its head has no prefix there."""
    return model.prefix + name if model.prefix + name in model.weight_map else name


def tied_name(model: Any) -> str | None:
    """The checkpoint's name of the embedding, where that is the head too: the tensor with two targets."""
    return next((name for name, targets in model.weight_map.items() if len(targets) > 1), None)


def has_other_head(model: Any, folder: Path) -> bool:
    """Whether the files hold a head that is not the embedding, although the config says that they are tied.

    Some fine-tunes are saved like this. transformers does not tie the two then.
    """
    tied, pair = tied_name(model), {}
    if tied and HEAD in stored_names(folder):
        for name in stored_names(folder):
            if name == HEAD or full_name(model, name) == tied:
                pair[name] = next(tensor for _, tensor in read_tensors(folder, {name}))
    if len(pair) < 2:
        return False
    head, embedding = pair.values()
    return not torch.equal(head, embedding)


def checkpoint_files(folder: Path) -> list[str]:
    """`model.safetensors`, or, where there is none, the files that its index lists. Raises UserError."""
    if (folder / WHOLE).is_file():
        return [WHOLE]
    if not (folder / INDEX).exists():
        raise UserError(
            f"{folder} holds no {WHOLE}; other formats are not read (save_pretrained writes this one)"
        )
    files = Fields(read_json(folder / INDEX), INDEX).object("weight_map")
    if files is None:
        raise UserError(f"{INDEX}: weight_map names no file")
    for name, file in files.raw.items():
        if not isinstance(file, str) or not re.fullmatch(r"[^/\\]+\.safetensors", file):
            raise UserError(
                f"{INDEX}: weight_map: {name!r} is {file!r}, but must be a .safetensors file in this folder"
            )
    return sorted(set(files.raw.values()))


def opened(folder: Path) -> Iterator[Any]:
    """The files of a checkpoint, one after another. Raises UserError for one that is missing or damaged."""
    for file in checkpoint_files(folder):
        if not (folder / file).is_file():
            raise UserError(f"{folder} holds no {file}")
        try:
            with safe_open(folder / file, framework="pt") as f:
                yield f
        except (SafetensorError, UnicodeDecodeError) as e:
            raise UserError(f"{folder / file} is damaged or cut short: {e}") from None


def stored_names(folder: Path) -> list[str]:
    """The names of all tensors, from the files' headers."""
    return [name for file in opened(folder) for name in file.keys()]  # noqa: SIM118  (not a dict)


def read_tensors(folder: Path, only: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, one at a time; `only` these, if it is given."""
    for file in opened(folder):
        for name in file.keys():  # noqa: SIM118
            if only is None or name in only:
                yield name, file.get_tensor(name)


def place(model: nn.Module, targets: list[Target], tensor: Tensor) -> None:
    """Loads one checkpoint tensor into its modules, and only once where two of them share the Parameter."""
    first = model.get_submodule(targets[0].module)
    for target in targets:
        module = model.get_submodule(target.module)
        if module is not first and getattr(module, "weight", None) is first.weight:
            continue  # tied
        for part, piece in split(target, tensor):
            module.load(part, piece)  # type: ignore[operator]


def split(target: Target, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A checkpoint tensor -> (part, its rows). Raises ValueError if it does not have the rows that the parts ask for."""
    if target.transposed:
        tensor = tensor.t()
    if not target.parts:
        return [(target.kind, tensor)]
    rows = list(target.parts.values())
    if tensor.dim() < 1 or tensor.shape[0] != sum(rows):
        raise ValueError(f"shape {list(tensor.shape)} instead of {sum(rows)} rows")
    pieces = zip(target.parts, tensor.split(rows), strict=True)
    return [(f"{part}.{target.kind}", piece) for part, piece in pieces]


def save_model(model: Model, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes `config.json` and `model.safetensors`: what `load_model` reads, and transformers too."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or torch.float32
    tensors = {name: gather(model, targets[0]).to(dtype) for name, targets in model.weight_map.items()}
    save_file(
        {k: v.contiguous().cpu() for k, v in tensors.items()}, folder / WHOLE, metadata={"format": "pt"}
    )
    config = {**model.config.raw, "dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def gather(model: Any, target: Target) -> Tensor:
    """The checkpoint tensor of a target: the reverse of `split`."""
    module = model.get_submodule(target.module)
    whole: Tensor = getattr(module, target.kind).detach()
    if target.parts:
        whole = torch.cat([whole[rows_of(module.parts, part)] for part in target.parts])
    return whole.t() if target.transposed else whole
