"""transformers' `generate()`, with a cache that grows, with one of fixed size, and compiled.

Prompts of one length with one limit: others would have to be padded on the left, which `generate` then computes with.
A fixed cache is what lets a step be compiled; compiling happens in the first run with new shapes, so run once before
a clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.sides import Served, Side
from common.models import ModelConfig

from .shared import Clock, require_servable, versions


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    if name == "transformers-compiled" and device.startswith("mps"):
        return "torch.compile is left to CPU and CUDA"
    return None


def make(name: str, folder: Path, device: str, dtype: str) -> Side:
    return Generate(name, folder, torch.device(device), getattr(torch, dtype))


def load(folder: Path, device: torch.device, dtype: torch.dtype, **options: Any) -> Any:
    """transformers' model, which never ends by itself."""
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # that no end is set is meant
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, **options)
    model = model.to(device).eval()
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
    model.config.eos_token_id = None
    return model


class Generate:
    """`generate()` on a static batch: greedy, all rows equally long."""

    mixed = False

    def __init__(self, name: str, folder: Path, device: torch.device, dtype: torch.dtype):
        self.name, self.device = name, device
        self.version = versions("transformers", "torch")
        self.model = load(folder, device, dtype)
        self.window = int(self.model.config.get_text_config().max_position_embeddings)
        self.options = cache_options(name, device)

    @torch.inference_mode()
    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        require_servable(self.name, prompts, limits, self.window, mixed=False)
        ids = torch.tensor([list(prompt) for prompt in prompts], device=self.device)
        clock = Clock(self.device)

        def stamp(ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
            clock.mark()
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limits[0],
            stopping_criteria=[stamp],
            **self.options,
        )
        tokens = out[:, ids.shape[1] :].tolist()
        total = clock.now
        return Served(tokens, total, [clock.stamps()] * len(tokens))

    def close(self) -> None:
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def cache_options(name: str, device: torch.device) -> dict[str, Any]:
    """Arguments of `generate` that tell the three apart."""
    if name == "transformers":
        return {}
    if name == "transformers-static":
        return {"cache_implementation": "static", "disable_compile": True}
    from transformers import CompileConfig

    # On a GPU its default: CUDA graphs of compiled kernels. A CPU must be asked for by a flag, and has no graphs.
    config: Any = CompileConfig() if device.type == "cuda" else CompileConfig(mode="default")
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}
