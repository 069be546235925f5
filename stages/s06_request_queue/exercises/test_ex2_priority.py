"""Checks exercise 2."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


class Request:
    """Cannot be compared: two requests of equal score must not be compared with each other."""

    compared = 0

    def __init__(self, name):
        self.name = name

    def __lt__(self, other):
        raise TypeError("requests have no order of their own")

    def __eq__(self, other):
        Request.compared += 1
        return self is other

    __hash__ = object.__hash__


def drain(queue):
    return [queue.pop() for _ in range(len(queue))]


def test_the_higher_priority_goes_first_and_equals_go_in_order_of_arrival():
    queue = exercise.PriorityQueue(patience=1000)
    pushed = [Request(f"{p}{n}") for n, p in enumerate([0, 2, 1, 2, 0, 1])]
    for request in pushed:
        queue.push(request, int(request.name[0]), arrived=0.0)
    assert len(queue) == 6
    assert [r.name for r in drain(queue)] == ["21", "23", "12", "15", "00", "04"]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_long_wait_goes_before_a_newcomer_of_higher_priority():
    queue = exercise.PriorityQueue(patience=10)
    queue.push("patient", 0, arrived=0.0)
    queue.push("too early", 1, arrived=9.0)
    queue.push("too late", 1, arrived=11.0)
    assert drain(queue) == ["too early", "patient", "too late"]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 20)), max_size=30), st.floats(0.5, 20))
def test_the_order_is_that_of_the_scores_at_any_later_moment(requests, patience):
    requests = sorted(requests, key=lambda r: r[1])
    queue = exercise.PriorityQueue(patience)
    for number, (priority, arrived) in enumerate(requests):
        queue.push(number, priority, arrived)
    scores = [requests[n][0] + (1000 - requests[n][1]) / patience for n in drain(queue)]
    assert all(a >= b - 1e-6 for a, b in pairwise(scores))


def test_no_request_starves_under_an_endless_stream_of_the_highest_priority():
    patience, levels = 5.0, 4
    queue, now, served = exercise.PriorityQueue(patience), 0.0, []
    queue.push("poor", 0, now)
    while "poor" not in served:
        queue.push("rich", levels - 1, now)
        queue.push("rich", levels - 1, now)  # two arrive for each one served: the load is 200 %
        served.append(queue.pop())
        now += 1.0
        assert now < 1000, "the poor one starves"
    bound = exercise.overtaken_for(patience, levels)
    assert bound == patience * (levels - 1)
    # Arrivals before the bound may still go first, two per second; later ones may not.
    assert len(served) <= 2 * (bound + 1) + 1


def test_a_long_queue_is_not_scanned():
    queue, before = exercise.PriorityQueue(100.0), Request.compared
    for n in range(5000):
        queue.push(Request(str(n)), n % 3, n * 0.001)
    assert len(drain(queue)) == 5000
    assert Request.compared - before < 50_000
