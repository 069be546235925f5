"""Bytes that no client should send: a 4xx each, never a 5xx, no hang, bounded memory, and the next request is served."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.tokenizer import Tokenizer
from tests.contract.checkpoint import Checkpoint
from tests.contract.fields import BROUGHT, RANGES, WITHOUT_EFFECT
from tests.contract.servers import Inside, Process
from tests.contract.subjects import Subject
from tests.parity.test_tokenizer import byte_level, gemma_style, llama_style

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


NOT_JSON = {
    b"prompt=Hi&model=x": "Expecting value at character 0",
    b'{"model": "x", "prompt":': "Expecting value at character 24",
    b'{"model": "\xff\xfe"}': "invalid utf-8 at byte 11",
    b"[" * 200_000: "it is nested too deeply",
    b'{"model":"M","prompt":"a","max_tokens":' + b"9" * 5000 + b"}": "a number has too many digits",
}


@pytest.mark.parametrize(("body", "reason"), NOT_JSON.items(), ids=NOT_JSON.values())
def test_what_cannot_be_parsed_is_told_in_the_same_words_with_the_reason(
    server: Process, body: bytes, reason: str
):
    message = post(server, PATHS[0], body).json()["error"]["message"]
    assert message == f"the body is not JSON: {reason}"


@pytest.mark.parametrize(
    ("body", "what"),
    [(b"[]", "an array"), (b"5", "5"), (b'"text"', '"text"'), (b"null", "null"), (b"", "empty")],
)
def test_what_is_json_but_no_object_is_told_so(server: Process, body: bytes, what: str):
    message = post(server, PATHS[0], body).json()["error"]["message"]
    assert message.startswith("the body must be a JSON object")
    assert what in message


def test_a_compressed_body_is_415_and_names_the_coding(server: Process):
    body = gzip.compress(json.dumps({"model": server.model, "prompt": "Hi"}).encode())
    response = post(server, PATHS[0], body, {**JSON, "Content-Encoding": "gzip"})
    assert response.status_code == 415
    assert "Content-Encoding" in response.json()["error"]["message"]
    assert "gzip" in response.json()["error"]["message"]
    plain = json.dumps({"model": server.model, "prompt": "Hi", "max_tokens": 1, "temperature": 0}).encode()
    assert post(server, PATHS[0], plain, {**JSON, "Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(inside: Inside, path: str):
    """Twelve prompts of 4 MB, encoded, held up a short one for 11 s."""
    long = "hello world " * 300_000
    text = {"prompt": ["Hi", long]} if path == PATHS[0] else {"messages": [{"role": "user", "content": long}]}
    encoded: list[int] = []
    tokenizer = inside.engine.tokenizer

    def encode(text: str, special: bool = True) -> list[int]:
        encoded.append(len(text))
        return [5]

    tokenizer.encode = encode
    try:
        body = {"model": inside.model, "temperature": 0, "max_tokens": 1, **text}
        response = inside.http.post(path, json=body)
    finally:
        del tokenizer.encode
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert re.search(r"the prompt is too long. .* has at least \d{4,}", error["message"])
    assert max(encoded, default=0) < 100


def test_a_text_is_not_refused_by_its_length_if_its_tokens_may_be_few(
    server: Process, checkpoint: Checkpoint
):
    from tests.contract.conftest import WINDOW

    vocabulary = checkpoint.tokenizer.backend.get_vocab()
    name = max(vocabulary, key=len)
    count = (WINDOW - 2) // 2
    text = checkpoint.tokenizer.decode([vocabulary[name]], skip_special=False) * count
    fits = len(checkpoint.encode(text)) < WINDOW
    assert server.complete(text, max_tokens=1).status_code == (200 if fits else 400)


SPELT: dict[str, Callable[[], Any]] = {"bytes": byte_level, "llama": llama_style, "gemma": gemma_style}


@pytest.mark.parametrize("style", SPELT.values(), ids=SPELT)
def test_no_text_has_fewer_tokens_than_its_length_says(subject: Subject, style: Callable[[], Any]):
    tokenizer = style()
    longest = subject.module("engine.server.limits").longest_token(tokenizer)
    if longest is not None:
        for text in ("a" * 500, " " * 500, "\n\n  x" * 99, "🦊é" * 99, "the king " * 99, "e\u0301" * 99):
            assert len(tokenizer.encode(text)) * longest >= len(text), text[:9]


def test_a_tokenizer_that_drops_text_says_nothing_about_lengths(subject: Subject):
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers

    longest_token = subject.module("engine.server.limits").longest_token
    drops = Backend(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    drops.pre_tokenizer = pre_tokenizers.Whitespace()
    assert longest_token(Tokenizer(drops)) is None


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
def test_a_long_text_does_not_stop_the_server_while_it_is_encoded(inside: Inside):
    """The tokenizer's usual call keeps the interpreter lock for all of it: 4 s for 4 MB."""
    known, inside.service.longest_token = (
        inside.service.longest_token,
        None,
    )  # or it would not be encoded at all
    body = {"model": inside.model, "prompt": "hello world " * 300_000}
    busy = threading.Thread(target=inside.http.post, args=(PATHS[0],), kwargs={"json": body})
    busy.start()
    slowest, count = 0.0, 0
    while busy.is_alive():
        began = time.monotonic()
        assert inside.http.get("/health").status_code == 200
        slowest, count = max(slowest, time.monotonic() - began), count + 1
        time.sleep(0.02)
    busy.join()
    inside.service.longest_token = known
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
