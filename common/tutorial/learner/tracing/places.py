"""Where a cache keeps what it was given, found by looking: which cells hold a token's K vector afterwards.

Caches differ from stage to stage (one row of places, rows per request, slots, blocks), and a learner's
may differ again. The vectors do not: wherever K of a token is, its D numbers are adjacent.
A place is a tuple of indices without those for layer, head and K/V: (5,) is place 5, (2, 1) row or block 2,
place 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[int, ...]
MAX_DEPTH = 5


def tensors(holder: Any, depth: int = MAX_DEPTH) -> Iterator[Tensor]:
    """Floating-point tensors reachable from an object, each once, without going into models."""
    seen: set[int] = set()

    def walk(thing: Any, left: int) -> Iterator[Tensor]:
        if id(thing) in seen or isinstance(thing, nn.Module | str | bytes | int | float | type):
            return
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            if thing.is_floating_point():
                yield thing
            return
        if left:
            for child in _children(thing):
                yield from walk(child, left - 1)

    yield from walk(holder, depth)


def _children(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set):
        return list(thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    found = [getattr(thing, name) for name in slots if isinstance(name, str) and hasattr(thing, name)]
    found += list(getattr(thing, "__dict__", {}).values())
    for cell in getattr(thing, "__closure__", None) or ():
        found.append(cell.cell_contents)
    return [*found, getattr(thing, "__self__", None)]


class Probe:
    """Holds what a cache looked like before a layer wrote to it, and finds what was written after."""

    def __init__(self, holder: Any):
        self.holder = holder
        self.before = {id(t): (t, t.clone()) for t in tensors(holder)}

    def find(self, vectors: Tensor) -> list[Coordinate | None]:
        """vectors [N, D] -> where each is now: fresh places before old ones that hold the same numbers."""
        now = [t for t in tensors(self.holder) if t.dim() > 1 and t.shape[-1] == vectors.shape[-1]]
        found: list[Coordinate | None] = [None] * len(vectors)
        taken: set[tuple[int, Place]] = set()
        for row, vector in enumerate(vectors):
            spots = [
                (self._fresh(t, at), index, at) for index, t in enumerate(now) for at in _matches(t, vector)
            ]
            spots = [spot for spot in spots if (id(now[spot[1]]), spot[2]) not in taken]
            if spots:
                _, index, at = min(spots, key=lambda spot: (not spot[0], spot[1], spot[2]))
                taken.add((id(now[index]), at))
                found[row] = (id(now[index]), at, tuple(now[index].shape))
        return found

    def _fresh(self, tensor: Tensor, at: Place) -> bool:
        old = self.before.get(id(tensor))
        return old is None or old[1].shape != tensor.shape or not torch.equal(old[1][at], tensor[at])


Coordinate = tuple[int, Place, tuple[int, ...]]  # which tensor, index of the vector in it, its shape


def _matches(tensor: Tensor, vector: Tensor) -> list[Place]:
    same = (tensor == vector.to(tensor.dtype)).all(dim=-1)
    return [tuple(int(i) for i in at) for at in same.nonzero()]


def reduce(first: list[Coordinate | None], others: list[list[Coordinate | None]]) -> list[Place] | None:
    """Places without the axes in which `others` (another head, another layer, V) differ; None if nothing is kept.

    Only what is in the same tensor can share an axis with it.
    """
    if not first or any(spot is None for spot in first):
        return None
    drop: set[int] = set()
    for other in others:
        for spot, twin in zip(first, other, strict=True):
            if spot is not None and twin is not None and spot[0] == twin[0]:
                drop |= {axis for axis, (a, b) in enumerate(zip(spot[1], twin[1], strict=True)) if a != b}
    places = []
    for spot in first:
        assert spot is not None
        kept = [i for axis, i in enumerate(spot[1]) if axis not in drop and spot[2][axis] > 1]
        places.append(tuple(kept))
    return places
