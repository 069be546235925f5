"""The routes: completions and chat, what they return, and what surrounds them."""

from __future__ import annotations

import concurrent.futures
import signal
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, until
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http")
PROMPT = "Once upon a time"


def test_greedy_text_equals_a_plain_loop(server: Process, checkpoint: Checkpoint):
    for prompt in (PROMPT, "The", "x" * 100, "Grüße, 🦊!\n\n"):
        assert server.text(prompt, 24) == checkpoint.greedy_text(prompt, 24)


def test_prompts_of_many_lengths_at_once_get_what_each_gets_alone(server: Process, checkpoint: Checkpoint):
    prompts = [checkpoint.encode("The fox and the king. " * 40)[:n] for n in (1, 2, 17, 64, 150)]
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(server.text, p, 6 + 3 * i) for i, p in enumerate(prompts)]
        for i, (prompt, job) in enumerate(zip(prompts, jobs, strict=True)):
            assert job.result() == checkpoint.tokenizer.decode(checkpoint.greedy(prompt, 6 + 3 * i))


def test_a_prompt_may_be_text_ids_or_several_of_either(server: Process, checkpoint: Checkpoint):
    one, two = PROMPT, "A fox"
    ids = [checkpoint.encode(p) for p in (one, two)]
    whole = [checkpoint.greedy_text(p, 8) for p in (one, two)]
    for prompt, texts in (
        (one, whole[:1]),
        ([one], whole[:1]),
        (ids[0], whole[:1]),
        ([one, two], whole),
        (ids, whole),
    ):
        body = server.complete(prompt, max_tokens=8, ignore_eos=True).json()
        assert [c["text"] for c in body["choices"]] == texts
        assert [c["index"] for c in body["choices"]] == list(range(len(texts)))
        assert body["usage"]["prompt_tokens"] == sum(map(len, ids[: len(texts)]))
        assert body["usage"]["completion_tokens"] == 8 * len(texts)


def test_a_completion_has_openais_shape(server: Process, checkpoint: Checkpoint):
    body = server.complete(PROMPT, max_tokens=3, ignore_eos=True).json()
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert abs(body["created"] - time.time()) < 3600
    assert body["model"] == server.model
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "text": checkpoint.greedy_text(PROMPT, 3),
        "logprobs": None,
        "finish_reason": "length",
    }
    count = len(checkpoint.encode(PROMPT))
    assert body["usage"] == {"prompt_tokens": count, "completion_tokens": 3, "total_tokens": count + 3}


@pytest.mark.needs("chat")
def test_a_chat_completion_continues_the_rendered_conversation(server: Process, checkpoint: Checkpoint):
    said = [{"role": "system", "content": "Tell stories."}, {"role": "user", "content": "Hi"}]
    body = server.chat(*said, max_tokens=12, ignore_eos=True).json()
    tokens = checkpoint.tokenizer.encode_chat(said)
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    message = body["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"] == checkpoint.tokenizer.decode(checkpoint.greedy(tokens, 12))
    assert body["usage"]["prompt_tokens"] == len(tokens)
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert (
        server.chat(said[0], {"role": "user", "content": parts}, max_tokens=12, ignore_eos=True).json()[
            "choices"
        ]
        == body["choices"]
    )


@pytest.mark.needs("chat")
def test_the_newer_name_of_the_limit_wins(server: Process):
    for fields, count in (
        ({"max_completion_tokens": 3}, 3),
        ({"max_tokens": 4}, 4),
        ({"max_completion_tokens": 3, "max_tokens": 9}, 3),
    ):
        usage = server.chat("Hi", ignore_eos=True, **fields).json()["usage"]
        assert usage["completion_tokens"] == count


def test_limits_default_to_16_tokens_and_for_chat_to_the_window(server: Process):
    from tests.contract.conftest import WINDOW

    assert server.complete(PROMPT, ignore_eos=True).json()["usage"]["completion_tokens"] == 16
    assert (
        server.complete(PROMPT, ignore_eos=True, max_tokens=None).json()["usage"]["completion_tokens"] == 16
    )
    assert server.chat("Hi", ignore_eos=True).json()["usage"]["total_tokens"] == WINDOW


