"""Stage 07's promises: rows of a batch are as if alone, whatever the others are, ask for, or do; padding is counted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    """Fixtures' models end texts at random; a test that counts tokens does not want that."""
    return engine.SamplingParams(max_tokens, **dict(ignore_eos=True) | more)


def alone(parts, prompt, own):
    """The tokens of a request that has an engine to itself."""
    return new(parts, 1).generate([prompt], own)[0].tokens


def step_all(made):
    while made.running or made.waiting or made.aborting:
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
    assert made.num_computed == len(PROMPTS) * (40 + 11)  # one batch, or the test shows nothing
    assert [one.tokens for one in found] == [alone(parts, p, params(12)) for p in PROMPTS]


def test_logits_of_a_row_equal_those_of_its_solo_run(parts):
    made = new(parts, len(PROMPTS))
    for prompt in PROMPTS:
        add(made, prompt, params())
    for _ in range(4):
        together = made.run(made.schedule())
        for row, request in enumerate(made.running.requests):
            one = new(parts, 1)
            add(one, request.tokens, params())
            torch.testing.assert_close(together[row], one.run(one.schedule())[0], atol=1e-4, rtol=1e-4)
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
    assert (
        new(parts, 5).generate(PROMPTS[::-1], each[::-1])[0].tokens == expected[-1]
    )  # nor does the row matter


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
    assert (made.num_padding, made.num_computed) == (0, sum(map(len, PROMPTS)) + 5 * 5)


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


# The rectangle


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=6))
def test_padding_is_counted_exactly(gpt2, sizes):
    made = new(gpt2, 6)
    made.generate([[5] * length for length, _ in sizes], [params(limit) for _, limit in sizes])
    lengths, limits = zip(*sizes, strict=True)
    rows, steps = len(sizes), max(limits) - 1
    assert made.num_computed == rows * (max(lengths) + steps)
    # A request of n tokens has its first from the prompt's step and is fed back n - 1 times; the last is not.
    assert made.num_padding == made.num_computed - sum(lengths) - sum(n - 1 for n in limits)


def test_the_first_step_is_a_rectangle_and_later_ones_a_column(gpt2):
    made = new(gpt2, 3)
    for prompt, limit in zip(([5, 6, 7], [8], [9, 10]), (4, 1, 4), strict=True):
        add(made, prompt, params(limit))
    batch = made.schedule()
    first = batch.inputs(made.device)
    assert first.tokens.tolist() == [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert first.positions.tolist() == [[0, 1, 2]] * 3
    assert (first.logits_indices.tolist(), first.max_context_len, first.num_padding) == ([2, 3, 7], 3, 3)
    made.step()
    second = batch.inputs(made.device)
    assert second.positions.tolist() == [[3], [1], [2]]
    assert (second.logits_indices.tolist(), second.max_context_len, second.num_padding) == ([0, 1, 2], 4, 1)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_a_token_sees_its_own_past_and_nothing_else(gpt2, window):
    positions = torch.tensor([[2, 3], [0, 1], [6, 7]])
    attend = new(gpt2, 3).attend
    attend.plan(engine.batch.Inputs(positions, positions, positions[:, 0], 8, 0))
    seen = attend.mask(window)
    for row, column in ((r, c) for r in range(3) for c in range(2)):
        here = int(positions[row, column])
        expected = [i <= here and (window is None or here - i < window) for i in range(8)]
        assert seen[row, column].tolist() == expected


# A poisoned request harms no neighbour


def neighbours(parts, poison, own):
    """Runs three rows, the middle one poisoned; checks the others -> the poisoned one."""
    made = new(parts, 3)
    (_, left), (bad, _), (_, right) = (
        add(made, [5, 6], params(9)),
        add(made, [7], own, poison),
        add(made, [8, 9, 10], params(9)),
    )
    step_all(made)
    assert tokens(left) == alone(parts, [5, 6], params(9))
    assert tokens(right) == alone(parts, [8, 9, 10], params(9))
    assert made.generate([[7]], params(5))[0].tokens == alone(parts, [7], params(5))
    return bad


def test_a_poisoned_stop_string_harms_no_neighbour(gpt2):
    bad = neighbours(gpt2, None, params(9, stop=(b"no text",)))
    assert (bad.status, bad.finish_reason) == ("failed", "error")


def test_a_reader_that_raises_harms_no_neighbour(gpt2):
    def raises(output):
        raise RuntimeError("the reader's own")

    bad = neighbours(gpt2, raises, params(9))
    assert (bad.status, bad.num_output_tokens) == ("cancelled", 1)


def test_a_failed_pass_leaves_the_engine_to_the_next_batch(gpt2, monkeypatch):
    made = new(gpt2, 2)
    bad = [add(made, [5], params(9))[0], add(made, [6], params(9))[0]]
    made.step()
    monkeypatch.setattr(type(made.model), "logits", lambda *_: 1 / 0)
    made.step()
    monkeypatch.undo()
    assert [r.error for r in bad] == ["ZeroDivisionError: division by zero"] * 2
    assert made.generate([[7]], params(5))[0].tokens == alone(gpt2, [7], params(5))


# Who hangs up


@pytest.mark.parametrize("row", range(3))
def test_who_hangs_up_inside_a_batch_leaves_the_others_alone(gpt2, row):
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


def test_a_batch_that_everybody_left_is_given_up_at_once(gpt2):
    made = new(gpt2, 2)
    added = [add(made, p, params(50))[0] for p in PROMPTS[:2]]
    made.step()
    for request in added:
        made.abort(request.id)
    made.step()
    assert made.running is None
    assert made.num_computed == 2 * 2  # the prompts, and no step more


# Company


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


def test_who_comes_while_the_first_one_waits_joins_its_batch(gpt2):
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
    assert made.num_computed == 2 * (2 + 3)


def test_who_comes_later_waits_for_the_whole_batch(gpt2):
    made = new(gpt2, 4)
    short, long = add(made, [5], params(2))[0], add(made, [6], params(8))[0]
    made.step()
    late = add(made, [7], params(1))[0]
    step_all(made)
    assert short.finished < long.finished < late.started


def test_more_requests_than_rows_are_served_in_their_order(gpt2):
    made = new(gpt2, 2)
    added = [add(made, p, params(3))[0] for p in PROMPTS]
    step_all(made)
    assert [r.num_output_tokens for r in added] == [3] * 5
    assert added[0].started < added[1].started < added[1].finished < added[2].started


@pytest.mark.parametrize(("field", "value"), [("max_num_seqs", 0), ("batch_wait", -1.0)])
def test_a_setting_that_makes_no_batch_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=field):
        engine.EngineConfig(**{field: value})
