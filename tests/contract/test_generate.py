"""The token loop, from the stage that brings it until the engine takes its place."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import UserError
from tests.contract.checkpoint import Checkpoint
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("generate", without=("engine",))
PROMPT = "Once upon a time"


def run(subject: Subject, checkpoint: Checkpoint, prompt: Any, count: int, **more: Any) -> list[Any]:
    tokens = checkpoint.encode(prompt) if isinstance(prompt, str) else prompt
    if "stop" in more or isinstance(prompt, str):
        more.setdefault("tokenizer", checkpoint.tokenizer)
    return list(subject.engine.generate(checkpoint.model, tokens, count, **more))


def text(out: list[Any]) -> str:
    return "".join(token.text for token in out)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65])
def test_greedy_tokens_equal_a_plain_loop(subject: Subject, checkpoint: Checkpoint, length: int):
    tokens = (checkpoint.encode("The old king told a story about a fox. ") * 40)[:length]
    out = run(subject, checkpoint, tokens, 8)
    assert [token.id for token in out] == checkpoint.greedy(tokens, 8)
    assert [token.finish_reason for token in out] == [None] * 7 + ["length"]


def test_the_window_can_be_filled_and_not_exceeded(subject: Subject, checkpoint: Checkpoint):
    tokens = (checkpoint.encode(PROMPT) * checkpoint.window)[: checkpoint.window - 2]
    assert [t.id for t in run(subject, checkpoint, tokens, 2)] == checkpoint.greedy(tokens, 2)
    with pytest.raises(UserError, match=str(checkpoint.window)):
        run(subject, checkpoint, tokens, 3)


def test_the_text_is_that_of_the_new_tokens_alone(subject: Subject, checkpoint: Checkpoint):
    out = run(subject, checkpoint, PROMPT, 20)
    assert text(out) == checkpoint.greedy_text(PROMPT, 20)


def test_any_end_token_ends_the_text_and_does_not_show(subject: Subject, checkpoint: Checkpoint):
    greedy = checkpoint.greedy(checkpoint.encode(PROMPT), 20)
    end = next(i for i, token in enumerate(greedy) if i >= 2 and token not in greedy[:i])
    out = run(subject, checkpoint, PROMPT, 20, eos_ids=(10**6, greedy[end]))
    assert [token.id for token in out] == greedy[: end + 1]
    assert out[-1].finish_reason == "stop"
    assert text(out) == checkpoint.tokenizer.decode(greedy[:end])


def test_text_ends_before_a_stop_string_that_spans_tokens(subject: Subject, checkpoint: Checkpoint):
    whole = checkpoint.greedy_text(PROMPT, 30)
    stop = whole[7:15]
    out = run(subject, checkpoint, PROMPT, 30, stop=("never", stop))
    assert text(out) == whole[: whole.index(stop)]
    assert out[-1].finish_reason == "stop"


@pytest.mark.parametrize(("tokens", "count"), [([], 1), ([10**6], 1), ([-1], 1), ([5], 0)])
def test_what_cannot_be_generated_is_refused_at_the_call(
    subject: Subject, checkpoint: Checkpoint, tokens: list[int], count: int
):
    with pytest.raises(UserError):
        subject.engine.generate(checkpoint.model, tokens, count)
