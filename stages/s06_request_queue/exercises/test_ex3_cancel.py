"""Checks exercise 3."""

from __future__ import annotations

import random
import weakref
from collections import deque

import pytest

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


class Name(str):
    """An id that counts how often it is compared: a search compares."""

    compared = 0

    def __eq__(self, other):
        Name.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


class Request:
    """Can be referred to weakly."""


def filled(names, most=1000):
    queue = exercise.Waiting(most)
    for name in names:
        assert queue.push(name, name.upper())
    return queue


def test_the_others_keep_their_order():
    queue = filled("abcdef")
    assert queue.cancel("c") == "C"
    assert queue.cancel("a") == "A"
    assert len(queue) == 4
    assert [queue.pop() for _ in range(4)] == list("BDEF")
    with pytest.raises(IndexError):
        queue.pop()


def test_a_request_that_is_not_waiting_cannot_be_cancelled():
    queue = filled("ab")
    queue.pop()
    assert queue.cancel("a") is None  # it already runs
    assert queue.cancel("b") == "B"
    assert queue.cancel("b") is None
    assert queue.cancel("never") is None
    assert len(queue) == 0


def test_a_full_queue_refuses_and_has_room_again_after_a_hang_up():
    queue = filled("ab", most=2)
    assert queue.push("c", "C") is False
    queue.cancel("a")
    assert queue.push("c", "C") is True
    assert [queue.pop(), queue.pop()] == ["B", "C"]


def test_an_id_cannot_wait_twice():
    queue = filled("ab")
    with pytest.raises(KeyError):
        queue.push("a", "again")
    assert (len(queue), queue.pop()) == (2, "A")


def test_each_request_can_be_told_how_many_are_ahead_of_it():
    queue = filled("abcd")
    queue.cancel("b")
    assert [queue.place(name) for name in "abcd"] == [0, None, 1, 2]


def test_cancelling_does_not_search():
    queue, names = exercise.Waiting(20_000), [Name(n) for n in range(20_000)]
    for name in names:
        queue.push(name, Request())
    random.Random(0).shuffle(names)
    before = Name.compared
    for name in names[:10_000]:
        assert queue.cancel(name) is not None
    assert Name.compared - before <= 20_000
    assert len(queue) == 10_000


def test_a_cancelled_request_is_not_kept():
    queue = filled("ab")
    request = Request()
    queue.push("c", request)
    gone = weakref.ref(request)
    queue.cancel("c")
    del request
    assert gone() is None


def test_it_behaves_like_a_deque():
    rng, queue, plain = random.Random(3), exercise.Waiting(10), deque()
    for n in range(2000):
        match rng.randrange(3):
            case 0:
                if queue.push(str(n), n):
                    plain.append(n)
                else:
                    assert len(plain) == 10
            case 1 if plain:
                assert queue.pop() == plain.popleft()
            case 2 if plain:
                victim = rng.choice(plain)
                plain.remove(victim)
                assert queue.cancel(str(victim)) == victim
        assert len(queue) == len(plain)
