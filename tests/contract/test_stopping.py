"""Stopping: by Ctrl-C or SIGTERM, with work in flight or while the model loads. Exit code 0, nothing hangs."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Process, Server, process, until
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
        assert all(c.result(timeout=SOON) for c in clients)
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
