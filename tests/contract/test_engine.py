"""The facade `Engine`, in the same process, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import UserError
from tests.contract.checkpoint import Checkpoint
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("engine")
PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def engine(subject: Subject, checkpoint: Checkpoint) -> Iterator[Any]:
    engine = subject.engine.Engine.from_pretrained(
        checkpoint.argument, subject.engine.EngineConfig(device="cpu")
    )
    yield engine
    engine.close()


def params(subject: Subject, count: int, **more: Any) -> Any:
    return subject.engine.SamplingParams(max_tokens=count, ignore_eos=True, **more)


def test_text_and_token_ids_give_the_greedy_tokens(subject: Subject, checkpoint: Checkpoint, engine: Any):
    tokens = checkpoint.encode(PROMPT)
    for done in engine.generate([PROMPT, tokens], params(subject, 16)):
        assert done.tokens == checkpoint.greedy(tokens, 16)
        assert done.text == checkpoint.greedy_text(PROMPT, 16)
        assert done.prompt_tokens == tokens
        assert done.finish_reason == "length"


def test_every_prompt_may_have_its_own_limits(subject: Subject, checkpoint: Checkpoint, engine: Any):
    prompts = [PROMPT, "A fox", "The king and his daughter"]
    done = engine.generate(prompts, [params(subject, n) for n in (3, 7, 20)])
    for prompt, count, one in zip(prompts, (3, 7, 20), done, strict=True):
        assert one.tokens == checkpoint.greedy(checkpoint.encode(prompt), count)


def test_a_streams_pieces_make_the_text(subject: Subject, checkpoint: Checkpoint, engine: Any):
    outputs = list(engine.stream(PROMPT, params(subject, 20)))
    assert "".join(o.text for o in outputs) == checkpoint.greedy_text(PROMPT, 20)
    assert [t for o in outputs for t in o.tokens] == checkpoint.greedy(checkpoint.encode(PROMPT), 20)
    assert [o.finish_reason for o in outputs[:-1]] == [None] * (len(outputs) - 1)
    assert outputs[-1].finish_reason == "length"


def test_an_aborted_request_ends_at_once_and_says_so(subject: Subject, engine: Any):
    outputs = []
    for output in engine.stream(PROMPT, params(subject, 200), "mine"):
        outputs.append(output)
        engine.abort("mine")
    assert outputs[-1].finish_reason == "abort"
    assert len(outputs) <= 3
    engine.abort("mine")  # a second time, and for one that never was: nothing happens
    engine.abort("never")


def test_a_reader_who_leaves_ends_the_request(subject: Subject, checkpoint: Checkpoint, engine: Any):
    stream = engine.stream(PROMPT, params(subject, 500))
    next(stream)
    stream.close()
    assert next(stream, None) is None
    (done,) = engine.generate([PROMPT], params(subject, 4))  # and the engine is free for the next one
    assert done.tokens == checkpoint.greedy(checkpoint.encode(PROMPT), 4)
    if hasattr(engine, "active"):
        assert not engine.active
    else:
        assert all(r.done for r in engine.requests.values())


@pytest.mark.parametrize("prompt", ["", [], [-1], [10**6]])
def test_prompts_that_can_never_be_served_are_refused_at_the_call(subject: Subject, engine: Any, prompt: Any):
    with pytest.raises(UserError, match="prompt"):
        engine.stream(prompt, params(subject, 1))


def test_the_window_is_stated_where_it_is_too_small(subject: Subject, checkpoint: Checkpoint, engine: Any):
    with pytest.raises(UserError, match=str(checkpoint.window)):
        engine.stream(PROMPT, params(subject, checkpoint.window))
    with pytest.raises(UserError, match="max_tokens"):
        params(subject, 0)
    with pytest.raises(UserError, match="stop"):
        params(subject, 1, stop=("",))
