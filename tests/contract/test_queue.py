"""The queue: first come, first served; states and times that can be looked up; a bound that says no."""

from __future__ import annotations

import concurrent.futures
import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Sized
from functools import partial
from typing import Any

import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, environment, inside, until
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http", "queue")
PROMPT = "Once upon a time"


def more_than(things: Sized, count: int) -> bool:
    return len(things) > count


def in_turn(server: Inside, pool: concurrent.futures.Executor, count: int, tokens: int) -> list[Any]:
    """`count` requests, each sent when the one before stands in the queue."""
    jobs = []
    for _ in range(count):
        known = len(server.engine.requests)
        jobs.append(pool.submit(server.complete, PROMPT, max_tokens=tokens, ignore_eos=True))
        until(partial(more_than, server.engine.requests, known), "a request in the queue")
    return jobs


@pytest.mark.needs("request_status")
def test_requests_start_in_the_order_they_came(inside: Inside):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        with inside.gate.held():
            jobs = in_turn(inside, pool, 6, 5)
            states = [r["status"] for r in inside.requests()[-6:]]
            assert set(states) <= {"waiting", "running"}
            assert states == sorted(states)  # running ones first
        order = [job.result().json()["id"] for job in jobs]
    until(inside.idle, "an idle engine")
    last = inside.requests()[-6:]
    assert [r["id"].rpartition("-")[0] for r in last] == order
    assert {r["status"] for r in last} == {"finished"}
    began = [r["started"] - r["age"] for r in last]  # ages are of one moment, so this is one clock
    assert began == sorted(began)


@pytest.mark.needs("request_status", without=("batching",))
def test_requests_run_one_after_the_other(inside: Inside):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        [job.result() for job in in_turn(inside, pool, 4, 5)]
    times = [(r["started"] - r["age"], r["finished"] - r["age"]) for r in inside.requests()[-4:]]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.needs(without=("batching",))
def test_three_curls_are_answered_in_order(server: Process):
    body = f'{{"model": "{server.model}", "prompt": "Once", "max_tokens": 60, "ignore_eos": true}}'
    argv = ["curl", "-s", f"{server.url}/v1/completions", "-H", "Content-Type: application/json", "-d", body]
    done: list[int] = []
    known = len(server.requests())

    def one(number: int) -> None:
        subprocess.run(
            argv, env=environment(no_proxy="*"), stdout=subprocess.DEVNULL, timeout=180, check=True
        )
        done.append(number)

    def arrived(number: int) -> bool:
        return len(done) > number or len(server.requests()) > known + number

    threads = [threading.Thread(target=one, args=(i,)) for i in range(3)]
    for i, thread in enumerate(threads):
        thread.start()
        until(partial(arrived, i), "a request in the queue")
    for thread in threads:
        thread.join()
    assert done == [0, 1, 2]


@pytest.mark.needs("request_status")
def test_a_request_can_be_looked_up_from_waiting_to_finished(inside: Inside):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with inside.gate.held(1):
            (job,) = in_turn(inside, pool, 1, 5)
            inside.gate.reached()
            running = inside.requests()[-1]
            assert running["status"] == "running"
            assert running["finished"] is None
            assert running["output_tokens"] == 1
        answer = job.result().json()
    for name in (answer["id"], running["id"]):
        (found,) = inside.http.get(f"/v1/requests/{name}").json()["requests"]
        assert found["status"] == "finished"
        assert found["finish_reason"] == "length"
        assert found["output_tokens"] == 5
        assert found["prompt_tokens"] == answer["usage"]["prompt_tokens"]
        assert 0 <= found["started"] <= found["first_token"] <= found["finished"] <= found["age"]
    missing = inside.http.get("/v1/requests/cmpl-0")
    assert missing.status_code == 404
    assert "cmpl-0" in missing.json()["error"]["message"]


def test_the_queue_page_is_served(server: Process):
    page = server.http.get("/queue")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "v1/requests" in page.text
    assert "http://" not in page.text  # works offline
    assert "https://" not in page.text


@pytest.mark.needs("bounded_queue")
def test_a_full_queue_says_when_to_come_back_and_keeps_its_promises(subject: Subject, checkpoint: Checkpoint):
    with (
        inside(subject, checkpoint, max_waiting=2) as server,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        with server.gate.held():
            jobs = in_turn(server, pool, 1, 3)
            server.gate.reached()
            jobs += in_turn(server, pool, 2, 3)
            for stream in (False, True):
                refused = server.complete(PROMPT, max_tokens=3, stream=stream)
                assert refused.status_code == 429
                assert int(refused.headers["retry-after"]) >= 1
                assert "wait" in refused.json()["error"]["message"]
            partly = server.complete([PROMPT] * 3, max_tokens=3)
            assert partly.status_code == 429
            listing = server.http.get("/v1/requests").json()
            assert listing["waiting"] == listing["max_waiting"] == 2
            assert listing["max_bytes"] > 0
        assert [job.result().status_code for job in jobs] == [200, 200, 200]
        assert server.complete(PROMPT, max_tokens=3).status_code == 200


def test_a_request_that_fails_harms_no_other(inside: Inside, checkpoint: Checkpoint):
    tokenizer = inside.engine.tokenizer
    make = type(tokenizer).stream

    class Broken:
        def __init__(self, **how: Any):
            pass

        def push(self, token: int) -> str:
            raise ZeroDivisionError("broken on purpose")

    try:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            with inside.gate.held():
                good = in_turn(inside, pool, 2, 12)
                tokenizer.stream = Broken
                (bad,) = in_turn(inside, pool, 1, 12)
                del tokenizer.stream
                good += in_turn(inside, pool, 2, 12)
            assert bad.result().status_code == 500
            assert bad.result().json()["error"]["type"] == "server_error"
            for job in good:
                assert job.result().json()["choices"][0]["text"] == checkpoint.greedy_text(PROMPT, 12)
    finally:
        tokenizer.__dict__.pop("stream", None)
    assert tokenizer.stream.__func__ is make
    until(inside.idle, "an idle engine")
    assert sorted(r["status"] for r in inside.requests()[-5:]) == ["failed"] + ["finished"] * 4


def test_an_idle_engine_does_not_poll(server: Process):
    import psutil

    process = psutil.Process(server.popen.pid)
    server.complete(PROMPT, max_tokens=1)
    time.sleep(0.2)
    before = sum(process.cpu_times()[:2])
    time.sleep(1)
    assert sum(process.cpu_times()[:2]) - before < 0.5
