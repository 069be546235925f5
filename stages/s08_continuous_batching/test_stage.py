"""Stage 08's promises: requests join and leave at every step, and none of them notices the others."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.checkpoints.reference import FAMILIES, references
from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import run

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import engine

WINDOW = 96
PROMPTS = [[5, 6], [7], [8, 9, 10, 11, 12, 13, 14], list(range(20, 60)), list(range(300, 315)), [9] * 23]
WAYS: list[dict] = [
    {},
    dict(temperature=0.9, seed=7),
    dict(temperature=1.2, top_k=5, seed=1),
    dict(frequency_penalty=0.7),
    dict(temperature=0.8, top_p=0.7, seed=3),
]


@pytest.fixture(scope="module")
def parts(random_gpt2):
    """(model, tokenizer, config)"""
    return load_model(random_gpt2, "cpu")


@pytest.fixture(scope="module")
def build(parts):
    """build(**config fields): an engine that is stepped by hand."""
    return lambda **config: engine.Engine(*parts, engine.EngineConfig(**dict(max_seq_len=WINDOW) | config))  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def alone(build):
    """alone(prompt, way, count): the tokens of a request that has an engine to itself, its prompt run whole."""
    known: dict = {}

    def tokens(prompt, way, count):
        key = (prompt, way)
        if key not in known:
            made = build(max_num_seqs=1, chunked_prefill=False)
            known[key] = made.generate([PROMPTS[prompt]], params(30, **WAYS[way]))[0].tokens
        return known[key][:count]

    return tokens


def params(count, **more):
    """The random models of the fixtures end texts at random, which a test that counts tokens does not want."""
    return engine.SamplingParams(count, **dict(ignore_eos=True) | more)


def add(made, prompt=(5, 6), count=8, name=None, **more):
    """(request, its outputs)"""
    outputs: list = []
    return made.add(list(prompt), params(count, **more), name, outputs.append), outputs


def tokens_of(outputs):
    return [token for output in outputs for token in output.tokens]


def step_all(made, most=2000):
    steps = 0
    while not made.scheduler.is_finished or made.aborting:
        made.step()
        steps += 1
        assert steps < most, "it does not end"
    return steps


def watch(made):
    """The batches that the scheduler makes from now on."""
    batches, schedule = [], made.scheduler.schedule

    def watched():
        batch = schedule()
        batches.append([(s.request.id, s.start, s.num_scheduled_tokens) for s in batch.scheduled])
        return batch

    made.scheduler.schedule = watched
    return batches


# Joining and leaving


def test_late_request_joins_a_running_batch_at_the_next_step(build, alone):
    made = build()
    first, a = add(made, PROMPTS[0], 20)
    made.step()
    made.step()
    late, b = add(made, PROMPTS[1], 5)
    made.step()
    assert (len(a), len(b)) == (3, 1)  # both had a token of that step
    step_all(made)
    assert late.finished < first.finished
    assert (tokens_of(a), tokens_of(b)) == (alone(0, 0, 20), alone(1, 0, 5))


def test_shorts_finish_before_longs_in_any_order_of_arrival(build, alone):
    made = build(max_num_seqs=4)
    longs = [add(made, PROMPTS[i], 30) for i in (0, 3)]
    shorts = [add(made, PROMPTS[i], 4) for i in (1, 2, 4)]  # one of them waits for a row
    step_all(made)
    assert max(r.finished for r, _ in shorts) < min(r.finished for r, _ in longs)
    assert [tokens_of(out) for _, out in longs] == [alone(0, 0, 30), alone(3, 0, 30)]
    assert [tokens_of(out) for _, out in shorts] == [alone(i, 0, 4) for i in (1, 2, 4)]


def test_a_place_that_becomes_free_is_taken_at_the_next_step(build):
    made = build(max_num_seqs=2)
    for i, count in enumerate((3, 9, 2, 2)):
        add(made, PROMPTS[i % 2], count, f"r{i}")
    batches = watch(made)
    step_all(made)
    names = [{name for name, *_ in batch} for batch in batches]
    assert names == [{"r0", "r1"}] * 3 + [{"r1", "r2"}] * 2 + [{"r1", "r3"}] * 2 + [{"r1"}] * 2


def test_static_mode_lets_no_request_join_before_the_batch_is_done(build, alone):
    made = build(max_num_seqs=2, batching_mode="static")
    outs = [add(made, PROMPTS[i % 2], count, f"r{i}")[1] for i, count in enumerate((3, 9, 2, 2))]
    batches = watch(made)
    step_all(made)
    names = [{name for name, *_ in batch} for batch in batches]
    assert names == [{"r0", "r1"}] * 3 + [{"r1"}] * 6 + [{"r2", "r3"}] * 2
    assert [tokens_of(o) for o in outs] == [alone(i % 2, 0, n) for i, n in enumerate((3, 9, 2, 2))]


def test_a_static_batch_starts_whole_whatever_the_budget(build):
    made = build(max_num_seqs=3, max_num_batched_tokens=4, batching_mode="static")
    for i in range(3):
        add(made, PROMPTS[3], 2, f"r{i}")
    batches = watch(made)
    step_all(made)
    assert sorted(batches[0]) == [(f"r{i}", 0, len(PROMPTS[3])) for i in range(3)]
    assert len(batches) == 2


# Equality under disturbance

ARRIVALS = st.tuples(
    st.integers(0, 12),  # the step before which it comes
    st.integers(0, len(PROMPTS) - 1),
    st.integers(1, 14),  # tokens
    st.integers(0, len(WAYS) - 1),
    st.one_of(st.none(), st.none(), st.integers(0, 15)),  # the step before which it is cancelled
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    arrivals=st.lists(ARRIVALS, min_size=1, max_size=7),
    rows=st.integers(1, 4),
    budget=st.integers(4, 40),
    chunked=st.booleans(),
    mode=st.sampled_from(["continuous", "static"]),
)
def test_under_any_schedule_each_output_equals_its_solo_run_and_no_token_is_computed_twice(
    build, alone, arrivals, rows, budget, chunked, mode
):
    made = build(
        max_num_seqs=rows, max_num_batched_tokens=budget, chunked_prefill=chunked, batching_mode=mode
    )
    batches = watch(made)
    here: list = [None] * len(arrivals)
    for now in range(16):
        for i, (comes, prompt, count, way, leaves) in enumerate(arrivals):
            if comes == now:
                here[i] = add(made, PROMPTS[prompt], count, f"r{i}", **WAYS[way])
            if leaves == now and here[i]:
                made.abort(f"r{i}")
        made.step()
    step_all(made)
    for (_, prompt, count, way, _), (request, outputs) in zip(arrivals, here, strict=True):
        assert request.status in ("finished", "cancelled")
        whole = count if request.status == "finished" else len(tokens_of(outputs))
        assert tokens_of(outputs) == alone(prompt, way, whole)
        assert sum(output.finish_reason is not None for output in outputs) == 1
    check_each_token_once(made, batches, [request for request, _ in here])
    if chunked and mode == "continuous":
        assert max((sum(n for *_, n in batch) for batch in batches), default=0) <= budget
    assert sorted(made.scheduler.rows.free) == list(range(rows))


def check_each_token_once(made, batches, requests):
    at = {request.id: 0 for request in requests}
    for batch in batches:
        for name, start, count in batch:
            assert start == at[name], "a token is computed twice, or left out"
            at[name] += count
    assert made.runner.num_computed == sum(at.values())
    for request in requests:
        if request.status == "finished":
            assert at[request.id] == request.num_tokens - 1  # the last one is never run


def test_a_counter_shows_that_no_token_is_computed_twice(build):
    made = build(max_num_seqs=3, max_num_batched_tokens=8)
    requests = [add(made, prompt, 6 + i)[0] for i, prompt in enumerate(PROMPTS)]
    step_all(made)
    assert made.runner.num_computed == sum(request.num_tokens - 1 for request in requests)


def test_grouped_heads_and_rotary_positions_survive_a_mixed_batch(random_llama):
    parts = load_model(random_llama, "cpu")
    small = dict(max_seq_len=WINDOW, max_num_seqs=3, max_num_batched_tokens=11)
    together = engine.Engine(*parts, engine.EngineConfig(**small)).generate(PROMPTS, params(9))
    for prompt, found in zip(PROMPTS, together, strict=True):
        solo = engine.Engine(*parts, engine.EngineConfig(max_seq_len=WINDOW, max_num_seqs=1))
        assert solo.generate([prompt], params(9))[0].tokens == found.tokens


# Chunked prefill


@pytest.mark.parametrize("budget", [1, 2, 7, 39, 40, 64])
def test_chunked_prefill_gives_the_tokens_of_a_whole_prompt(build, alone, budget):
    made = build(max_num_seqs=1, max_num_batched_tokens=budget)
    assert made.generate([PROMPTS[3]], params(12))[0].tokens == alone(3, 0, 12)


def test_chunked_prefill_gives_the_logits_of_a_whole_prompt(build):
    last = []
    for budget in (64, 9):
        made = build(max_num_seqs=1, max_num_batched_tokens=budget)
        found: list[Any] = []
        run_one = made.runner.run
        made.runner.run = lambda batch, found=found, run_one=run_one: (
            found.append(run_one(batch)) or found[-1]
        )
        add(made, PROMPTS[3], 1)
        step_all(made)
        assert [len(logits) for logits in found[:-1]] == [0] * (len(found) - 1)  # only the last chunk draws
        last.append(found[-1])
    torch.testing.assert_close(last[0], last[1], atol=1e-4, rtol=1e-4)


def test_decodes_go_on_while_a_long_prompt_is_read_and_the_budget_is_kept(build):
    made = build(max_num_seqs=2, max_num_batched_tokens=8)
    add(made, PROMPTS[0], 30, "reader")
    made.step()
    add(made, PROMPTS[3], 2, "long")
    batches = watch(made)
    for _ in range(6):
        made.step()
    assert batches == [[("reader", 2 + i, 1), ("long", 7 * i, min(7, 40 - 7 * i))] for i in range(6)]


def test_without_chunks_a_prompt_runs_whole_whatever_the_budget(build, alone):
    made = build(max_num_seqs=2, max_num_batched_tokens=8, chunked_prefill=False)
    _, out = add(made, PROMPTS[3], 3, "long")
    batches = watch(made)
    step_all(made)
    assert batches[0] == [("long", 0, 40)]
    assert tokens_of(out) == alone(3, 0, 3)


# The same tokens as transformers: a request might be wrong alone and among others


@pytest.mark.parametrize(
    "config",
    [
        dict(max_num_seqs=1, max_num_batched_tokens=512),
        dict(max_num_seqs=4, max_num_batched_tokens=48),
        dict(max_num_seqs=3, chunked_prefill=False),
        dict(max_num_seqs=4, batching_mode="static"),
    ],
    ids=["alone", "chunks", "whole", "static"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_equal_transformers_under_any_schedule_past_a_sliding_window(family, config):
    config = engine.EngineConfig(device="cpu", dtype="float32", max_seq_len=340, **config)
    made = engine.Engine.from_pretrained(FAMILIES[family], config)
    recorded = references(family)
    asked = [recorded[i] for i in (0, 11, 5, 6, 1, 10, 4, 7, 2, 9, 3, 8)]
    # Of different lengths, so that rows change hands while others decode.
    counts = [40 - 7 * (i % 4) for i in range(len(asked))]
    found = made.generate([one.prompt for one in asked], [params(count) for count in counts])
    for one, count, done in zip(asked, counts, found, strict=True):
        assert done.tokens == one.tokens[:count], f"after a prompt of {len(one.prompt)} tokens"


# The scheduler alone, without a tensor


def fake(name, prompt=4, count=4):
    """A request that holds numbers and no text."""
    return engine.Request(
        id=name, tokens=[1] * prompt, num_prompt_tokens=prompt, params=engine.SamplingParams(count),
        max_tokens=count, eos_ids=(), stream=SimpleNamespace(push=lambda t: "", flush=lambda: "", stopped=False),
        on_output=print,
    )  # fmt: skip


def planner(rows=2, **config):
    return engine.scheduler.Scheduler(engine.EngineConfig(max_num_seqs=rows, max_seq_len=WINDOW, **config))


def pretend(scheduler):
    """A step without a model: each request that draws gets token 1."""
    batch = scheduler.schedule()
    drawn = torch.ones(len(batch.draws), dtype=torch.int64)
    scheduler.postprocess(batch, SimpleNamespace(tokens=drawn))
    return batch.scheduled


def test_the_scheduler_works_without_tensors_first_come_first_served():
    scheduler, draw = planner(3, max_num_batched_tokens=10), random.Random(0)
    requests = [fake(f"r{i}", draw.randint(1, 25), draw.randint(1, 9)) for i in range(40)]
    for request in requests:
        scheduler.add(request)
    while not scheduler.is_finished:
        assert 0 < sum(s.num_scheduled_tokens for s in pretend(scheduler)) <= 10
    starts = [request.started for request in requests]
    assert starts == sorted(starts)


def test_no_request_starves_under_a_flood_of_short_ones():
    """The bound: every step of the requests ahead of it costs at most one step of waiting, whatever arrives after it."""
    scheduler = planner(2, max_num_batched_tokens=8)
    before = [fake(f"before {i}", 6, 5) for i in range(4)]
    patient = fake("patient", 30, 5)
    for request in (*before, patient):
        scheduler.add(request)
    chunks = sum(-(-r.num_prompt_tokens // 7) for r in before)  # at least budget - rows + 1 tokens per step
    bound = chunks + sum(r.max_tokens for r in before)
    steps = 0
    while not patient.started:
        for i in range(2):
            scheduler.add(fake(f"flood {steps} {i}", 1, 1))  # more than can be served
        pretend(scheduler)
        steps += 1
        assert steps <= bound, "it starves"
    while not patient.done:
        scheduler.add(fake(f"late {steps}", 1, 1))
        pretend(scheduler)
        steps += 1
        assert steps <= bound + -(-30 // 7) + 5


def test_rows_are_lent_lowest_first_released_and_lent_again():
    scheduler = planner(3)
    a, b, c, d = (fake(name, 2, count) for name, count in zip("abcd", (2, 5, 5, 3), strict=True))
    for request in (a, b, c, d):
        scheduler.add(request)
    pretend(scheduler)
    assert [r.cache_row for r in (a, b, c, d)] == [0, 1, 2, -1]  # never over-committed
    pretend(scheduler)
    assert (a.done, a.cache_row, scheduler.rows.free) == (True, -1, [0])
    pretend(scheduler)
    assert (d.cache_row, scheduler.rows.free) == (0, [])


def test_a_budget_below_the_number_of_rows_is_refused():
    with pytest.raises(UserError, match="max_num_batched_tokens = 3 must be at least max_num_seqs = 4"):
        engine.EngineConfig(max_num_seqs=4, max_num_batched_tokens=3)


def test_a_row_holds_as_many_tokens_as_its_capacity_and_is_lent_once():
    rows = engine.kv_cache.RowAllocator(1, 8)
    assert not rows.allocate(fake("long"), 9)
    assert rows.allocate(fake("fits"), 8)
    assert not rows.allocate(fake("late"), 1)
    assert fake("last token is not fed back", 4, 5).max_len == 8


@pytest.mark.parametrize("budget", [3, 2])
def test_a_prompt_is_never_cut_where_chunks_are_off(budget):
    scheduler = planner(2, max_num_batched_tokens=budget, chunked_prefill=False)
    scheduler.add(fake("a", 1, 9))
    pretend(scheduler)
    scheduler.add(fake("b", 20, 2))
    counts = {s.request.id: s.num_scheduled_tokens for s in pretend(scheduler)}
    assert counts == {"a": 1, "b": 20}


def test_one_more_than_may_wait_is_refused():
    scheduler = planner(1, max_waiting=2)
    for name in "ab":
        scheduler.add(fake(name))
    with pytest.raises(engine.QueueFull, match="2 requests are waiting"):
        scheduler.add(fake("c"))
    pretend(scheduler)
    scheduler.add(fake("c"))


# One request's account


def test_a_request_ends_for_the_reason_that_ended_it(build):
    made = build()
    whole = made.generate([PROMPTS[0]], params(12))[0].text
    end, own = whole[4:7], params(12, stop=(whole[4:7],))
    stopped, limited = made.generate([PROMPTS[0]] * 2, [own, params(12)])
    assert (stopped.finish_reason, stopped.text) == ("stop", whole[: whole.index(end)])
    assert (limited.finish_reason, limited.text) == ("length", whole)


def test_a_request_tells_its_times():
    request = fake("r", 3, 4)
    request.arrived, request.started, request.first_token, request.finished = 10.0, 11.0, 13.0, 17.0
    request.tokens += [1, 1, 1]
    assert request.metrics() == {"queue": 1.0, "ttft": 3.0, "latency": 7.0, "tokens_per_second": 0.5}
    request.first_token = 17.0  # all in one step: no speed can be told
    assert request.metrics()["tokens_per_second"] == 0.0


def test_penalties_count_what_was_written(build):
    """As a bias by hand: each token so far is made less likely by 0.7 for each time that it was written."""
    made = build()
    written: list[int] = []
    for _ in range(10):
        bias = {token: -0.7 * written.count(token) for token in set(written)}
        written += made.generate([PROMPTS[5] + written], params(1, logit_bias=bias))[0].tokens
    penalised = made.generate([PROMPTS[5]], params(10, frequency_penalty=0.7))[0].tokens
    assert penalised == written != made.generate([PROMPTS[5]], params(10))[0].tokens


@pytest.mark.parametrize("field", ["max_num_seqs", "max_num_batched_tokens", "max_waiting"])
def test_a_setting_that_serves_no_request_is_refused_by_name(field):
    with pytest.raises(UserError, match=f"{field}.* 0"):
        engine.EngineConfig(**{field: 0})


def test_rows_are_as_many_as_the_budget_serves_and_sixteen_at_most(build):
    assert build().config.max_num_seqs == 16
    assert build(max_num_batched_tokens=5).config.max_num_seqs == 5


# The runner alone, without a queue


def test_the_runner_works_without_queues_and_a_mixed_batch_equals_its_parts(parts):
    rows = engine.kv_cache.RowAllocator(2, WINDOW)

    def runner():
        return engine.runner.ModelRunner(parts[0], engine.EngineConfig(max_num_seqs=2, max_seq_len=WINDOW))

    reader, late = fake("reader", 5), fake("late", 9)
    reader.tokens, late.tokens = [5, 6, 7, 8, 9], list(range(30, 39))
    assert rows.allocate(reader, 8)
    assert rows.allocate(late, 12)
    shares = [engine.batch.Scheduled(reader, 4, 1, 5), engine.batch.Scheduled(late, 0, 9, 9)]
    mixed, apart = runner(), runner()
    for one in (mixed, apart):
        one.run(engine.batch.Batch([engine.batch.Scheduled(reader, 0, 4, 5)]))
    found = mixed.run(engine.batch.Batch(shares))
    expected = torch.cat([apart.run(engine.batch.Batch([share])) for share in shares])
    assert found.shape == (2, parts[2].vocab_size)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_flat_list_tells_which_request_each_token_belongs_to():
    a, b = fake("a", 6), fake("b", 4)
    a.cache_row, b.cache_row, a.tokens, b.tokens = 0, 2, [10, 11, 12, 13, 14, 15], [20, 21, 22, 23]
    batch = engine.batch.Batch([engine.batch.Scheduled(a, 5, 1, 6), engine.batch.Scheduled(b, 1, 2, 4)])
    inputs = batch.inputs(lambda r, position: r.cache_row * 100 + position, torch.device("cpu"))
    assert inputs.tokens.tolist() == [15, 21, 22]
    assert inputs.positions.tolist() == [5, 1, 2]
    assert inputs.slot_mapping.tolist() == [5, 201, 202]
    assert inputs.cache_rows.tolist() == [0, 2]
    assert (inputs.query_lens, inputs.context_lens) == ([1, 2], [6, 3])
    assert inputs.logits_indices.tolist() == [0]  # b is not through its prompt


# A failure stays with its request


class Poison:
    """In the place of a request's running counts, or of its text: fails when it is used."""

    bias = repetition = penalty = property(lambda self: 1 / 0)

    def push(self, token):
        raise RuntimeError("poison")

    def add(self, token):
        pass


