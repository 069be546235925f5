"""Records what an engine asks of its model, by hooks on the model. The engine does not know of it.

One call of the model is one step: its tokens and positions, where the first layer's K was put, which
rows logits were asked for, and the bytes of the weights that were read for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .places import Coordinate, Place, Probe, reduce


@dataclass(slots=True)
class Part:
    """One request's share of a step. `rows` and `positions` speak of the same flat list of tokens."""

    request: str
    tokens: list[int]
    positions: list[int]
    places: list[Place] | None = None  # where K and V were written; None: nothing is kept
    rows: list[int] = field(default_factory=list)  # which of the step's rows logits were read for
    out: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    parts: list[Part]
    weight_bytes: int = 0

    def part(self, request: str) -> Part | None:
        return next((part for part in self.parts if part.request == request), None)


Whose = Callable[[list[int], list[int]], list[tuple[str, int, int]]]
"""(tokens, positions) of a step -> (request, start, end) of each share of it."""


class Recorder:
    """Steps in the order in which the model ran them."""

    def __init__(self, model: Any, whose: Whose):
        self.model, self.whose = model, whose
        self.steps: list[Step] = []
        self._hidden: Tensor | None = None
        self._attend: _Attend | None = None

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Everything the model computes inside is recorded; the model is itself again afterwards."""
        logits = self.model.logits
        hooks = [
            self.model.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.model.register_forward_hook(self._leave),
            *(
                m.register_forward_hook(self._read)
                for m in self.model.modules()
                if list(m.parameters(recurse=False))
            ),
        ]
        self.model.logits = lambda hidden: logits(self._note_rows(hidden))
        try:
            yield self
        finally:
            del self.model.logits
            for hook in hooks:
                hook.remove()

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = dict(zip(("tokens", "positions", "attend"), args, strict=False)) | kwargs
        tokens, positions = given["tokens"].tolist(), given["positions"].tolist()
        shares = self.whose(tokens, positions)
        self.steps.append(Step([Part(who, tokens[a:b], positions[a:b]) for who, a, b in shares]))
        self._attend = _Attend(given["attend"])
        return (given["tokens"], given["positions"], self._attend), {}

    def _leave(self, model: nn.Module, args: tuple[Any, ...], hidden: Tensor) -> None:
        self._hidden = hidden
        places = self._attend.places() if self._attend else None
        start = 0
        for part in self.steps[-1].parts:
            end = start + len(part.tokens)
            part.places = places[start:end] if places is not None else None
            start = end

    def _read(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        """Bytes of a module's weights: an embedding reads one row per token, everything else reads all it has."""
        if not self.steps:
            return
        held = sum(p.nbytes for p in [*module.parameters(recurse=False), *module.buffers(recurse=False)])
        if type(module).__name__.endswith("Embedding"):
            held = held // next(module.parameters(recurse=False)).shape[0] * args[0].numel()
        self.steps[-1].weight_bytes += held

    def _note_rows(self, hidden: Tensor) -> Tensor:
        if self._hidden is not None and self.steps:
            rows = _rows_of(hidden, self._hidden)
            start = 0
            for part in self.steps[-1].parts:
                end = start + len(part.tokens)
                part.rows += [row for row in rows if start <= row < end]
                start = end
        return hidden


class _Attend:
    """Stands in for a stage's `attend`: passes everything on, and watches the first two layers."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.found: list[list[Coordinate | None]] = []

    def __call__(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer.index > 1:
            return self.inner(layer, q, k, v)
        probe = Probe(self.inner)
        out = self.inner(layer, q, k, v)
        self.found.append(probe.find(k[:, 0]))
        if layer.index == 0:
            self.found += [probe.find(k[:, -1]), probe.find(v[:, 0])]
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def places(self) -> list[Place] | None:
        return reduce(self.found[0], self.found[1:]) if self.found else None


def _rows_of(rows: Tensor, hidden: Tensor) -> list[int]:
    """Which rows of `hidden` were handed to the head: by address for a slice, by value for a gathered copy."""
    step = hidden.stride(0) * hidden.element_size()
    offset = rows.data_ptr() - hidden.data_ptr()
    inside = rows.untyped_storage().data_ptr() == hidden.untyped_storage().data_ptr()
    if inside and step and rows.stride(-1) == 1:
        stride = rows.stride(0) // hidden.stride(0) if len(rows) > 1 else 1
        return [offset // step + i * stride for i in range(len(rows))]
    found: list[int] = []
    for row in rows:
        same = [i for i in (hidden == row).all(dim=-1).nonzero().flatten().tolist() if i not in found]
        if same:
            found.append(same[0])
    return found
