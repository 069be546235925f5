"""Stage 06's promises: a queue that is fair, visible and bounded, one thread that steps, requests that end exactly once."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import statistics
import threading
import time
import tracemalloc
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.bench.harness import slug
from common.bench.results import load_result
from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import run

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import engine

LIMIT = 60  # seconds after which a test that waits has failed
PROMPTS = ([5, 6], [7], [8, 9, 10], [11], [5, 6, 7, 8])


@pytest.fixture(scope="module")
def parts(random_gpt2):
    """(model, tokenizer, config)"""
    return load_model(random_gpt2, "cpu")


def new(parts, model=None, **config):
    """An engine. parts: (model, tokenizer, config)"""
    return engine.Engine(model or parts[0], parts[1], parts[2], engine.EngineConfig(**config))


class Gate:
    """A model whose forward passes wait for permission, and are counted."""

    def __init__(self, model):
        self.model, self.permits, self.passes = model, threading.Semaphore(0), 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *inputs):
        self.passes += 1
        assert self.permits.acquire(timeout=LIMIT), "no permit for this pass"
        return self.model(*inputs)

    def allow(self, count):
        self.permits.release(count)


class Reader:
    """Collects the outputs of one request, from whichever thread steps."""

    def __init__(self):
        self.outputs, self.ended = [], threading.Event()

    def __call__(self, output):
        self.outputs.append(output)
        if output.finish_reason:
            self.ended.set()

    def wait(self):
        assert self.ended.wait(LIMIT), "the request never ends"
        return self

    @property
    def tokens(self):
        return [token for one in self.outputs for token in one.tokens]

    @property
    def reasons(self):
        return [one.finish_reason for one in self.outputs if one.finish_reason]


@pytest.fixture
def build(parts):
    """build(model=..., **config fields): an engine that is closed at the end."""
    made = []

    def make(model=None, **config):
        made.append(new(parts, model, **config))
        return made[-1]

    yield make
    for one in made:
        if isinstance(one.model, Gate):
            one.model.allow(10_000)
        one.close()


@pytest.fixture
def made(build):
    return build()


@pytest.fixture
def gated(build, parts):
    """An engine whose passes wait for `model.allow`."""
    return build(Gate(parts[0]))


@pytest.fixture(scope="module")
def alone(parts):
    """alone(prompt, count): the tokens of a request that has an engine to itself."""
    known = {}

    def tokens(prompt, count):
        if tuple(prompt) not in known:
            made = new(parts)
            known[tuple(prompt)] = made.generate([prompt], params(40))[0].tokens
        return known[tuple(prompt)][:count]

    return tokens


def params(max_tokens=8, **more):
    """The random models of the fixtures end texts at random, which a test that counts tokens does not want."""
    return engine.SamplingParams(max_tokens, **dict(ignore_eos=True) | more)


def add(made, prompt=(5, 6), count=8, request_id=None, **more):
    """(request, reader)"""
    reader = Reader()
    return made.add(list(prompt), params(count, **more), request_id, reader), reader


def until(true, what):
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, f"timed out waiting for: {what}"
        time.sleep(0.001)


def step_all(made):
    while made.aborting or not made.scheduler.is_finished:
        made.step()


# States and times


def test_a_request_goes_from_waiting_to_running_to_finished_and_each_has_its_time(made):
    request, _ = add(made, count=3)
    assert (request.status, request.snapshot()["started"]) == ("waiting", None)
    made.step()
    assert (request.status, request.snapshot()["finished"]) == ("running", None)
    made.step()
    made.step()
    assert (request.status, request.finish_reason) == ("finished", "length")
    assert 0 < request.arrived < request.started < request.first_token < request.finished
    seen = request.snapshot()
    assert (seen["prompt_tokens"], seen["output_tokens"], seen["max_tokens"]) == (2, 3, 3)
    assert 0 < seen["started"] < seen["first_token"] < seen["finished"] <= seen["age"]


def test_the_last_output_tells_how_long_the_request_waited(made):
    (_, first), (second, reader) = add(made, count=3), add(made, count=3)
    step_all(made)
    assert all(one.metrics is None for one in reader.outputs[:-1])
    metrics = reader.outputs[-1].metrics
    assert metrics["queue"] == second.started - second.arrived
    assert metrics["ttft"] == second.first_token - second.arrived
    assert metrics["queue"] > first.outputs[-1].metrics["queue"]


def test_another_thread_sees_a_state_together_with_all_its_times(made):
    """Looks after every single write, that is, at every point where another thread may come in."""

    class Watched(engine.Request):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if hasattr(self, "finished"):  # all fields are there
                seen = self.snapshot()
                if seen["status"] != "waiting":
                    assert seen["started"] is not None
                if seen["status"] in ("finished", "cancelled", "failed"):
                    assert seen["finished"] is not None and seen["finish_reason"] is not None
                assert seen["status"] != "failed" or seen["error"]

    request, _ = add(made)
    fields = {name: getattr(request, name) for name in ("params", "max_tokens", "eos_ids", "stream")}
    watched = Watched(id="x", tokens=[5], num_prompt_tokens=1, on_output=print, **fields)
    watched.start()
    watched.finish(engine.Status.FAILED, "error", "why")


# First come, first served


def test_requests_run_in_order_of_arrival_one_at_a_time_each_as_if_alone(made, alone):
    order, readers = [], []
    made.start()
    for prompt in PROMPTS * 2:
        readers.append(Reader())

        def both(output, reader=readers[-1]):
            order.append(output.request_id)
            reader(output)

        made.add(prompt, params(6), f"r{len(readers)}", both)
    for prompt, reader in zip(PROMPTS * 2, readers, strict=True):
        assert reader.wait().tokens == alone(prompt, 6)
    assert order == [f"r{n}" for n in range(1, 11) for _ in range(6)]


def test_requests_that_arrive_while_others_run_keep_their_order(made):
    first, second = add(made, count=3)[0], add(made, count=2)[0]
    made.step()
    third, _ = add(made, count=1)
    step_all(made)
    assert first.finished < second.started < second.finished < third.started


def test_stepping_by_hand_gives_what_the_thread_gives(build, alone):
    by_hand, threaded = build(), build()
    threaded.start()
    ways: list[Any] = [
        dict(),
        dict(temperature=0.9, seed=7),
        dict(stop=("e",)),
        dict(temperature=1.2, top_k=5, seed=1),
    ]
    found = {}
    for name, one in (("hand", by_hand), ("thread", threaded)):
        readers = [add(one, p, 12, **s)[1] for p, s in zip(PROMPTS, ways, strict=False)]
        if one is by_hand:
            step_all(one)
        found[name] = [[(o.tokens, o.text, o.finish_reason) for o in r.wait().outputs] for r in readers]
    assert found["hand"] == found["thread"]
    assert by_hand.thread is None
    assert [tokens for tokens, *_ in found["hand"][0]] == [[t] for t in alone(PROMPTS[0], 12)]


# The thread


def count_steps(made, monkeypatch):
    calls = []
    real = made.step

    def step():
        calls.append(1)
        return real()

    monkeypatch.setattr(made, "step", step)
    return calls


def test_an_idle_engine_never_steps(made, monkeypatch):
    calls = count_steps(made, monkeypatch)
    made.start()
    time.sleep(0.2)
    assert calls == []
    add(made, count=3)[1].wait()
    until(lambda: made.scheduler.running is None, "the end of the request")
    assert len(calls) == 3
    made.abort("unknown")
    made.abort(next(iter(made.requests)))  # finished
    time.sleep(0.2)
    assert len(calls) == 3


def test_a_request_wakes_the_engine_at_once(made):
    def one_token():
        start = time.perf_counter()
        _, reader = add(made, count=1)
        if made.thread is None:
            step_all(made)
        reader.wait()
        return time.perf_counter() - start

    by_hand = statistics.median(one_token() for _ in range(20))
    made.start()
    woken = statistics.median(one_token() for _ in range(20))
    assert woken < 20 * (by_hand + 0.010)  # the promise is recorded by the benchmark, without the 20


def test_a_request_that_arrives_as_the_engine_falls_asleep_is_not_slept_through(made):
    """It arrives at the worst moment: after the last look at the queue, before the flag is cleared."""

    class Work(threading.Event):
        late = None

        def clear(self):
            if self.late is None:
                self.late = add(made, [7], 2)
            super().clear()

    made.work = Work()
    made.start()
    add(made, count=2)[1].wait()
    until(lambda: made.work.late, "the cleared flag")
    assert made.work.late[1].ended.wait(10), "it waits until another one arrives"


def test_starting_twice_makes_one_thread(made):
    made.start()
    before = made.thread
    made.start()
    assert made.thread is before


def test_without_a_thread_readers_step_the_engine_and_do_not_disturb_each_other(made, alone):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda p: made.generate([p], params(20))[0].tokens, PROMPTS * 2, timeout=LIMIT))
    assert found == [alone(p, 20) for p in PROMPTS * 2]


# Cancelling


def test_a_request_cancelled_while_waiting_never_runs(gated):
    gated.start()
    running, waiting = add(gated, count=3), add(gated, count=5)
    until(lambda: gated.model.passes == 1, "the first pass")
    gated.abort(waiting[0].id)
    gated.model.allow(1)
    assert waiting[1].wait().reasons == ["abort"]
    assert (waiting[0].status, waiting[0].started, waiting[0].snapshot()["started"]) == ("cancelled", 0, None)
    assert not running[0].done  # it left within one step, not with the end of the request before it
    gated.model.allow(10)
    assert len(running[1].wait().tokens) == 3
    assert gated.model.passes == 3


def test_a_request_cancelled_while_running_is_gone_within_one_step_and_the_next_one_starts(gated, alone):
    gated.start()
    running, waiting = add(gated, count=30), add(gated, [7], 4)
    gated.model.allow(2)
    until(lambda: gated.model.passes == 3, "the third pass")
    gated.abort(running[0].id)
    gated.model.allow(100)
    assert waiting[1].wait().tokens == alone([7], 4)
    assert running[0].status == "cancelled"
    assert running[1].tokens == alone([5, 6], 3)  # the pass that was under way counts
    assert running[1].reasons == ["abort"]
    assert gated.model.passes == 3 + 4


def test_a_stream_that_is_closed_or_dropped_cancels_its_request_read_or_not(made):
    for read in (0, 2):
        outputs = made.stream([5, 6], params(50), f"closed after {read}")
        for _ in range(read):
            next(outputs)
        outputs.close()
        assert list(outputs) == []
    made.stream([5, 6], params(50), "dropped")
    made.step()
    assert [(r.status, r.num_output_tokens) for r in made.requests.values()] == [
        ("cancelled", 0),
        ("cancelled", 2),
        ("cancelled", 0),
    ]


def test_cancelling_an_unknown_or_finished_request_changes_nothing(made):
    request, reader = add(made, count=2)
    step_all(made)
    for name in (request.id, "unknown"):
        made.abort(name)
    assert not made.aborting
    made.step()
    assert (request.status, reader.reasons) == ("finished", ["length"])


# A failure stays with its request


class Poison:
    """Replaces a request's running counts, or its text stream, and fails when it is used."""

    bias = repetition = penalty = property(lambda self: 1 / 0)

    def push(self, token):
        raise RuntimeError("poison")

    def add(self, token):
        pass


