"""Checks exercise 2."""

from __future__ import annotations

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)

LOW = {(b"l", b"o"): 0, (b"lo", b"w"): 1, (b"e", b"r"): 2, (b"low", b"er"): 3}


def test_a_word_without_merges_stays_bytes():
    assert exercise.merge_word(b"xyz", LOW) == [b"x", b"y", b"z"]
    assert exercise.merge_word(b"", LOW) == []


def test_merges_build_on_each_other():
    assert exercise.merge_word(b"slow", LOW) == [b"s", b"low"]
    assert exercise.merge_word(b"lower", LOW) == [b"lower"]


def test_the_lowest_rank_goes_first_wherever_it_is():
    ranks = {(b"b", b"c"): 0, (b"a", b"b"): 1}
    assert exercise.merge_word(b"abc", ranks) == [b"a", b"bc"]


def test_of_equal_pairs_the_left_one_goes_first():
    assert exercise.merge_word(b"aaa", {(b"a", b"a"): 0}) == [b"aa", b"a"]


def test_the_same_pair_is_joined_everywhere():
    assert exercise.merge_word("ütü".encode(), {(b"\xc3", b"\xbc"): 0}) == [b"\xc3\xbc", b"t", b"\xc3\xbc"]
