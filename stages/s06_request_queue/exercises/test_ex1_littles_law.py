"""Checks exercise 1."""

from __future__ import annotations

import math
import random

import pytest

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def queue(count, service, seed=0):
    """(arrived, started) of requests that come at random to a server which needs `service` for each."""
    rng, now, free, found = random.Random(seed), 0.0, 0.0, []
    for _ in range(count):
        now += rng.expovariate(1.0)
        begins = max(now, free)
        found.append((now, begins))
        free = begins + service
    return found


def test_the_average_is_over_time_and_not_over_requests():
    three_at_once = [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    assert exercise.average_inside(three_at_once, 0.0, 1.0) == pytest.approx(3)
    assert exercise.average_inside(three_at_once, 0.0, 10.0) == pytest.approx(0.3)
    assert exercise.average_inside([(2.0, 3.0)], 0.0, 4.0) == pytest.approx(0.25)


def test_only_the_part_between_the_two_moments_counts():
    intervals = [(-5.0, 1.0), (9.0, 50.0), (20.0, 30.0), (-9.0, -1.0)]
    assert exercise.average_inside(intervals, 0.0, 10.0) == pytest.approx(0.2)


@pytest.mark.parametrize("service", [0.1, 0.7, 0.95, 1.5])
def test_the_law_holds_for_any_load_even_an_overload(service):
    assert exercise.law_holds(queue(2000, service))


def test_the_law_holds_in_any_order_of_service():
    rng = random.Random(1)
    arrived, started = zip(*queue(500, 0.8), strict=True)
    shuffled = list(started)
    rng.shuffle(shuffled)
    mixed = [(a, max(a, s)) for a, s in zip(arrived, shuffled, strict=True)]
    assert exercise.law_holds(mixed)


def test_the_expected_wait_grows_without_bound():
    assert exercise.mean_wait(0.0, [1.0]) == 0
    assert exercise.mean_wait(0.5, [1.0]) == pytest.approx(0.5)
    assert exercise.mean_wait(0.9, [1.0]) == pytest.approx(4.5)
    assert exercise.mean_wait(0.99, [1.0]) == pytest.approx(49.5)
    assert exercise.mean_wait(1.0, [1.0]) == math.inf
    assert exercise.mean_wait(3.0, [1.0]) == math.inf


def test_service_times_that_vary_make_everybody_wait_longer():
    even, uneven = [1.0, 1.0], [0.1, 1.9]  # the same mean
    assert exercise.mean_wait(0.5, uneven) == pytest.approx(0.5 * (0.01 + 3.61) / 2)
    assert exercise.mean_wait(0.5, uneven) > 1.8 * exercise.mean_wait(0.5, even)


def test_it_says_what_a_long_simulation_finds():
    waits = [started - arrived for arrived, started in queue(200_000, 0.7)]
    assert exercise.mean_wait(1.0, [0.7]) == pytest.approx(sum(waits) / len(waits), rel=0.05)
