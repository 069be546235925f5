"""CTranslate2's Generator: all prompts are one batch, and a prompt that is done leaves it.

It wants tokens as strings, so its vocabulary is the ids, written out. Prompts are read at once as far as the shortest
goes; what a longer one has more is read a token a step beside the others' new tokens, for that is how it works.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.sides import Served, Side
from common.loader import load_config
from common.models import ModelConfig

from .shared import converted, require_servable, versions

FAMILIES = ("gpt2", "llama", "qwen3")


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    if config.model_type not in FAMILIES:
        return f"model_type {config.model_type!r} is left out here; supported are {', '.join(FAMILIES)}"
    if not device.startswith(("cpu", "cuda")):
        return f"has no device {device!r}; it has cpu and cuda"
    if importlib.util.find_spec("ctranslate2"):
        import ctranslate2

        kind = device.partition(":")[0]
        if kind == "cuda" and not ctranslate2.get_cuda_device_count():
            return "sees no CUDA device"
        able = ctranslate2.get_supported_compute_types(kind)
        if dtype not in able:
            return f"cannot compute in {dtype} on this {kind}; it can in {', '.join(sorted(able))}"
    return None


def make(name: str, folder: Path, device: str, dtype: str) -> Side:
    return CTranslate2(name, folder, device, dtype)


class Names:
    """Stands where the converter wants a tokenizer: a token's text is its id."""

    bos_token = eos_token = unk_token = "0"

    def __init__(self, size: int):
        self.size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(self.size)}


def write_ct2(folder: Path, part: Path, dtype: str) -> None:
    """Fills `part` with the model in CTranslate2's format."""
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **options: Any) -> Names:
            return Names(load_config(folder).vocab_size)

    Converter(str(folder)).convert(str(part), quantization=dtype, force=True)


class CTranslate2:
    """A Generator that does one batch at a time."""

    mixed = True

    def __init__(self, name: str, folder: Path, device: str, dtype: str):
        import ctranslate2

        self.name, self.version = name, versions("ctranslate2")
        self.window = load_config(folder).max_positions
        kind, _, index = device.partition(":")
        self.generator: Any = ctranslate2.Generator(
            str(converted(folder, "ct2", dtype, write_ct2)),
            device=kind,
            device_index=int(index or 0),
            compute_type=dtype,
            intra_threads=torch.get_num_threads(),
        )

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        require_servable(self.name, prompts, limits, self.window, mixed=True)
        words = [[str(token) for token in prompt] for prompt in prompts]
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        start = perf_counter()

        def take(step: Any) -> bool:
            """True ends this prompt."""
            i = step.batch_id
            tokens[i].append(step.token_id)
            stamps[i].append(perf_counter() - start)
            return len(tokens[i]) == limits[i]

        self.generator.generate_batch(
            words,
            beam_size=1,
            sampling_topk=1,
            end_token=[],  # no token ends a text
            max_length=max(limits),
            include_prompt_in_result=False,
            callback=take,
        )
        return Served(tokens, perf_counter() - start, stamps)

    def close(self) -> None:
        self.generator.unload_model()
