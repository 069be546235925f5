"""A picture of the cache: which slot holds which token, read from the cache itself after each step.

Memory is filled with NaN before the first step, so whatever is no longer NaN has been written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from rich.text import Text

from common.models import Model
from common.terminal.console import make_table, piece

from ..engine.attention import CachedAttention
from ..engine.generate import forward
from ..engine.kv_cache import KVCache

SLOTS = range(9, 3, -1)  # how many are shown: the most that fit the terminal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cache after one step."""

    given: list[int]  # token ids that went through the model
    filled: list[bool]  # for each slot: whether every layer has written it
    chosen: int  # the likeliest token by the step's logits


@torch.inference_mode()
def watch(model: Model, tokens: Sequence[int], steps: int = 2) -> list[Snapshot]:
    """Prefill and `steps` decode steps, with room for one more token. Returns the cache after each."""
    cache = KVCache(model.layers_info, len(tokens) + steps + 1, model.device, model.dtype)
    for memory in (*cache.k, *cache.v):
        memory.fill_(torch.nan)
    attend, given, seen = CachedAttention(cache), list(tokens), []
    for _ in range(1 + steps):
        chosen = int(forward(model, given, attend).argmax())
        seen.append(Snapshot(given, filled(cache), chosen))
        given = [chosen]
    return seen


def filled(cache: KVCache) -> list[bool]:
    """For each slot, whether every layer has both key and value there."""
    free = torch.zeros(cache.capacity, dtype=torch.bool)
    for memory in (*cache.k, *cache.v):  # [Hkv, capacity, D]
        free |= memory.isnan().any(dim=2).any(dim=0).cpu()
    return [not one for one in free.tolist()]


def draw(snapshots: Sequence[Snapshot], pieces: dict[int, str]) -> Table:
    """One row per step, one column per slot: [new], kept, and . for an empty slot. pieces: token id -> text."""
    slots = len(snapshots[0].filled)
    # Short heads: the table has to fit 80 columns.
    names = ["step", "runs", *(f"slot {i}" if i == 0 else str(i) for i in range(slots)), "next"]
    rows: list[list[object]] = []
    text: list[int] = []
    before = [False] * slots
    for number, one in enumerate(snapshots):
        text += one.given
        cells = [
            cell(one.filled[i], before[i], pieces[text[i]] if i < len(text) else "") for i in range(slots)
        ]
        chosen = Text(short(pieces[one.chosen]), style="green")
        rows.append([f"decode {number}" if number else "prefill", len(one.given), *cells, chosen])
        before = one.filled
    return make_table(names, rows)


def cell(is_filled: bool, was_filled: bool, token: str) -> Text:
    if not is_filled:
        return Text(".", style="bright_black")
    return Text(short(token)) if was_filled else Text(f"[{short(token)}]", style="bold cyan")


def short(token: str, width: int = 8) -> str:
    shown = piece(token)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