def raises(output):
    raise RuntimeError("the reader's own")


def test_poisoned_requests_harm_no_neighbour(build, alone):
    made = build()
    (sampling, a), (text, b) = add(made, presence_penalty=1.0), add(made)
    sampling.counts = text.stream = Poison()
    reader = made.add([5, 6], params(20), None, raises)
    goods = [add(made, PROMPTS[i], 8, **WAYS[i % 5]) for i in (1, 2, 4)]
    step_all(made)
    assert [tokens_of(out) for _, out in goods] == [alone(i, i % 5, 8) for i in (1, 2, 4)]
    assert (sampling.status, text.status, reader.status) == ("failed", "failed", "cancelled")
    assert a[-1].error == "ZeroDivisionError: division by zero"
    assert [out.finish_reason for out in b] == ["error"]
    assert len(made.scheduler.rows.free) == made.config.max_num_seqs


def test_a_scheduler_that_can_choose_nothing_is_an_error_and_not_a_loop(build, monkeypatch):
    made = build()
    monkeypatch.setattr(made.scheduler.rows, "allocate", lambda request, num_tokens: False)
    request, outputs = add(made, PROMPTS[0], 4)
    failures: list = []
    made.start(failures.append)
    made.thread.join(60)
    assert not made.thread.is_alive()
    assert (request.status, outputs[-1].finish_reason) == ("failed", "error")
    assert "nothing can be scheduled, but 1 requests are waiting" in made.failure
    assert len(failures) == 1
    with pytest.raises(engine.EngineFailed):
        add(made, PROMPTS[0], 4)