def test_stop_strings_cut_the_text(server: Process, checkpoint: Checkpoint):
    whole = checkpoint.greedy_text(PROMPT, 30)
    for stop in (whole[7:15], ["never", whole[7:15]], [whole[9:15], whole[7:15]]):
        body = server.complete(PROMPT, max_tokens=30, ignore_eos=True, stop=stop).json()
        first = min(
            whole.index(s) + len(s) for s in ([stop] if isinstance(stop, str) else stop) if s in whole
        )
        (choice,) = body["choices"]
        assert choice["finish_reason"] == "stop"
        assert whole.startswith(choice["text"])
        assert len(choice["text"]) < first
        assert not any(s in choice["text"] for s in stop if isinstance(stop, list))


@pytest.mark.needs("metrics_in_response")
def test_metrics_are_those_of_this_request(server: Process):
    began = time.perf_counter()
    metrics = server.complete(PROMPT, max_tokens=20, ignore_eos=True).json()["metrics"]
    took = time.perf_counter() - began
    assert 0 < metrics["ttft"] <= metrics["latency"] <= took
    assert metrics["tokens_per_second"] >= 19 / took
    assert metrics["device"] == "cpu"
    assert metrics["dtype"] == "float32"
    assert metrics["memory_bytes"] > 1 << 20


def test_what_does_not_fit_the_window_is_refused_in_words_that_clients_know(server: Process):
    """LangChain, LiteLLM and others tell this error from others by its code and by these words."""
    from tests.contract.conftest import WINDOW

    window = f"This model's maximum context length is {WINDOW} tokens, and the prompt has"
    many = "many words " * WINDOW
    for response, field, message in (
        (server.complete([5] * WINDOW, max_tokens=1), "prompt", f"the prompt is too long. {window} {WINDOW}"),
        (server.complete([[5], [5] * 999]), "prompt", f"the prompt is too long. {window} 999"),
        (server.chat(many), "messages", f"the prompt is too long. {window} "),
        (
            server.complete([5] * 10, max_tokens=WINDOW),
            "max_tokens",
            f"max_tokens is too large: {WINDOW}. {window} 10",
        ),
        (server.complete([5], max_tokens=5000), "max_tokens", f"max_tokens is too large: 5000. {window} 1"),
        (
            server.chat("Hi", max_completion_tokens=5000),
            "max_completion_tokens",
            f"is too large: 5000. {window} ",
        ),
    ):
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
        assert error["param"] == field
        assert message in error["message"]
    assert server.complete([5] * (WINDOW - 1), max_tokens=1).status_code == 200


def test_one_request_has_a_bounded_number_of_choices(server: Process):
    assert server.complete([[5]] * 100_000, max_tokens=1).status_code == 400
    assert server.complete([[5]] * 20, max_tokens=1).status_code == 200


def test_models_and_index_and_docs_say_what_is_there(server: Process):
    from tests.contract.conftest import WINDOW

    (card,) = server.http.get("/v1/models").json()["data"]
    assert card["id"] == server.model
    assert card["object"] == "model"
    assert card["max_model_len"] == WINDOW
    assert server.http.get(f"/v1/models/{server.model}").json() == card
    assert server.http.get("/v1/models/").json()["data"] == [card]
    missing = server.http.get("/v1/models/gpt-4o")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
    index = server.http.get("/").json()
    schema = server.http.get("/openapi.json").json()
    for endpoint in index["endpoints"]:
        method, path = endpoint.split()
        assert path == "/docs" or method.lower() in schema["paths"][path], endpoint
    assert server.http.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("DELETE", "/health", 405)]
)
def test_wrong_addresses_get_openais_error_shape(server: Process, method: str, path: str, status: int):
    response = server.http.request(method, path)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"model": "m", "input": "Hi"}, {}, None])
def test_the_responses_api_is_told_to_be_missing(server: Process, body: Any):
    response = server.http.post("/v1/responses", json=body)
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["message"] == "this server has no Responses API; use /v1/chat/completions"


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/docs", "/openapi.json", "/v1/nothing"])
def test_head_is_get_without_the_body(server: Process, path: str):
    head, get = server.http.head(path), server.http.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    assert server.http.head("/v1/completions").status_code == 405