def test_a_request_whose_sampling_fails_is_the_only_one_that_does(made, alone):
    (bad, reader), (_, good) = add(made, presence_penalty=1.0), add(made, [7], 5)
    bad.counts = Poison()
    made.start()
    assert good.wait().tokens == alone([7], 5)
    assert (bad.status, reader.reasons, bad.error) == (
        "failed",
        ["error"],
        "ZeroDivisionError: division by zero",
    )
    assert reader.outputs[-1].error == bad.snapshot()["error"] == bad.error


def test_a_request_whose_text_fails_is_the_only_one_that_does_running_or_waiting(made, alone):
    bad = [add(made) for _ in range(3)]
    for request, _ in bad:
        request.stream = Poison()
    made.abort(bad[-1][0].id)
    _, good = add(made, [7], 5)
    made.start()
    assert good.wait().tokens == alone([7], 5)
    assert [request.status for request, _ in bad[:2]] == ["failed"] * 2
    assert bad[2][0].status in ("cancelled", "failed")  # whichever came first, the abort or its turn
    assert made.thread.is_alive()


def test_a_reader_that_raises_loses_its_own_request_only(made, alone):
    def raises(output):
        raise RuntimeError("the reader's own")

    made.start()
    bad = made.add([5, 6], params(20), None, raises)
    _, good = add(made, [7], 5)
    assert good.wait().tokens == alone([7], 5)
    assert (bad.status, bad.num_output_tokens) == ("cancelled", 1)
    assert made.thread.is_alive()


