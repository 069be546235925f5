"""vLLM through its offline `LLM` class: token ids in and out, no tokenizer.

Its step loop belongs to it, so tokens are not stamped; prefix caching is off, for a second run must not find the first
one's prompts. Everything else is as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.sides import Served, Side
from common.loader import load_config
from common.models import ModelConfig

from .shared import require_servable, versions

LONGEST = 8192  # tokens of a request: with windows of 131,072 it would look for memory for one such


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    return None if device.startswith("cuda") else f"needs a CUDA GPU, not {device}"


def make(name: str, folder: Path, device: str, dtype: str) -> Side:
    return Vllm(name, folder, dtype)


class Vllm:
    """One LLM, on the GPU that CUDA_VISIBLE_DEVICES puts first."""

    mixed = True

    def __init__(self, name: str, folder: Path, dtype: str):
        from vllm import LLM

        self.name, self.version = name, versions("vllm", "torch")
        self.window = min(load_config(folder).max_positions, LONGEST)
        self.llm: Any = LLM(
            model=str(folder), dtype=dtype, skip_tokenizer_init=True, enable_prefix_caching=False,
            max_model_len=self.window,
        )  # fmt: skip

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        from vllm import SamplingParams

        require_servable(self.name, prompts, limits, self.window, mixed=True)
        params = [
            SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False) for n in limits
        ]
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        start = perf_counter()
        outputs = self.llm.generate(inputs, params, use_tqdm=False)
        total = perf_counter() - start
        return Served([list(output.outputs[0].token_ids) for output in outputs], total)

    def close(self) -> None:
        del self.llm
