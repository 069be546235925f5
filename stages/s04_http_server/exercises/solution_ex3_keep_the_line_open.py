"""Solution of exercise 3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

COMMENT = ": keep-alive\n\n"


async def keep_alive(events: AsyncIterator[str], every: float) -> AsyncIterator[str]:
    """All of `events`, with COMMENT after each `every` seconds of silence. An error of `events` is passed on."""
    following: asyncio.Future[str] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait([following], timeout=every)
            if not done:
                yield COMMENT
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event
    finally:
        if following and not following.done():
            following.cancel()  # reaches `events` where it waits
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await following
        if hasattr(events, "aclose"):
            await events.aclose()  # and where it does not
