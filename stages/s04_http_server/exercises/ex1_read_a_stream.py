"""Exercise 1: read a stream of server-sent events.

The other end of what `engine/server/streaming.py` writes. A socket delivers bytes that may be cut anywhere: in the middle of a
line, between the two newlines that end an event, inside a character of three bytes. `feed` takes what has arrived and
returns the events that are complete, oldest first; an incomplete one waits.

The rules, from the HTML standard (9.2 Server-sent events), as far as we need them:
- an event is one or more lines and then an empty line; a line ends with LF or with CR LF;
- `data: x` or `data:x` adds x to the event's data (one space after the colon is dropped, any more are data); the data of
  several such lines are joined by LF;
- a line that begins with a colon is a comment; other fields (`event:`, `id:`, `retry:`) are ignored here;
- an empty line without data before it is not an event.

`.venv/bin/python -m pytest stages/s04_http_server/exercises/test_ex1_read_a_stream.py` checks your class, also against the real server.
"""

from __future__ import annotations


class EventReader:
    def feed(self, received: bytes) -> list[str]:
        """The data of each event that `received` completes."""
        raise NotImplementedError("write feed")
