"""Exercise 3: keep the line open.

With a long prompt, or a long queue, no chunk may come for a minute. Proxies in between take a silent connection for a
dead one and close it. Servers therefore send a comment now and then, which every client skips:

    : keep-alive

Write a wrapper around a stream of events that passes each one on as soon as it comes, and yields COMMENT whenever
`every` seconds have gone by with nothing to pass on.

It is easy to write one that loses chunks: `asyncio.wait_for(anext(events), every)` cancels what it waited for when the
time is up, and a cancelled generator is finished. `asyncio.wait` looks without touching. And when the wrapper itself is
closed, because the client has hung up, the stream of events must be closed too: whatever
produces it costs money.

`.venv/bin/python -m pytest stages/s04_http_server/exercises/test_ex3_keep_the_line_open.py` checks your function.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

COMMENT = ": keep-alive\n\n"


async def keep_alive(events: AsyncIterator[str], every: float) -> AsyncIterator[str]:
    """All of `events`, with COMMENT after each `every` seconds of silence. An error of `events` is passed on."""
    raise NotImplementedError("write keep_alive")
    yield ""
