"""How many tokens a second reach the clients of 64 streams: one wake-up and one chunk per token, or what is queued merged.

An engine that costs no processor time stands for a GPU: it sleeps for a step, and then hands a token to every stream.
What limits the tokens is HTTP alone. The clients are a process of their own; both ways run in turns.

    python -m stages.s06_request_queue.lesson.delivery [--streams 64] [--tokens 256] [--step-ms 1] [--repeats 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import torch
import uvicorn

from common.bench.measure import Result, in_turns
from common.loader import find_checkpoint
from common.terminal.command_line import add_bench_flags, number, run, stage_parser
from common.terminal.console import note, table
from common.tokenizer import Tokenizer

from ..engine.request import Output
from ..engine.server import streaming
from ..engine.server.__main__ import listen
from ..engine.server.app import create_app

WAYS = {"each": "one wake-up and one chunk per token", "merged": "what is queued, merged"}
MODEL = "storyteller"


class Clockwork:
    """What the server needs of an engine. One token for each of `streams` requests every `step` seconds."""

    def __init__(self, streams: int, tokens: int, step: float):
        self.tokenizer = Tokenizer.from_folder(find_checkpoint(MODEL))
        self.max_seq_len, self.failure = 1 << 20, None
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.config = SimpleNamespace(max_waiting=streams)
        self.requests: dict[str, Any] = {}
        self.streams, self.tokens, self.step = streams, tokens, step
        self.readers: dict[str, Callable[[Output], None]] = {}
        self.closed = threading.Event()
        self.late = 0.0  # seconds by which the last run took longer than its steps

    def encode(self, prompt: Any) -> list[int]:
        return [5]

    def add(self, tokens: Sequence[int], params: Any, name: str, on_output: Callable[[Output], None]) -> None:
        self.readers[name] = on_output

    def abort(self, name: str) -> None:
        self.readers.pop(name, None)

    def close(self) -> None:
        self.closed.set()

    def start(self, on_failure: Any = None) -> None:
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self) -> None:
        while not self.closed.is_set():
            if len(self.readers) < self.streams:
                time.sleep(0.001)
                continue
            readers, self.readers = self.readers, {}
            for left in reversed(range(self.tokens)):
                time.sleep(self.step)
                reason = None if left else "length"
                for name, on_output in readers.items():
                    on_output(Output(name, [5], " word", reason))


class OneByOne(streaming.Mailbox):
    """Wakes the event loop for each output."""

    def put(self, outputs: streaming.Outputs, choice: int, output: Output) -> None:
        self.loop.call_soon_threadsafe(outputs.take, choice, output)


def unmerged(pending: Sequence[tuple[int, Output]]) -> Iterator[tuple[int, Output]]:
    yield from pending


@contextmanager
def server(engine: Clockwork, way: str) -> Iterator[str]:
    """A running server, delivering in one of WAYS -> its URL."""
    each = way == "each"
    create = create_app.__globals__  # where the application finds its mailbox
    with (
        patch.dict(create, {"Mailbox": OneByOne if each else streaming.Mailbox}),
        patch.object(streaming, "merged", unmerged if each else streaming.merged),
    ):
        app = create_app(lambda: engine, model_name=MODEL)  # type: ignore[arg-type, return-value]
        sock = listen("127.0.0.1", 0)
        config = uvicorn.Config(app, http="h11", ws="none", log_level="error", timeout_graceful_shutdown=1)
        runner = uvicorn.Server(config)
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not app.state.service.engine:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        runner.should_exit = True
        thread.join(10)
        sock.close()


def measure(way: str, args: argparse.Namespace) -> float:
    """Seconds from the first request until the last stream has ended. Raises AssertionError if a token was lost."""
    with server(Clockwork(args.streams, args.tokens, args.step_ms / 1000), way) as url:
        argv = [sys.executable, "-m", __spec__.name, "--client", url]
        argv += ["--streams", str(args.streams), "--tokens", str(args.tokens)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout)


async def read(url: str, tokens: int) -> None:
    """One stream, to its end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    options = {"include_usage": True}
    body = {"model": MODEL, "prompt": [5], "stream": True, "stream_options": options, "max_tokens": tokens}
    payload = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}"
    writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + payload)
    answer = await reader.read(-1)
    writer.close()
    assert answer.count(b" word") >= 1
    assert f'"completion_tokens": {tokens},'.encode() in answer, answer[-400:]
    pieces = [line for line in answer.split(b"\n") if line.startswith(b"data: {")]
    text = "".join(choice["text"] for line in pieces for choice in json.loads(line[6:])["choices"])
    assert text == " word" * tokens


async def read_all(url: str, streams: int, tokens: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*[read(url, tokens) for _ in range(streams)])
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = stage_parser(f"python -m {__spec__.name}", __doc__.partition("\n")[0], ["", "--streams 256"])
    parser.add_argument(
        "--streams", type=number(int, 1), default=64, metavar="N", help="concurrent streams (%(default)s)"
    )
    parser.add_argument(
        "--tokens", type=number(int, 1), default=256, metavar="N", help="tokens of each stream (%(default)s)"
    )
    parser.add_argument(
        "--step-ms", type=number(float, 0.1), default=1.0, metavar="MS", help="time of a step (%(default)s)"
    )
    parser.add_argument("--client", metavar="URL", help=argparse.SUPPRESS)
    add_bench_flags(parser, 5)
    args = parser.parse_args(argv)
    if args.client:
        print(asyncio.run(read_all(args.client, args.streams, args.tokens)))
        return 0
    found = in_turns(list(WAYS), args.repeats, lambda way: measure(way, args))
    total = args.streams * args.tokens
    command = " ".join(["python", "-m", __spec__.name, *words])
    workload = {
        "streams": args.streams,
        "tokens": args.tokens,
        "step_ms": args.step_ms,
        "repeats": args.repeats,
    }
    result = Result(
        "s06-delivery", 6, command, workload, None, "every stream got all its text, in order", "cpu"
    )
    result.add("offered", args.streams / (args.step_ms / 1000), "tokens/s")
    for way, seconds in found.items():
        result.add(way, unit="tokens/s", samples=[total / one for one in seconds])
    result.add("merged_over_each", result["merged"] / result["each"], "x")
    rows = [[name, f"{result[way]:,.0f}"] for way, name in WAYS.items()]
    table(f"{args.streams} streams, {result['offered']:,.0f} tokens/s offered", ["way", "tokens/s"], rows)
    if args.results is not None:
        note(f"recorded in {result.save(args.results)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
