"""All that the shipped checkpoints are trained on and measured with, made from the text files in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.tokenizer import Tokenizer

from . import dialogues
from .shapes import CONTEXT
from .text import hold_out, pack, read_documents, stream_of, train_tokenizer, windows

CHAT_COPIES = 4  # conversations made from a tale


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is trained on lies on the training device, what is measured with on the CPU."""

    tokenizer: Tokenizer
    stream: Tensor  # [N], tales
    chat: tuple[Tensor, Tensor]  # inputs and targets, each [R, T]
    openings: list[list[int]]  # what a user said, up to where an answer starts
    held_out: tuple[Tensor, Tensor]
    held_out_chat: tuple[Tensor, Tensor]
    held_out_openings: list[list[int]]
    facts: dict[str, Any]  # for the model card


def prepare(
    texts: Iterable[Path], tokenizer_folder: Path, device: torch.device, *, tiny: bool, seed: int
) -> Data:
    """Reads, splits, tokenizes. A tokenizer that is there already is kept, so that models can be made one by one.

    Raises UserError for texts that cannot be read.
    """
    documents = read_documents(texts)
    length = 128 if tiny else CONTEXT
    train, held_out = hold_out(documents[:200] if tiny else documents, seed)
    if (tokenizer_folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_folder(tokenizer_folder)
    else:
        tokenizer = train_tokenizer(train)
    stream = stream_of(tokenizer, train)
    told = list(dialogues.encode(tokenizer, list(dialogues.Writer(train, seed).write(CHAT_COPIES))))
    kept = list(dialogues.encode(tokenizer, list(dialogues.Writer(held_out, seed).write(1))))
    inputs, targets = pack(told, length)
    facts = {
        "documents": len(train),
        "held_out_documents": len(held_out),
        "tokens": len(stream),
        "conversations": len(told),
        "conversation_tokens": sum(len(ids) for ids, _ in told),
    }
    return Data(
        tokenizer=tokenizer,
        stream=stream.to(device),
        chat=(inputs.to(device), targets.to(device)),
        openings=openings_of(told),
        held_out=windows(stream_of(tokenizer, held_out), length),
        held_out_chat=pack(kept, length),
        held_out_openings=openings_of(kept),
        facts=facts,
    )


def openings_of(conversations: Sequence[tuple[list[int], list[int]]], longest: int = 700) -> list[list[int]]:
    """Every place where the assistant is to speak: the conversation up to there."""
    return [ids[:start] for ids, _ in conversations for start, _ in dialogues.answers(ids) if start < longest]
