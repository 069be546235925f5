"""The near-tie rule: what it forgives, what it never forgives, and that it goes on behind a tie."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.equality import NEAR_TIE, Tally, assert_same_tokens, bfloat16_ulps


def scores(best: int, second: int, gap: float) -> torch.Tensor:
    out = torch.zeros(8)
    out[best], out[second] = 5.0, 5.0 - gap
    return out


def clear(_: int) -> torch.Tensor:
    return scores(1, 2, 1.0)


def tied(_: int) -> torch.Tensor:
    return scores(1, 2, NEAR_TIE / 2)


def test_equal_tokens_pass_without_looking_at_scores():
    def never(i):
        raise AssertionError("scores were asked for")

    assert assert_same_tokens([1, 2, 3], [1, 2, 3], never) == Tally(compared=3, forgiven=0)


def test_a_clear_difference_fails_and_is_named():
    with pytest.raises(AssertionError, match=r"token 1: 2 instead of 1; .*apart"):
        assert_same_tokens([1, 2], [1, 1], clear)


def test_a_token_that_is_not_among_the_tied_best_fails():
    with pytest.raises(AssertionError, match="3 instead of 1"):
        assert_same_tokens([3], [1], tied)


@pytest.mark.parametrize("ours", [1, 2])
def test_a_reference_whose_scores_name_another_token_proves_nothing(ours):
    with pytest.raises(
        AssertionError, match=r"token 0: \d instead of 3; the reference gives its own token 0\.0"
    ):
        assert_same_tokens([ours], [3], tied)
    with pytest.raises(AssertionError, match="its own token"):
        # Ours is the best there is, but not of these scores.
        assert_same_tokens([2], [1], lambda _: scores(2, 1, 1.0))


@pytest.mark.parametrize("ours", [[1], [1, 1, 1]])
def test_another_length_fails(ours):
    with pytest.raises(AssertionError, match="token"):
        assert_same_tokens(ours, [1, 1], tied)


def test_behind_a_near_tie_the_comparison_goes_on_with_the_reference():
    asked = []

    def ours(forced):
        asked.append(forced)
        return [1, 2, 7, 7] if not forced else [1, 3]  # the 7s follow from our own second token

    assert assert_same_tokens(ours, [1, 1, 1, 3], tied) == Tally(compared=4, forgiven=1)
    assert asked == [[], [1, 1]]


def test_an_error_behind_a_near_tie_is_found():
    def ours(forced):
        return [1, 2, 7] if not forced else [7]

    with pytest.raises(AssertionError, match="token 2: 7 instead of 3"):
        assert_same_tokens(ours, [1, 1, 3], lambda i: tied(i) if i == 1 else scores(3, 7, 1.0))


def test_a_tie_in_plain_tokens_asks_for_a_way_to_go_on():
    with pytest.raises(AssertionError, match="give `ours` as a function"):
        assert_same_tokens([1, 2, 7], [1, 1, 3], tied)


def test_a_tie_at_the_last_token_needs_no_way_to_go_on():
    assert assert_same_tokens([1, 2], [1, 1], tied).forgiven == 1


def test_one_in_five_hundred_is_forgiven_and_no_more():
    reference = [1] * 501

    def ours(ties):
        def go(forced):
            rest = [1] * (501 - len(forced))
            for at in ties:
                if at >= len(forced):
                    rest[at - len(forced)] = 2
            return rest

        return go

    # The second five hundred have begun.
    assert assert_same_tokens(ours([3, 400]), reference, tied).forgiven == 2
    with pytest.raises(AssertionError, match="3 near ties in 501 tokens, at most 2"):
        assert_same_tokens(ours([3, 5, 400]), reference, tied)


def test_the_limit_holds_over_all_calls_that_share_a_tally():
    tally = assert_same_tokens([2], [1], tied)
    with pytest.raises(AssertionError, match="2 near ties in 2 tokens"):
        assert_same_tokens([2], [1], tied, tally=tally)


@given(st.floats(2**-20, 2**20), st.integers(1, 4))
def test_bfloat16_ulps_are_the_distance_of_neighbouring_numbers(best, count):
    best = float(torch.tensor(best).bfloat16())
    bits = torch.tensor(best).bfloat16().view(torch.int16)
    following = float((bits + 1).view(torch.bfloat16))
    assert bfloat16_ulps(count)(best) == count * (following - best)
