"""A name or a folder -> a model that is ready to run, its tokenizer and its config.

What a `config.json` means is in `models/config.py`, how tensors find their places in `models/weights.py`. `load_model` builds the
model on the meta device, lets the caller replace modules, and only then reads the weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import UserError
from .fields import Fields, read_json
from .models import MODELS, Model, ModelConfig, new_model, read_config
from .models.weights import fill, has_other_head, materialize, read_tensors, save_model
from .tokenizer import Tokenizer

__all__ = [
    "CHECKPOINTS",
    "DTYPES",
    "SHIPPED",
    "build_model",
    "fill",
    "find_checkpoint",
    "load_config",
    "load_model",
    "load_weights",
    "materialize",
    "read_tensors",
    "resolve_device",
    "resolve_dtype",
    "save_model",
]

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
        dtype: "auto" is float32 on a CPU; on a GPU bfloat16 if it is native there, else float16.
        replace: called with the model on the meta device; may put other modules in place of the model's own.

    Returns:
        model, tokenizer, config.

    Raises:
        UserError: what cannot be found, read or used, in one line.
    """
    folder = find_checkpoint(name_or_path)
    # Before the weights, because a mistake here is found in milliseconds. An unknown architecture is named before its tokenizer.
    load_config(folder)
    tokenizer = Tokenizer.from_folder(folder)
    model = load_weights(folder, device, dtype, replace)
    end, ends = tokenizer.eos_token_id, model.config.eos_token_ids
    if end is not None and end not in ends:
        # Some files name an end token only here.
        model.config = changed(model.config, eos_token_ids=(*ends, end))
    return model, tokenizer, model.config


def load_weights(
    folder: Path,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    replace: Callable[[nn.Module], None] | None = None,
) -> Model:
    """As `load_model`, for a folder that may lack a tokenizer."""
    device, config = resolve_device(device), load_config(folder)
    dtype = resolve_dtype(dtype, device, config)
    model = on_meta(config)
    if has_other_head(model, folder):
        raw = {**config.raw, "tie_word_embeddings": False}
        model = on_meta(changed(config, tie_word_embeddings=False, raw=raw))
    if replace is not None:
        replace(model)
    materialize(model, device, dtype)
    fill(model, folder)
    model.eval()
    return model  # type: ignore[no-any-return]


def on_meta(config: ModelConfig) -> Any:
    """The model, without memory for its weights."""
    try:
        with torch.device("meta"):
            return new_model(config)
    except RuntimeError:
        raise UserError("config.json: the sizes multiply to more numbers than a tensor can have") from None


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, downloaded first if it is a name on the hub. Raises UserError."""
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
            f"model {name!r} could not be downloaded from the hub ({type(e).__name__}); shipped models are {', '.join(SHIPPED)}"
        ) from None


def load_config(folder: Path) -> ModelConfig:
    """`config.json`, with the end-of-sequence ids that `generation_config.json` may add."""
    config = read_config(read_json(folder / "config.json"))
    if not (folder / "generation_config.json").exists():
        return config
    fields = Fields(read_json(folder / "generation_config.json"), "generation_config.json")
    ends = (*config.eos_token_ids, *fields.token_ids("eos_token_id"))
    return changed(config, eos_token_ids=tuple(dict.fromkeys(ends)))


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Raises UserError for a device that this machine does not have."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    possible = ", ".join(["auto", *(kind for kind, there in has.items() if there)])
    if device == "auto":
        return torch.device(next(kind for kind, there in has.items() if there))
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UserError(f"device {str(device)!r}: choose from {possible}") from None
    if not has.get(found.type) or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {str(device)!r} is not available; choose from {possible}")
    return found


def resolve_dtype(
    dtype: str | torch.dtype, device: torch.device, config: ModelConfig | None = None
) -> torch.dtype:
    """config: the model's, if it is known. Raises UserError for a dtype that is not supported here, or not by the model."""
    overflows = config is not None and MODELS[config.model_type].float16_overflows
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16
        return torch.float32 if overflows else torch.float16
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype!r}: choose from auto, {', '.join(DTYPES)}")
        dtype = DTYPES[dtype]
    if overflows and dtype == torch.float16 and config is not None:
        raise UserError(
            f"dtype 'float16': the hidden states of {config.model_type} overflow in it; choose from auto, bfloat16, float32"
        )
    return dtype


def build_model(
    config: ModelConfig,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    seed: int = 0,
) -> Model:
    """A model with random weights: for tests, and for benchmarks at published shapes."""
    device, model = resolve_device(device), on_meta(config)
    materialize(model, device, resolve_dtype(dtype, device, config))
    generator = torch.Generator(device).manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.normal_(0.0, 0.02, generator=generator)
        else:  # norms at their identity (Gemma's is zero), biases at zero
            p.fill_(float(name.endswith("norm.weight") and config.model_type != "gemma3_text"))
    model.eval()
    return model  # type: ignore[no-any-return]
