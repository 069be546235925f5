"""Checks exercise 1."""

from __future__ import annotations

import asyncio
import importlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
STAGE = ".".join(Path(__file__).resolve().parts[-4:-2])


def test_events_come_in_order():
    assert exercise.EventReader().feed(b"data: one\n\ndata: two\n\n") == ["one", "two"]


def test_an_event_is_complete_with_its_empty_line():
    reader = exercise.EventReader()
    assert reader.feed(b"data: one\n") == []
    assert reader.feed(b"\n") == ["one"]
    assert reader.feed(b"\n\n") == []


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"data: one\r\n\r\n", ["one"]),
        (b"data:one\n\n", ["one"]),
        (b"data:   one\n\n", ["  one"]),
        (b"data: a: b\n\n", ["a: b"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data:\n\n", [""]),
        (b": waiting\n\ndata: one\n\n", ["one"]),
        (b"event: x\nid: 7\ndata: one\nretry: 5\n\n", ["one"]),
        (b"database: one\n\n", []),
    ],
)
def test_lines_are_read_as_the_standard_says(received, expected):
    assert exercise.EventReader().feed(received) == expected


@given(
    events=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=5),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_it_does_not_matter_where_the_bytes_are_cut(events, cuts):
    sent = "".join(f"data: {event}\n\n" for event in events).encode()
    reader, found = exercise.EventReader(), []
    for a, b in pairwise([0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]):
        found += reader.feed(sent[a:b])
    assert found == events


def test_what_the_server_sends_is_read():
    streaming = importlib.import_module(f"{STAGE}.engine.server.streaming")
    chunks = [{"text": "naïve\n\nfox"}, {"text": ""}, {"text": "data: 🦊"}]

    async def send():
        async def source():
            for chunk in chunks:
                yield chunk

        return [event async for event in streaming.events(source(), lambda e: {"error": str(e)})]

    reader, found = exercise.EventReader(), []
    for event in asyncio.run(send()):
        found += reader.feed(event.encode())
    *read, done = found
    assert [json.loads(one) for one in read] == chunks
    assert done == "[DONE]"