def test_every_answer_has_a_request_id_the_clients_or_a_new_one(server: Process):
    def answered(**headers: str) -> list[str]:
        body = {"model": server.model, "prompt": "Hi", "max_tokens": 1, "temperature": 0}
        return [
            response.headers["x-request-id"]
            for response in (
                server.http.get("/health", headers=headers),
                server.http.get("/v1/nothing", headers=headers),
                server.http.post("/v1/completions", json=body, headers=headers),
                server.http.post("/v1/completions", json={**body, "stream": True}, headers=headers),
                server.http.post("/v1/completions", json={}, headers=headers),
                server.http.post("/v1/completions", content=b" " * (5 << 20), headers=headers),
            )
        ]

    assert set(answered(**{"X-Request-Id": "mine-1"})) == {"mine-1"}
    assert len(set(answered())) == 6
    for odd in ("", "x" * 500, "a b"):
        assert odd not in answered(**{"X-Request-Id": odd})


def test_the_log_has_a_line_for_each_request_and_none_for_health(server: Process):
    before = len(server.errors.read_text())
    server.http.get("/health")
    name = f"id-{time.time_ns()}"
    server.http.get("/v1/models", headers={"X-Request-Id": name})
    server.http.get("/v1/%0Aforged?a=b", headers={"X-Request-Id": f"{name}-2"})
    until(lambda: f"{name}-2" in server.errors.read_text(), "the last line")
    mine = [line for line in server.errors.read_text()[before:].splitlines() if name in line]
    assert len(mine) == 2
    assert mine[0].startswith("GET /v1/models 200 ")
    assert mine[1].startswith("GET /v1/%0Aforged 404 ")
    assert "/health" not in server.errors.read_text()[before:]


def test_idle_connections_live_longer_than_clients_and_proxies_keep_them(subject: Subject, monkeypatch):
    import uvicorn

    seen: list[Any] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: seen.append(self.config))
    before = signal.getsignal(signal.SIGTERM)
    subject.module("engine.server.__main__").main(["--port", "0"])
    signal.signal(signal.SIGTERM, before)
    assert seen[0].timeout_keep_alive >= 75
    assert seen[0].http == "h11"  # httptools, where it is installed, has no limit on headers


def test_health_tells_what_is_served(server: Process):
    health = server.http.get("/health").json()
    assert health["status"] == "ok"
    assert health["model"] == server.model
    assert health["device"] == "cpu"
    assert health["dtype"] == "float32"
    assert 0 < health["load_seconds"] < 600


def test_health_answers_while_the_engine_computes(inside: Inside):
    with inside.gate.held():
        busy = threading.Thread(target=inside.text, args=(PROMPT, 4))
        busy.start()
        inside.gate.reached()
        began = time.perf_counter()
        assert inside.http.get("/health").status_code == 200
        assert inside.http.get("/v1/models").status_code == 200
        assert time.perf_counter() - began < 1  # recorded: under 50 ms
    busy.join()


def test_health_answers_under_load(server: Process):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(server.text, PROMPT, 80) for _ in range(4)]
        while not all(b.done() for b in busy):
            began = time.perf_counter()
            assert server.http.get("/health").status_code == 200
            assert time.perf_counter() - began < 1  # recorded: under 50 ms


def test_while_the_model_loads_everything_else_is_503(subject: Subject, checkpoint: Checkpoint):
    go = threading.Event()

    def load() -> Any:
        go.wait(30)
        return subject.engine.Engine.from_pretrained(checkpoint.argument)

    app = subject.module("engine.server.app").create_app(load, model_name="m")
    with TestClient(app) as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "loading"
        response = client.post("/v1/completions", json={"model": "m", "prompt": "Hi"})
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "loading"
        assert int(response.headers["retry-after"]) >= 1
        go.set()
        until(lambda: client.get("/health").status_code == 200, "a loaded model")
        assert (
            client.post("/v1/completions", json={"model": "m", "prompt": "Hi", "temperature": 0}).status_code
            == 200
        )


def ids(server: Process, count: int) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: server.complete(PROMPT, max_tokens=1), range(count)))
    assert {a.status_code for a in answers} == {200}
    return [a.json()["id"] for a in answers]


def test_ids_are_unique_over_concurrent_requests(server: Process):
    assert len(set(ids(server, 60))) == 60


@pytest.mark.slow
@pytest.mark.needs(ends=True)
def test_ids_are_unique_over_a_thousand_concurrent_requests(server: Process):
    assert len(set(ids(server, 1000))) == 1000
