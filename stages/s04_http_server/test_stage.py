"""Stage 04's promises: one facade for all requests, OpenAI's protocol around it, no work for a client that has gone."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bench.results import load_result
from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import run

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import engine

WINDOW = 128  # positions of the fixtures' models
LIMIT = 60  # seconds after which a test that waits has failed


@pytest.fixture(scope="module")
def parts(random_gpt2):
    """(model, tokenizer, config)"""
    return load_model(random_gpt2, "cpu")


def build(model, tokenizer, model_config, **options):
    return engine.Engine(model, tokenizer, model_config, engine.EngineConfig(**options))


@pytest.fixture
def made(parts):
    return build(*parts)


class Gate:
    """A model whose forward passes wait for permission, and are counted."""

    def __init__(self, model):
        self.model, self.permits, self.passes = model, threading.Semaphore(0), 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *inputs):
        self.passes += 1
        assert self.permits.acquire(timeout=LIMIT), "no test let this pass go on"
        return self.model(*inputs)

    def allow(self, count):
        self.permits.release(count)


@pytest.fixture
def gated(parts):
    """An engine whose `model` is a Gate."""
    made = build(Gate(parts[0]), *parts[1:])
    yield made
    made.close()
    made.model.allow(10_000)


def params(max_tokens=8, **more):
    """Fixtures' models end texts at random; a test that counts tokens does not want that."""
    return engine.SamplingParams(max_tokens, **dict(ignore_eos=True) | more)


def bare(parts, prompt, count):
    """What the loop makes without a facade: (token ids, text)."""
    out = list(engine.generate(parts[0], prompt, count, tokenizer=parts[1]))
    return [token.id for token in out], "".join(token.text for token in out)


# The facade


def test_the_facade_gives_the_tokens_and_the_text_of_the_bare_loop(parts, made):
    ids = parts[1].encode("Once upon a time")
    from_text, from_ids = made.generate(["Once upon a time", ids], params(12))
    for completion in (from_text, from_ids):
        assert (completion.tokens, completion.text) == bare(parts, ids, 12)
        assert completion.prompt_tokens == ids
        assert completion.finish_reason == "length"


def test_each_prompt_may_have_parameters_of_its_own(made):
    out = made.generate(["a fox", "a king", "a sea"], [params(3), params(7), params(1)])
    assert [len(one.tokens) for one in out] == [3, 7, 1]
    assert len({one.request_id for one in out}) == 3


def test_a_stream_has_the_reason_and_the_times_on_its_last_output(made):
    *before, last = made.stream([5, 6], params(6), "mine")
    assert [one.finish_reason for one in before] == [None] * 5
    assert all(one.metrics is None for one in before)
    assert {one.request_id for one in (*before, last)} == {"mine"}
    metrics = last.metrics
    assert 0 < metrics["ttft"] <= metrics["latency"]
    assert metrics["tokens_per_second"] == pytest.approx(5 / (metrics["latency"] - metrics["ttft"]))


def test_stop_strings_and_end_tokens_end_a_completion(parts, made):
    ids, text = bare(parts, [5, 6], 20)
    stop = text[4:6]
    (stopped,) = made.generate([[5, 6]], params(20, stop=(stop,)))
    assert stopped.text == text.split(stop)[0]
    assert stopped.finish_reason == "stop"
    config = dataclasses.replace(parts[2], eos_token_ids=(ids[3],))
    ending = build(parts[0], parts[1], config)
    (ended,) = ending.generate([[5, 6]], params(20, ignore_eos=False))
    assert ended.tokens == ids[: ids.index(ids[3]) + 1]
    assert ended.finish_reason == "stop"


def test_without_a_limit_a_completion_fills_the_window(made):
    (out,) = made.generate([[5] * 100], params(None))
    assert (len(out.tokens), out.finish_reason) == (WINDOW - 100, "length")


