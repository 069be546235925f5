"""Turns tokens into text as they arrive, up to the first stop string."""

from __future__ import annotations

from collections.abc import Sequence

from common.tokenizer import Tokenizer


class TextStream:
    """Releases text once it is certain. Half a character is held back, and so is anything that may begin a stop string."""

    def __init__(self, tokenizer: Tokenizer | None, stop: Sequence[str] = (), prompt: Sequence[int] = ()):
        self.decoder = tokenizer.stream(after=prompt) if tokenizer else None
        self.stop = stop
        # Special tokens have no text in which a stop string could be found.
        self.stop_ids = {tokenizer.special_id(s) for s in stop} if tokenizer else set()
        self.held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Returns the text that is now certain. A complete stop string sets `stopped`: only the text before it is returned."""
        if token in self.stop_ids:
            text, self.stopped = self.flush(), True
            return text
        self.held += self.decoder.push(token) if self.decoder else ""
        return self.release()

    def flush(self) -> str:
        """Returns the text that is still held back, at the end."""
        if self.decoder and not self.stopped:
            self.held += self.decoder.flush()
        rest = self.release()
        rest, self.held = rest + self.held, ""
        return rest

    def release(self) -> str:
        found = [(at + len(s), at) for s in self.stop if (at := self.held.find(s)) >= 0]
        if found:
            self.stopped = True
            # The stop string that ends first, however the text was divided into tokens.
            start = min(found)[1]
            ready, self.held = self.held[:start], ""
            return ready
        end = len(self.held) - max((overlap(self.held, s) for s in self.stop), default=0)
        ready, self.held = self.held[:end], self.held[end:]
        return ready


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