def test_an_error_outside_a_request_ends_them_all_and_the_engine_says_so(made, monkeypatch):
    readers = [add(made)[1] for _ in range(3)]
    failures: list = []
    monkeypatch.setattr(made.scheduler, "schedule", lambda: 1 / 0)
    made.start(failures.append)
    assert [r.wait().outputs[-1].error for r in readers] == ["ZeroDivisionError: division by zero"] * 3
    made.thread.join(LIMIT)
    assert not made.thread.is_alive()
    assert made.failure == "ZeroDivisionError: division by zero"
    assert [type(e) for e in failures] == [ZeroDivisionError]
    with pytest.raises(engine.EngineFailed, match="division by zero"):
        add(made)
    assert not made.aborting and all(r.done for r in made.requests.values())


def test_an_error_outside_a_request_reaches_readers_that_step_by_themselves(made, monkeypatch):
    outputs = made.stream([5, 6], params(5))
    next(outputs)
    monkeypatch.setattr(made.scheduler, "postprocess", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="division by zero"):
        next(outputs)
    assert next(outputs, None) is None
    with pytest.raises(engine.EngineFailed):
        made.stream([5, 6], params(5))


def test_logits_that_are_not_numbers_fail_the_request(made, alone, monkeypatch):
    bad, good = add(made, count=9), add(made, [7], 5)
    made.step()
    real = type(made.model).logits
    monkeypatch.setattr(type(made.model), "logits", lambda *a: real(*a) * float("nan"))
    made.step()
    monkeypatch.undo()
    step_all(made)
    assert (bad[0].status, bad[1].tokens) == ("failed", alone([5, 6], 1))
    assert "NaN" in bad[0].error
    assert good[1].tokens == alone([7], 5)


