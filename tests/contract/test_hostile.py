"""Bytes that no client should send: a 4xx each, never a 5xx, no hang, bounded memory, and the next request is served."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.fields import BROUGHT, RANGES, WITHOUT_EFFECT
from tests.contract.servers import Process

pytestmark = pytest.mark.needs("http")
PATHS = ("/v1/completions", "/v1/chat/completions")
JSON = {"Content-Type": "application/json"}
ANY = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = settings(ANY, max_examples=1500)

NAMES = sorted(
    {f.name for f in BROUGHT}
    | {r.name for r in RANGES}
    | {*WITHOUT_EFFECT, "prompt", "messages", "model", "x"}
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # half surrogates too
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=3), max_leaves=8
)
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "system"]) | VALUE, "content": VALUE, "x": VALUE}
)
BODY = st.fixed_dictionaries(
    {"prompt": VALUE, "messages": st.lists(MESSAGE | VALUE, max_size=3)},
    optional={name: VALUE for name in NAMES if name not in ("prompt", "messages", "model")},
)


def post(server: Process, path: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    response = server.http.post(path, content=body, headers=JSON if headers is None else headers)
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
    return response


def check_body(server: Process, body: dict[str, Any], drop: str) -> None:
    """Asks for little where it asks for something possible, so that the time goes into what is not."""
    body = {k: v for k, v in body.items() if k != drop}
    body = {"model": server.model, "max_tokens": 1, **body}
    body |= {"max_completion_tokens": 1} if "messages" in body else {}
    body |= {"stream": False} if body.get("stream") is True else {}
    post(server, PATHS["messages" in body], json.dumps(body).encode())


def check_bytes(server: Process, body: bytes, path: str) -> None:
    assert post(server, path, body).status_code in (400, 404)


@given(body=BODY, drop=st.sampled_from(["prompt", "messages"]))
@ANY
def test_no_json_body_breaks_the_server(server: Process, body: dict[str, Any], drop: str):
    check_body(server, body, drop)


@given(body=st.binary(max_size=200), path=st.sampled_from(PATHS))
@ANY
def test_no_bytes_break_the_server(server: Process, body: bytes, path: str):
    check_bytes(server, body, path)


@pytest.mark.slow
@pytest.mark.needs(ends=True)
@given(body=BODY, drop=st.sampled_from(["prompt", "messages"]))
@MANY
def test_no_json_body_of_many_breaks_the_server(server: Process, body: dict[str, Any], drop: str):
    check_body(server, body, drop)


@pytest.mark.slow
@pytest.mark.needs(ends=True)
@given(body=st.binary(max_size=2000), path=st.sampled_from(PATHS))
@MANY
def test_no_bytes_of_many_break_the_server(server: Process, body: bytes, path: str):
    check_bytes(server, body, path)


@given(prompt=st.text(max_size=100))
@ANY
def test_any_text_is_a_prompt(server: Process, prompt: str):
    response = server.complete(prompt, max_tokens=1)
    assert response.status_code == (200 if prompt else 400)


MALFORMED = {
    "nothing": b"",
    "no json": b"prompt=Hi&model=x",
    "half an object": b'{"model": "x", "prompt":',
    "invalid utf-8": b'{"model": "\xff\xfe"}',
    "utf-16": '{"model": "x"}'.encode("utf-16-le"),
    "nul": b"\0" * 100,
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "deep and closed": b'{"model":"M","prompt":"a","metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "deep prompt": b'{"model":"M","prompt":' + b"[" * 900 + b"]" * 900 + b"}",
    "NaN": b'{"model":"M","prompt":"a","max_tokens":NaN}',
    "Infinity": b'{"model":"M","prompt":"a","max_tokens":-Infinity}',
    "a number of 5,000 digits": b'{"model":"M","prompt":"a","max_tokens":' + b"9" * 5000 + b"}",
    "half a surrogate pair": b'{"model":"M","prompt":"\\ud800"}',
    "half a surrogate pair as a name": b'{"model":"M","prompt":"a","\\ud800":1}',
    "half a surrogate pair in a message": b'{"model":"M","messages":[{"role":"user","content":"\\udfff"}]}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_a_400(server: Process, body: bytes):
    body = body.replace(b'"M"', json.dumps(server.model).encode())
    for path in PATHS:
        response = post(server, path, body)
        assert response.status_code == 400
        assert len(response.json()["error"]["message"]) < 400


MB = 1_000_000
BULKY = {
    "a text": b'{"model":"M","prompt":"' + b"hello " * (MB // 2) + b'"}',
    "a word": b'{"model":"M","prompt":"' + b"a" * 3 * MB + b'"}',
    "ids": b'{"model":"M","prompt":[' + b"1," * MB + b"1]}",
    "nulls": b'{"model":"M","prompt":[' + b"null," * (MB // 2) + b"1]}",
    "lists of nulls": b'{"model":"M","prompt":[' + b"[null]," * (MB // 3) + b"1]}",
    "messages": b'{"model":"M","messages":[' + b"{}," * MB + b"1]}",
    "parts": b'{"model":"M","messages":[{"role":"user","content":[' + b"{}," * MB + b"1]}]}",
    "stops": b'{"model":"M","prompt":"a","stop":[' + b"1," * MB + b"1]}",
    "fields": b'{"model":"M","prompt":"a",' + b",".join(b'"%d":1' % i for i in range(MB // 4)) + b"}",
    "pairs of metadata": b'{"model":"M","prompt":"a","metadata":{'
    + b",".join(b'"%d":1' % i for i in range(MB // 4)) + b"}}",
    "fields of a message": b'{"model":"M","messages":[{"role":"user","content":"a",'
    + b",".join(b'"%d":1' % i for i in range(MB // 4)) + b"}]}",
    "biases": b'{"model":"M","prompt":"a","logit_bias":{' + b",".join(b'"%d":"a"' % i for i in range(MB // 4)) + b"}}",
}  # fmt: skip


@pytest.mark.needs(ends=True)
@pytest.mark.parametrize("body", BULKY.values(), ids=BULKY)
def test_a_million_mistakes_cost_no_more_than_their_bytes(server: Process, body: bytes):
    """pydantic would list them all: 4 MB of nulls took 27 s on the event loop and 3 GB."""
    _, before = server.usage()
    path = PATHS[b'"messages"' in body[:30]]
    began = time.monotonic()
    assert post(server, path, body.replace(b'"M"', json.dumps(server.model).encode())).status_code == 400
    assert time.monotonic() - began < 40  # recorded: about two seconds
    assert server.usage()[1] - before < 600 << 20


@pytest.mark.needs(ends=True)
def test_a_long_text_does_not_stop_the_server_while_it_is_encoded(server: Process):
    """The tokenizer's usual call keeps the interpreter lock for all of it: 4 s for 4 MB."""
    body = b'{"model":"%s","prompt":"%s"}' % (server.model.encode(), b"hello world " * 300_000)
    busy = threading.Thread(target=post, args=(server, PATHS[0], body))
    busy.start()
    slowest, count = 0.0, 0
    while busy.is_alive():
        began = time.monotonic()
        assert server.http.get("/health").status_code == 200
        slowest, count = max(slowest, time.monotonic() - began), count + 1
        time.sleep(0.02)
    busy.join()
    assert count > 3
    assert slowest < 2


