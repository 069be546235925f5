"""An engine whose thread has died: those who wait are told, /health says why, and the process ends for a supervisor."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Server, inside, process, until
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http", "queue")
SOON = 20  # seconds; recorded: under two


def ask(server: Server, stream: bool) -> httpx.Response:
    return server.complete("Once upon a time", max_tokens=200, ignore_eos=True, stream=stream)


def broken(*_: Any) -> Any:
    raise RuntimeError("broken on purpose")


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer, or of the last event but [DONE] of a stream."""
    if response.headers["content-type"].startswith("application/json"):
        return dict(response.json()["error"])
    *_, last, done = filter(None, response.text.split("\n\n"))
    assert done == "data: [DONE]"
    return dict(json.loads(last.removeprefix("data: "))["error"])


def test_when_the_engine_has_died_nobody_waits_for_it(subject: Subject, checkpoint: Checkpoint):
    with inside(subject, checkpoint) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        with server.gate.held(2):
            waiting = [pool.submit(ask, server, stream) for stream in (True, False, True, False)]
            server.gate.reached()
            until(lambda: len(server.engine.requests) == 4, "four requests")
            server.engine.scheduler.schedule = broken
        for job in waiting:
            assert error_of(job.result(SOON))["type"] == "server_error"
        health = server.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert "broken on purpose" in health.json()["reason"]
        for stream in (False, True):
            refused = ask(server, stream)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "engine_failed"
            assert "broken" not in refused.text  # what broke is for the operator


BREAK = """
import importlib
scheduler = importlib.import_module({module!r})
steps, schedule = [], scheduler.Scheduler.schedule
def fail(self):
    steps.append(1)
    if len(steps) > 20:
        raise RuntimeError("broken on purpose")
    return schedule(self)
scheduler.Scheduler.schedule = fail
"""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_server_whose_engine_has_died_answers_and_ends_with_an_error(
    subject: Subject, checkpoint: Checkpoint, tmp_path: Path, stream: bool
):
    before = BREAK.format(module=f"{subject.package}.engine.scheduler")
    with process(subject, checkpoint, tmp_path, before=before) as server:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for answer in pool.map(ask, [server] * 3, [stream] * 3):
                assert error_of(answer)["type"] == "server_error"
        assert server.popen.wait(SOON) == 1
        assert "broken on purpose" in server.errors.read_text()
