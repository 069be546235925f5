"""Checks exercise 1."""

from __future__ import annotations

import pytest
import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def by_sorting(chances, p):
    """The same set, the long way round."""
    ordered, ids = chances.sort(descending=True, stable=True)
    mass = ordered.double().cumsum(0)
    count = int((mass < p).sum()) + 1
    return set(ids[:count].tolist())


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 0.999])
def test_the_same_set_as_by_sorting(spread, p):
    logits = spread * torch.randn(5000, generator=torch.Generator().manual_seed(int(10 * spread)))
    chances = logits.softmax(-1)
    assert set(exercise.top_p(chances, p).nonzero()[:, 0].tolist()) == by_sorting(chances, p)


@pytest.mark.parametrize(("p", "expected"), [(0.2, [1]), (0.3, [1, 3]), (0.6, [1, 3, 4]), (0.74, [1, 3, 4]), (0.8, [0, 1, 3, 4])])  # fmt: skip
def test_equal_tokens_at_the_edge_are_kept_in_the_order_of_their_ids(p, expected):
    chances = torch.tensor([0.125, 0.25, 0.125, 0.25, 0.25])
    assert exercise.top_p(chances, p).nonzero()[:, 0].tolist() == expected


def test_one_token_may_be_the_whole_set():
    chances = torch.tensor([0.0, 1.0, 0.0])
    assert exercise.top_p(chances, 0.9).tolist() == [False, True, False]


def test_nothing_is_sorted(monkeypatch):
    def refuse(*args, **more):
        raise AssertionError("this sorts")

    for name in ("sort", "argsort", "topk", "kthvalue", "msort"):
        for place in (torch, torch.Tensor):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, refuse)
    assert exercise.top_p(torch.full((64,), 1 / 64), 0.5).sum() == 32
