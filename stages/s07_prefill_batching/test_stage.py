"""Stage 07's promises: each row of a batch gets what it would get alone, whatever the others do; padding is counted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checkpoints.reference import FAMILIES, references
from common.errors import UserError
from common.loader import load_model

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import engine

LIMIT = 60  # seconds after which a test that waits has failed
PROMPTS = ([5, 6], [7], list(range(20, 60)), [8, 9, 10], [5, 6, 7, 8, 9, 10, 11, 12, 13])


@pytest.fixture(scope="module", params=["random_gpt2", "random_llama"])
def parts(request):
    """(model, tokenizer, config)"""
    return load_model(request.getfixturevalue(request.param), "cpu")


@pytest.fixture(scope="module")
def gpt2(random_gpt2):
    return load_model(random_gpt2, "cpu")


def new(parts, rows=8, **config):
    """An engine for batches of `rows`. parts: (model, tokenizer, config)"""
    model, tokenizer, model_config = parts
    return engine.Engine(
        model,
        tokenizer,
        model_config,
        engine.EngineConfig(**dict(max_num_seqs=rows, batch_wait=0.0) | config),
    )


def params(max_tokens=8, **more):
    """The random models of the fixtures end texts at random, which a test that counts tokens does not want."""
    return engine.SamplingParams(max_tokens, **dict(ignore_eos=True) | more)


def alone(parts, prompt, own):
    """The tokens of a request that has an engine to itself."""
    return new(parts, 1).generate([prompt], own)[0].tokens


def step_all(made):
    while made.aborting or not made.scheduler.is_finished:
        made.step()


def add(made, prompt, own, read=None):
    """(request, its outputs)"""
    outputs: list[engine.Output] = []
    return made.add(list(prompt), own, None, read or outputs.append), outputs


def tokens(outputs):
    return [token for output in outputs for token in output.tokens]


# Rows are as if alone


def test_rows_of_mixed_lengths_write_what_they_write_alone(parts):
    made = new(parts, len(PROMPTS))
    found = made.generate(PROMPTS, params(12))
    assert made.runner.num_computed == len(PROMPTS) * (40 + 11)  # one batch, or the test shows nothing
    assert [one.tokens for one in found] == [alone(parts, p, params(12)) for p in PROMPTS]


def test_logits_of_a_row_equal_those_of_its_solo_run(parts):
    made = new(parts, len(PROMPTS))
    for prompt in PROMPTS:
        add(made, prompt, params())
    for _ in range(4):
        together = made.runner.run(made.scheduler.schedule())
        for row, request in enumerate(made.scheduler.running):
            one = new(parts, 1)
            add(one, request.tokens, params())
            torch.testing.assert_close(
                together[row], one.runner.run(one.scheduler.schedule())[0], atol=1e-4, rtol=1e-4
            )
            request.write(request.num_tokens, int(together[row].argmax()))


def test_each_row_obeys_its_own_parameters(parts):
    each = [
        params(12),
        params(12, temperature=0.9, seed=7),
        params(12, temperature=1.2, top_k=5, seed=1),
        params(12, logit_bias={9: 5.0}),
        params(12, temperature=0.7, top_p=0.8, seed=7),
    ]
    found = new(parts, 5).generate(PROMPTS, each)
    expected = [alone(parts, p, own) for p, own in zip(PROMPTS, each, strict=True)]
    assert [one.tokens for one in found] == expected
    # Each of them does something, or rows that all ignore them would be equal too.
    plain = [alone(parts, p, params(12)) for p in PROMPTS]
    assert all(one != other for one, other in zip(expected[1:], plain[1:], strict=True))
    # The row does not matter either.
    assert new(parts, 5).generate(PROMPTS[::-1], each[::-1])[0].tokens == expected[-1]


def test_each_row_gets_as_many_tokens_as_it_asked_for(parts):
    made = new(parts, 3)
    found = made.generate(PROMPTS[:3], [params(n) for n in (3, 7, 20)])
    assert [len(one.tokens) for one in found] == [3, 7, 20]
    assert {one.finish_reason for one in found} == {"length"}
    assert [one.tokens for one in found] == [
        alone(parts, p, params(20))[:n] for p, n in zip(PROMPTS, (3, 7, 20), strict=False)
    ]


@pytest.mark.parametrize("row", range(4))
def test_a_row_that_ends_early_ends_alone(parts, row):
    expected = [alone(parts, p, params(10)) for p in PROMPTS[:4]]
    end = expected[row][3]
    model, tokenizer, config = parts
    made = new((model, tokenizer, replace(config, eos_token_ids=(end,))), 4)
    found = made.generate(PROMPTS[:4], [params(10, ignore_eos=i != row) for i in range(4)])
    short = expected[row][: expected[row].index(end) + 1]
    assert [one.tokens for one in found] == [short if i == row else expected[i] for i in range(4)]
    assert [one.finish_reason for one in found] == ["stop" if i == row else "length" for i in range(4)]


def test_a_row_that_has_ended_gets_no_further_output(gpt2):
    made = new(gpt2, 2)
    (_, short), (_, long) = add(made, [5, 6], params(2)), add(made, [7], params(9))
    step_all(made)
    assert (len(short), len(long)) == (2, 9)


def test_a_batch_of_one_has_no_padding(parts):
    made = new(parts, 1)
    found = made.generate(PROMPTS, params(6))
    assert [one.tokens for one in found] == [alone(parts, p, params(6)) for p in PROMPTS]
    assert (made.runner.num_padding, made.runner.num_computed) == (0, sum(map(len, PROMPTS)) + 5 * 5)


def test_no_row_sees_what_an_earlier_batch_left(parts):
    made = new(parts, 2)
    made.generate([list(range(60)), list(range(50, 120))], params(8))
    found = made.generate([[5, 6], [7]], params(12))
    assert [one.tokens for one in found] == [alone(parts, p, params(12)) for p in ([5, 6], [7])]


def test_rows_reach_the_end_of_the_window_together(gpt2):
    made, lengths = new(gpt2, 3, max_seq_len=48), (2, 40, 1)
    prompts = [list(range(5, 5 + length)) for length in lengths]
    each = [params(48 - length) for length in lengths]
    found = made.generate(prompts, each)
    assert [len(one.tokens) for one in found] == [46, 8, 47]
    assert [one.tokens for one in found] == [
        alone(gpt2, p, own) for p, own in zip(prompts, each, strict=True)
    ]


@settings(deadline=None, max_examples=15)
@given(
    jobs=st.lists(
        st.tuples(st.lists(st.integers(1, 399), min_size=1, max_size=20), st.integers(1, 6)),
        min_size=1,
        max_size=7,
    ),
    rows=st.integers(1, 4),
)
def test_any_requests_in_any_batches_write_what_they_write_alone(gpt2, jobs, rows):
    found = new(gpt2, rows).generate(
        [p for p, _ in jobs], [params(n, temperature=0.8, seed=n) for _, n in jobs]
    )
    assert [one.tokens for one in found] == [
        alone(gpt2, p, params(n, temperature=0.8, seed=n)) for p, n in jobs
    ]


# The same tokens as transformers: rows might be wrong alone and together.


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_equal_transformers_alone_and_in_a_batch_past_a_sliding_window(family, rows):
    """With four rows the longest prompt and the shortest are in one batch."""
    config = engine.EngineConfig(
        device="cpu", dtype="float32", max_seq_len=340, max_num_seqs=rows, batch_wait=0.0
    )
    made = engine.Engine.from_pretrained(FAMILIES[family], config)
    recorded = references(family)
    asked = [recorded[i] for i in (0, 11, 5, 6, 1, 10, 4, 7, 2, 9, 3, 8)]
    found = made.generate([one.prompt for one in asked], params(len(asked[0].tokens)))
    for one, done in zip(asked, found, strict=True):
        assert done.tokens == one.tokens, f"after a prompt of {len(one.prompt)} tokens"


# One request's account


def test_a_request_ends_for_the_reason_that_ended_it_and_tells_its_whole_text(gpt2):
    made = new(gpt2, 2)
    whole = made.generate([PROMPTS[0]], params(12))[0]
    end = whole.text[4:7]
    stopped, limited = made.generate([PROMPTS[0]] * 2, [params(12, stop=(end,)), params(12)])
    assert (stopped.finish_reason, stopped.text) == ("stop", whole.text[: whole.text.index(end)])
    assert (limited.finish_reason, limited.text) == ("length", whole.text)
    assert whole.text == made.tokenizer.decode(whole.tokens)
    assert 0 <= limited.metrics["queue"] <= limited.metrics["ttft"] <= limited.metrics["latency"]
    # What the last token leaves undecided, half a character, is told at the end.
    halves = made.tokenizer.encode("é")
    half = made.generate([[5]], params(1, logit_bias={halves[0]: 100.0}))[0]
    assert half.text == made.tokenizer.decode([halves[0]])


def test_a_request_tells_its_times(gpt2):
    request, _ = add(new(gpt2), [5, 6, 7], params(4))
    request.arrived, request.started, request.first_token, request.finished = 10.0, 11.0, 13.0, 17.0
    request.tokens += [1, 1, 1]
    assert request.metrics() == {"queue": 1.0, "ttft": 3.0, "latency": 7.0, "tokens_per_second": 0.5}
    request.started = 0.0  # it never ran
    assert request.metrics()["queue"] == 7.0


def test_more_than_the_window_or_the_queue_holds_is_refused(gpt2):
    made = new(gpt2, 1, max_seq_len=16, max_waiting=2)
    with pytest.raises(UserError, match="window is 16 tokens"):
        add(made, [5] * 9, params(8))
    for _ in range(2):
        add(made, [5] * 9, params(7))
    with pytest.raises(engine.QueueFull, match="2 requests are waiting"):
        add(made, [5], params(1))
    step_all(made)


# The rectangle


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=6))
def test_padding_is_counted_exactly(gpt2, sizes):
    made = new(gpt2, 6)
    made.generate([[5] * length for length, _ in sizes], [params(limit) for _, limit in sizes])
    lengths, limits = zip(*sizes, strict=True)
    rows, steps = len(sizes), max(limits) - 1
    assert made.runner.num_computed == rows * (max(lengths) + steps)
    # A request of n tokens has its first from the prompt's step and is fed back n - 1 times; the last is not.
    assert made.runner.num_padding == made.runner.num_computed - sum(lengths) - sum(n - 1 for n in limits)


def test_the_first_step_is_a_rectangle_and_later_ones_a_column(gpt2):
    made = new(gpt2, 3)
    for prompt, limit in zip(([5, 6, 7], [8], [9, 10]), (4, 1, 4), strict=True):
        add(made, prompt, params(limit))
    first = made.scheduler.schedule().inputs(made.device)
    assert first.tokens.tolist() == [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert first.positions.tolist() == [[0, 1, 2]] * 3
    assert (first.logits_indices.tolist(), first.max_context_len, first.num_padding) == ([2, 3, 7], 3, 3)
    for request in made.scheduler.running:
        made.scheduler.write(request, request.num_tokens, 7)
    second = made.scheduler.schedule().inputs(made.device)
    assert second.positions.tolist() == [[3], [1], [2]]
    assert (second.logits_indices.tolist(), second.max_context_len, second.num_padding) == ([0, 1, 2], 4, 1)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_a_token_sees_its_own_past_and_nothing_else(window):
    positions = torch.tensor([[2, 3], [0, 1], [6, 7]])
    seen = engine.attention.causal_mask(positions, 8, window)
    for row, column in ((r, c) for r in range(3) for c in range(2)):
        here = int(positions[row, column])
        expected = [i <= here and (window is None or here - i < window) for i in range(8)]
        assert seen[row, column].tolist() == expected


# A poisoned request harms no neighbour


def neighbours(parts, on_output=None, stream=None):
    """Runs three rows, checks the outer ones and returns the middle one, which is poisoned."""
    made = new(parts, 3)
    (_, left), (bad, _), (_, right) = (
        add(made, [5, 6], params(9)),
        add(made, [7], params(9), on_output),
        add(made, [8, 9, 10], params(9)),
    )
    bad.stream = stream or bad.stream
    step_all(made)
    assert tokens(left) == alone(parts, [5, 6], params(9))
    assert tokens(right) == alone(parts, [8, 9, 10], params(9))
    assert made.generate([[7]], params(5))[0].tokens == alone(parts, [7], params(5))
    return bad


def test_a_request_whose_text_fails_harms_no_neighbour(gpt2):
    class Poison:
        def push(self, token):
            raise RuntimeError("poison")

    bad = neighbours(gpt2, stream=Poison())
    assert (bad.status, bad.finish_reason) == ("failed", "error")


def test_a_reader_that_raises_harms_no_neighbour(gpt2):
    def raises(output):
        raise RuntimeError("the reader's own")

    bad = neighbours(gpt2, on_output=raises)
    assert (bad.status, bad.num_output_tokens) == ("cancelled", 1)


def test_a_pass_that_fails_for_the_batch_is_tried_for_each_request_alone(gpt2, monkeypatch):
    made = new(gpt2, 3)
    added = [add(made, p, params(6)) for p in PROMPTS[:3]]
    real = made.runner.run

    def fails(batch):
        if len(batch.scheduled) > 1 or batch.scheduled[0].request is added[1][0]:
            raise RuntimeError("poison")
        return real(batch)

    made.step()
    monkeypatch.setattr(made.runner, "run", fails)
    step_all(made)
    assert [r.status for r, _ in added] == ["finished", "failed", "finished"]
    assert added[1][0].error == "RuntimeError: poison"
    for i in (0, 2):
        assert tokens(added[i][1]) == alone(gpt2, PROMPTS[i], params(6))


def test_logits_that_are_not_numbers_fail_their_request_only(gpt2, monkeypatch):
    made = new(gpt2, 3)
    added = [add(made, p, params(6)) for p in PROMPTS[:3]]
    real = made.runner.run

    def poisoned(batch):
        logits = real(batch).clone()
        logits[1, 17] = torch.nan
        return logits

    monkeypatch.setattr(made.runner, "run", poisoned)
    made.step()
    monkeypatch.undo()
    step_all(made)
    assert [r.status for r, _ in added] == ["finished", "failed", "finished"]
    assert "NaN" in added[1][0].error
    assert not tokens(added[1][1])
    for i in (0, 2):
        assert tokens(added[i][1]) == alone(gpt2, PROMPTS[i], params(6))


def test_tokens_that_were_written_are_not_written_again_when_delivery_fails(gpt2, monkeypatch):
    made = new(gpt2, 2)
    request, _ = add(made, [5, 6], params(1))
    real = made.scheduler.postprocess

    def written_then_raises(batch, out):
        real(batch, out)
        raise RuntimeError("after the tokens were written")

    monkeypatch.setattr(made.scheduler, "postprocess", written_then_raises)
    with pytest.raises(RuntimeError, match="after the tokens"):
        made.step()
    assert (request.status, request.num_output_tokens) == ("finished", 1)


def test_a_failed_pass_leaves_the_engine_to_the_next_batch(gpt2, monkeypatch):
    made = new(gpt2, 2)
    bad = [add(made, [5], params(9))[0], add(made, [6], params(9))[0]]
    made.step()
    monkeypatch.setattr(type(made.model), "logits", lambda *_: 1 / 0)
    made.step()
    monkeypatch.undo()
    assert [r.error for r in bad] == ["ZeroDivisionError: division by zero"] * 2
    assert made.generate([[7]], params(5))[0].tokens == alone(gpt2, [7], params(5))


# Memory


@pytest.mark.parametrize(
    ("wanted", "free", "expected"),
    [
        ({}, 10**9, (8, 128)),
        ({}, 400_000, (2, 128)),
        ({"max_seq_len": 32}, 145_000, (3, 32)),
        ({"max_num_seqs": 3, "max_seq_len": 128}, 10**9, (3, 128)),
    ],
)
def test_rows_are_chosen_so_that_their_keys_and_values_fit_into_memory(
    gpt2, monkeypatch, wanted, free, expected
):
    monkeypatch.setattr("common.memory.free_memory", lambda device: free)
    made = engine.Engine(*gpt2, engine.EngineConfig(**wanted))  # type: ignore[call-arg]  # three parts
    assert (made.config.max_num_seqs, made.config.max_seq_len) == expected
    assert made.runner.cache.nbytes <= free
    monkeypatch.undo()
    assert made.generate([[5, 6]], params(3))[0].tokens == alone(gpt2, [5, 6], params(3))


def test_more_rows_than_memory_holds_are_refused_with_the_numbers(gpt2, monkeypatch):
    monkeypatch.setattr("common.memory.free_memory", lambda device: 30_000)
    for config in ({"max_num_seqs": 8}, {"max_num_seqs": 8, "max_seq_len": 128}, {}):
        with pytest.raises(
            UserError, match=r"enough for \d+ tokens in all; lower --max-seq-len or --max-num-seqs"
        ):
            engine.Engine(*gpt2, engine.EngineConfig(**config))  # type: ignore[call-arg]  # three parts


# Hang-ups


@pytest.mark.parametrize("row", range(3))
def test_a_hang_up_inside_a_batch_leaves_the_others_alone(gpt2, row):
    made = new(gpt2, 3)
    added = [add(made, p, params(9)) for p in PROMPTS[:3]]
    made.step()
    made.step()
    made.abort(added[row][0].id)
    made.step()
    assert added[row][0].status == "cancelled"  # within one step
    step_all(made)
    for i, (_, outputs) in enumerate(added):
        expected = alone(gpt2, PROMPTS[i], params(9))
        assert tokens(outputs) == (expected[:2] if i == row else expected)


def test_a_batch_without_readers_is_given_up_at_once(gpt2):
    made = new(gpt2, 2)
    added = [add(made, p, params(50))[0] for p in PROMPTS[:2]]
    made.step()
    for request in added:
        made.abort(request.id)
    made.step()
    assert made.scheduler.is_finished
    assert made.runner.num_computed == 2 * 2  # the prompts, and not a step more


# Waiting for others


def test_a_lone_request_waits_no_longer_than_batch_wait(gpt2):
    made = new(gpt2, 8, batch_wait=0.1)
    request, _ = add(made, [5, 6], params(1))
    made.step()
    assert 0.1 <= request.started - request.arrived < 0.1 * 20
    hurried = new(gpt2, 8, batch_wait=0)
    request, _ = add(hurried, [5, 6], params(1))
    hurried.step()
    assert request.started - request.arrived < 0.1 * 20


def test_a_full_batch_does_not_wait(gpt2):
    made = new(gpt2, 2, batch_wait=LIMIT)
    start = time.monotonic()
    made.generate(PROMPTS[:2], params(3))
    assert time.monotonic() - start < LIMIT / 2


def test_a_request_that_arrives_while_the_first_one_waits_joins_its_batch(gpt2):
    made = new(gpt2, 2, batch_wait=LIMIT)
    made.start()
    ended = threading.Semaphore(0)

    def read(output):
        if output.finish_reason:
            ended.release()

    first, _ = add(made, [5, 6], params(4), read)
    time.sleep(0.05)
    assert first.status == "waiting"
    second, _ = add(made, [7], params(4), read)
    assert all(ended.acquire(timeout=LIMIT) for _ in range(2))
    made.close()
    assert second.started - first.started < first.first_token - first.started  # one batch, one prefill
    assert made.runner.num_computed == 2 * (2 + 3)


def test_a_later_request_waits_for_the_whole_batch(gpt2):
    made = new(gpt2, 4)
    short, long = add(made, [5], params(2))[0], add(made, [6], params(8))[0]
    made.step()
    late = add(made, [7], params(1))[0]
    step_all(made)
    assert short.finished < long.finished < late.started


def test_more_requests_than_rows_are_served_in_order_of_arrival(gpt2):
    made = new(gpt2, 2)
    added = [add(made, p, params(3))[0] for p in PROMPTS]
    step_all(made)
    assert [r.num_output_tokens for r in added] == [3] * 5
    assert added[0].started < added[1].started < added[1].finished < added[2].started


@pytest.mark.parametrize(("field", "value"), [("max_num_seqs", 0), ("batch_wait", -1.0)])
def test_a_setting_that_makes_batches_impossible_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=field):
        engine.EngineConfig(**{field: value})