def test_what_can_never_be_served_is_refused_at_the_call_with_the_numbers(made):
    with pytest.raises(UserError, match=r"100 tokens and max_tokens 29 make 129, .* window is 128 tokens"):
        made.stream([5] * 100, params(29))  # nothing is iterated
    with pytest.raises(UserError, match="prompt: is empty"):
        made.stream("")
    with pytest.raises(UserError, match=r"token ids must be within 0\.\.399"):
        made.stream([5, 400])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_tokens", value) for value in (0, -1, True, 4.0, "4", [4])),
        *(("stop", value) for value in (("",), "", None, 5, True, b"end", [5], ["a", None], {"a": 1})),
        *(("ignore_eos", value) for value in (None, 1, "yes")),
    ],
)
def test_a_bad_parameter_is_refused_with_its_name_and_what_is_possible(field, value):
    with pytest.raises(UserError, match=f"^{field}( = .*)?: must be "):
        engine.SamplingParams(**{field: value})


def test_one_stop_string_is_one_stop(made):
    assert engine.SamplingParams(stop="king") == engine.SamplingParams(stop=["king"])
    assert engine.SamplingParams(stop="king").stop == ("king",)


def test_one_prompt_is_one_prompt(made):
    (alone,) = made.generate("a fox", params(4))
    (listed,) = made.generate(["a fox"], params(4))
    assert alone.tokens == listed.tokens


@pytest.mark.parametrize("prompt", [None, 5, True, [None], ["a"], [1.5], [True], {"a": 1}])
def test_a_prompt_of_another_type_is_refused(made, prompt):
    with pytest.raises(UserError, match="^prompt: must be text or a list of token ids, not "):
        made.stream(prompt)


def test_parameters_for_another_number_of_prompts_are_refused(made):
    with pytest.raises(UserError, match="^params: 2 for 3 prompts"):
        made.generate(["a", "b", "c"], [params(1)] * 2)


def test_the_window_can_be_set_smaller_but_not_larger(parts):
    small = build(*parts, max_seq_len=20)
    (out,) = small.generate([[5] * 15], params(None))
    assert len(out.tokens) == 5
    with pytest.raises(UserError, match="max_seq_len = 129, but the model's window is 128"):
        build(*parts, max_seq_len=129)


def test_an_aborted_request_ends_at_its_next_token_and_the_next_one_runs(made):
    outputs = made.stream([5, 6], params(50), "mine")
    got = [next(outputs), next(outputs)]
    made.abort("mine")
    made.abort("unknown")
    got += list(outputs)
    assert len(got) <= 3
    assert got[-1].finish_reason == "abort"
    assert len(made.generate([[5, 6]], params(4))[0].tokens) == 4


def test_a_reader_that_stops_reading_frees_the_engine(made):
    outputs = made.stream([5, 6], params(50))
    next(outputs)
    outputs.close()
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(made.generate, [[5, 6]], params(4)).result(LIMIT)[0].tokens) == 4


def test_requests_run_one_at_a_time_and_none_sees_anothers_tokens(parts, made):
    order = []

    def consume(prompt):
        out = engine.Completion("", prompt)
        for one in made.stream(prompt, params(12)):
            order.append(one.request_id)
            out.add(one)
        return out

    prompts = [[5, 6], [7], [8, 9, 10], [11]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(consume, prompts))
    for prompt, one in zip(prompts, found, strict=True):
        assert (one.tokens, one.text) == bare(parts, prompt, 12)
    changes = sum(a != b for a, b in pairwise(order))
    assert changes == 3  # four blocks, not a mixture


def test_a_request_that_fails_leaves_the_engine_to_the_next(parts, made, monkeypatch):
    outputs = made.stream([5, 6], params(9))
    next(outputs)
    monkeypatch.setattr(type(parts[0]), "logits", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(outputs)
    monkeypatch.undo()
    assert len(made.generate([[5, 6]], params(4))[0].tokens) == 4


def test_a_nan_in_the_logits_is_a_failure_and_not_an_empty_answer(parts, made, monkeypatch):
    monkeypatch.setattr(type(parts[0]), "logits", lambda self, hidden: hidden.new_full((1, 400), math.nan))
    with pytest.raises(RuntimeError, match="NaN"):
        made.generate(["a fox"], params(4))


def test_close_ends_running_requests(made):
    outputs = made.stream([5, 6], params(50))
    next(outputs)
    made.close()
    assert [one.finish_reason for one in outputs] == ["abort"]


# The server, in this process


class Exchange:
    """One HTTP request to an app, seen as a web server sees it; it can hang up."""

    def __init__(self, app, method, path, body=None):
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.incoming = [{"type": "http.request", "body": content, "more_body": False}]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": headers, "client": ("test", 1), "server": ("test", 80), "state": {},
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self.receive, self.sent.put))

    async def receive(self):
        if self.incoming:
            return self.incoming.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def hang_up(self):
        self.gone.set()
        await self.task

    async def start(self):
        """The status, and headers as a dict."""
        message = await self.sent.get()
        return message["status"], {k.decode(): v.decode() for k, v in message["headers"]}

    async def body(self):
        """Pieces of the body as they come."""
        more = True
        while more:
            message = await self.sent.get()
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def events(self):
        """Chunks of a stream, parsed; the last one is "[DONE]"."""
        async for piece in self.body():
            for event in filter(None, piece.decode().split("\n\n")):
                assert event.startswith("data: ")
                yield "[DONE]" if event == "data: [DONE]" else json.loads(event[6:])


