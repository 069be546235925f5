"""Drives an engine in this process, without HTTP: for machines that have no web server, and to leave its cost out.

The engine's thread stamps each output; the event loop only waits. From stage 06 on requests go through `engine.add`;
before that each has a thread of its own that draws `engine.stream`.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from types import ModuleType
from typing import Any

from common.bench.shapes import load_parts
from common.errors import UserError
from common.options import add_options, read_options
from common.terminal.command_line import Parser

from .prompts import Planned
from .record import Info, Record, Status
from .server import stage_package

__all__ = ["EngineTarget", "load_engine"]


def load_engine(stage: str, model: str, options: list[str]) -> tuple[ModuleType, Any]:
    """A stage's engine package, and an engine. Raises UserError.

    model: as for `load_model`, or the name of a published shape, which gets random weights and no tokenizer.
    options: flags of the stage's EngineConfig.
    """
    package = importlib.import_module(stage_package(stage, "engine"))
    if not hasattr(package, "Engine"):
        raise UserError(f"stage {stage}: has no Engine yet; from stage 04 on there is one")
    parser = Parser(prog=f"options of stage {stage}'s engine", allow_abbrev=False)
    add_options(parser, package.EngineConfig)
    config = read_options(package.EngineConfig, vars(parser.parse_args(options)))
    return package, package.Engine(*load_parts(model, config.device, config.dtype), config)


class EngineTarget:
    """One engine. It is started here and closed with the target."""

    def __init__(
        self, package: ModuleType, engine: Any, name: str, ignore_eos: bool, temperature: float = 0.0
    ):
        self.package, self.engine, self.name = package, engine, name
        self.fields = {"ignore_eos": ignore_eos}
        if "temperature" in package.SamplingParams.__dataclass_fields__:
            self.fields["temperature"] = temperature  # type: ignore[assignment]
        self.queued = hasattr(engine, "add")
        if self.queued:
            engine.start()

    async def close(self) -> None:
        await asyncio.to_thread(self.engine.close)

    async def describe(self) -> Info:
        e = self.engine
        dtype = str(e.dtype).removeprefix("torch.")
        return Info(self.name, e.max_seq_len, e.model_config.vocab_size, str(e.device), dtype)

    def settle(self, record: Record) -> None:
        """Nothing was put off."""

    async def send(self, request: Planned, record: Record) -> None:
        """The record is written by the thread that steps, and by no other until that has set `done`."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        name = f"load-{id(self)}-{request.index}-{time.perf_counter_ns()}"

        def take(output: Any) -> None:
            if not record.ended and self._note(output, request, record, name):
                loop.call_soon_threadsafe(done.set)

        record.sent = time.perf_counter()
        try:
            self._start(request, name, take, record)
        except self._queue_full() as e:
            record.end(Status.REFUSED, str(e))
        except UserError as e:
            record.end(Status.FAILED, str(e))
        if record.ended and not record.times:
            record.finished = record.finished or time.perf_counter()
            return
        try:
            await done.wait()
        except asyncio.CancelledError:
            self.engine.abort(name)
            raise

    def _note(self, output: Any, request: Planned, record: Record, name: str) -> bool:
        """Writes an output down -> whether it was the last that matters."""
        now = time.perf_counter()
        if output.tokens:
            record.times.append(now)
            record.tokens += output.tokens
            record.num_tokens += len(output.tokens)
        if output.finish_reason:
            failed = output.finish_reason in ("error", "abort")
            record.finish_reason = output.finish_reason
            record.end(Status.FAILED if failed else Status.OK, getattr(output, "error", None) or "")
        elif request.hang_up_after and len(record.times) >= request.hang_up_after:
            record.end(Status.HUNG_UP)
            self.engine.abort(name)
        record.finished = now
        return record.ended

    def _start(self, request: Planned, name: str, take: Any, record: Record) -> None:
        params = self.package.SamplingParams(max_tokens=request.max_tokens, **self.fields)
        if self.queued:
            self.engine.add(self.engine.encode(request.prompt), params, name, take)
            return
        outputs = self.engine.stream(request.prompt, params, name)

        def draw() -> None:
            for output in outputs:
                take(output)
                if record.ended:
                    break
            outputs.close()

        threading.Thread(target=draw, daemon=True).start()

    def _queue_full(self) -> type[Exception] | tuple[()]:
        return getattr(importlib.import_module(f"{self.package.__name__}.engine"), "QueueFull", ())
