"""The same tokens in three ways: the previous stage's engine, this one stepped by hand, and this one with its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

WAYS = ("before", "hand", "thread")


@dataclass(frozen=True, slots=True)
class Sides:
    """One engine per way, on the same weights."""

    engines: dict[str, Any]
    packages: dict[str, ModuleType]

    @classmethod
    def build(cls, before: ModuleType, now: ModuleType, ours: Any, device: str, dtype: str) -> Sides:
        """ours: an engine of `now`, which gives the model. The one with the thread is started."""
        packages = {"before": before, "hand": now, "thread": now}
        parts = ours.model, ours.tokenizer, ours.model_config
        engines = {
            way: packages[way].Engine(*parts, packages[way].EngineConfig(device, dtype)) for way in WAYS
        }
        engines["thread"].start()
        return cls(engines, packages)

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()

    def run(self, way: str, prompt: Sequence[int], count: int) -> tuple[list[int], float]:
        """(tokens, seconds) of a greedy text, read through `stream`."""
        params = self.packages[way].SamplingParams(count, ignore_eos=True)
        start = time.perf_counter()
        tokens = [t for output in self.engines[way].stream(prompt, params) for t in output.tokens]
        return tokens, time.perf_counter() - start

    def one_token(self, way: str, prompt: Sequence[int]) -> float:
        """Seconds from `add` to the only output of a request, as the thread that steps sees it."""
        engine, ended, at = self.engines[way], threading.Event(), [0.0]
        params = self.packages[way].SamplingParams(1, ignore_eos=True)

        def take(output: Any) -> None:
            at[0] = time.perf_counter()
            ended.set()

        start = time.perf_counter()
        engine.add(prompt, params, None, take)
        while way == "hand" and not ended.is_set():
            engine.step()
        ended.wait()
        return at[0] - start


def hand_over(rounds: int) -> list[float]:
    """Seconds from `Event.set` until a thread that slept on it runs: no queue between two threads can be faster."""
    work, taken = threading.Event(), threading.Event()
    found: list[float] = []
    sent = 0.0

    def sleeper() -> None:
        for _ in range(rounds):
            work.wait()
            found.append(time.perf_counter() - sent)
            work.clear()
            taken.set()

    thread = threading.Thread(target=sleeper, daemon=True)
    thread.start()
    for _ in range(rounds):
        time.sleep(0.005)  # it has gone to sleep
        taken.clear()
        sent = time.perf_counter()
        work.set()
        taken.wait()
    thread.join()
    return found