def test_a_window_that_memory_cannot_hold_is_refused_with_the_numbers(build, monkeypatch):
    monkeypatch.setattr("common.memory.free_memory", lambda device: 20_000)
    with pytest.raises(
        UserError, match=r"1 x 128 tokens of K/V take .* enough for \d+ tokens in all; lower --max-seq-len$"
    ):
        build(max_seq_len=128)


def test_a_prompt_is_encoded_once(made, monkeypatch):
    calls: list = []
    real = made.encode

    def counted(prompt):
        calls.append(prompt)
        return real(prompt)

    monkeypatch.setattr(made, "encode", counted)
    list(made.stream([5, 6], params(2)))
    made.generate([[5, 6], [7]], params(2))
    assert calls == [[5, 6], [5, 6], [7]]


def test_one_prompt_may_be_given_without_a_list(made, alone):
    text = made.tokenizer.encode("abc")
    assert [one.tokens for one in made.generate("abc", params(4))] == [alone(text, 4)]
    with pytest.raises(UserError, match="params: 1 for 2 prompts"):
        made.generate([[5], [6]], [params(4)])


def test_a_failed_pass_leaves_the_model_to_the_next_request(made, alone, monkeypatch):
    bad, good = add(made, count=9), add(made, [7], 5)
    made.step()
    monkeypatch.setattr(type(made.model), "logits", lambda *_: 1 / 0)
    made.step()
    monkeypatch.undo()
    step_all(made)
    assert (bad[0].status, bad[0].error) == ("failed", "ZeroDivisionError: division by zero")
    assert good[1].tokens == alone([7], 5)


def test_a_failure_reaches_the_reader_of_the_stream(made):
    stream = made.stream([5, 6], params(5, presence_penalty=1.0))
    stream.request.counts = Poison()
    with pytest.raises(RuntimeError, match=r"failed: ZeroDivisionError"):
        list(stream)


