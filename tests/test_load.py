"""Promises of `common.bench.load` and `common.bench.reference`: requests come when they are due, and outputs are compared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from common.bench.load import Job, Served, drive
from common.bench.reference import plain_scores, require_equal
from common.equality import Tally
from common.tutorial import load_stage


class Echo:
    """An engine that gives every request one token per step: the last of its prompt."""

    def __init__(self):
        self.open, self.most, self.SamplingParams = [], 0, lambda limit, ignore_eos: limit

    def add(self, prompt, limit, request_id, on_output):
        self.open.append([prompt, limit, on_output])
        self.most = max(self.most, len(self.open))

    def step(self):
        assert self.open, "stepped without a request"
        for one in list(self.open):
            one[1] -= 1
            one[2](SimpleNamespace(tokens=[one[0][-1]], finish_reason=None if one[1] else "length"))
            if not one[1]:
                self.open.remove(one)


def test_every_job_gets_its_tokens_in_the_order_of_the_list():
    made = Echo()
    served = drive(made, made, [Job([1, 7], 3), Job([1, 9], 2)])
    assert [one.tokens for one in served] == [[7, 7, 7], [9, 9]]
    assert made.most == 2
    assert all(len(one.at) == len(one.tokens) and one.at == sorted(one.at) for one in served)


def test_a_job_comes_when_it_is_due_and_its_wait_counts_from_then():
    made = Echo()
    first, second = drive(made, made, [Job([1], 1, 0.02), Job([2], 1, 0.05)])
    assert made.most == 1
    assert first.at[0] >= 0.02
    assert second.at[0] >= 0.05
    assert second.ttft == pytest.approx(second.at[0] - 0.05)


def test_gaps_lie_between_tokens():
    assert Served(Job([1], 3), [5, 5, 5], [1.0, 1.5, 3.0]).gaps == [0.5, 1.5]


@pytest.fixture(scope="module")
def package():
    return load_stage(4).engine


@pytest.fixture(scope="module")
def made(package):
    return package.Engine.from_pretrained("storyteller-draft", package.EngineConfig(device="cpu"))


def test_the_reference_agrees_with_an_engine_and_notices_a_wrong_token(package, made):
    prompt = made.encode("Once upon a time")
    tokens = made.generate([prompt], package.SamplingParams(6, ignore_eos=True))[0].tokens
    scores = plain_scores(made.model, [*prompt, *tokens], slice(len(prompt) - 1, -1))
    assert scores.argmax(-1).tolist() == tokens
    tally = Tally()
    require_equal(package, made, prompt, tokens, tokens, tally)
    assert tally.compared == 6
    wrong = [*tokens[:3], tokens[3] + 1, *tokens[4:]]
    with pytest.raises(AssertionError, match="token 3"):
        require_equal(package, made, prompt, wrong, tokens, tally)
