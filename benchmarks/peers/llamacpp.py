"""llama.cpp, through the C interface that llama-cpp-python gives: all prompts are one batch, as in its own server.

The prompts are read in chunks; then each step decodes one token of every sequence that is not done, and the host takes
the best of each row of logits. K/V is float32 with float32 weights, else float16. Sequences have a cache each
(`kv_unified` off), which is what llama.cpp advises where prompts share no long beginning.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.sides import Served, Side
from common.errors import UserError
from common.loader import load_config
from common.models import ModelConfig

from .gguf_file import FILE, refused, write_gguf
from .shared import converted, require_servable, versions

BATCH = 2048  # tokens in one call; llama.cpp's default
CONTEXT_STEP = 256  # llama.cpp rounds a sequence's cache up to this


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    if not device.startswith(("cpu", "cuda")):
        return f"device {device!r} is left out here; supported are cpu and cuda"
    if device.startswith("cuda") and importlib.util.find_spec("llama_cpp"):
        import llama_cpp

        if not llama_cpp.llama_supports_gpu_offload():
            return "was built without CUDA; CMAKE_ARGS=-DGGML_CUDA=on python -m pip install --force-reinstall llama-cpp-python"
    return refused(config)


def make(name: str, folder: Path, device: str, dtype: str) -> Side:
    return LlamaCpp(name, folder, device, dtype)


@cache
def quiet() -> Any:
    """Turns llama.cpp's log off. The function it is given must live on."""
    import llama_cpp

    callback = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return callback


class LlamaCpp:
    """A model, and a context that fits the last run's requests."""

    mixed = True

    def __init__(self, name: str, folder: Path, device: str, dtype: str):
        import llama_cpp

        quiet()
        self.lib: Any = llama_cpp
        self.name, self.gpu = name, device.startswith("cuda")
        self.version = versions("llama-cpp-python")
        self.cache_type = llama_cpp.GGML_TYPE_F32 if dtype == "float32" else llama_cpp.GGML_TYPE_F16
        config = load_config(folder)
        self.window, self.vocab_size = config.max_positions, config.vocab_size
        self.context: Any = None
        self.room = (0, 0)  # sequences, tokens of each
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 999 if self.gpu else 0
        path = converted(folder, "gguf", dtype, write_gguf) / FILE
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise UserError(f"{name}: cannot load {path}")

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        require_servable(self.name, prompts, limits, self.window, mixed=True)
        longest = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
        self._fit(len(prompts), longest)
        batch = Batch(self.lib, max(BATCH, len(prompts)))
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        start = perf_counter()

        def decode() -> None:
            best = batch.decode(self.context, self.vocab_size)
            now = perf_counter() - start
            for i, token in best.items():
                tokens[i].append(token)
                stamps[i].append(now)

        for i, prompt in enumerate(prompts):
            for position, token in enumerate(prompt):
                if batch.count == BATCH:
                    decode()
                batch.add(i, token, position, last=position == len(prompt) - 1)
        decode()
        live = [i for i, limit in enumerate(limits) if limit > 1]
        while live:
            for i in live:
                batch.add(i, tokens[i][-1], len(prompts[i]) + len(tokens[i]) - 1, last=True)
            decode()
            live = [i for i in live if len(tokens[i]) < limits[i]]
        total = perf_counter() - start
        batch.close()
        return Served(tokens, total, stamps)

    def close(self) -> None:
        self._free()
        self.lib.llama_model_free(self.model)

    def _fit(self, sequences: int, longest: int) -> None:
        """A context with an empty cache for so many sequences, each with room for the longest."""
        if (most := int(self.lib.llama_max_parallel_sequences())) < sequences:
            raise UserError(f"{self.name}: {sequences} prompts at once, at most {most} are possible")
        room = (sequences, -(-longest // CONTEXT_STEP) * CONTEXT_STEP)
        if room == self.room:
            self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
            return
        self._free()
        params = self.lib.llama_context_default_params()
        params.n_seq_max, params.n_ctx = sequences, sequences * room[1]
        params.n_batch = max(BATCH, sequences)
        params.n_ubatch = params.n_batch if self.gpu else max(512, sequences)
        params.n_threads = params.n_threads_batch = torch.get_num_threads()
        params.type_k = params.type_v = self.cache_type
        if self.cache_type == self.lib.GGML_TYPE_F32:
            # Its flash attention was made for 16-bit K/V: with float32 it was seen to be slower, and to round to 16 bits.
            params.flash_attn_type = self.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = self.lib.llama_init_from_model(self.model, params)
        if not self.context:
            self.context = None
            raise UserError(f"{self.name}: no room for {sequences} sequences of {room[1]} tokens")
        self.room = room

    def _free(self) -> None:
        if self.context is not None:
            self.lib.llama_free(self.context)
            self.context, self.room = None, (0, 0)


class Batch:
    """llama.cpp's batch, filled token by token and emptied by decoding."""

    def __init__(self, lib: Any, size: int):
        self.lib, self.count = lib, 0
        self.raw = lib.llama_batch_init(size, 0, 1)
        self.asked: list[tuple[int, int]] = []  # (sequence, row) of those whose next token is wanted

    def add(self, sequence: int, token: int, position: int, last: bool) -> None:
        raw, i = self.raw, self.count
        raw.token[i], raw.pos[i] = token, position
        raw.n_seq_id[i], raw.seq_id[i][0] = 1, sequence
        raw.logits[i] = last
        if last:
            self.asked.append((sequence, i))
        self.count += 1

    def decode(self, context: Any, vocab_size: int) -> dict[int, int]:
        """Runs what was added. Sequence -> the best next token, of those that asked."""
        self.raw.n_tokens = self.count
        if status := self.lib.llama_decode(context, self.raw):
            raise RuntimeError(f"llama_decode failed with status {status}")
        best = {}
        for sequence, row in self.asked:  # the first look waits for the device
            logits = np.ctypeslib.as_array(self.lib.llama_get_logits_ith(context, row), shape=(vocab_size,))
            best[sequence] = int(logits.argmax())
        self.count, self.asked = 0, []
        return best

    def close(self) -> None:
        self.lib.llama_batch_free(self.raw)