def test_a_request_without_a_row_never_touches_the_cache(parts):
    made = engine.runner.ModelRunner(parts[0], engine.EngineConfig(max_num_seqs=2, max_seq_len=WINDOW))
    with pytest.raises(RuntimeError, match="no row"):
        made.run(engine.batch.Batch([engine.batch.Scheduled(fake("lost", 3), 0, 3, 3)]))
    assert not any(t.any() for t in (*made.cache.k, *made.cache.v))


def test_the_integers_of_a_step_reach_the_device_in_one_copy(parts, monkeypatch):
    made = engine.runner.ModelRunner(parts[0], engine.EngineConfig(max_num_seqs=2, max_seq_len=WINDOW))
    a, b = fake("a", 6), fake("b", 4)
    a.cache_row, b.cache_row = 0, 1
    batch = engine.batch.Batch([engine.batch.Scheduled(a, 5, 1, 6), engine.batch.Scheduled(b, 1, 2, 4)])
    made_here: list = []
    real = torch.tensor

    def counted(*args, **named):
        made_here.append(1)
        return real(*args, **named)

    monkeypatch.setattr(torch, "tensor", counted)
    inputs = batch.inputs(made.cache.slot, torch.device("cpu"))
    assert len(made_here) == 1
    fields = ("tokens", "positions", "slot_mapping", "cache_rows", "logits_indices")
    assert len({getattr(inputs, name).untyped_storage().data_ptr() for name in fields}) == 1


