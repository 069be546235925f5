"""Behind a real nginx with its default settings: events arrive one by one, and the pages work below a path."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.browser import CHROMIUM, MISSING, browse, pages
from tests.contract.servers import Inside, Process, Server, until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.needs("http", "streaming", ends=True),
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="there is no nginx (Debian: apt-get install nginx-light)"),
]
CONFIG = """
daemon off; master_process off; error_log {folder}/error.log; pid {folder}/pid;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /below/a/path/ {{ proxy_pass {server}/; }}
    location / {{ proxy_pass {other}; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(server: Server, folder: Path, other: str = "http://127.0.0.1:9") -> Iterator[str]:
    """A proxy in front of the server, below a path -> its address. other: what it serves elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, server=server.url, other=other))
    popen = subprocess.Popen([str(NGINX), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/below/a/path/health"), "nginx", 20)
        yield url
    finally:
        popen.terminate()
        popen.wait(10)


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


def test_the_first_event_passes_while_the_engine_works_on_the_second(inside: Inside, tmp_path: Path):
    """With its default settings nginx hands a body on in pieces of 4 kB."""
    body = {"model": inside.model, "prompt": "Once", "stream": True, "max_tokens": 40, "temperature": 0}
    with nginx(inside, tmp_path) as url, inside.gate.held(3):
        address = f"{url}/below/a/path/v1/completions"
        with httpx.stream("POST", address, json={**body, "ignore_eos": True}, timeout=30) as response:
            events = response.iter_text()
            assert next(events).startswith("data: {")
            inside.gate.reached()  # and the rest is not computed yet
            inside.gate.set(None)
            assert "".join(events).endswith("data: [DONE]\n\n")


def test_a_reader_behind_nginx_who_hangs_up_frees_the_engine(inside: Inside, tmp_path: Path):
    body = {"model": inside.model, "prompt": "Once", "stream": True, "max_tokens": 900, "temperature": 0}
    before = inside.gate.passed
    with nginx(inside, tmp_path) as url:
        address = f"{url}/below/a/path/v1/completions"
        with httpx.stream("POST", address, json={**body, "ignore_eos": True}, timeout=30) as response:
            next(response.iter_text())
        until(inside.idle, "an idle engine")
    assert inside.gate.passed - before < 800


TRY = """<!doctype html><iframe id="docs" src="/below/a/path/docs"></iframe><script type="module">
const frame = document.getElementById("docs"), seen = {};
const wait = async what => {
  for (let i = 0; i < 600; i++) { const found = what(); if (found) return found; await new Promise(next => setTimeout(next, 50)); }
  throw new Error(`waited in vain for ${what}`);
};
try {
  const box = await wait(() => [...frame.contentDocument?.querySelectorAll("details") ?? []]
    .find(one => one.textContent.includes("/v1/completions")));
  seen.routes = [...frame.contentDocument.querySelectorAll("summary")].map(one => one.textContent);
  seen.fields = box.textContent;
  box.querySelector("textarea").value = JSON.stringify({ model: MODEL, prompt: "Once", max_tokens: 3, temperature: 0 });
  box.querySelector("button").click();
  seen.answer = await wait(() => box.querySelector("pre").textContent.includes("usage") && box.querySelector("pre").textContent);
  const chat = [...frame.contentDocument.querySelectorAll("details")].find(one => one.textContent.includes("/v1/chat"));
  chat.querySelector("button").click();
  seen.stream = await wait(() => chat.querySelector("pre").textContent.includes("[DONE]") && chat.querySelector("pre").textContent);
} catch (failure) { seen.failure = String(failure); }
await fetch("/seen", { method: "POST", body: JSON.stringify(seen) });
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_the_docs_page_draws_and_tries_the_routes_below_a_path(server: Process, tmp_path: Path):
    (tmp_path / "browser").mkdir()
    page = TRY.replace("MODEL", json.dumps(server.model))
    with (
        pages(page) as (other, posted),
        nginx(server, tmp_path, other) as url,
        browse(url, tmp_path / "browser"),
    ):
        seen = posted.get(timeout=90)
    assert "failure" not in seen, seen
    for route in ("GET/health", "POST/v1/completions", "POST/v1/chat/completions", "GET/v1/models"):
        assert any(route in line for line in seen["routes"]), seen["routes"]
    assert "stream_options" in seen["fields"]
    assert json.loads(seen["answer"])["usage"]["completion_tokens"] == 3
    assert seen["stream"].startswith("data: {")
