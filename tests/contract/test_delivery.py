"""From the engine's thread to the event loop: a burst of outputs is one wake-up, and a slow reader gets larger pieces."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http", "queue")
BURST = 64


class Quiet:
    """An engine of which only the callbacks are of interest."""

    def __init__(self) -> None:
        self.readers: dict[str, Any] = {}

    def add(self, tokens: list[int], params: Any, name: str, on_output: Any) -> None:
        self.readers[name] = on_output


def test_a_burst_of_outputs_wakes_the_event_loop_once_and_loses_nothing(subject: Subject):
    streaming, output = subject.module("engine.server.streaming"), subject.module("engine.request").Output
    wakes: list[Any] = []

    async def go() -> list[tuple[int, Any]]:
        mailbox, engine = streaming.Mailbox(), Quiet()
        loop, wake = mailbox.loop, mailbox.loop.call_soon_threadsafe

        def counted(*what: Any) -> None:
            wakes.append(what)
            wake(*what)

        loop.call_soon_threadsafe = counted
        outputs = streaming.Outputs(engine, mailbox)
        for i in range(4):
            outputs.open([5], None, f"r{i}")

        def burst() -> None:
            for step in range(BURST):
                for i, put in enumerate(engine.readers.values()):
                    reason = "length" if step == BURST - 1 else None
                    put(output(f"r{i}", [step], f"{i}.{step} ", reason, {} if reason else None))

        thread = threading.Thread(target=burst)
        thread.start()
        thread.join()  # all of it before the event loop looks
        loop.call_soon_threadsafe = wake
        return [pair async for pair in outputs]

    got = asyncio.run(go())
    assert len(wakes) == 1
    assert [choice for choice, _ in got] == [0, 1, 2, 3]  # merged, one piece for each
    for choice, one in got:
        assert one.tokens == list(range(BURST))
        assert one.text == "".join(f"{choice}.{step} " for step in range(BURST))
        assert (one.finish_reason, one.metrics) == ("length", {})


def test_outputs_from_another_thread_arrive_in_order_whenever_they_come(subject: Subject):
    streaming, output = subject.module("engine.server.streaming"), subject.module("engine.request").Output
    count = 20_000

    async def go() -> list[int]:
        mailbox, engine = streaming.Mailbox(), Quiet()
        outputs = streaming.Outputs(engine, mailbox)
        outputs.open([5], None, "r")

        def work() -> None:
            for step in range(count):
                engine.readers["r"](output("r", [step], "", "length" if step == count - 1 else None))

        threading.Thread(target=work).start()
        return [token async for _, one in outputs for token in one.tokens]

    assert asyncio.run(asyncio.wait_for(go(), 60)) == list(range(count))
