"""From text files to token ids: documents, the held-out part, the tokenizer, rows of equal length.

Documents are separated by a line that holds <|endoftext|>. Nothing here knows models or conversations.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from common.errors import UserError
from common.tokenizer import Tokenizer

from .shapes import CONTEXT, END, END_OF_TEXT, SPECIAL, VOCABULARY

IGNORE = -100  # a target that costs nothing

# The text between two role tokens is exactly what the training data holds, so the template is part of the model.
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('the roles are system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def read_documents(paths: Iterable[str | Path]) -> list[str]:
    """All documents of the files, in order. Raises UserError for a file that cannot be read or holds none."""
    found: list[str] = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"text {str(path)!r} cannot be read: {error}") from None
        documents = [part.strip() for part in text.split(f"\n{SPECIAL[END_OF_TEXT]}\n")]
        found += [document for document in documents if document]
    if not found:
        raise UserError("the text files hold no document")
    return found


def hold_out(documents: Sequence[str], seed: int = 0) -> tuple[list[str], list[str]]:
    """One document in a hundred, and at least one, is kept from training: (training, held out)."""
    chosen = set(random.Random(seed).sample(range(len(documents)), max(1, len(documents) // 100)))
    return (
        [d for i, d in enumerate(documents) if i not in chosen],
        [d for i, d in enumerate(documents) if i in chosen],
    )


def train_tokenizer(documents: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    """Byte-level BPE with GPT-2's word pattern. The chat tokens come first, so they are there from the beginning."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(documents, trainer)
    return Tokenizer(
        backend, {"bos_token": SPECIAL[END_OF_TEXT], "eos_token": SPECIAL[END_OF_TEXT]}, TEMPLATE
    )


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json, tokenizer_config.json and generation_config.json, as transformers reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend.save(str(folder / "tokenizer.json"), pretty=False)
    end = SPECIAL[END_OF_TEXT]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end, "eos_token": end, "pad_token": end,
        "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False,
        "chat_template": tokenizer.chat_template,
    }  # fmt: skip
    generation = {
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": [END_OF_TEXT, END],
        "pad_token_id": END_OF_TEXT,
    }
    for name, content in (("tokenizer_config.json", config), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of each text, with all cores."""
    for at in range(0, len(texts), 1000):
        for encoding in tokenizer.backend.encode_batch_fast(
            list(texts[at : at + 1000]), add_special_tokens=False
        ):
            yield encoding.ids


def stream_of(tokenizer: Tokenizer, documents: Sequence[str]) -> Tensor:
    """All documents as one sequence of ids [N], an <|endoftext|> before, between and behind them."""
    ids = [END_OF_TEXT]
    for document in encode_all(tokenizer, documents):
        ids += [*document, END_OF_TEXT]
    return torch.tensor(ids)


def windows(stream: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """stream [N] -> (inputs, targets), each [R, length], side by side without overlap. A stream that is too short
    gives one row, filled up with targets that cost nothing."""
    if len(stream) <= length:
        missing = length + 1 - len(stream)
        inputs = torch.cat((stream[:-1], stream.new_zeros(missing)))
        targets = torch.cat((stream[1:], stream.new_full((missing,), IGNORE)))
        return inputs[None], targets[None]
    rows = (len(stream) - 1) // length
    return stream[: rows * length].view(rows, length), stream[1 : rows * length + 1].view(rows, length)


def pack(sequences: Iterable[tuple[list[int], list[int]]], length: int) -> tuple[Tensor, Tensor]:
    """(ids, targets) pairs of any length -> (inputs, targets), each [R, length].

    A row starts where a sequence starts, takes more of them while there is room, and cuts the last one: position 0 is
    where conversations begin, so it must be seen. The last row is filled up.
    """
    rows: list[tuple[list[int], list[int]]] = []
    ids: list[int] = []
    targets: list[int] = []
    for more_ids, more_targets in sequences:
        ids, targets = ids + more_ids, targets + more_targets
        if len(ids) >= length:
            rows.append((ids[:length], targets[:length]))
            ids, targets = [], []
    if ids:
        fill = length - len(ids)
        rows.append((ids + [END_OF_TEXT] * fill, targets + [IGNORE] * fill))
    return torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