def test_a_body_over_the_limit_is_413_whether_announced_or_not(server: Process):
    def drip() -> Iterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    for content in (b" " * (10 << 20), drip()):
        response = server.http.post(PATHS[0], content=content, headers=JSON)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
    assert server.complete("Hi", max_tokens=1).status_code == 200


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "x",
        "application/json; charset=utf-7",
    ],
)
def test_unknown_content_types_are_400_or_read_as_json(server: Process, kind: str):
    body = json.dumps({"model": server.model, "prompt": "a", "max_tokens": 1, "temperature": 0}).encode()
    response = post(server, PATHS[0], body, {"Content-Type": kind})
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert "Content-Type" in response.json()["error"]["message"]


HEADER = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=':()<>@,;\\"/[]?={}'),
    min_size=1,
    max_size=30,
)


@given(
    headers=st.dictionaries(
        HEADER, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60), max_size=4
    )
)
@ANY
def test_no_headers_break_the_server(server: Process, headers: dict[str, str]):
    mine = {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade"}
    raw = [(k.encode(), v.strip().encode("latin-1")) for k, v in headers.items() if k.lower() not in mine]
    response = server.http.request("GET", "/health", headers=raw)
    assert response.status_code < 500


def test_a_header_without_end_is_refused(server: Process):
    with contextlib.suppress(httpx.TransportError):  # hung up on while it still talked
        response = server.http.get("/health", headers={"X": "x" * 5_000_000})
        assert 400 <= response.status_code < 500
    assert server.http.get("/health").status_code == 200