# Bounds


def test_one_request_too_many_is_refused_and_leaves_nothing(build):
    made = build(max_waiting=2)
    add(made, count=3)
    made.step()  # runs, so it does not wait
    add(made), add(made)
    with pytest.raises(engine.QueueFull, match="2 requests are waiting already"):
        add(made)
    assert (len(made.scheduler.waiting), len(made.requests)) == (2, 3)
    step_all(made)
    assert add(made)[0].status == "waiting"


def test_the_bound_holds_when_many_add_at_once(build):
    made = build(max_waiting=5)
    start = threading.Barrier(8)

    def many(_):
        start.wait(LIMIT)
        refused = 0
        for _ in range(20):
            try:
                add(made)
            except engine.QueueFull:
                refused += 1
        return refused

    with ThreadPoolExecutor(8) as pool:
        refused = sum(pool.map(many, range(8)))
    assert (len(made.scheduler.waiting), len(made.requests), refused) == (5, 5, 155)


def test_a_list_of_prompts_may_be_longer_than_the_queue(build, alone):
    made = build(max_waiting=3)
    prompts = list(PROMPTS) * 2
    assert [one.tokens for one in made.generate(prompts, params(3))] == [alone(p, 3) for p in prompts]


def test_a_refused_list_of_prompts_leaves_nothing_behind(made):
    with pytest.raises(UserError, match="window"):
        made.generate([[5, 6], [7], [5] * 100], params(50))
    gc.collect()
    step_all(made)
    assert {r.status for r in made.requests.values()} == {"cancelled"}
    assert {r.num_output_tokens for r in made.requests.values()} == {0}


def test_only_the_last_finished_requests_are_remembered(build):
    made = build(history=3)
    ids = [add(made, count=1)[0].id for _ in range(8)]
    step_all(made)
    assert list(made.requests) == ids[-3:]
    assert len(made.ended) == 3
    forgetful = build(history=0)
    add(forgetful, count=2)
    step_all(forgetful)
    assert not forgetful.requests and not forgetful.ended


def test_a_finished_request_does_not_keep_its_reader_alive(made):
    request, reader = add(made, count=2)
    gone = weakref.ref(reader)
    step_all(made)
    del reader
    gc.collect()
    assert gone() is None
    assert made.requests[request.id] is request


def test_an_id_that_is_taken_is_refused(made):
    add(made, request_id="mine")
    with pytest.raises(UserError, match="request_id: 'mine' is taken"):
        add(made, request_id="mine")
    assert len(made.scheduler.waiting) == 1


def test_a_full_queue_weighs_no_more_than_the_server_says(build, parts):
    from .engine.server.app import create_app

    made = build(Gate(parts[0]), max_waiting=50)

    async def ask():
        app = create_app(lambda: made, model_name="tale")
        route: Any = next(r for r in app.routes if getattr(r, "path", "") == "/v1/requests")
        async with app.router.lifespan_context(app):
            while app.state.service.engine is None:
                await asyncio.sleep(0.001)
            return await route.endpoint()

    stated = asyncio.run(asyncio.wait_for(ask(), LIMIT))
    assert (stated["max_waiting"], stated["waiting"]) == (50, 0)

    other = build(max_waiting=50)
    ids = [list(map(int, map(str, [399] * (made.max_seq_len - 1)))) for _ in range(50)]  # ints of their own
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for one in ids:
        other.add([int(str(t)) for t in one], params(1, stop=("The end.", "Once upon")))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < after - before <= stated["max_bytes"]


# The end


def test_close_ends_every_request_and_the_thread(gated):
    gated.start()
    readers = [add(gated)[1] for _ in range(4)]
    until(lambda: gated.model.passes == 1, "the first pass")
    gated.model.allow(1)
    gated.close()
    assert [r.wait().reasons for r in readers] == [["abort"]] * 4
    assert not gated.thread.is_alive()
    assert gated.scheduler.is_finished
    with pytest.raises(engine.QueueFull, match="shutting down"):
        add(gated)
    gated.close()  # again, without harm


