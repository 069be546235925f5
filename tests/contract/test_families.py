"""Every family of models, past a sliding window, alone and together: the tokens that transformers writes.

The other tests of the suite compare a stage with itself or with a GPT-2; a stage that reads the wrong key is wrong alone
and in company alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from common.checkpoints.reference import FAMILIES, Reference, references
from common.loader import load_model
from tests.contract.subjects import Subject

# Mixed, so that the longest prompt runs beside the shortest, and rows change hands.
ORDER = (0, 11, 5, 6, 1, 10, 4, 7, 2, 9, 3, 8)
LENGTH = 340  # holds the longest prompt and its tokens


def asked(family: str) -> list[Reference]:
    return [references(family)[i] for i in ORDER]


def engine(subject: Subject, family: str, **settings: Any) -> Any:
    """An engine of the stage; settings that it does not have yet are left out."""
    settings |= {"device": "cpu", "dtype": "float32", "max_seq_len": LENGTH, "batch_wait": 0.0}
    known = {field.name for field in fields(subject.engine.EngineConfig)}
    config = subject.engine.EngineConfig(**{k: v for k, v in settings.items() if k in known})
    return subject.engine.Engine.from_pretrained(FAMILIES[family], config)


def params(subject: Subject, one: Reference) -> Any:
    return subject.engine.SamplingParams(max_tokens=len(one.tokens), ignore_eos=True)


def assert_equal(found: Iterator[list[int]] | list[list[int]], wanted: list[Reference]) -> None:
    for one, tokens in zip(wanted, found, strict=True):
        assert tokens == one.tokens, f"after a prompt of {len(one.prompt)} tokens"


@pytest.mark.needs("generate", without=("engine",))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loop_writes_the_tokens_of_transformers(subject: Subject, family: str):
    model, _, _ = load_model(FAMILIES[family], "cpu", "float32")
    wanted = asked(family) if "kv_cache" in subject.capabilities else asked(family)[:4]
    found = (list(subject.engine.generate(model, one.prompt, len(one.tokens))) for one in wanted)
    assert_equal(([token.id for token in tokens] for tokens in found), wanted)


@pytest.mark.needs("engine")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_engine_writes_the_tokens_of_transformers(subject: Subject, family: str):
    made, wanted = engine(subject, family, max_num_seqs=4), asked(family)
    done = made.generate([one.prompt for one in wanted], [params(subject, one) for one in wanted])
    made.close()
    assert_equal([one.tokens for one in done], wanted)


@pytest.mark.needs("continuous_batching")
@pytest.mark.parametrize("family", FAMILIES)
def test_requests_that_come_one_by_one_and_in_chunks_write_them_too(subject: Subject, family: str):
    """Streams are begun one step apart, and the budget cuts prompts at many places."""
    made, wanted = engine(subject, family, max_num_seqs=3, max_num_batched_tokens=33), asked(family)
    streams: list[Any] = []
    found: list[list[int]] = [[] for _ in wanted]
    for one in wanted:
        streams.append(made.stream(one.prompt, params(subject, one)))
        for stream, tokens in zip(streams, found, strict=False):
            if output := next(stream, None):
                tokens += output.tokens
    for stream, tokens in zip(streams, found, strict=True):
        for output in stream:
            tokens += output.tokens
    made.close()
    assert_equal(found, wanted)
