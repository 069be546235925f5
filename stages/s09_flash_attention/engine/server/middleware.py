"""What happens around every request, whatever its route: its id, a line in the log, HEAD, slashes, CORS, a last resort."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error

log = logging.getLogger("vitrine.server")

THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def add_cors(app: FastAPI, origins: Sequence[str]) -> None:
    """Lets pages of other origins call this server: those of `origins`, or without any, those of this machine."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_origin_regex=None if origins else THIS_MACHINE,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after"],
    )


class Envelope:
    """The outermost layer: gives each request an id and a line in the log, and normalises its method and path."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (b"x-request-id", request_id)]
                message = {**message, "headers": headers}
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        # HEAD is a GET whose body is not sent.
        inner = {**scope, "path": path, "method": "GET" if method == "HEAD" else method}
        try:
            await self.app(inner, receive, sent)
        finally:
            if path != "/health":
                # As it was sent, but escaped, so that a client cannot write lines of its own into the log.
                shown = scope.get("raw_path", path.encode()).decode("latin-1")
                seconds = time.perf_counter() - began
                log.info(
                    "%s %s %s %.3f s %s", method, ascii(shown)[1:-1], status, seconds, request_id.decode()
                )


class LastResort:
    """Answers 500 for an exception that no handler knows. Inside CORS, so that a page may read the answer."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as e:
            log.error("unexpected error", exc_info=e)
            if not started:
                body = error("unexpected error inside the server", 500)
                await JSONResponse(body, 500)(scope, receive, send)
