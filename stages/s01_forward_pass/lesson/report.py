"""Tokens, merges and checkpoints as tables and pictures, for the demo. It computes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.columns import Columns
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

from common.models import ModelConfig
from common.terminal.console import ACCENT, QUIET, bar, make_table, piece
from common.tokenizer import Tokenizer

from .bpe import BPE, MergeStep, show
from .tensors import TensorInfo, count_parameters, part_of

COLOURS = ("bold cyan", "bold magenta")
SHOWN = 48  # tokens shown of a long prompt


def tokens_view(pieces: Sequence[str], ids: Sequence[int], third: str = "position") -> RenderableType:
    """Each piece over its id and its place in the list; the middle of a long list is left out."""
    order = list(range(len(ids)))
    if len(ids) > SHOWN:
        order = order[: SHOWN // 2] + order[-SHOWN // 2 :]
    cells = [Text(f"piece\nid\n{third}", style=QUIET)]
    for place, i in enumerate(order):
        if place and i != order[place - 1] + 1:
            cells.append(Text("...", style=QUIET))
        lines = Text().append(piece(pieces[i]), style=COLOURS[i % 2])
        cells.append(lines.append(f"\n{ids[i]}").append(f"\n{i}", style=QUIET))
    return Columns(cells, padding=(0, 2))


def merges_table(bpe: BPE, word: str) -> RenderableType:
    """The merges of one word, step by step, the symbol that each step made in colour."""
    steps = list(bpe.steps(word))
    start = [0, "bytes", "", Text(" ".join(show(bytes([byte])) for byte in word.encode()))]
    rows = [start] + [
        [i, joined(step), str(step.rank), symbols(step)] for i, step in enumerate(steps, start=1)
    ]
    return make_table(["step", "joins", "rank", "the word so far"], rows)


def joined(step: MergeStep) -> str:
    return " + ".join(show(symbol) for symbol in step.pair)


def symbols(step: MergeStep) -> Text:
    new = step.pair[0] + step.pair[1]
    line = Text()
    for symbol in step.symbols:
        line.append(show(symbol), style=f"bold {ACCENT}" if symbol == new else "").append(" ")
    return line


def positions_table(
    tokens: Sequence[int], logits: Tensor, tokenizer: Tokenizer, last: int = 8
) -> RenderableType:
    """logits [N, vocab_size] read row by row: what the model expects after each token of the prompt."""
    first = max(0, len(tokens) - last)
    best = logits[first:].softmax(-1).max(-1)
    expected = tokenizer.pieces(best.indices.tolist())
    rows = [
        [str(first + i), piece(after), piece(expected[i]), f"{100 * p:.1f} %"]
        for i, (after, p) in enumerate(
            zip(tokenizer.pieces(tokens[first:]), best.values.tolist(), strict=True)
        )
    ]
    return make_table(["position", "after", "it expects", "p"], rows)


def model_facts(
    name: str, config: ModelConfig, infos: Sequence[TensorInfo], dtype: str, device: str
) -> dict[str, str]:
    """What the model is: layers, heads, width, vocabulary, parameters, dtype, device."""
    stored = sorted({info.dtype for info in infos})
    kv = f", {config.num_kv_heads} for keys and values" if config.num_kv_heads != config.num_heads else ""
    return {
        "model": f"{name} ({config.model_type})",
        "layers": str(config.num_layers),
        "heads": f"{config.num_heads}{kv}, {config.head_dim} wide each",
        "width": f"{config.hidden_size}, MLP {config.intermediate_size}",
        "vocabulary": f"{config.vocab_size:,}",
        "positions": f"{config.max_positions:,}",
        "parameters": f"{sum(count_parameters(infos).values()):,}",
        "dtype": f"{dtype} (stored as {', '.join(stored)})",
        "device": device,
    }


def parts_table(infos: Sequence[TensorInfo]) -> RenderableType:
    """Where the parameters are."""
    counts = count_parameters(infos)
    total = sum(counts.values())
    rows: list[list[object]] = []
    for part, count in counts.items():
        share = f"{100 * count / total:.1f} %" if count else "shares the embedding's (tied)"
        rows.append([part, f"{count:,}", share, Text(bar(count / total), style=ACCENT)])
    return make_table(["part", "parameters", "share", ""], [*rows, ["total", f"{total:,}", "100 %", ""]])


def tensors_table(infos: Sequence[TensorInfo]) -> RenderableType:
    """Every tensor of a checkpoint with its part, shape, dtype and size."""
    rows: list[list[object]] = [
        [
            info.name,
            part_of(info.name) or "buffer",
            " x ".join(map(str, info.shape)),
            info.dtype,
            info.count,
            info.bytes,
        ]
        for info in infos
    ]
    files: set[Path] = {info.file for info in infos}
    last = f"{len(infos)} tensors in {len(files)} file{'s' * (len(files) != 1)}"
    rows.append([last, "", "", "", sum(info.count for info in infos), sum(info.bytes for info in infos)])
    return make_table(["tensor", "part", "shape", "dtype", "numbers", "bytes"], rows)
