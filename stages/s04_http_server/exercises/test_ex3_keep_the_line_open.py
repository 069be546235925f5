"""Checks exercise 3. What is awaited is set by hand, so no test depends on how fast the machine is."""

from __future__ import annotations

import asyncio

import pytest

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
NEVER = 60.0
SOON = 0.005


def test_events_pass_unchanged():
    async def events():
        for text in ("data: a\n\n", "data: b\n\n"):
            yield text

    assert run(collect(exercise.keep_alive(events(), NEVER))) == ["data: a\n\n", "data: b\n\n"]


def test_silence_is_filled_and_no_event_is_lost():
    async def talk():
        go_on = asyncio.Event()

        async def events():
            yield "data: a\n\n"
            await go_on.wait()
            yield "data: b\n\n"

        got = []
        async for event in exercise.keep_alive(events(), SOON):
            got.append(event)
            if got.count(exercise.COMMENT) == 3:
                go_on.set()
        return got

    got = run(talk())
    assert [event for event in got if event != exercise.COMMENT] == ["data: a\n\n", "data: b\n\n"]
    assert got[1:4] == [exercise.COMMENT] * 3


def test_an_event_does_not_wait_for_the_next_comment():
    async def talk():
        here = asyncio.Event()

        async def events():
            await here.wait()
            yield "data: a\n\n"

        stream = exercise.keep_alive(events(), NEVER)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        here.set()
        return await first

    assert run(talk()) == "data: a\n\n"


def test_an_error_of_the_events_arrives():
    async def events():
        yield "data: a\n\n"
        raise RuntimeError("the engine failed")

    async def talk():
        stream = exercise.keep_alive(events(), NEVER)
        first = await anext(stream)
        with pytest.raises(RuntimeError, match="the engine failed"):
            await anext(stream)
        return first

    assert run(talk()) == "data: a\n\n"


@pytest.mark.parametrize("silent", [True, False], ids=["while it waits", "between two events"])
def test_when_the_reader_leaves_the_events_end_too(silent):
    ended = []

    async def events():
        try:
            yield "data: a\n\n"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def talk():
        stream = exercise.keep_alive(events(), SOON)
        assert await anext(stream) == "data: a\n\n"
        if silent:
            assert await anext(stream) == exercise.COMMENT
        await stream.aclose()
        return list(ended)

    assert run(talk()) == [True]


async def collect(events):
    return [event async for event in events]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))
