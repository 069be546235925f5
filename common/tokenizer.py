"""Text to token ids and back, with `tokenizers`: encoding, decoding, streaming and chat, from a checkpoint's files.

How byte pair encoding works is stage 01's lesson. This file is about a checkpoint's files: tokenizer.json does the work,
tokenizer_config.json says which token has which role, and older files and config.json are read where that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from common.chat_template import FALLBACK_STOP, FALLBACK_TEMPLATE, Message, find_template, render
from common.errors import UserError
from common.fields import Fields, read_json, show
from common.stream_decoder import StreamDecoder, make_stream

__all__ = ["StreamDecoder", "Tokenizer"]


class Tokenizer:
    """One checkpoint's tokenizer. Any thread may call its methods; each stream belongs to one thread."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special_tokens: Mapping[str, str] | None = None,
        chat_template: str | None = None,
    ) -> None:
        """special_tokens: role -> token, e.g. {"bos_token": "<s>"}; a template may read these names.

        Raises UserError for a decoder whose text cannot be streamed.
        """
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.special_tokens = dict(special_tokens or {})
        self.chat_template = chat_template
        # A decoder that cannot be streamed is refused now, not at the first request.
        make_stream(backend, backend.id_to_token)
        self._hidden = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read tokenizer.json and, where there is one, tokenizer_config.json. Raises UserError naming the file."""
        folder = Path(path)
        backend, config = _read_backend(folder), _read(folder, "tokenizer_config.json")
        special = _special_tokens(folder, config, backend)
        _add_tokens(folder, config, special, backend)
        roles = {role: token.content for role, token in special.items() if role.isidentifier()}
        return cls(backend, roles, find_template(folder, config))

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

    @property
    def chat_stop(self) -> tuple[str, ...]:
        """Stop strings that a chat needs: with the fallback template, a base model would also write the user's next line."""
        return () if self.has_chat_template else FALLBACK_STOP

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self.backend.token_to_id(token)
        return found

    def special_id(self, text: str) -> int | None:
        """The id of a special token, which `decode` leaves out by default. None for any other text."""
        found = self.token_to_id(text)
        return found if found in self._hidden else None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of `text`. special: let the checkpoint add what it adds around a text, such as BOS.

        The post-processor in tokenizer.json decides what that is. `add_bos_token` in tokenizer_config.json does not matter,
        here or in transformers.

        Raises UserError for half a surrogate pair, which JSON can carry and UTF-8 cannot.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"text: character {error.start} is a lone surrogate ({text[error.start]!r}), not valid Unicode"
            ) from error
        # Of the encoding calls, only this one releases the interpreter lock: a long text must not stall a whole server.
        (encoding,) = self.backend.encode_batch_fast([text], add_special_tokens=special)
        return list(encoding.ids)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`, byte for byte what was encoded. Ids without a token are left out."""
        return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id's entry in the vocabulary, as written there: `Ġworld`, `▁world`, `<0xE2>`."""
        return [self.backend.id_to_token(i) or f"<unused {i}>" for i in ids]

    def stream(self, skip_special: bool = True, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for one text's tokens as they come.

        after: the prompt that they continue. Some tokenizers drop a space at the start of a text, none within it.
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

        messages: dicts with role and content. variables: further ones that a template knows, such as enable_thinking=False.
        Raises UserError for what the template refuses.
        """
        template = FALLBACK_TEMPLATE if self.chat_template is None else self.chat_template
        # Templates written for transformers test these two without asking whether they are defined.
        names = {"tools": None, "documents": None, **self.special_tokens, **variables}
        return render(template, messages, add_generation_prompt=add_generation_prompt, **names)

    def encode_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, **variables: object
    ) -> list[int]:
        """Token ids of `render_chat`. A template writes BOS itself if the model wants one, so none is added."""
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
        raise UserError(f"{path}: not a tokenizer file ({' '.join(str(error).split())})") from error


def _read(folder: Path, name: str) -> Fields:
    """An optional JSON file; without it, no fields."""
    return Fields(read_json(folder / name) if (folder / name).is_file() else {}, name)


ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


def _token(fields: Fields, key: str, value: Any, special: bool = True) -> AddedToken | None:
    """A token as the files write it: text, or an object with its content and flags; null and "" mean that there is none."""
    entry = {"content": value or ""} if isinstance(value, str) or value is None else value
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        raise fields.error(
            f"{key} is {show(value)}, but must be the text of a token or an object with its content"
        )
    content, flags = entry.get("content"), {flag: entry[flag] for flag in FLAGS if flag in entry}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise fields.error(f"{key} is {show(value)}, but its flags must be true or false")
    if content and not content.isascii() and "\ud800" <= max(content) <= "\udfff":
        raise fields.error(f"{key} is {show(value)}, which is not valid Unicode")
    return AddedToken(content, **({"special": special, "normalized": False} | flags)) if content else None


def _special_tokens(folder: Path, config: Fields, backend: tokenizers.Tokenizer) -> dict[str, AddedToken]:
    """Role -> token. Older folders have special_tokens_map.json; GPT-2's has only ids, in config.json."""
    found: dict[str, AddedToken | None] = {}
    older = _read(folder, "special_tokens_map.json")
    # As in transformers: where the newer file lists its tokens, it takes precedence.
    for fields in (older, config) if "added_tokens_decoder" in config.raw else (config, older):
        for key, value in fields.raw.items():
            if key in ROLES or (key.endswith("_token") and isinstance(value, str)):
                found[key] = _token(fields, key, value) or found.get(key)
        for key, role, value in _listed(fields):
            found[role] = _token(fields, key, value)
    special = {role: token for role, token in found.items() if token is not None}
    model = _read(folder, "config.json").raw
    added = backend.get_added_tokens_decoder()
    for role in ("bos_token", "eos_token"):
        ids = model.get(f"{role}_id")
        first = ids[0] if isinstance(ids, list) and ids else ids
        token = added.get(first) if type(first) is int else None
        # Ids left at a default may point at ordinary words; and an explicit null in tokenizer_config.json means none.
        if token is not None and token.special and role not in config.raw:
            special.setdefault(role, token)
    return special


def _listed(fields: Fields) -> Iterator[tuple[str, str, Any]]:
    """Special tokens without a role, or with a role of the model's own: (key in the file, role, token) each."""
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = fields.raw.get(key)
        if isinstance(value, list) and None not in value:
            yield from ((key, f"{key}[{i}]", token) for i, token in enumerate(value))
        elif isinstance(value, dict) and key == "extra_special_tokens":
            yield from ((f"{key}.{role}", role, token) for role, token in value.items())
        elif value is not None:
            raise fields.error(f"{key} is {show(value)}, but must be a list of tokens")


def _add_tokens(
    folder: Path, config: Fields, special: Mapping[str, AddedToken], backend: tokenizers.Tokenizer
) -> None:
    """Tokens that the other files name and tokenizer.json does not know as added ones: each is one id from then on."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    roles = {token.content for token in special.values()}
    for fields, token_id, token in _with_ids(folder, config, roles):
        if token.content in known:
            continue
        known.add(token.content)
        backend.add_special_tokens([token]) if token.special else backend.add_tokens([token])
        if backend.token_to_id(token.content) != token_id:
            raise fields.error(
                f"token {token.content!r} has id {token_id}, but {backend.token_to_id(token.content)} in tokenizer.json"
            )
    backend.add_special_tokens([token for token in special.values() if token.content not in known])


def _with_ids(folder: Path, config: Fields, special: set[str]) -> list[tuple[Fields, int, AddedToken]]:
    """The tokens of `added_tokens_decoder`, or, in older folders, of added_tokens.json, by id."""
    listed, older = config.object("added_tokens_decoder"), _read(folder, "added_tokens.json")
    found = []
    if listed:
        for key, entry in listed.raw.items():
            token = _token(listed, key, entry, special=False)
            if not key.isdecimal() or token is None:
                raise listed.error(f"{key} is {show(entry)}, but must be a token id with its token")
            found.append((listed, int(key), token))
    else:
        for text in older.raw:
            token = _token(older, repr(text), text, special=text in special)
            if token is not None:
                found.append((older, older.integer(text, least=0), token))
    return sorted(found, key=lambda item: item[1])
