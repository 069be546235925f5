"""The registry: `model_type` in `config.json` -> our class. A new family is one file and one line here."""

from __future__ import annotations

from typing import Any

import torch

from common.fields import Fields

from .config import ModelConfig
from .cpu_linear import computes_in
from .gemma3 import Gemma3
from .gpt2 import GPT2
from .layers import LayerInfo, Linear, Target
from .llama import Llama
from .model import Attend, Model
from .qwen3 import Qwen3

MODELS: dict[str, Any] = {"gpt2": GPT2, "llama": Llama, "qwen3": Qwen3, "gemma3_text": Gemma3}

__all__ = [
    "MODELS",
    "Attend",
    "LayerInfo",
    "Linear",
    "Model",
    "ModelConfig",
    "Target",
    "computes_in",
    "new_model",
    "read_config",
]


def read_config(raw: dict[str, Any]) -> ModelConfig:
    """The content of a `config.json` -> the family's checked config.

    Raises:
        UserError: a family we do not have, or a key that is missing, unknown or not supported.
    """
    fields = Fields(raw)
    config: ModelConfig = MODELS[fields.choice("model_type", tuple(MODELS))].Config.from_fields(fields)
    return config


def new_model(config: ModelConfig) -> Model:
    """The model of this config on torch's current default device, its weights not yet filled."""
    model: Model = MODELS[config.model_type](config)
    model.device = torch.get_default_device()
    model.dtype = model.kv_dtype = torch.get_default_dtype()
    return model
