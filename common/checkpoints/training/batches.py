"""What a training step is given: batches that visit every token equally often, in a new order each time.

Everything lies on the training device, so a batch costs no transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .shapes import END_OF_TEXT

Batch = tuple[Tensor, Tensor]  # inputs and targets, each [rows, length]


class Stories:
    """Rows of a long sequence of ids. Each pass shifts where rows begin, so a text is cut elsewhere each time.

    One row in eight begins where a document begins: a prompt stands at position 0, a document seldom does otherwise.
    """

    def __init__(self, stream: Tensor, length: int):
        self.stream, self.length = stream, length
        self.todo = torch.empty(0, dtype=torch.long, device=stream.device)
        openings = (stream[:-1] == END_OF_TEXT).nonzero()[:, 0] + 1
        last = len(stream) - length - 1
        self.openings = openings[openings < last]

    def take(self, rows: int) -> Batch:
        while len(self.todo) < rows:
            self.todo = torch.cat((self.todo, self._shuffled()))
        starts, self.todo = self.todo[:rows].clone(), self.todo[rows:]
        if len(self.openings) and (few := rows // 8):
            pick = torch.randint(len(self.openings), (few,), device=starts.device)
            starts[:few] = self.openings[pick]
        at = starts[:, None] + torch.arange(self.length + 1, device=starts.device)
        both = self.stream[at]
        return both[:, :-1], both[:, 1:]

    def _shuffled(self) -> Tensor:
        shift = int(torch.randint(self.length, ()))
        starts = torch.arange(
            shift, len(self.stream) - self.length - 1, self.length, device=self.stream.device
        )
        return starts[torch.randperm(len(starts), device=starts.device)]


class Rows:
    """Rows that were made beforehand, such as conversations."""

    def __init__(self, inputs: Tensor, targets: Tensor):
        self.inputs, self.targets = inputs, targets
        self.todo = torch.empty(0, dtype=torch.long, device=inputs.device)

    def take(self, rows: int) -> Batch:
        while len(self.todo) < rows:
            order = torch.randperm(len(self.inputs), device=self.inputs.device)
            self.todo = torch.cat((self.todo, order))
        chosen, self.todo = self.todo[:rows], self.todo[rows:]
        return self.inputs[chosen], self.targets[chosen]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Batches from several sources, in parts: `parts` (3, 1) takes three quarters from the first."""

    sources: tuple[Stories | Rows, ...]
    parts: tuple[int, ...]

    def take(self, rows: int) -> Batch:
        taken, batches = 0, []
        for i, source in enumerate(self.sources):
            upto = rows * sum(self.parts[: i + 1]) // sum(self.parts)
            if upto > taken:
                batches.append(source.take(upto - taken))
            taken = upto
        return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
