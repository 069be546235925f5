"""Drives a server over HTTP in OpenAI's protocol: streaming completions, timed where the bytes arrive.

During a run an event is only stamped and put aside; it is parsed when all are done, so that the client's own work does
not delay the stamps of others.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx

from common.errors import UserError

from .prompts import Planned
from .record import Info, Record, Status

__all__ = ["HttpTarget", "data_events"]

REFUSALS = (429, 503)
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says
WINDOW = re.compile(r"(?:window is|context length is|context size \()\s*(\d+)")  # ours; vLLM's; llama.cpp's


class HttpTarget:
    """One server. Use it within one event loop and close it there."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        ignore_eos: bool = True,
        usage: bool = True,
        timeout: float = 600.0,
        retries: int = 0,
        temperature: float = 0.0,
    ):
        """
        url: with or without /v1. model: None: the first that the server lists.
        ignore_eos: ask for the full length; not OpenAI's field, but vLLM's, llama.cpp's and ours.
        usage: ask for the token count; without it each event counts as a token.
        timeout: seconds without a byte until a request counts as lost.
        retries: how often a refused request is sent again.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model, self.ignore_eos, self.usage = model, ignore_eos, usage
        self.retries, self.temperature = retries, temperature
        # No limit on connections: the client must not queue. Idle ones go before the server's 5 s close them.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
        self.client = httpx.AsyncClient(limits=limits, timeout=httpx.Timeout(timeout, connect=10.0))

    async def close(self) -> None:
        await self.client.aclose()

    async def describe(self) -> Info:
        """Raises UserError where no OpenAI-protocol server answers, or not with that model."""
        try:
            response = await self.client.get(f"{self.url}/v1/models")
            cards = response.json()["data"]
            names = [card["id"] for card in cards]
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            raise UserError(f"url {self.url}: no server answers ({type(e).__name__}: {e})") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"url {self.url}: /v1/models does not answer in OpenAI's protocol") from None
        if not names or (self.model and self.model not in names):
            raise UserError(
                f"model {self.model!r}: the server at {self.url} has {', '.join(names) or 'none'}"
            )
        self.model = self.model or names[0]
        card = cards[names.index(self.model)]
        meta = card.get("meta") or {}  # llama.cpp's
        health = await self._json("/health")
        return Info(
            model=self.model,
            window=card.get("max_model_len") or await self._window(),
            vocab=meta.get("n_vocab"),
            device=health.get("device"),
            dtype=health.get("dtype"),
        )

    async def _json(self, path: str) -> dict[str, Any]:
        try:
            found = (await self.client.get(self.url + path)).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def _window(self) -> int | None:
        """Of llama.cpp's server, or by asking for more than any window holds: the refusal names it."""
        settings = (await self._json("/props")).get("default_generation_settings")
        if isinstance(settings, dict) and isinstance(settings.get("n_ctx"), int):
            return int(settings["n_ctx"])
        body = {"model": self.model, "prompt": "a", "max_tokens": 2**30, "stream": True}
        try:
            async with self.client.stream("POST", f"{self.url}/v1/completions", json=body) as response:
                if response.status_code == 200:  # it takes what it is given: hang up
                    return None
                found = WINDOW.search((await response.aread()).decode(errors="replace"))
        except httpx.HTTPError:
            return None
        return int(found[1]) if found else None

    def body(self, request: Planned) -> dict[str, Any]:
        made: dict[str, Any] = {
            "model": self.model, "prompt": request.prompt, "max_tokens": request.max_tokens, "stream": True,
            "temperature": self.temperature,
        }  # fmt: skip
        if self.usage:
            made["stream_options"] = {"include_usage": True}
        if self.ignore_eos:
            made["ignore_eos"] = True
        return made

    async def send(self, request: Planned, record: Record) -> None:
        content = json.dumps(self.body(request)).encode()
        record.sent = time.perf_counter()
        for attempt in range(self.retries + 1):
            record.retries = attempt
            if await self._attempt(content, request, record):
                break
            if attempt < self.retries:
                record.status = None
                await asyncio.sleep(record.retry_after)
        record.finished = record.finished or time.perf_counter()

    async def _attempt(self, content: bytes, request: Planned, record: Record) -> bool:
        """One POST. False: refused, and worth another try."""
        headers = {"Content-Type": "application/json"}
        try:
            async with self.client.stream(
                "POST", f"{self.url}/v1/completions", content=content, headers=headers
            ) as response:
                if response.status_code in REFUSALS:
                    record.retry_after = retry_after(response.headers.get("retry-after"))
                    record.end(Status.REFUSED, message(await response.aread(), response.status_code))
                    return False
                if response.status_code != 200:
                    record.end(Status.FAILED, message(await response.aread(), response.status_code))
                    return True
                await self._listen(response, request, record)
        except (httpx.ConnectError, httpx.ConnectTimeout) as e:
            record.end(Status.FAILED, f"cannot connect: {e}")
        except httpx.TimeoutException:
            record.end(Status.LOST, "nothing came within the time limit")
        except httpx.TransportError as e:
            record.end(Status.LOST, f"the connection broke: {type(e).__name__}: {e}")
        return True

    async def _listen(self, response: httpx.Response, request: Planned, record: Record) -> None:
        buffer = bytearray()
        async for chunk in response.aiter_bytes():
            now = time.perf_counter()
            buffer += chunk
            record.raw += [(now, event) for event in data_events(buffer)]
            if request.hang_up_after and len(record.raw) >= request.hang_up_after:
                record.end(Status.HUNG_UP)
                record.finished = now
                return  # leaving the response closes its connection

    def settle(self, record: Record) -> None:
        """Reads the events. What ends without a finish reason was lost."""
        usage = None
        for at, data in record.raw:
            if data == b"[DONE]":
                continue
            try:
                event = json.loads(data)
                if "error" in event:
                    record.end(Status.FAILED, message(data, 200))
                    continue
                usage = event.get("usage") or usage
                _read_choice(record, at, event.get("choices") or [])
            except (ValueError, KeyError, TypeError, AttributeError):
                record.end(Status.FAILED, f"not an event of OpenAI's protocol: {data[:80]!r}")
        record.raw.clear()
        if usage and record.status is None:
            record.num_tokens = int(usage["completion_tokens"])
            # A last token without text (an end token, half a character) came with the end itself.
            if record.num_tokens > len(record.times) and record.finish_reason is not None:
                record.times.append(record.finished)
        if record.status is None:
            whole = record.finish_reason is not None and record.times
            record.end(
                *(Status.OK, "") if whole else (Status.LOST, "the stream ended without a finish reason")
            )


