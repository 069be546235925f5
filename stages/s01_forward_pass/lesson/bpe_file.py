"""Reads the tokenizer.json of a byte-level BPE into our `BPE`.

The file holds a pipeline: normalizer, pre-tokenizer, model, decoder. What belongs to byte-level BPE is
read; anything else is refused by name, because a tokenizer that is almost right makes a model look almost right.
The post-processor (which adds BOS) is left to `common.tokenizer`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.errors import UserError

from .bpe import ALPHABET, BPE, GPT2_PATTERN, Pair

BYTES = {character: byte for byte, character in ALPHABET.items()}


def load_bpe(path: str | Path) -> BPE:
    """The BPE of a tokenizer.json (or of the folder that holds one). Raises UserError for any other kind."""
    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None
    try:
        return read_bpe(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_bpe(data: dict[str, Any]) -> BPE:
    """The BPE that a parsed tokenizer.json describes."""
    model = data["model"]
    refuse(
        model,
        type="BPE",
        dropout=None,
        continuing_subword_prefix=None,
        end_of_word_suffix=None,
        byte_fallback=False,
    )
    patterns, add_prefix_space = read_pre_tokenizer(data.get("pre_tokenizer"))
    vocab = {to_token(text): id for text, id in model["vocab"].items()}
    missing = [byte for byte in range(256) if bytes([byte]) not in vocab]
    if missing:
        raise UserError(
            f"model.vocab lacks {len(missing)} of the 256 bytes, the first is {ALPHABET[missing[0]]!r}"
        )
    added = data.get("added_tokens") or []
    for token in added:
        refuse(token, single_word=False, lstrip=False, rstrip=False)
    return BPE(
        vocab=vocab,
        ranks={read_merge(entry): rank for rank, entry in enumerate(model["merges"])},
        special={token["content"]: token["id"] for token in added if not token.get("normalized")},
        special_normalized={token["content"]: token["id"] for token in added if token.get("normalized")},
        patterns=patterns,
        add_prefix_space=add_prefix_space,
        nfc=read_normalizer(data.get("normalizer")),
        ignore_merges=bool(model.get("ignore_merges")),
    )


def read_pre_tokenizer(stage: dict[str, Any] | None) -> tuple[tuple[str, ...], bool]:
    """The patterns that split text, in order, and whether a space is put in front of it."""
    steps = (stage or {}).get("pretokenizers") or [stage or {"type": None}]
    if steps[-1]["type"] != "ByteLevel":
        raise UserError(
            f"pre_tokenizer ends with {steps[-1]['type']!r}; our BPE reads byte-level tokenizers only"
        )
    patterns = []
    for step in steps[:-1]:
        refuse(step, type="Split", behavior="Isolated", invert=False)
        patterns.append(step["pattern"]["Regex"])
    last = steps[-1]
    if last.get("use_regex", True):
        patterns.append(GPT2_PATTERN)
    return tuple(patterns), bool(last.get("add_prefix_space"))


def read_normalizer(stage: dict[str, Any] | None) -> bool:
    """Whether text is brought to Unicode's composed form (NFC) first."""
    steps = [] if stage is None else stage.get("normalizers", [stage])
    for step in steps:
        refuse(step, type="NFC")
    return bool(steps)


def read_merge(entry: str | list[str]) -> Pair:
    """A merge in either layout, "a b" or ["a", "b"]."""
    left, right = entry.split(" ") if isinstance(entry, str) else entry
    return to_token(left), to_token(right)


def to_token(text: str) -> bytes:
    """The bytes of a token written in the visible alphabet; text outside of it stands for itself."""
    try:
        return bytes(BYTES[character] for character in text)
    except KeyError:
        return text.encode()


def refuse(part: dict[str, Any], **allowed: object) -> None:
    """Raises UserError for the first field with an unsupported value. A missing or empty field counts as the default."""
    for name, value in allowed.items():
        if part.get(name, value) not in (value, "" if value is None else value):
            raise UserError(f"{name} is {part[name]!r}; our BPE supports {value!r} only")