def serving(load, talk, **options):
    """What `talk(app)` returns, against an app whose engine `load()` makes."""
    from .engine.server.app import create_app

    async def go():
        app = create_app(load, model_name="tale", **options)
        async with app.router.lifespan_context(app):
            return await talk(app)

    return asyncio.run(asyncio.wait_for(go(), LIMIT))


def served(made, talk, **options):
    """As `serving`, once the engine is loaded."""

    async def ready(app):
        while (await ask(app, "GET", "/health"))[0] != 200:
            await asyncio.sleep(0.001)
        return await talk(app)

    return serving(lambda: made, ready, **options)


async def ask(app, method, path, body=None):
    """(status, parsed body)"""
    exchange = Exchange(app, method, path, body)
    status, _ = await exchange.start()
    content = b"".join([piece async for piece in exchange.body()])
    await exchange.task
    return status, json.loads(content)


async def stream(app, path, body):
    exchange = Exchange(app, "POST", path, {"model": "tale", "stream": True, "ignore_eos": True, **body})
    status, headers = await exchange.start()
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    return exchange


def completion(**more):
    return {"model": "tale", "prompt": [5, 6], "ignore_eos": True, **more}


def chat(**more):
    return {"model": "tale", "messages": [{"role": "user", "content": "a fox"}], "ignore_eos": True, **more}


def test_a_completion_over_http_is_the_engines(parts, made):
    async def talk(app):
        return await ask(app, "POST", "/v1/completions", completion(max_tokens=9))

    status, body = served(made, talk)
    assert status == 200
    assert body["choices"] == [
        {"index": 0, "text": bare(parts, [5, 6], 9)[1], "logprobs": None, "finish_reason": "length"}
    ]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}
    assert body["object"] == "text_completion"
    assert {"ttft", "latency", "tokens_per_second", "device", "dtype", "memory_bytes"} <= set(body["metrics"])


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_chunks_of_a_stream_are_the_whole_answer_and_end_with_done(made, path):
    body = chat(max_tokens=9) if "chat" in path else completion(max_tokens=9)

    async def talk(app):
        _, whole = await ask(app, "POST", path, body)
        exchange = await stream(app, path, body | {"stream_options": {"include_usage": True}})
        return whole, [event async for event in exchange.events()]

    whole, (*chunks, usage, done) = served(made, talk)
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    if "chat" in path:
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert (
            "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
        )
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    else:
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]


def test_the_first_chunk_leaves_before_the_generation_ends(gated):
    async def talk(app):
        exchange = await stream(app, "/v1/completions", {"prompt": "Once", "max_tokens": 9})
        gated.model.allow(3)  # some tokens are half a character; three are not
        first = await anext(exchange.events())
        passes = gated.model.passes
        await exchange.hang_up()
        return first, passes

    first, passes = served(gated, talk)
    assert first["choices"][0]["text"]
    assert passes <= 4