def test_a_failed_pass_fails_no_request_that_can_run_alone(build, alone, monkeypatch):
    made = build()
    goods = [add(made, PROMPTS[i], 6) for i in (0, 1)]
    made.step()
    real = made.runner.run

    def fails_for_two(batch):
        if len(batch.scheduled) > 1:
            raise RuntimeError("no memory for both")
        return real(batch)

    monkeypatch.setattr(made.runner, "run", fails_for_two)
    step_all(made)
    assert [tokens_of(out) for _, out in goods] == [alone(i, 0, 6) for i in (0, 1)]


# Demo and benchmark


def test_the_demo_draws_waiting_joining_and_leaving_and_checks_every_text(random_gpt2, capsys):
    from .__main__ import main

    arguments = ["--model", str(random_gpt2), "--device", "cpu", "--dtype", "float32", "--long", "20"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "long 2" in said
    assert "chunk" in said
    assert "when it has the engine to itself" in said
    assert main([*arguments, "--mode", "static", "--whole"]) == 0


@pytest.mark.wording
def test_bad_input_is_one_line(random_gpt2, capsys):
    from .__main__ import main

    assert run(main, ["--model", str(random_gpt2), "--rows", "9", "--budget", "4"]) == 2
    assert capsys.readouterr().err == (
        "error: --budget 4 must be at least --rows 9: each running request needs a token\n"
    )
