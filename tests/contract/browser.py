"""A real browser, where there is one: it opens a page, whose script posts what it saw."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.contract.servers import end

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "there is no Chromium (Debian: apt-get install chromium)"


@contextlib.contextmanager
def pages(html: str, host: str = "127.0.0.1") -> Iterator[tuple[str, SimpleQueue[Any]]]:
    """A web server for one page -> its address, and what the page's script posts to it, as JSON."""
    posted: SimpleQueue[Any] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}", posted
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def browse(url: str, folder: Path) -> Iterator[None]:
    """The browser on a page, without a network beyond this machine. folder: for its profile."""
    rules = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE 127.0.0.2"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"]
    argv = [str(CHROMIUM), *flags, f"--user-data-dir={folder}", f"--host-resolver-rules={rules}", url]
    popen = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        end(popen)