def test_health_answers_while_the_engine_computes(gated):
    async def talk(app):
        exchange = await stream(app, "/v1/completions", {"prompt": [5], "max_tokens": 9})
        while not gated.model.passes:
            await asyncio.sleep(0.001)
        health = await ask(app, "GET", "/health")
        await exchange.hang_up()
        return health

    status, body = served(gated, talk)
    assert (status, body["status"], body["model"]) == (200, "ok", "tale")
    assert (body["device"], body["dtype"]) == ("cpu", "float32")


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_a_hang_up_stops_the_generation_within_one_token(gated, streaming):
    async def talk(app):
        exchange = Exchange(app, "POST", "/v1/completions", completion(max_tokens=50, stream=streaming))
        gated.model.allow(3)
        while gated.model.passes < 4:  # the fourth is under way
            await asyncio.sleep(0.001)
        await exchange.hang_up()
        gated.model.allow(1000)
        return await ask(app, "POST", "/v1/completions", completion(max_tokens=1))

    status, _ = served(gated, talk)
    assert status == 200
    assert gated.model.passes <= 4 + 1  # the last one is the second request's


def test_a_hang_up_while_waiting_costs_at_most_one_token(gated):
    async def talk(app):
        first = asyncio.ensure_future(ask(app, "POST", "/v1/completions", completion(max_tokens=5)))
        while not gated.model.passes:
            await asyncio.sleep(0.001)
        waiting = Exchange(app, "POST", "/v1/completions", completion(max_tokens=50))
        while len(gated.active) < 2:
            await asyncio.sleep(0.001)
        await waiting.hang_up()
        gated.model.allow(1000)
        await first
        return await ask(app, "POST", "/v1/completions", completion(max_tokens=1))

    assert served(gated, talk)[0] == 200
    assert gated.model.passes <= 5 + 1 + 1
    assert not gated.active


LONG = {"max_tokens": 200}
WRONG = [  # path, what differs from a good body, status, field
    ("completions", {"model": "gpt-5"}, 404, "model"),
    ("completions", {"model": None}, 400, "model"),
    ("completions", {"prompt": ""}, 400, "prompt"),
    ("completions", {"prompt": [5, 4000]}, 400, "prompt"),
    ("completions", {"prompt": 3.5}, 400, "prompt"),
    ("completions", LONG, 400, "max_tokens"),
    ("completions", {"prompt": [5] * 200}, 400, "prompt"),
    ("completions", {"max_tokens": 0}, 400, "max_tokens"),
    ("completions", {"max_tokens": "9"}, 400, "max_tokens"),
    ("completions", {"stop": [""]}, 400, "stop"),
    ("completions", {"stop": 7}, 400, "stop"),
    ("completions", {"colour": "red"}, 400, "colour"),
    ("completions", {"temperature": 0.7}, 400, "temperature"),
    ("completions", {"n": 2}, 400, "n"),
    ("completions", {"logprobs": 3}, 400, "logprobs"),
    ("chat/completions", {"messages": []}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "robot", "content": "hi"}]}, 400, "messages"),
    ("chat/completions", {"tools": [{"type": "function"}]}, 400, "tools"),
]


@pytest.mark.parametrize(("path", "change", "status", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_a_mistake_is_answered_in_openais_shape_with_the_field(made, path, change, status, field):
    good = chat() if "chat" in path else completion()

    async def talk(app):
        return await ask(app, "POST", f"/v1/{path}", good | change)

    got, body = served(made, talk)
    error = body["error"]
    assert (got, error["param"], error["type"]) == (status, field, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert field in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b'"text"', b"null", b"{" * 50_000])
def test_a_body_that_is_not_a_request_is_the_clients_mistake(made, body):
    async def talk(app):
        return await ask(app, "POST", "/v1/completions", body)

    status, answer = served(made, talk)
    assert 400 <= status < 500
    assert answer["error"]["message"]


def test_a_body_over_the_limit_is_refused(made):
    async def talk(app):
        return await ask(app, "POST", "/v1/completions", completion(prompt="x" * 2000))

    status, body = served(made, talk, max_body_bytes=1000)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_fields_without_effect_here_are_accepted(made):
    idle = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "temperature": 0,
        "n": 1,
    }

    async def talk(app):
        return await ask(app, "POST", "/v1/chat/completions", chat(max_completion_tokens=3, **idle))

    status, body = served(made, talk)
    assert (status, body["usage"]["completion_tokens"]) == (200, 3)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_a_failure_inside_the_engine_fails_one_request_and_says_so(gated, streaming):
    async def talk(app):
        exchange = Exchange(app, "POST", "/v1/completions", completion(max_tokens=9, stream=streaming))
        gated.model.allow(3)
        while gated.model.passes < 4:
            await asyncio.sleep(0.001)
        sound, gated.model.model = gated.model.model, lambda *_: 1 / 0
        gated.model.allow(1)
        status, _ = await exchange.start()
        body = b"".join([piece async for piece in exchange.body()]).decode()
        await exchange.task
        gated.model.model = sound
        gated.model.allow(1000)
        return status, body, await ask(app, "POST", "/v1/completions", completion(max_tokens=2))

    status, body, (after, _) = served(gated, talk)
    *_, last = filter(None, body.split("\n\n"))
    if streaming:
        assert (status, last) == (200, "data: [DONE]")  # the status had left already
    else:
        assert status == 500
    assert '"type": "server_error"' in body or '"type":"server_error"' in body
    assert "ZeroDivisionError" not in body
    assert after == 200


