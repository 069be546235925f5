"""A picture of the causal mask, and a forward pass without it: what a token expects once it can see the future."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

from common.models import LayerInfo
from common.terminal.console import ACCENT, QUIET, make_table, piece
from common.tokenizer import Tokenizer

from ..engine.attention import CausalAttention, causal_mask, softmax_attention


class Unmasked(CausalAttention):
    """Every token sees all tokens, including later ones."""

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
        everything = torch.ones(len(q), len(q), dtype=torch.bool, device=q.device)
        return softmax_attention(layer, q, k.transpose(0, 1), v.transpose(0, 1), everything)


def mask_picture(pieces: Sequence[str]) -> RenderableType:
    """One row for each token that looks, one column for each token it may look at."""
    mask = causal_mask(len(pieces), None, torch.device("cpu"))
    names = [short(text) for text in pieces]
    rows = [[name, *map(cell, row)] for name, row in zip(names, mask.tolist(), strict=True)]
    return make_table(["", *names], rows)


def cell(visible: bool) -> Text:
    return Text("■", style=f"bold {ACCENT}") if visible else Text("·", style=QUIET)


def short(text: str, width: int = 7) -> str:
    shown = piece(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def expectations(
    pieces: Sequence[str], masked: Tensor, unmasked: Tensor, tokenizer: Tokenizer, last: int = 8
) -> RenderableType:
    """Both logits [N, vocab_size] row by row: the likeliest token after each of the last tokens."""
    first = max(0, len(pieces) - last)
    sides = [likeliest(logits[first:], tokenizer) for logits in (masked, unmasked)]
    follow = [*map(piece, pieces[first + 1 :]), "?"]
    rows = [
        [piece(after), what, *with_mask, *without]
        for after, what, with_mask, without in zip(pieces[first:], follow, *sides, strict=True)
    ]
    return make_table(["after", "really follows", "with the mask", "p", "without it", "p"], rows)


def likeliest(logits: Tensor, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The likeliest next token of each row, with its probability."""
    best = logits.softmax(-1).max(-1)
    found = zip(tokenizer.pieces(best.indices.tolist()), best.values.tolist(), strict=True)
    return [(piece(text), f"{100 * p:.1f} %") for text, p in found]
