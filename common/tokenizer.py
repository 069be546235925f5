"""Text to token ids and back, over `tokenizers`: encoding, decoding, streaming and chat, from a checkpoint's files.

How byte pair encoding works is stage 01's lesson. Here are the files: tokenizer.json does the work,
tokenizer_config.json says which tokens have which role, and config.json is asked where that is silent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from common.chat_template import FALLBACK_STOP, FALLBACK_TEMPLATE, Message, find_template, render
from common.errors import UserError
from common.stream_decoder import StreamDecoder, make_stream

__all__ = ["FALLBACK_STOP", "StreamDecoder", "Tokenizer"]


class Tokenizer:
    """One checkpoint's tokenizer. Its methods may be called from several threads; each stream belongs to one."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special_tokens: Mapping[str, str] | None = None,
        chat_template: str | None = None,
    ) -> None:
        """special_tokens: role -> token, e.g. {"bos_token": "<s>"}; a template may read these names."""
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.special_tokens = dict(special_tokens or {})
        self.chat_template = chat_template
        self._hidden = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read tokenizer.json and, where there is one, tokenizer_config.json. Raises UserError naming the file."""
        folder = Path(path)
        backend = _read_backend(folder)
        config = _read_json(folder / "tokenizer_config.json")
        special = _special_tokens(folder, config, backend)
        _add_tokens(backend, config, special)
        return cls(backend, special, find_template(folder, config))

    @property
    def vocab_size(self) -> int:
        """Tokens that have a text; a model's `vocab_size` may be padded beyond it."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def bos_token_id(self) -> int | None:
        return self.token_to_id(self.special_tokens.get("bos_token", ""))

    @property
    def eos_token_id(self) -> int | None:
        """The tokenizer's own end token. A model may end with others too: see `eos_token_ids` of its config."""
        return self.token_to_id(self.special_tokens.get("eos_token", ""))

    @property
    def has_chat_template(self) -> bool:
        return self.chat_template is not None

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self.backend.token_to_id(token)
        return found

    def special_id(self, text: str) -> int | None:
        """The id of a special token, which `decode` leaves out by default. None for any other text."""
        found = self.token_to_id(text)
        return found if found in self._hidden else None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of `text`. special: let the checkpoint add what it adds around a text, such as BOS.

        What that is, the post-processor in tokenizer.json decides; `add_bos_token` in tokenizer_config.json does not,
        neither here nor in transformers.

        Raises UserError for half a surrogate pair, which JSON can carry and UTF-8 cannot.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"text: character {error.start} is a lone surrogate ({text[error.start]!r}), not valid Unicode"
            ) from error
        # Of the encoding calls only this one lets go of the interpreter lock: a long text must not stop a whole server.
        (encoding,) = self.backend.encode_batch_fast([text], add_special_tokens=special)
        return list(encoding.ids)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`, byte for byte what was encoded; ids without a token are left out."""
        return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id's entry in the vocabulary as it is written there: `Ġworld`, `▁world`, `<0xE2>`."""
        return [self.backend.id_to_token(i) or f"<unused {i}>" for i in ids]

    def stream(self, skip_special: bool = True, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for one text's tokens as they come.

        after: the prompt that they go on from. Where a text begins, some tokenizers drop a space; within it none.
        """
        hidden = self._hidden if skip_special else set()
        token_of = self.backend.id_to_token
        made = make_stream(self.backend, lambda i: None if i in hidden else token_of(i))
        made.follow(after)
        return made

    def render_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, **variables: object
    ) -> str:
        """The conversation as one text, by the checkpoint's template or the plain "User: ..." fallback.

        messages: dicts with role and content. variables: what a template offers besides, such as
        enable_thinking=False. Raises UserError for what the template refuses.
        """
        template = FALLBACK_TEMPLATE if self.chat_template is None else self.chat_template
        names = {**self.special_tokens, **variables}
        return render(template, messages, add_generation_prompt=add_generation_prompt, **names)

    def encode_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, **variables: object
    ) -> list[int]:
        """Token ids of `render_chat`. A template writes BOS itself where the model wants it, so none is added to it."""
        text = self.render_chat(messages, add_generation_prompt, **variables)
        return self.encode(text, special=not self.has_chat_template)


def _read_backend(folder: Path) -> tokenizers.Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: no tokenizer.json; a checkpoint needs one (transformers' save_pretrained writes it from other formats)"
        )
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{path}: not a tokenizer file ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold an object, not {type(content).__name__}")
    return content


def _special_tokens(folder: Path, config: dict[str, Any], backend: tokenizers.Tokenizer) -> dict[str, str]:
    """Role -> token. Older folders have special_tokens_map.json; GPT-2's has only ids, in config.json."""
    special: dict[str, str] = {}
    for source in (_read_json(folder / "special_tokens_map.json"), config):
        for role, value in source.items():
            text = value.get("content") if isinstance(value, dict) else value
            if role.endswith("_token") and isinstance(text, str):
                special[role] = text
    model = _read_json(folder / "config.json")
    added = backend.get_added_tokens_decoder()
    for role in ("bos_token", "eos_token"):
        ids = model.get(f"{role}_id")
        first = ids[0] if isinstance(ids, list) and ids else ids
        token = added.get(first) if isinstance(first, int) else None
        # Ids left at a default may point at ordinary words; and an explicit null in tokenizer_config.json means none.
        if token is not None and token.special and role not in config:
            special.setdefault(role, token.content)
    return special


def _add_tokens(backend: tokenizers.Tokenizer, config: dict[str, Any], special: dict[str, str]) -> None:
    """Tokens that tokenizer_config.json names and tokenizer.json does not know as added ones."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    listed = config.get("added_tokens_decoder") or {}
    for token_id, entry in sorted(listed.items(), key=lambda item: int(item[0])):
        if entry["content"] in known:
            continue
        known.add(entry["content"])
        flags = {
            name: bool(entry.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "special")
        }
        token = tokenizers.AddedToken(
            entry["content"], normalized=bool(entry.get("normalized", False)), **flags
        )
        backend.add_special_tokens([token]) if token.special else backend.add_tokens([token])
        if backend.token_to_id(token.content) != int(token_id):
            raise UserError(
                f"tokenizer_config.json: token {token.content!r} has id {token_id},"
                f" but {backend.token_to_id(token.content)} in tokenizer.json"
            )
    backend.add_special_tokens([token for token in special.values() if token not in known])
