"""Server-sent events: their form, and that they leave while the engine still works."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, Server

pytestmark = pytest.mark.needs("http", "streaming")
PROMPT = "Once upon a time"
PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def events(server: Server, endpoint: str, **fields: Any) -> Iterator[dict[str, Any] | str]:
    """The data of each event as it comes, parsed; the last as it is."""
    text = (
        {"prompt": PROMPT}
        if endpoint == "completions"
        else {"messages": [{"role": "user", "content": PROMPT}]}
    )
    body = {"model": server.model, "temperature": 0, "stream": True, "ignore_eos": True, **text, **fields}
    with server.http.stream("POST", PATHS[endpoint], json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line:
                assert line.startswith("data: ")
                yield line[6:] if line == "data: [DONE]" else json.loads(line[6:])


def piece(choice: dict[str, Any]) -> str:
    return str(choice["text"] if "text" in choice else choice["delta"].get("content", ""))


@pytest.mark.parametrize("endpoint", PATHS)
def test_chunks_make_the_whole_text_and_end_in_done(server: Process, endpoint: str):
    *chunks, last = events(server, endpoint, max_tokens=20)
    assert last == "[DONE]"
    whole = server.complete(PROMPT, max_tokens=20, ignore_eos=True) if endpoint == "completions" else None
    whole = whole or server.chat(PROMPT, max_tokens=20, ignore_eos=True)
    choice = whole.json()["choices"][0]
    expected = choice["text"] if "text" in choice else choice["message"]["content"]
    assert "".join(piece(c["choices"][0]) for c in chunks) == expected
    reasons = [c["choices"][0]["finish_reason"] for c in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert chunks[-1]["choices"][0].get("delta", chunks[-1]["choices"][0].get("text")) in ({}, "")
    assert len(chunks) > 5
    assert len({c["id"] for c in chunks}) == 1
    assert {c["object"] for c in chunks} == {
        "text_completion" if endpoint == "completions" else "chat.completion.chunk"
    }
    assert {c["model"] for c in chunks} == {server.model}
    assert not any("usage" in c for c in chunks)


@pytest.mark.needs("chat")
def test_a_chat_stream_begins_with_the_role(server: Process):
    first, *rest = events(server, "chat", max_tokens=4)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert not any("role" in c["choices"][0]["delta"] for c in rest[:-1])


@pytest.mark.needs("chat")
def test_the_role_comes_with_the_first_token_and_not_before(inside: Inside):
    """Clients take the time of the first chunk for the time to the first token."""
    got: list[Any] = []
    with inside.gate.held(), concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: got.extend(events(inside, "chat", max_tokens=4)))
        inside.gate.reached()
        time.sleep(0.2)  # for a chunk that should not be there
        assert not got
        assert not reading.done()
        inside.gate.set(None)
        reading.result(60)
    assert got[0]["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("endpoint", PATHS)
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_the_finish_reason_comes_after_the_last_text(server: Process, endpoint: str, reason: str):
    """Clients that stop reading at the finish reason would lose the text that comes with it."""
    text = server.complete if endpoint == "completions" else server.chat
    whole = piece_of(text(PROMPT, max_tokens=20, ignore_eos=True))
    more = {"stop": [whole[12:16]]} if reason == "stop" else {}
    expected = whole[: whole.index(whole[12:16])] if reason == "stop" else whole
    *chunks, last, done = events(server, endpoint, max_tokens=20, **more)
    assert done == "[DONE]"
    assert "".join(piece(c["choices"][0]) for c in chunks) == expected
    assert {c["choices"][0]["finish_reason"] for c in chunks} == {None}
    assert last["choices"][0]["finish_reason"] == reason
    assert last["choices"][0].get("delta", {}) == {}
    assert piece(last["choices"][0]) == ""


def piece_of(response: Any) -> str:
    choice = response.json()["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


@pytest.mark.parametrize("endpoint", PATHS)
def test_usage_so_far_comes_with_each_chunk_on_request(server: Process, endpoint: str):
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last, _ = events(server, endpoint, max_tokens=9, stream_options=options)
    counts = [c["usage"]["completion_tokens"] for c in chunks]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert counts[-1] == last["usage"]["completion_tokens"] == 9
    assert len({c["usage"]["prompt_tokens"] for c in chunks}) == 1
    assert last["choices"] == []
    *without, _ = events(server, endpoint, max_tokens=9, stream_options={"continuous_usage_stats": True})
    assert not any(c.get("usage") for c in without)


def test_event_streams_tell_proxies_not_to_collect_them(server: Process):
    body = {"model": server.model, "prompt": PROMPT, "max_tokens": 2, "stream": True, "temperature": 0}
    headers = server.http.post(PATHS["completions"], json=body).headers
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("endpoint", PATHS)
def test_usage_comes_last_and_exact_on_request(server: Process, checkpoint: Checkpoint, endpoint: str):
    options = {"include_usage": True}
    *chunks, last, _ = events(server, endpoint, max_tokens=7, stream_options=options)
    assert last["choices"] == []
    count = len(checkpoint.encode(PROMPT))
    if endpoint == "chat":
        count = len(checkpoint.tokenizer.encode_chat([{"role": "user", "content": PROMPT}]))
    assert last["usage"] == {"prompt_tokens": count, "completion_tokens": 7, "total_tokens": count + 7}
    assert all(c["usage"] is None for c in chunks)


def test_metrics_come_with_a_streams_last_text(server: Process):
    *chunks, _ = events(server, "completions", max_tokens=7)
    assert all("metrics" not in c for c in chunks[:-1])
    assert 0 < chunks[-1]["metrics"]["ttft"] <= chunks[-1]["metrics"]["latency"]


@pytest.mark.parametrize("endpoint", PATHS)
def test_the_first_chunk_leaves_before_the_second_token_is_computed(inside: Inside, endpoint: str):
    with inside.gate.held(allowed=1):
        stream = events(inside, endpoint, max_tokens=20)
        text = ""
        while not text:
            chunk = next(stream)
            text = piece(chunk["choices"][0])
            if not text and "text" in chunk["choices"][0]:
                inside.gate.set(1)  # half a character has no text yet
        inside.gate.reached()
        inside.gate.set(None)
        assert list(stream)[-1] == "[DONE]"


def test_streams_of_several_prompts_can_be_told_apart(server: Process, checkpoint: Checkpoint):
    prompts = [PROMPT, "A fox", "The king"]
    texts = {0: "", 1: "", 2: ""}
    *chunks, last = events(server, "completions", prompt=prompts, max_tokens=9)
    assert last == "[DONE]"
    for choice in (c["choices"][0] for c in chunks):
        texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == [checkpoint.greedy_text(p, 9) for p in prompts]


def test_a_stop_string_is_never_partly_shown(server: Process, checkpoint: Checkpoint):
    whole = checkpoint.greedy_text(PROMPT, 30)
    stop = whole[6:14]
    *chunks, _ = events(server, "completions", max_tokens=30, stop=[stop])
    assert "".join(piece(c["choices"][0]) for c in chunks) == whole[: whole.index(stop)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_never_shows_half_a_character(server: Process):
    *chunks, _ = events(server, "completions", prompt="Grüße 🦊🦊🦊 ", max_tokens=60)
    joined = "".join(piece(c["choices"][0]) for c in chunks)
    assert joined == server.text("Grüße 🦊🦊🦊 ", 60)


@pytest.mark.parametrize("endpoint", PATHS)
def test_a_stream_that_cannot_be_served_is_refused_before_it_starts(server: Process, endpoint: str):
    text = {"prompt": [5] * 9999} if endpoint == "completions" else {"messages": []}
    response = server.http.post(
        PATHS[endpoint], json={"model": server.model, "stream": True, "temperature": 0, **text}
    )
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
