"""Stopping: by Ctrl-C or SIGTERM, with work in flight or while the model loads. Exit code 0, nothing hangs."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, Server, process, until
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http")
SOON = 10  # seconds; recorded: under two


def busy_client(server: Server, stream: bool) -> str:
    """What becomes of a long request."""
    body = {"model": server.model, "prompt": "Once", "max_tokens": 900, "ignore_eos": True, "temperature": 0}
    try:
        return str(server.http.post("/v1/completions", json={**body, "stream": stream}).status_code)
    except httpx.TransportError as e:
        return type(e).__name__


def stop(server: Process, number: signal.Signals) -> None:
    server.popen.send_signal(number)
    assert server.popen.wait(SOON) == 0, server.errors.read_text()


def assert_quiet(server: Process) -> None:
    errors = server.errors.read_text()
    assert "Traceback" not in errors
    assert errors.endswith("stopped\n")


def test_ctrl_c_stops_a_busy_server(subject: Subject, checkpoint: Checkpoint, tmp_path: Path):
    stop_busy(subject, checkpoint, tmp_path, signal.SIGINT)


@pytest.mark.needs(ends=True)
def test_sigterm_stops_a_busy_server(subject: Subject, checkpoint: Checkpoint, tmp_path: Path):
    stop_busy(subject, checkpoint, tmp_path, signal.SIGTERM)


def stop_busy(subject: Subject, checkpoint: Checkpoint, tmp_path: Path, number: signal.Signals) -> None:
    with process(subject, checkpoint, tmp_path) as server, concurrent.futures.ThreadPoolExecutor(80) as pool:
        # More than any pool of threads has: none of them may run to its end before the process does.
        clients = [pool.submit(busy_client, server, i % 2 == 0) for i in range(80)]
        time.sleep(0.5)
        assert not all(c.done() for c in clients)
        stop(server, number)
        began = time.monotonic()
        assert all(c.result(timeout=SOON) for c in clients)
        assert time.monotonic() - began < SOON
        assert_quiet(server)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_cut_off_by_a_stop_is_no_success(
    subject: Subject, checkpoint: Checkpoint, tmp_path: Path, stream: bool
):
    def answers(server: Server) -> list[tuple[int, str]]:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            jobs = [pool.submit(answer, server) for _ in range(6)]  # some run, some wait
            time.sleep(0.5)
            stop(server, signal.SIGTERM)
            return [job.result(timeout=SOON) for job in jobs]

    def answer(server: Server) -> tuple[int, str]:
        body = {"model": server.model, "prompt": "Once", "max_tokens": 1000, "ignore_eos": True}
        response = server.http.post("/v1/completions", json={**body, "temperature": 0, "stream": stream})
        return response.status_code, response.text

    with process(subject, checkpoint, tmp_path, before=SLOWLY) as server:
        for status, text in answers(server):
            if stream:
                assert status == 200  # which had left long before
                *_, last, done = filter(None, text.split("\n\n"))
                assert done == "data: [DONE]"
                error = json.loads(last.removeprefix("data: "))["error"]
            else:
                assert status == 503
                error = json.loads(text)["error"]
            assert (error["message"], error["type"]) == ("the server is stopping", "server_error")
            assert "abort" not in text
        assert_quiet(server)


def test_during_a_stop_new_requests_are_refused(inside: Inside):
    """With 503: a client that is told 429 would wait for its turn."""
    inside.service.stopping = True
    try:
        for response in (inside.complete("Hi"), inside.complete("Hi", stream=True), inside.chat("Hi")):
            assert response.status_code == 503
            assert response.json()["error"]["message"] == "the server is stopping"
        health = inside.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "stopping")
    finally:
        inside.service.stopping = False
    assert inside.complete("Hi", max_tokens=1).status_code == 200


SLOWLY = """
import time, torch
def sleep(module, arguments):
    if type(module).__name__ == "GPT2":
        time.sleep(0.02)
torch.nn.modules.module.register_module_forward_pre_hook(sleep)
"""
SLOW = """
import time, torch
def sleep(module, arguments):
    if type(module).__name__ == {name!r}:
        time.sleep(30)
torch.nn.modules.module.register_module_forward_pre_hook(sleep)
"""


@pytest.mark.needs(ends=True)
def test_a_signal_does_not_wait_for_a_long_step(subject: Subject, checkpoint: Checkpoint, tmp_path: Path):
    before = SLOW.format(name=type(checkpoint.model).__name__)
    with (
        process(subject, checkpoint, tmp_path, before=before) as server,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        clients = [pool.submit(busy_client, server, i % 2 == 0) for i in range(4)]
        time.sleep(0.5)
        stop(server, signal.SIGINT)
        assert [c.result(timeout=SOON) for c in clients] == [
            "200",
            "503",
        ] * 2  # half of them had their status
        assert_quiet(server)


@pytest.mark.needs(ends=True)
def test_a_signal_stops_a_server_that_still_loads(subject: Subject, checkpoint: Checkpoint, tmp_path: Path):
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "config.json")  # reading it never comes to an end
    never = Checkpoint(str(tmp_path / "model"), "model", checkpoint.model, checkpoint.tokenizer)
    with process(subject, never, tmp_path, ready=False) as server:
        until(lambda: server.http.get("/health").status_code == 503, "an answer")
        stop(server, signal.SIGINT)
        assert_quiet(server)
