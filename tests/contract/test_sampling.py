"""Draws over HTTP: a seed is a text, whatever the company, the queue and the stage."""

from __future__ import annotations

import concurrent.futures
import functools
from typing import Any

import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Process
from tests.contract.subjects import subjects

pytestmark = pytest.mark.needs("http", "sampling")
PROMPT = "Once upon a time"
HOT = {"temperature": 1.0, "max_tokens": 20, "ignore_eos": True}


def draw(server: Process, **fields: Any) -> list[str]:
    response = server.complete(PROMPT, **{**HOT, **fields})
    assert response.status_code == 200, response.text
    return [c["text"] for c in response.json()["choices"]]


@functools.cache
def first_stages_text(argument: str, seed: int, **more: Any) -> str:
    """What the stage that brought sampling wrote with this seed."""
    first = next(s for s in subjects() if "seed" in s.capabilities)
    engine = first.engine.Engine.from_pretrained(argument, first.engine.EngineConfig(device="cpu"))
    params = first.engine.SamplingParams(max_tokens=20, ignore_eos=True, temperature=1.0, seed=seed, **more)
    (done,) = engine.generate([PROMPT], params)
    engine.close()
    return str(done.text)


@pytest.mark.needs("seed")
def test_a_seed_gives_the_same_text_alone_and_in_company(server: Process):
    alone = [draw(server, seed=seed) for seed in range(4)]
    assert len({text for (text,) in alone}) == 4
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        noise = [pool.submit(draw, server, max_tokens=30 + i) for i in range(4)]
        again = [pool.submit(draw, server, seed=seed) for seed in (3, 1, 0, 2, 0, 1)]
        assert [job.result() for job in again] == [alone[seed] for seed in (3, 1, 0, 2, 0, 1)]
        assert all(job.result() for job in noise)


@pytest.mark.needs("seed")
@pytest.mark.parametrize(
    "more", [{}, {"top_p": 0.9, "top_k": 50}, {"min_p": 0.02, "repetition_penalty": 1.2}], ids=str
)
def test_a_seed_gives_the_same_text_in_every_stage(
    server: Process, checkpoint: Checkpoint, more: dict[str, Any]
):
    for seed in (0, -5, 2**63 - 1):
        assert draw(server, seed=seed, **more) == [first_stages_text(checkpoint.argument, seed, **more)]


def test_without_a_seed_texts_differ(server: Process):
    assert len({draw(server)[0] for _ in range(4)}) > 1


def test_without_a_temperature_it_is_one(server: Process):
    body = {"model": server.model, "prompt": PROMPT, "max_tokens": 20, "seed": 3, "ignore_eos": True}
    for given in ({}, {"temperature": None}, {"temperature": 1}):
        (choice,) = server.http.post("/v1/completions", json={**body, **given}).json()["choices"]
        assert choice["text"] == draw(server, seed=3)[0]


def test_temperature_0_is_greedy_whatever_else_is_asked(server: Process, checkpoint: Checkpoint):
    greedy = checkpoint.greedy_text(PROMPT, 20)
    assert draw(server, temperature=0, seed=5, top_p=0.3, top_k=3, min_p=0.5) == [greedy]
    assert draw(server, temperature=1, top_k=1) == [greedy]
    assert draw(server, temperature=1, top_p=1e-9) == [greedy]
    assert draw(server, temperature=1, min_p=1) == [greedy]


@pytest.mark.needs("n")
def test_choices_of_one_request_differ_and_are_reproducible(server: Process, checkpoint: Checkpoint):
    three = draw(server, seed=1, n=3)
    assert len(set(three)) == 3
    assert draw(server, seed=1, n=3) == three
    assert draw(server, seed=1) == three[:1]
    body = server.complete([PROMPT, "A fox"], **{**HOT, "n": 2, "seed": 1}).json()
    assert [c["index"] for c in body["choices"]] == [0, 1, 2, 3]
    assert [c["text"] for c in body["choices"][:2]] == three[:2]
    assert body["usage"]["completion_tokens"] == 80


@pytest.mark.needs("n", "streaming")
def test_streamed_choices_are_those_of_the_whole_answer(server: Process):
    from tests.contract.test_streaming import events

    *chunks, _ = events(server, "completions", n=3, seed=1, temperature=1, max_tokens=20)
    texts = {0: "", 1: "", 2: ""}
    for choice in (c["choices"][0] for c in chunks):
        texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == draw(server, seed=1, n=3)


@pytest.mark.needs("logit_bias")
def test_a_bias_forces_and_forbids_a_token(server: Process, checkpoint: Checkpoint):
    tokens = checkpoint.encode(PROMPT)
    (first,) = checkpoint.greedy(tokens, 1)
    forced = next(i for i in checkpoint.encode("king") if i != first)
    text = checkpoint.tokenizer.decode([forced] * 3)
    assert server.text(PROMPT, 3, logit_bias={str(forced): 100}) == text
    assert not server.text(PROMPT, 1, logit_bias={str(first): -100}).startswith(
        checkpoint.tokenizer.decode([first])
    )


@pytest.mark.needs("penalties")
def test_penalties_keep_a_text_from_repeating_itself(server: Process, checkpoint: Checkpoint):
    plain = checkpoint.greedy_text(PROMPT, 60)
    for field in ("presence_penalty", "frequency_penalty", "repetition_penalty"):
        text = server.text(PROMPT, 60, **{field: 2})
        assert text != plain
        assert len(set(checkpoint.encode(text))) > len(set(checkpoint.encode(plain)))