def test_close_ends_requests_of_an_engine_without_a_thread(made):
    readers = [add(made)[1] for _ in range(3)]
    made.step()
    made.close()
    assert [r.reasons for r in readers] == [["abort"]] * 3


def test_a_request_added_while_the_engine_closes_is_refused_or_ended_never_forgotten(build):
    for _ in range(5):
        made = build()
        made.start()
        readers: list[Reader] = []
        go = threading.Barrier(5)

        def keep_adding(made=made, readers=readers, go=go):
            go.wait(LIMIT)
            try:
                while True:
                    readers.append(add(made, count=2)[1])
            except engine.QueueFull:
                return

        threads = [threading.Thread(target=keep_adding) for _ in range(4)]
        for thread in threads:
            thread.start()
        go.wait(LIMIT)
        made.close()
        for thread in threads:
            thread.join(LIMIT)
        assert not made.thread.is_alive()
        assert all(len(r.reasons) == 1 for r in readers)


def hang_ups(made, count, seed):
    """`count` streams in eight threads; each reader takes a random number of outputs and leaves."""
    going = threading.Semaphore(8)

    def one(number):
        rng = random.Random(seed + number)
        with going:
            outputs = made.stream(rng.choice(PROMPTS), params(rng.randint(1, 30)))
            for _ in range(rng.randint(0, 6)):
                if next(outputs, None) is None:
                    break
            outputs.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
    until(lambda: not made.aborting and made.scheduler.is_finished, "an engine that is idle again")


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_hang_ups_leave_no_request_no_thread_and_no_memory(build, alone, count):
    made = build(history=10)
    made.start()
    hang_ups(made, 20, seed=0)  # everything that is made once is made now
    gc.collect()
    threads = threading.active_count()
    kept = Counter(type(o).__name__ for o in gc.get_objects())
    hang_ups(made, count, seed=1000)
    gc.collect()
    assert threading.active_count() == threads
    assert len(made.requests) == len(made.ended) == 10
    assert all(r.done for r in made.requests.values())
    now = Counter(type(o).__name__ for o in gc.get_objects())
    for kind in ("Request", "TextStream", "SamplingParams", "Output", "generator", "SimpleQueue", "Tensor"):
        assert now[kind] <= kept[kind] + 5, kind
    assert made.generate([[7]], params(5))[0].tokens == alone([7], 5)


# Any order of events, against a model of the queue


class Queue(RuleBasedStateMachine):
    """What the engine must do, in ten lines: a list of waiting requests, a running one, tokens counted."""

    parts: Any
    alone: Any  # both set by the test

    def __init__(self):
        super().__init__()
        self.made = new(self.parts, max_waiting=3, history=100)
        self.all, self.waiting, self.running, self.aborted = [], [], None, []

    @rule(prompt=st.sampled_from(PROMPTS), count=st.integers(1, 6))
    def add(self, prompt, count):
        one = {"prompt": prompt, "count": count, "made": 0, "status": "waiting"}
        if len(self.waiting) == 3:
            with pytest.raises(engine.QueueFull):
                add(self.made, prompt, count)
            return
        one["request"], one["reader"] = add(self.made, prompt, count)
        self.all.append(one)
        self.waiting.append(one)

    @precondition(lambda self: self.all)
    @rule(which=st.integers(0, 1000))
    def abort(self, which):
        one = self.all[which % len(self.all)]
        self.made.abort(one["request"].id)
        self.aborted.append(one)

    @rule(times=st.integers(1, 4))
    def step(self, times):
        for _ in range(times):
            self.made.step()
            self.step_the_model()

    def step_the_model(self):
        for one in self.aborted:
            if one["status"] in ("waiting", "running"):
                one["status"] = "cancelled"
        self.aborted = []
        self.waiting = [one for one in self.waiting if one["status"] == "waiting"]
        if self.running and self.running["status"] != "running":
            self.running = None
        if self.running is None and self.waiting:
            self.running = self.waiting.pop(0)
            self.running["status"] = "running"
        if self.running:
            self.running["made"] += 1
            if self.running["made"] == self.running["count"]:
                self.running["status"], self.running = "finished", None

    @invariant()
    def agrees(self):
        assert [r.id for r in self.made.scheduler.waiting] == [one["request"].id for one in self.waiting]
        assert self.made.scheduler.running is (self.running["request"] if self.running else None)
        for one in self.all:
            assert one["request"].status == one["status"]
            assert one["reader"].tokens == type(self).alone(one["prompt"], one["made"])
            assert len(one["reader"].reasons) == (one["status"] not in ("waiting", "running"))

    def teardown(self):
        self.made.close()
        assert all(len(one["reader"].reasons) == 1 for one in self.all)
        assert all(one["reader"].outputs[-1].finish_reason for one in self.all)


