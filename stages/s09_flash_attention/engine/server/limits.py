"""Bounds on what a client may send, checked before anything is parsed or encoded."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.tokenizer import Tokenizer

from .errors import error, short


class BodyLimit:
    """413 for a body over `max_bytes`, whether its length is announced or not; 415 for a compressed one.

    Never keeps more than `max_bytes`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if coding not in ("", "identity"):
            message = (
                f"Content-Encoding: {short(coding)} is not supported by this server; send the body as it is"
            )
            await JSONResponse(error(message, 415, code="unsupported_encoding"), 415)(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_bytes:
            await self.refuse(scope, receive, send)
            return
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except TooLarge:
            if not started:
                await self.refuse(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = error(f"the body is larger than {self.max_bytes} bytes", 413, code="body_too_large")
        await JSONResponse(body, 413)(scope, receive, send)


class TooLarge(BaseException):
    """Not an Exception, so that no handler in between answers it."""


def longest_token(tokenizer: Tokenizer) -> int | None:
    """How many characters a token stands for at most; None if this tokenizer has no such bound.

    A token stands for no more characters than its name in the vocabulary has, unless the tokenizer drops text or
    turns whatever it cannot spell into a single unknown token. Whether it does so is tried out.
    """
    backend = tokenizer.backend
    if any(token.lstrip or token.rstrip for token in backend.get_added_tokens_decoder().values()):
        return None  # such a token swallows the spaces around it
    longest = max(map(len, backend.get_vocab()))
    longest *= 4 if backend.normalizer else 1  # Unicode composes at most four characters into one
    for text in (" ", "\n", "\t", "a", "é", "e\u0301", "\u200b", "🦊", "\u0378", "a "):
        if len(tokenizer.encode(text * 10 * longest)) * longest < len(text) * 10 * longest:
            return None
    return longest
