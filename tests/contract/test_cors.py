"""Web pages of other origins: which may call the server, and that they may read its errors and streams too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, process
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http")
LOCAL = ["http://localhost:3000", "http://127.0.0.1:5173", "https://localhost", "http://[::1]:8080"]
FOREIGN = ["https://example.org", "http://localhost.example.org", "http://xlocalhost:80", "null"]


def preflight(http: httpx.Client, origin: str) -> httpx.Response:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-os",
    }
    return http.options("/v1/chat/completions", headers={"Origin": origin, **asked})


def allowed(response: httpx.Response) -> str | None:
    return response.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("origin", LOCAL)
def test_pages_of_this_machine_may_call_the_server(server: Process, origin: str):
    response = preflight(server.http, origin)
    assert response.status_code == 200
    assert allowed(response) == origin
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_from_elsewhere_may_not(server: Process, origin: str):
    assert allowed(preflight(server.http, origin)) is None
    assert allowed(server.http.get("/v1/models", headers={"Origin": origin})) is None


def test_errors_and_streams_can_be_read_by_pages_too(server: Process):
    headers = {"Origin": LOCAL[0]}
    good: dict[str, Any] = {"model": server.model, "prompt": "Hi", "max_tokens": 2, "temperature": 0}
    for status, body in (
        (200, {**good, "stream": True}),
        (400, {**good, "x": 1}),
        (404, {**good, "model": "x"}),
    ):
        response = server.http.post("/v1/completions", json=body, headers=headers)
        assert response.status_code == status
        assert allowed(response) == LOCAL[0]
        assert "x-request-id" in response.headers["access-control-expose-headers"]
    large = server.http.post("/v1/completions", content=b" " * (5 << 20), headers=headers)
    assert (large.status_code, allowed(large)) == (413, LOCAL[0])
    assert allowed(server.http.get("/v1/nothing", headers=headers)) == LOCAL[0]


def test_an_unexpected_error_can_be_read_by_pages_too(inside: Inside, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(inside.service), "ready", lambda *_: 1 / 0)
    response = inside.http.post(
        "/v1/completions",
        json={"model": "x", "prompt": "Hi"},
        headers={"Origin": LOCAL[0], "X-Request-Id": "mine"},
    )
    assert (response.status_code, allowed(response)) == (500, LOCAL[0])
    assert response.json()["error"]["type"] == "server_error"
    assert response.headers["x-request-id"] == "mine"


@pytest.mark.needs(ends=True)
def test_other_origins_can_be_allowed_one_by_one_or_all(
    subject: Subject, checkpoint: Checkpoint, tmp_path: Path
):
    mine = ["https://a.example", "https://b.example:8443"]
    flags = [f"--allow-origin={origin}" for origin in mine]
    with process(subject, checkpoint, tmp_path, *flags) as server:
        assert [allowed(preflight(server.http, origin)) for origin in mine] == mine
        assert allowed(preflight(server.http, LOCAL[0])) is None  # only these
    with process(subject, checkpoint, tmp_path, "--allow-origin=*") as server:
        assert allowed(preflight(server.http, FOREIGN[0])) == "*"
        assert allowed(server.http.get("/v1/models", headers={"Origin": FOREIGN[0]})) == "*"