def test_until_the_model_is_loaded_the_server_says_so(made):
    loaded = threading.Event()

    def load():
        assert loaded.wait(LIMIT)
        return made

    async def talk(app):
        early = [await ask(app, "GET", "/health"), await ask(app, "POST", "/v1/completions", completion())]
        loaded.set()
        while (late := await ask(app, "GET", "/health"))[0] != 200:
            await asyncio.sleep(0.001)
        return *early, late

    health, refused, late = serving(load, talk)
    assert (health[0], health[1]["status"]) == (503, "loading")
    assert (refused[0], refused[1]["error"]["type"]) == (503, "server_error")
    assert late[1]["load_seconds"] >= 0


def test_models_lists_the_only_one(made):
    async def talk(app):
        found = [
            await ask(app, "GET", path) for path in ("/v1/models", "/v1/models/tale", "/v1/models/other", "/")
        ]
        return *found, await ask(app, "GET", "/nothing")

    every, one, other, index, nothing = served(made, talk)
    assert [card["id"] for card in every[1]["data"]] == [one[1]["id"]] == ["tale"]
    assert (other[0], other[1]["error"]["param"]) == (404, "model")
    assert "POST /v1/completions" in index[1]["endpoints"]
    assert (nothing[0], nothing[1]["error"]["type"]) == (404, "invalid_request_error")


# The server's command line


@pytest.fixture
def start(monkeypatch):
    """start(*flags): the server's exit status, without leaving its handlers behind."""
    for name in ("DEVICE", "DTYPE", "MAX_SEQ_LEN"):
        monkeypatch.delenv(f"VITRINE_{name}", raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def start(*flags):
        from .engine.server.__main__ import main

        return run(main, flags)

    yield start
    signal.signal(signal.SIGTERM, before)


def one_line(capsys):
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model", "/no/such"], "no such folder"),
        (["--device", "cuda:99"], "device 'cuda:99'"),
        (["--dtype", "float7"], "float7"),
        (["--max-seq-len", "4096"], "max_seq_len = 4096, but the model's window is 128"),
    ],
)
def test_a_model_that_cannot_be_served_ends_the_process_with_the_reason(
    start, random_gpt2, capsys, flags, reason
):
    assert start("--model", str(random_gpt2), "--port", "0", *flags) == 2
    assert reason in one_line(capsys)


@pytest.mark.wording
@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--port", "70000"], "port = 70000"),
        (["--port", "http"], "port"),
        (["--max-seq-len", "1"], "max_seq_len = 1: must be at least 2"),
        (["--max-seq-len", "many"], "many"),
        (["--speed", "3"], "--speed"),
    ],
)
def test_a_wrong_flag_is_answered_in_one_line(start, capsys, flags, reason):
    assert start(*flags) == 2
    assert reason in one_line(capsys)


