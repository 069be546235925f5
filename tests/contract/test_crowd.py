"""Many clients stream at once, and each gets the text that it would get alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from common.equality import ONE_IN, Tally
from tests.contract.checkpoint import Checkpoint
from tests.contract.crowd import Answer, Ask, alone, asks, explained, require_same, together
from tests.contract.servers import Process, until
from tests.contract.subjects import Subject, subjects

pytestmark = pytest.mark.needs("http", "streaming")


def serve_a_crowd(server: Process, subject: Subject, checkpoint: Checkpoint, count: int) -> None:
    wanted = asks(count, sampling="sampling" in subject.capabilities)
    answers = together(server, wanted)
    assert [a.status for a in answers] == [200] * count  # nobody is refused
    if "request_status" in subject.capabilities:
        require_idle(server, count)
    tally, solo = Tally(), {}
    for ask, answer in zip(wanted, answers, strict=True):
        if repr(ask) not in solo:
            solo[repr(ask)] = alone(server, ask)
        require_same(checkpoint, ask, answer, solo[repr(ask)], tally)
    assert tally.forgiven <= math.ceil(tally.compared / ONE_IN), tally


def require_idle(server: Process, count: int) -> None:
    """Nobody waits or runs, nobody failed, and many of the last `count` were there together."""
    until(lambda: not unfinished(server), "an idle server")
    assert server.http.get("/v1/requests").json()["waiting"] == 0
    last = server.requests()[-count:]
    assert {r["status"] for r in last} == {"finished"}
    times = [(-r["age"], r["finished"] - r["age"]) for r in last]
    assert max(sum(a <= at < b for a, b in times) for at, _ in times) >= count / 2


def unfinished(server: Process) -> list[str]:
    return [r["id"] for r in server.requests() if r["status"] in ("waiting", "running")]


def test_a_dozen_streams_at_once_give_the_texts_of_solo_runs(
    server: Process, subject: Subject, checkpoint: Checkpoint
):
    serve_a_crowd(server, subject, checkpoint, 12)


@pytest.mark.slow
@pytest.mark.needs("continuous_batching", ends=True)
def test_a_hundred_streams_at_once_give_the_texts_of_solo_runs(
    server: Process, subject: Subject, checkpoint: Checkpoint
):
    serve_a_crowd(server, subject, checkpoint, 100)


def written(checkpoint: Checkpoint, ask: Ask) -> Answer:
    """What the first stage that draws writes."""
    package = next(s for s in subjects() if "seed" in s.capabilities).engine
    engine = package.Engine.from_pretrained(checkpoint.argument, package.EngineConfig(device="cpu"))
    (done,) = engine.generate([ask.prompt], package.SamplingParams(max_tokens=ask.max_tokens, **ask.more))
    engine.close()
    usage = {"prompt_tokens": len(done.prompt_tokens), "completion_tokens": len(done.tokens)}
    return Answer(done.text, done.finish_reason, usage, 200, True)


@pytest.mark.parametrize(
    "more", [{}, {"temperature": 1.0, "seed": 5}, {"temperature": 0.7, "seed": 5, "top_k": 9}]
)
def test_the_judge_knows_a_right_text_from_a_wrong_one(checkpoint: Checkpoint, more: dict):
    ask = Ask("Grüße 🦊 and the king", 12, {"ignore_eos": True, **more})
    right = written(checkpoint, ask)
    assert explained(checkpoint, ask, right.text, 12)
    wrong = written(checkpoint, replace(ask, prompt="The king"))
    wrong.usage["prompt_tokens"] = right.usage["prompt_tokens"]
    with pytest.raises(AssertionError, match="instead of"):
        require_same(checkpoint, ask, wrong, right, Tally())
    for text in (right.text[:-1], right.text + " x", "x" + right.text):
        assert not explained(checkpoint, ask, text, 12)


def test_a_near_tie_is_forgiven_and_counted(checkpoint: Checkpoint, monkeypatch):
    ask = Ask("The king", 2, {"ignore_eos": True})
    right, tally = written(checkpoint, ask), Tally()
    other = written(checkpoint, replace(ask, more={"ignore_eos": True, "temperature": 1.0, "seed": 2}))
    assert other.text != right.text
    monkeypatch.setattr("tests.contract.crowd.NEAR_TIE", 8.0)  # as if all likely tokens were equal
    require_same(checkpoint, ask, other, right, tally)
    assert (tally.compared, tally.forgiven) == (2, 1)