def test_any_sequence_of_events_ends_every_request_exactly_once_with_its_own_tokens(parts, alone):
    class Bound(Queue):
        pass

    Bound.parts, Bound.alone = parts, staticmethod(alone)
    Bound.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
    Bound.TestCase("runTest").runTest()


# The demo and the benchmark


@pytest.fixture
def plain(monkeypatch, capsys):
    """plain(main, *argv): (exit code, what it prints without a terminal)"""
    monkeypatch.setenv("COLUMNS", "120")

    def call(main, *argv):
        code = run(main, argv)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def test_the_demo_serves_in_order_and_frees_the_engine_when_a_client_hangs_up(plain, random_gpt2):
    from .__main__ import main

    code, out = plain(main, "--model", str(random_gpt2), "--max-tokens", "60")
    assert code == 0, out
    ended = [line.split("  ")[-1] for line in out.splitlines() if re.match(r"\s+\d.* s  client", line)]
    order = [line for line in ended if line.endswith(("finished", "cancelled"))]
    assert order == ["client 1: finished", "client 2: cancelled", "client 3: finished", "client 4: finished"]
    assert "in this order: client 1, client 3, client 4" in out
    assert '"status": "cancelled"' in out
    assert "/queue" in out


@pytest.mark.wording
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--hang-up", "9"), "--hang-up 9: there are 4 clients"),
        (("--max-tokens", "200"), "this server's window is 128 tokens"),
        (("--clients", "0"), "between 1 and 50"),
    ],
)
def test_the_demo_refuses_nonsense_in_one_line(plain, random_gpt2, wrong, said):
    from .__main__ import main

    code, out = plain(main, "--model", str(random_gpt2), *wrong)
    assert (code, out.count("\n")) == (2, 1)
    assert said in out


def test_the_wait_of_given_arrivals_follows_lindley():
    from common.bench.arrivals import poisson_gaps

    from .lesson.arrivals import lindley, m_d_1

    assert lindley([0.0, 1.0, 1.5, 9.0], [2.0, 2.0, 2.0, 2.0]) == [0.0, 1.0, 2.5, 0.0]
    arrived = list(accumulate(poisson_gaps(200_000, 0)))
    waits = lindley(arrived, [0.8] * len(arrived))
    assert statistics.fmean(waits) / 0.8 == pytest.approx(m_d_1(0.8), rel=0.05)


def test_measured_waits_are_those_that_the_arrivals_predict(made):
    from .lesson.arrivals import drive, lindley

    made.start()
    trial = drive(made, [5, 6], params(10), [0.001] * 20)  # far more than it can do
    predicted = lindley(trial.arrived, trial.services)
    assert trial.waits[-1] > trial.waits[5] > 0
    assert sum(trial.waits) >= sum(predicted) * 0.99  # no request can start before the one before it is done
    assert trial.ahead == sorted(trial.ahead)


def test_the_benchmark_records_every_key_that_the_text_uses(plain, random_gpt2, tmp_path):
    from . import bench

    bench_flags = ("--model", str(random_gpt2), "--quick", "--results", str(tmp_path))
    code, out = plain(bench.main, *bench_flags)
    assert code == 0, out
    name = f"s06-{slug(random_gpt2.name)}"
    values = load_result(name, folder=tmp_path)["values"]
    for load in (*bench.LOADS, "even"):
        assert {f"{key}_{load}" for key in ("load", "service_ms", "wait_ms", "wait_x", "lindley_ms")} <= set(
            values
        )
    assert values["one_token_ms"]["value"] > 0