@pytest.mark.wording
def test_a_port_that_is_taken_is_answered_in_one_line(start, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert start("--port", str(port)) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in one_line(capsys)


def test_settings_come_from_flags_then_the_environment_then_defaults(start, monkeypatch, capsys):
    from .engine.server import __main__ as server

    seen: list[Any] = []

    def remember(*given):
        seen.append(given)
        return 0

    monkeypatch.setattr(server, "serve", remember)
    assert start() == 0
    monkeypatch.setenv("VITRINE_MAX_SEQ_LEN", "64")
    monkeypatch.setenv("VITRINE_DTYPE", "bfloat16")
    assert (
        start(
            "--dtype",
            "float16",
            "--model",
            "other",
            "--host",
            "0.0.0.0",
            "--port",
            "0",
            "--allow-origin",
            "*",
        )
        == 0
    )
    config = engine.EngineConfig
    assert seen == [
        ("storyteller", "127.0.0.1", 8000, config(), []),
        ("other", "0.0.0.0", 0, config(dtype="float16", max_seq_len=64), ["*"]),
    ]
    monkeypatch.setenv("VITRINE_MAX_SEQ_LEN", "many")
    assert start() == 2
    assert "VITRINE_MAX_SEQ_LEN = 'many'" in one_line(capsys)


# What the demo and the benchmark show


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_a_command_works_as_it_is_shown(text):
    from .lesson.wire import Call

    for call in (
        Call("/v1/completions", {"prompt": text, "stream": True}),
        Call("/health", text, status=True),
    ):
        typed = call.typed("http://host:1").replace("curl", "printf '%s\\0'", 1)
        words = subprocess.run(["sh", "-c", typed], capture_output=True, check=True).stdout
        assert words.decode().split("\0")[:-1] == call.words("http://host:1")[1:]


def test_the_demo_shows_a_live_server_and_stops_it(random_gpt2, capsys):
    from .__main__ import main

    assert run(main, ["--model", str(random_gpt2), "--max-tokens", "6"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # notes are wrapped where a line is full
    for part in (
        "A server starts", "200 ok", "Two readers", "not streamed", "a reader starts", "openai", '"usage": {"prompt_tokens":', "data: [DONE]",
        "hangs up after 5 chunks", "[404]", "temperature = 0.7 is not supported", "exit code 0",
    ):  # fmt: skip
        assert part in out, part
    assert "\x1b[" not in out


@pytest.mark.wording
@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--prompt", ""], "--prompt: is empty"),
        (["--max-tokens", "127"], "the model's window is 128 tokens"),
        (["--only", "wires"], "did you mean 'wire'"),
        (["--model", "/no/such"], "no such folder"),
    ],
)
def test_the_demo_refuses_in_one_line_what_the_server_would(random_gpt2, capsys, flags, reason):
    from .__main__ import main

    assert run(main, ["--model", str(random_gpt2), *flags]) == 2
    assert reason in one_line(capsys)


@pytest.mark.wording
def test_a_server_that_ends_early_is_reported_with_its_reason():
    from .lesson.process import LiveServer

    with (
        pytest.raises(UserError, match="did not start: .*no such folder"),
        LiveServer(["--model", "/no/such"]) as it,
    ):
        it.wait_ready()


def test_the_benchmark_compares_what_is_equal_and_records_it(random_gpt2, tmp_path, capsys):
    from . import bench

    flags = ["--model", str(random_gpt2), "--quick", "--threads", "1", "--results", str(tmp_path)]
    assert run(bench.main, flags) == 0
    (path,) = tmp_path.glob("s04-*.json")
    values = load_result(path.stem, folder=tmp_path)["values"]
    for key in (
        "loop_ms_per_token",
        "stream_ms_per_token",
        "whole_ms_per_token",
        "ttft_ms",
        "health_busy_ms",
        "start_s",
    ):
        assert values[key]["value"] > 0, key
    assert values["stream_at_32"]["value"] > values["stream_at_1"]["value"]
    assert values["wire_bytes_per_token"]["value"] > values["text_bytes_per_token"]["value"]
    out = capsys.readouterr().out
    assert "HTTP, streamed" in out


def test_the_benchmark_notices_another_text():
    from .lesson.sides import Trial, check

    same = Trial("a fox", [1, 2], 2, [0.1, 0.2])
    check({"loop": same, "stream": Trial("a fox", count=2, seconds=[0.1])}, 2)
    for wrong in (Trial("a fax", count=2), Trial("a fox", count=1), Trial("a fox", [1, 3], 2)):
        with pytest.raises(AssertionError):
            check({"loop": same, "stream": wrong}, 2)