def _read_choice(record: Record, at: float, choices: list[dict[str, Any]]) -> None:
    for choice in choices:
        reason, text = choice.get("finish_reason"), choice["text"]
        # An event without text is a token too (half a character), unless it only says that the text has ended.
        if text or reason is None:
            record.times.append(at)
            record.num_tokens += 1
            record.text += text
        if reason is not None:
            record.finish_reason, record.finished = reason, at


def data_events(buffer: bytearray) -> Iterator[bytes]:
    """Takes the complete `data:` lines out of `buffer`. Servers put one JSON object on one line."""
    end = buffer.rfind(b"\n")
    if end < 0:
        return
    lines = bytes(buffer[:end]).split(b"\n")
    del buffer[: end + 1]
    for line in lines:
        if line.startswith(b"data:"):
            yield line[5:].strip()


def retry_after(header: str | None) -> float:
    """Seconds, from a header that holds seconds or a date. 1 without one."""
    try:
        seconds = float(header or 1)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header or "").timestamp() - time.time()
        except ValueError:
            seconds = 1.0
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else 1.0


def message(content: bytes, status: int) -> str:
    """The message of an error body in OpenAI's shape, or what there is of one."""
    try:
        error = json.loads(content)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        text = content[:200].decode(errors="replace")
    return f"{status}: {text}"
