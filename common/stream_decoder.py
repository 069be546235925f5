"""Text from tokens as they come: exact, at constant cost per token, without half characters.

One character may be spread over several tokens, and a decoder may treat the start of a text differently from its middle, so
`decode(a) + decode(b)` is not `decode(a + b)`. Decoding the whole text again for each token would be exact, but quadratic. The two
classes here know what their kind of decoder depends on, and keep only that.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import tokenizers

from common.errors import UserError

__all__ = ["ByteLevelStream", "PieceStream", "StreamDecoder", "make_stream"]

TokenOf = Callable[[int], str | None]


class StreamDecoder:
    """`"".join(push(i) for i in ids) + flush()` is `decode(ids)`; no push shows part of a character as U+FFFD."""

    def __init__(self, token_of: TokenOf) -> None:
        # None for ids without text: special or unknown ones.
        self._token_of = token_of

    def follow(self, ids: Sequence[int]) -> None:
        """Starts after a prompt: the text of the tokens to come is what `decode(prompt + ids)` adds to `decode(prompt)`.

        Only the end of the prompt is read: the tokens whose text can still change.
        """
        tail: list[str] = []
        for token_id in reversed(ids):
            token = self._token_of(token_id)
            if token is not None:
                tail.append(token)
                if not self._matters(tail):
                    break
        self._resume(tail[::-1])

    def push(self, token_id: int) -> str:
        """The text that this token makes certain: often all of its own, "" in the middle of a character."""
        token = self._token_of(token_id)
        return "" if token is None else self._feed(token)

    def flush(self) -> str:
        """The text still held back at the end. Bytes that never became a character are U+FFFD, as in `decode`."""
        raise NotImplementedError

    def _feed(self, token: str) -> str:
        raise NotImplementedError

    def _matters(self, tail: list[str]) -> bool:
        """tail: the prompt's last tokens, last one first. Returns whether the token before them matters too."""
        raise NotImplementedError

    def _resume(self, tail: list[str]) -> None:
        """tail: the prompt's last tokens, in order."""
        raise NotImplementedError


class ByteLevelStream(StreamDecoder):
    """GPT-2's decoder: each character of a token stands for one byte; the bytes together are UTF-8.

    Keeps at most the three bytes of an unfinished character. Invalid bytes are shown as soon as they are known to be
    invalid, so they never pile up.
    """

    def __init__(self, token_of: TokenOf) -> None:
        super().__init__(token_of)
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # Characters of the prompt that have not come out yet.
        self._skip = 0

    def _feed(self, token: str) -> str:
        return self._without_prompt(self._utf8.decode(token_bytes(token)))

    def flush(self) -> str:
        return self._without_prompt(self._utf8.decode(b"", final=True))

    def _without_prompt(self, text: str) -> str:
        if not self._skip or not text:
            return text
        self._skip = 0
        return text[1:]

    def _matters(self, tail: list[str]) -> bool:
        # The beginning of a character is at most three bytes.
        return sum(len(token_bytes(token)) for token in tail) < 3

    def _resume(self, tail: list[str]) -> None:
        self._utf8.decode(b"".join(map(token_bytes, tail)))
        # Half a character is U+FFFD in the prompt's text.
        self._skip = int(bool(self._utf8.getstate()[0]))


class PieceStream(StreamDecoder):
    """SentencePiece-style decoders: pieces join, `▁` is a space, `<0xE2>` is a byte, the first space may be dropped.

    Such a decoder looks at the start of the text and at runs of byte pieces, nowhere else. A run is valid or not as a
    whole (one bad byte turns all its bytes into U+FFFD), so it is held until the piece after it; each piece is decoded once.
    """

    def __init__(self, token_of: TokenOf, decoder: Any, byte_fallback: bool) -> None:
        super().__init__(token_of)
        self._decoder = decoder
        self._byte_fallback = byte_fallback
        self._held: list[str] = []
        self._at_start = True
        # Characters of the held text that belong to the prompt.
        self._skip = 0

    def _feed(self, token: str) -> str:
        self._held.append(token)
        if self._is_byte(token):
            return ""
        return self.flush()

    def flush(self) -> str:
        text = self._text(self._held)
        if self._skip:
            # At most what the run has become: a character may be shorter than its bytes were.
            run = [token for token in self._held if self._is_byte(token)]
            text = text[min(self._skip, len(self._text(run))) :]
        self._at_start = self._at_start and not self._held
        self._held, self._skip = [], 0
        return text

    def _text(self, tokens: list[str]) -> str:
        if not tokens:
            return ""
        if self._at_start:
            return _join(self._decoder, tokens)
        # A letter in front makes this the middle of a text, whatever the decoder does at the start of one.
        return _join(self._decoder, ["x", *tokens])[1:]

    def _matters(self, tail: list[str]) -> bool:
        return self._is_byte(tail[-1])

    def _resume(self, tail: list[str]) -> None:
        # Otherwise there is a piece before the bytes.
        self._at_start = all(map(self._is_byte, tail))
        run = [token for token in tail if self._is_byte(token)]
        self._held, self._skip = run, len(self._text(run))

    def _is_byte(self, token: str) -> bool:
        return self._byte_fallback and _BYTE_PIECE.fullmatch(token) is not None


_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f+][0-9A-Fa-f]>")


def _join(decoder: Any, tokens: list[str]) -> str:
    return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))


def make_stream(backend: tokenizers.Tokenizer, token_of: TokenOf) -> StreamDecoder:
    """The stream for the decoder of `backend`. Raises UserError for a decoder it cannot follow exactly."""
    parts = _flatten(json.loads(backend.decoder.__getstate__())) if backend.decoder is not None else []
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"]:
        return ByteLevelStream(token_of)
    local = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "WordPiece"}
    if set(kinds) <= local and not any(part.get("stop") or part.get("start", 0) > 1 for part in parts):
        return PieceStream(token_of, backend.decoder, "ByteFallback" in kinds)
    raise UserError(
        f"tokenizer.json: decoder {' + '.join(kinds)} cannot be streamed; choose from ByteLevel, {', '.join(sorted(local))}"
    )


def _flatten(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [part for inner in decoder["decoders"] for part in _flatten(inner)]


def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for the characters from 256 on."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_of_character()


def token_bytes(token: str) -> bytes:
    """The bytes of a byte-level vocabulary entry. An added token outside the alphabet stands for its own UTF-8."""
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.encode()
