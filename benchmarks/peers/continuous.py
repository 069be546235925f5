"""transformers' continuous batching: requests of any length, a paged cache, a thread that steps.

Uses flash-attn where that package is installed and the dtype has 16 bits. Without it, attention is torch's over the
keys of all running requests with a mask between them, which is what transformers does then. Nothing is fetched from a
hub. How many requests run at once, how long a step is and whether it is a CUDA graph, transformers decides; the cache
is made as large as the requests of the first run need, and made again for larger ones.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.sides import Served, Side
from common.models import ModelConfig

from .generate import load
from .shared import require_servable, versions

STEP = 8192  # most tokens of a step; transformers' own default where memory is plenty


def supports(name: str, config: ModelConfig, device: str, dtype: str) -> str | None:
    if device.startswith("mps"):
        return "left to CPU and CUDA"
    return None


def make(name: str, folder: Path, device: str, dtype: str) -> Side:
    return Continuous(name, folder, torch.device(device), getattr(torch, dtype))


class Continuous:
    """A ContinuousBatchingManager, which lives from the first run until it is closed."""

    mixed = True

    def __init__(self, name: str, folder: Path, device: torch.device, dtype: torch.dtype):
        from transformers import ContinuousBatchingConfig

        self.name, self.device = name, device
        self.version = versions("transformers", "torch")
        self.settings = {field.name for field in fields(ContinuousBatchingConfig)}
        self.model = load(folder, device, dtype, attn_implementation=self._attention(device, dtype))
        self.window = int(self.model.config.get_text_config().max_position_embeddings)
        self.manager: Any = None
        self.room = (0, 0, 0)  # requests, blocks, tokens of the longest, that the manager was made for

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        require_servable(self.name, prompts, limits, self.window, mixed=True)
        manager = self._manager_for(prompts, limits)
        ids: dict[str, int] = {}
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        start = perf_counter()
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            ids[manager.add_request(list(prompt), max_new_tokens=limit, record_timestamps=True)] = i
        while ids:
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError(f"{self.name}: its thread has ended")
                continue
            if result.error is not None:
                raise RuntimeError(f"{self.name}: {result.error}")
            if result.is_finished():
                i = ids.pop(result.request_id)
                tokens[i] = list(result.generated_tokens)
                stamps[i] = [at - start for at in result.timestamps[: limits[i]]]
        return Served(tokens, perf_counter() - start, stamps)

    def close(self) -> None:
        self._stop()
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _attention(self, device: torch.device, dtype: torch.dtype) -> str:
        if device.type == "cuda" and dtype != torch.float32 and importlib.util.find_spec("flash_attn"):
            return "flash_attention_2"
        # Up to 5.17 the prefix asked for it as it is; later a setting does, see below. Else a kernel might be fetched.
        return "sdpa" if "auto_switch_to_flash" in self.settings else "paged|sdpa"

    def _manager_for(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Any:
        """A manager with room for all of them at once, or with all the memory there is."""
        page = self._page()
        totals = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
        need = (len(prompts), sum(-(-total // page) + 1 for total in totals), max(totals))
        if self.manager is None or any(n > has for n, has in zip(need, self.room, strict=True)):
            self._stop()
            step = min(STEP, max(256, sum(map(len, prompts))))
            with suppress(MemoryError):
                self.manager = self._start(need, num_blocks=need[1], max_batch_tokens=step)
            if self.manager is None:  # some of them will wait for memory
                self.manager = self._start(need)
            self.room = need
        return self.manager

    def _page(self) -> int:
        from transformers import ContinuousBatchingConfig

        default: Any = ContinuousBatchingConfig()
        return int(default.page_size if "page_size" in self.settings else default.block_size)

    def _start(self, need: tuple[int, int, int], **sizes: int) -> Any:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        options: dict[str, Any] = {
            "allow_block_sharing": False,  # a second run must not find the first one's prompts
            "auto_switch_to_flash": False,
            "max_requests_per_batch": need[0],
            **sizes,
        }
        # Its kernel for decode steps reads block tables.
        if "flash" in self.model.config._attn_implementation:
            options["max_blocks_per_request"] = -(-need[2] // self._page()) + 1
        known = {key: value for key, value in options.items() if key in self.settings}
        manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=-1),
            continuous_batching_config=ContinuousBatchingConfig(**known),
        )
        manager.warmup()  # makes the cache, and captures graphs where there are some
        # A thread is a daemon where the one that starts it is: a side that was not closed must not keep Python from ending.
        starter = threading.Thread(target=manager.start, daemon=True)
        starter.start()
        starter.join()
        return manager

    def _stop(self) -> None:
        if self.manager is not None:
            self.manager.stop(block=True)
            self.manager.destroy()
            self.manager = None
