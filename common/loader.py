"""Checkpoints to models and back, strictly: every tensor has its place, every place gets its tensor.

`load_model` builds the model on the meta device, lets the caller replace modules, and only then reads the weights,
tensor by tensor, so that no second copy of the model is ever in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .errors import UserError
from .models import Model, ModelConfig, Target, computes_in, new_model, read_config
from .models.fields import Fields, show
from .models.layers import rows_of
from .tokenizer import Tokenizer

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SHIPPED = ("storyteller", "storyteller-draft", "storyteller-llama", "storyteller-qwen3", "storyteller-gemma3")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name_or_path: str | Path,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    replace: Callable[[nn.Module], None] | None = None,
) -> tuple[Model, Tokenizer, ModelConfig]:
    """A checkpoint, ready to run.

    Args:
        name_or_path: a shipped name, a folder in Hugging Face's layout, or a name on its hub.
        device: "auto" is cuda, else mps, else cpu.
        dtype: "auto" is float32 on a CPU; on a GPU bfloat16 where it has it natively, else float16.
        replace: called with the model on the meta device; puts other modules in the place of its own.

    Returns:
        model, tokenizer, config.

    Raises:
        UserError: what cannot be found, read or used, in one line.
    """
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    folder = find_checkpoint(name_or_path)
    config = load_config(folder)
    with torch.device("meta"):
        model: Any = new_model(config)
    if replace is not None:
        replace(model)
    materialize(model, device, dtype)
    fill(model, folder)
    return model.eval(), Tokenizer.from_folder(folder), config


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, downloaded first where the name is one of the hub. Raises UserError."""
    name = str(name_or_path)
    if name in SHIPPED:
        return CHECKPOINTS / name
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise UserError(f"model {name!r}: no such folder; shipped models are {', '.join(SHIPPED)}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except Exception as e:  # no network, no such name, no right to read it: all the same to the user
        raise UserError(
            f"model {name!r} could not be had from the hub ({type(e).__name__}); shipped models are {', '.join(SHIPPED)}"
        ) from None


def load_config(folder: Path) -> ModelConfig:
    """`config.json`, with the end-of-sequence ids that `generation_config.json` may add."""
    config = read_config(read_json(folder / "config.json"))
    if not (folder / "generation_config.json").exists():
        return config
    fields = Fields(read_json(folder / "generation_config.json"), "generation_config.json")
    ends = (*config.eos_token_ids, *fields.token_ids("eos_token_id"))
    return changed(config, eos_token_ids=tuple(dict.fromkeys(ends)))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}") from None
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path} is not JSON: {e}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {show(content)}")
    return content


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Raises UserError for a device that this machine does not have."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    possible = ", ".join(["auto", *(kind for kind, there in has.items() if there)])
    if device == "auto":
        return torch.device(next(kind for kind, there in has.items() if there))
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UserError(f"device {str(device)!r}: possible here are {possible}") from None
    if not has.get(found.type) or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {str(device)!r} is not available; possible here are {possible}")
    return found


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Raises UserError for a dtype that is none of ours."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return (
            torch.bfloat16
            if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
            else torch.float16
        )
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: possible are auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def materialize(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Gives memory to what is on meta, and tells the model so. A Parameter that two modules share stays shared;
    buffers keep their dtype."""
    model.device, model.dtype, model.kv_dtype = device, dtype, computes_in(dtype, device)
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None and p.is_meta:
                if p not in made:
                    made[p] = nn.Parameter(
                        torch.empty_like(p, device=device, dtype=dtype), requires_grad=False
                    )
                module._parameters[name] = made[p]
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = torch.empty_like(b, device=device) if b.is_meta else b.to(device)


def fill(model: Any, folder: Path) -> None:
    """Reads every tensor of a checkpoint into its place. Raises UserError for the first that does not fit."""
    missing, others = set(model.weight_map), set()
    for name, tensor in read_tensors(folder):
        if name not in model.weight_map and f"{model.optional_prefix}{name}" in model.weight_map:
            name = model.optional_prefix + name
        if name not in model.weight_map:
            others.add(name)
            continue
        try:
            place(model, model.weight_map[name], tensor)
        except ValueError as e:
            raise UserError(f"{folder}: tensor {name!r}: {e}") from None
        missing.discard(name)
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{folder}: tensor {min(missing)!r} is missing{rest}")
    for name, tensor in read_tensors(
        folder, only=others
    ):  # now that all is read, a second copy can be compared
        if not is_redundant(model, name, tensor):
            raise UserError(f"{folder}: unexpected tensor {name!r} {list(tensor.shape)}")


def read_tensors(folder: Path, only: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors of `model.safetensors`, or of the files that `model.safetensors.index.json` lists, one at a time."""
    index = folder / "model.safetensors.index.json"
    files = sorted(set(read_json(index)["weight_map"].values())) if index.exists() else ["model.safetensors"]
    for file in files:
        if not (folder / file).is_file():
            raise UserError(f"{folder} holds no {file}")
        try:
            with safe_open(folder / file, framework="pt") as f:
                for name in f.keys():  # noqa: SIM118  (not a dict)
                    if only is None or name in only:
                        yield name, f.get_tensor(name)
        except SafetensorError as e:
            raise UserError(f"{folder / file} is damaged or cut short: {e}") from None


def place(model: nn.Module, targets: list[Target], tensor: Tensor) -> None:
    """One checkpoint tensor into its modules; into one of two where they share the Parameter."""
    first = model.get_submodule(targets[0].module)
    for target in targets:
        module = model.get_submodule(target.module)
        if module is not first and getattr(module, "weight", None) is first.weight:
            continue  # tied
        for part, piece in split(target, tensor):
            module.load(part, piece)  # type: ignore[operator]


def split(target: Target, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A checkpoint tensor -> (part, its rows). Raises ValueError where it has other rows than the parts ask for."""
    if target.transposed:
        tensor = tensor.t()
    if not target.parts:
        return [(target.kind, tensor)]
    rows = list(target.parts.values())
    if tensor.shape[0] != sum(rows):
        raise ValueError(f"{tensor.shape[0]} rows instead of {sum(rows)}")
    return [
        (f"{part}.{target.kind}", piece) for part, piece in zip(target.parts, tensor.split(rows), strict=True)
    ]


def is_redundant(model: Any, name: str, tensor: Tensor) -> bool:
    """A tensor that says nothing new: one we compute ourselves, or a tied head stored a second time."""
    if name == "lm_head.weight" and model.config.tie_word_embeddings:
        embed = getattr(model.embed, "weight", None)
        return embed is None or (embed.shape == tensor.shape and torch.equal(embed, tensor.to(embed)))
    return any(re.fullmatch(pattern, name) for pattern in model.ignored)


def save_model(model: Model, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes `config.json` and `model.safetensors`; what `load_model` reads, and transformers too."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: gather(model, targets[0]).to(dtype or torch.float32)
        for name, targets in model.weight_map.items()
    }
    save_file(
        {k: v.contiguous().cpu() for k, v in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    name = str(dtype or torch.float32).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps({**model.config.raw, "dtype": name}, indent=2) + "\n")


def gather(model: Any, target: Target) -> Tensor:
    """The checkpoint tensor of a target: `split`, backwards."""
    module = model.get_submodule(target.module)
    whole = getattr(module, target.kind).detach()
    if target.parts:
        whole = torch.cat([whole[rows_of(module.parts, part)] for part in target.parts])  # type: ignore[arg-type]
    return whole.t() if target.transposed else whole


def build_model(
    config: ModelConfig,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    seed: int = 0,
) -> Model:
    """A model with random weights: for tests, and for benchmarks at published shapes."""
    device = resolve_device(device)
    with torch.device("meta"):
        model: Any = new_model(config)
    materialize(model, device, resolve_dtype(dtype, device))
    generator = torch.Generator(device).manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.normal_(0.0, 0.02, generator=generator)
        else:  # norms at their identity (Gemma's is zero), biases at zero
            p.fill_(float(name.endswith("norm.weight") and config.model_type != "gemma3_text"))
    return model.eval()
