"""The server's command line: from flags and environment to a running server, or one line that says why not."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn

from common.errors import UserError
from common.options import add_options, read_options
from common.terminal.command_line import run, stage_parser

from ..config import EngineConfig
from ..engine import Engine
from .app import create_app


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(
        f"python -m {__package__}", "Serve a model over HTTP, in OpenAI's protocol.", ["--port 8000"]
    )
    parser.add_argument(
        "--model",
        default="storyteller",
        metavar="NAME",
        help="shipped checkpoint, folder or hub name (%(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on, 0 for a free one (%(default)s)"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow web pages from this origin to call the server (repeatable; * allows all; "
        "by default, pages from localhost and 127.0.0.1 at any port)",
    )
    add_options(parser, EngineConfig)
    args = parser.parse_args(argv)
    config = read_options(EngineConfig, vars(args))
    return serve(args.model, args.host, args.port, config, [origin(given) for given in args.allow_origin])


def serve(model: str, host: str, port: int, config: EngineConfig, allow_origins: Sequence[str] = ()) -> int:
    """Runs until Ctrl-C, and returns 0. Raises the error if the model cannot be loaded."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").addFilter(no_failure)
    sock = listen(host, port)
    failures: list[BaseException] = []

    def failed(e: BaseException) -> None:
        failures.append(e)
        server.should_exit = True

    name = model.rstrip("/").rpartition("/")[2] if model.startswith((".", "/", "~")) else model
    load = partial(Engine.from_pretrained, model, config)
    app = create_app(load, title(), name, on_failure=failed, allow_origins=allow_origins)
    server = Server(
        uvicorn.Config(
            app,
            http="h11",  # httptools, which uvicorn would prefer, has no limit on headers
            ws="none",
            log_level="warning",
            timeout_keep_alive=75,  # longer than proxies and clients keep an idle connection
            timeout_graceful_shutdown=1,
        )
    )
    banner(name, host, sock.getsockname()[1])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the server as Ctrl-C does
    with suppress(KeyboardInterrupt):
        server.run(sockets=[sock])
    if failures:
        raise failures[0]
    print("stopped", file=sys.stderr, flush=True)
    return 0


class Server(uvicorn.Server):
    """Ends the requests in flight when it is told to stop, instead of waiting for them."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        # In a thread: the signal may have interrupted the holder of a lock that `stop` needs.
        threading.Thread(target=self.config.app.state.service.stop, daemon=True).start()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def no_failure(record: logging.LogRecord) -> bool:
    """A request that is cut off because the server stops is not worth a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def origin(text: str) -> str:
    """Raises UserError for what no browser sends as the origin of a page."""
    if text != "*" and not re.fullmatch(r"[a-z]+://[^/?#@\sA-Z]+", text):
        raise UserError(
            f"--allow-origin {text!r}: must be * or a scheme and a host in lower case, such as https://example.org:8080"
        )
    return text


def listen(host: str, port: int) -> socket.socket:
    """Raises UserError if the port is taken."""
    if not 0 <= port <= 65535:
        raise UserError(f"port = {port}: must be between 0 and 65535")
    try:
        sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as e:
        raise UserError(f"cannot listen on {host}:{port}: {e.strerror or e}") from None
    # asyncio sets this only on sockets it makes itself. Without it small writes wait for the client's delayed
    # acknowledgement: 40 ms before a first token.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


def title() -> str:
    return f"Vitrine {__package__.split('.')[1] if __package__.count('.') > 1 else ''}".strip()


def banner(model: str, host: str, port: int) -> None:
    """Prints where the server is, and commands that can be pasted as they are."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(
        f"""{title()} serves {model} at {url}  (Ctrl-C stops it)

curl {url}/health
curl {url}/v1/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "prompt": "Once upon a time", "max_tokens": 40}}'
curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Tell me a story about a fox."}}]}}'
""",
        flush=True,
    )


if __name__ == "__main__":
    status = run(main)
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit would wait for the running step, spend a second unloading PyTorch, and abort if a thread still loads.
    os._exit(status)
