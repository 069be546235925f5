"""Checks exercise 1."""

from __future__ import annotations

import pytest
import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def partial(scores, values):
    """scores [H, S], values [H, S, D] -> (average [H, D], log-sum-exp [H])."""
    return (scores.softmax(-1)[:, None] @ values)[:, 0], scores.logsumexp(-1)


@pytest.mark.parametrize("at", [1, 7, 30])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_two_parts_merge_into_the_whole(at, size):
    generator = torch.Generator().manual_seed(at)
    scores, values = (
        size * torch.randn(4, 31, generator=generator),
        torch.randn(4, 31, 8, generator=generator),
    )
    parts = partial(scores[:, :at], values[:, :at]), partial(scores[:, at:], values[:, at:])
    out, lse = exercise.merge(*parts[0], *parts[1])
    expected, expected_lse = partial(scores, values)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse, expected_lse)


def test_the_order_does_not_matter_and_many_parts_merge_one_by_one():
    scores, values = torch.randn(2, 40), torch.randn(2, 40, 8)
    parts = [partial(scores[:, i : i + 10], values[:, i : i + 10]) for i in (20, 0, 30, 10)]
    done = parts[0]
    for part in parts[1:]:
        done = exercise.merge(*done, *part)
    torch.testing.assert_close(done[0], partial(scores, values)[0], atol=1e-5, rtol=1e-5)


def test_a_part_that_sees_nothing_changes_nothing():
    scores, values = torch.randn(2, 5), torch.randn(2, 5, 8)
    out, lse = partial(scores, values)
    nothing = torch.zeros_like(out), torch.full_like(lse, -torch.inf)
    merged = exercise.merge(*nothing, out, lse)
    torch.testing.assert_close(merged[0], out)
    torch.testing.assert_close(merged[1], lse)
