"""Pages in a real browser: of another origin that call the server, and the server's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.browser import CHROMIUM, MISSING, browse, pages
from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Process

pytestmark = [
    pytest.mark.needs("http", ends=True),
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]

CALLS = """<!doctype html><script type="module">
const url = URL, model = MODEL, seen = {};
async function post(body) {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer none", "X-Request-Id": "page-1" };
  return fetch(url + "/v1/completions", { method: "POST", headers, body: JSON.stringify({ model, temperature: 0, ...body }) });
}
try {
  const whole = await post({ prompt: "Once", max_tokens: 8, ignore_eos: true });
  seen.text = (await whole.json()).choices[0].text;
  seen.id = whole.headers.get("x-request-id");
  seen.error = (await (await post({ prompt: "Once", temprature: 1 })).json()).error.message;
  const stream = await post({ prompt: "Once", max_tokens: 8, ignore_eos: true, stream: true });
  const events = (await stream.text()).split("\\n\\n").filter(Boolean).map(event => event.slice(6));
  seen.done = events.pop();
  seen.streamed = events.map(event => JSON.parse(event).choices[0].text).join("");
} catch (failure) { seen.failure = String(failure); }
await fetch("/seen", { method: "POST", body: JSON.stringify(seen) });
</script>"""


def seen_by_a_page(server: Process, host: str, folder: Path) -> dict[str, Any]:
    html = CALLS.replace("URL", json.dumps(server.url), 1).replace("MODEL", json.dumps(server.model), 1)
    with pages(html, host) as (url, posted), browse(url, folder):
        return dict(posted.get(timeout=60))


def test_a_page_of_this_machine_calls_the_server(server: Process, checkpoint: Checkpoint, tmp_path: Path):
    seen = seen_by_a_page(server, "localhost", tmp_path)
    assert "failure" not in seen, seen
    assert seen["text"] == seen["streamed"] == checkpoint.greedy_text("Once", 8)
    assert seen["done"] == "[DONE]"
    assert seen["id"] == "page-1"
    assert "temprature" in seen["error"]


def test_a_page_from_elsewhere_cannot_call_the_server(server: Process, tmp_path: Path):
    seen = seen_by_a_page(server, "127.0.0.2", tmp_path)
    assert "Failed to fetch" in seen["failure"]
