"""Teaching a small model to guess what a large one will say: for the draft of speculative decoding.

It learns the teacher's whole distribution (Hinton et al., 2015), on texts and also on what the teacher itself writes
(as in DistillSpec, Zhou et al., 2023), for that is what it will have to guess. A second term asks for the teacher's
likeliest token, which is all that counts under greedy decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .batched import generate, run
from .optimise import Loss
from .shapes import END, END_OF_TEXT
from .text import IGNORE

LIKELIEST = 0.5  # weight of the second term
Targeted = tuple[list[int], list[int]]


def imitate(teacher: Any) -> Loss:
    """The loss of a student: KL(teacher || student) in nats, and the cross entropy of the teacher's likeliest token."""

    def loss_of(student: Any, inputs: Tensor, _targets: Tensor) -> Tensor:
        with torch.no_grad():
            taught = teacher.logits(run(teacher, inputs).flatten(0, 1)).float()
        guessed = student.logits(run(student, inputs).flatten(0, 1)).float()
        log_p = guessed.log_softmax(dim=-1)
        divergence = F.kl_div(log_p, taught.log_softmax(dim=-1), reduction="batchmean", log_target=True)
        return divergence + LIKELIEST * F.nll_loss(log_p, taught.argmax(dim=-1))

    return loss_of


def own_words(
    teacher: Any, prompts: Sequence[list[int]], new: int, rows: int = 1024, seed: int = 0
) -> Iterator[Targeted]:
    """(ids, targets) of each prompt and what the teacher says to it: three of four times greedily, else drawn.

    The targets are never read (the teacher is asked again), so they are left empty.
    """
    ordered = sorted(prompts, key=len)  # little filling
    for i, at in enumerate(range(0, len(ordered), rows)):
        some = ordered[at : at + rows]
        temperature = 0.8 if i % 4 == 3 else 0.0
        said = generate(teacher, some, new, eos=(END_OF_TEXT, END), temperature=temperature, seed=seed + i)
        for prompt, text in zip(some, said, strict=True):
            ids = [*prompt, *text, END_OF_TEXT]
            yield ids, [IGNORE] * len(ids)


def story_prompts(stream: Tensor, count: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Stretches of a long text [N], of 8 to `longest` tokens, the short ones as frequent as the long ones."""
    random = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(stream) - longest - 1, (count,), generator=random).tolist()
    lengths = (8 * (longest / 8) ** torch.rand(count, generator=random)).long().tolist()
    return [stream[at : at + n].tolist() for at, n in zip(starts, lengths, strict=True)]
