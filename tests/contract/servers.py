"""Servers to talk to: a real process, as a user starts it, and one inside the test's process whose steps can be held."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn

from tests.contract.checkpoint import Checkpoint
from tests.contract.subjects import ROOT, Subject

PATIENCE = 100.0  # seconds until something that should take a moment counts as hanging; below a test's limit


def until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Polls until `true()` is true -> its value. Fails, saying what did not come to pass."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if value := true():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {patience:g} s in vain: {what}")


@dataclass(slots=True)
class Server:
    """A server that listens at `url`."""

    url: str
    model: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        # Requests of a test run side by side with those of hung-up clients, so no limit on connections.
        self.http = httpx.Client(
            base_url=self.url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None)
        )

    def complete(self, prompt: Any, **fields: Any) -> httpx.Response:
        body = {"model": self.model, "prompt": prompt, "temperature": 0, **fields}
        return self.http.post("/v1/completions", json=body)

    def chat(self, *messages: Any, **fields: Any) -> httpx.Response:
        said = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        body = {"model": self.model, "messages": said, "temperature": 0, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def text(self, prompt: Any, count: int, **fields: Any) -> str:
        """`count` tokens of text after the prompt, whatever they are."""
        response = self.complete(prompt, max_tokens=count, ignore_eos=True, **fields)
        assert response.status_code == 200, response.text
        return str(response.json()["choices"][0]["text"])

    def requests(self) -> list[dict[str, Any]]:
        """What the queue knows, oldest first."""
        known = self.http.get("/v1/requests").json()["requests"]
        return sorted(known, key=lambda r: -r["age"])


# A real process.


@dataclass(slots=True)
class Process(Server):
    popen: subprocess.Popen[str]
    output: Path  # what it prints
    errors: Path

    @property
    def banner(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def usage(self) -> tuple[int, int]:
        """(threads, resident bytes)."""
        process = psutil.Process(self.popen.pid)
        return process.num_threads(), process.memory_info().rss


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


@contextlib.contextmanager
def process(
    subject: Subject,
    checkpoint: Checkpoint,
    folder: Path,
    *flags: str,
    ready: bool = True,
    before: str | None = None,
) -> Iterator[Process]:
    """A running server; `ready`: with its model loaded. `before`: Python that runs first. Never left behind."""
    output, errors = folder / "output", folder / "errors"
    package = f"{subject.package}.engine.server"
    argv = [sys.executable, "-m", package]
    if before:
        argv[1:] = [
            "-c",
            f"{before}\nimport runpy; runpy.run_module({package!r}, run_name='__main__', alter_sys=True)",
        ]
    argv += ["--model", checkpoint.argument, "--port", "0", *flags]
    with output.open("w") as out, errors.open("w") as err:
        popen = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=out, stderr=err, text=True)
    try:
        until(lambda: "story about a fox" in output.read_text() or popen.poll() is not None, "its banner")
        found = re.search(r"at (http://\S+)", output.read_text())
        assert found, f"{' '.join(argv)} ended with {popen.poll()}: {errors.read_text()}"
        server = Process(found[1], checkpoint.name, popen, output, errors)
        if ready:
            until(lambda: server.http.get("/health").status_code == 200, "a loaded model")
        yield server
    finally:
        end(popen)


def end(popen: subprocess.Popen[Any]) -> None:
    """Asks a process to end, and ends it after ten seconds."""
    popen.terminate()
    try:
        popen.wait(10)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


# Inside the test's process.


class Gate:
    """Stands before the model: counts the forward passes, and holds them while a test looks around."""

    def __init__(self, model: Any):
        self.changed = threading.Condition()
        self.allowed: int | None = None  # None: as many as wanted
        self.passed = 0
        self.waiting = 0
        model.register_forward_pre_hook(self.enter)

    def enter(self, module: Any, arguments: Any) -> None:
        with self.changed:
            self.waiting += 1
            self.changed.wait_for(lambda: self.allowed is None or self.allowed > 0, timeout=PATIENCE)
            self.waiting -= 1
            self.passed += 1
            self.allowed = None if self.allowed is None else self.allowed - 1

    @contextlib.contextmanager
    def held(self, allowed: int = 0) -> Iterator[None]:
        """Within, only `allowed` forward passes start."""
        self.set(allowed)
        try:
            yield
        finally:
            self.set(None)

    def set(self, allowed: int | None) -> None:
        with self.changed:
            self.allowed = allowed
            self.changed.notify_all()

    def reached(self) -> None:
        """Waits until a forward pass is held."""
        until(lambda: self.waiting and self.allowed == 0, "a forward pass to hold")


@dataclass(slots=True)
class Inside(Server):
    engine: Any
    gate: Gate
    service: Any  # what the routes share

    def idle(self) -> bool:
        """No request waits or runs."""
        if hasattr(self.engine, "active"):
            return not self.engine.active
        return all(r.done for r in list(self.engine.requests.values()))


@contextlib.contextmanager
def inside(subject: Subject, checkpoint: Checkpoint, **config: Any) -> Iterator[Inside]:
    """The stage's app on a real socket, in a thread of this process."""
    engine_module = subject.engine
    loaded: list[Any] = []

    def load() -> Any:
        config_object = engine_module.EngineConfig(device="cpu", **config)
        loaded.append(engine_module.Engine.from_pretrained(checkpoint.argument, config_object))
        return loaded[0]

    app = subject.module("engine.server.app").create_app(load, model_name=checkpoint.name)
    sock = subject.module("engine.server.__main__").listen("127.0.0.1", 0)
    runner = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        until(lambda: app.state.service.engine, "a loaded model")
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        yield Inside(url, checkpoint.name, loaded[0], Gate(model_of(loaded[0])), app.state.service)
    finally:
        runner.should_exit = True
        thread.join(10)
        sock.close()


def model_of(engine: Any) -> Any:
    return getattr(engine, "model", None) or engine.runner.model
