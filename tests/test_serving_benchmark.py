"""Promises of `benchmarks.serving`: arrivals as asked, true arithmetic, every request accounted for, nothing wrong timed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.load import report
from benchmarks.load.check import Different, check
from benchmarks.load.driver import drive
from benchmarks.load.http import HttpTarget, data_events, retry_after
from benchmarks.load.inprocess import EngineTarget, load_engine
from benchmarks.load.lengths import Lengths, fixed, uniform
from benchmarks.load.metrics import summarise
from benchmarks.load.prompts import Planned, Prompts, make_plan
from benchmarks.load.record import Record, Status
from benchmarks.load.reference import Reference
from benchmarks.load.workloads import NAMED, SERVING, fit, named
from benchmarks.serving import main
from common.bench.arrivals import PATTERNS, Arrivals
from common.bench.measure import load_result, percentiles
from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import run
from common.tokenizer import Tokenizer
from stages.conftest import write_random

quick = settings(max_examples=30, deadline=None)
ROOT = Path(__file__).resolve().parents[1]
WORDS = ("red", "fox", "old", "king", "sea", "owl", "ten", "bee")


class Fake:
    """A server in OpenAI's protocol whose output is a function of the prompt. Its knobs are set by the tests."""

    def __init__(self) -> None:
        self.window: int | None = None
        self.delay = 0.0  # seconds before each token
        self.hold_until = 0  # requests that must have arrived before any is answered
        self.refuse = 0  # so many of the next requests get 429
        self.retry_after = "0"
        self.cut_at: int | None = None
        self.error_at: int | None = None
        self.stop_at: int | None = None
        self.silent_at: int | None = None
        self.busy_is_wrong = False
        self.last_is_empty = False  # an end token, say
        self.knows = {
            "model",
            "prompt",
            "max_tokens",
            "stream",
            "temperature",
            "stream_options",
            "ignore_eos",
        }
        self.bodies: list[dict] = []
        self.arrived: list[float] = []
        self.now = self.most = self.gone = 0
        routes = [
            Route("/v1/models", self.models),
            Route("/health", lambda request: JSONResponse({"device": "cpu", "dtype": "float32"})),
            Route("/v1/completions", self.completions, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def models(self, request: Request) -> Response:
        card = {"id": "fake", "object": "model"}
        return JSONResponse({"data": [card | ({"max_model_len": self.window} if self.window else {})]})

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        if body["max_tokens"] == 2**30:
            return self.error(400, "prompt: too long, this server's window is 640 tokens")
        self.arrived.append(time.perf_counter())
        self.bodies.append(body)
        if unknown := set(body) - self.knows:
            return self.error(400, f"{unknown.pop()}: unknown field")
        if self.refuse:
            self.refuse -= 1
            return self.error(429, "too many wait", {"Retry-After": self.retry_after})
        return StreamingResponse(self.events(body), media_type="text/event-stream")

    def error(self, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
        return JSONResponse({"error": {"message": text, "type": "x"}}, status, headers=headers)

    async def events(self, body: dict):
        self.now += 1
        self.most = max(self.most, self.now)
        count, begin = body["max_tokens"], sum(map(ord, str(body["prompt"])))
        try:
            async with asyncio.timeout(20):
                while len(self.arrived) < self.hold_until:
                    await asyncio.sleep(0.01)
            for i in range(count):
                await asyncio.sleep(self.delay)
                if i == self.cut_at:
                    raise ConnectionError("the server falls over")
                if i == self.error_at:
                    yield b'data: {"error": {"message": "out of luck"}}\n\n'
                    break
                if i == self.silent_at:
                    await asyncio.sleep(30)
                wrong = self.busy_is_wrong and self.now > 1 and i == 2
                text = "WRONG" if wrong else WORDS[(begin + i) % len(WORDS)]
                ends = i + 1 == count or i + 1 == self.stop_at
                text = "" if ends and self.last_is_empty else " " + text
                choice = {"index": 0, "text": text, "finish_reason": "length" if ends else None}
                yield b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
                if ends:
                    count = i + 1
                    break
            if body.get("stream_options"):
                usage = {"prompt_tokens": 1, "completion_tokens": count}
                yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        except (GeneratorExit, asyncio.CancelledError):
            self.gone += 1
            raise
        finally:
            self.now -= 1


class Served:
    """An app on loopback, in a thread of its own."""

    def __init__(self, app: Starlette):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    served = Served(made.app)
    made.url = served.url  # type: ignore[attr-defined]
    yield made
    served.stop()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_random(tmp_path_factory.mktemp("tiny"), "gpt2")


def asked(*lengths: int, due: float | None = 0.0, **changes) -> list[Planned]:
    return [Planned(i, due, [5 + i, 6, 7], 3, n, **changes) for i, n in enumerate(lengths)]


def send(url: str, plan: list[Planned], in_flight: int | None = None, **options) -> list[Record]:
    async def go() -> list[Record]:
        target = HttpTarget(url, "fake", **{"timeout": 20.0, **options})
        try:
            return (await drive(target, plan, in_flight)).records
        finally:
            await target.close()

    return asyncio.run(go())


def ends(records: list[Record]) -> list[str]:
    return [str(r.status) for r in records]


# When requests arrive.

open_loops = st.builds(
    Arrivals,
    pattern=st.sampled_from(sorted(PATTERNS)),
    rate=st.floats(0.01, 1000),
    start_rate=st.floats(0, 1000),
    burst=st.integers(1, 50),
)


@quick
@given(open_loops, st.integers(1, 200), st.integers(0, 99))
def test_arrivals_are_in_order_as_many_as_asked_and_the_same_for_the_same_seed(arrivals, count, seed):
    times = arrivals.times(count, seed)
    assert len(times) == count
    assert times[0] >= 0 and times == sorted(times)
    assert times == arrivals.times(count, seed)


def test_poisson_arrivals_have_the_asked_rate_and_exponential_gaps():
    times = Arrivals("poisson", 4.0).times(20_000, 7)
    gaps = [b - a for a, b in pairwise(times)]
    assert 20_000 / times[-1] == pytest.approx(4, rel=0.05)
    assert percentiles(gaps)["p50"] == pytest.approx(0.6931 / 4, rel=0.05)  # an exponential's median
    assert sum(g > 0.5 for g in gaps) / len(gaps) == pytest.approx(2.71828**-2, rel=0.1)
    assert times != Arrivals("poisson", 4.0).times(20_000, 8)


def test_uniform_burst_and_at_once_arrivals_are_where_they_should_be():
    assert Arrivals("uniform", 4).times(4, 0) == [0, 0.25, 0.5, 0.75]
    assert Arrivals("burst", 6, burst=3).times(7, 0) == [0, 0, 0, 0.5, 0.5, 0.5, 1]
    assert Arrivals("at_once").times(3, 0) == [0, 0, 0]
    assert Arrivals("closed", concurrency=8).times(3, 0) is None


@quick
@given(st.floats(0, 50), st.floats(0.5, 50))
def test_ramp_brings_the_number_that_its_rate_promises_at_every_moment(start, end):
    count = 400
    times, total = Arrivals("ramp", end, start).times(count, 0), 2 * count / (start + end)
    for i in (1, 57, 200, 399):
        t = times[i]
        assert start * t + (end - start) * t * t / (2 * total) == pytest.approx(i, rel=1e-6)


@pytest.mark.parametrize(
    "bad", [dict(pattern="poison"), dict(pattern="poisson"), dict(pattern="closed", concurrency=0)]
)
def test_arrivals_that_cannot_be_are_refused_by_name(bad):
    with pytest.raises(UserError) as e:
        Arrivals(**bad)
    assert any(name in str(e.value) for name in ("poisson", "rate", "concurrency"))


# How long they are, and what they hold.

lengths = st.one_of(
    st.integers(1, 5000).map(lambda n: f"{n}"),
    st.tuples(st.integers(1, 500), st.integers(500, 5000)).map(lambda p: f"uniform:{p[0]}:{p[1]}"),
    st.tuples(st.integers(1, 900), st.sampled_from([0, 0.5, 3]), st.integers(1, 5000)).map(
        lambda p: f"lognormal:{p[0]}:{p[1]}:{p[2]}"
    ),
)


@quick
@given(lengths, st.randoms(use_true_random=False))
def test_lengths_read_back_as_written_and_stay_within_their_bounds(text, rng):
    made = Lengths.parse(text)
    assert Lengths.parse(str(made)) == made
    assert all(made.low <= made.draw(rng) <= made.high for _ in range(20))


@pytest.mark.parametrize(
    "bad", ["", "0", "-3", "x", "uniform:5", "uniform:9:3", "lognormal:0:1:5", "normal:1:2", "1e999"]
)
def test_lengths_that_make_no_sense_are_answered_in_one_line(bad):
    with pytest.raises(UserError, match="lengths"):
        Lengths.parse(bad)


def test_named_workloads_are_the_ones_that_were_promised():
    table = {name: (NAMED[name].count, str(NAMED[name].arrivals)) for name in (*SERVING, "offline_256")}
    assert table == {
        "baseline": (10, "one after another"),
        "continuous_batching": (32, "Poisson, 4 requests/s"),
        "paged_attention": (48, "all at once"),
        "chunked_prefill": (48, "Poisson, 6 requests/s"),
        "prefix_caching": (48, "Poisson, 8 requests/s"),
        "offline_256": (256, "all at once"),
    }
    assert NAMED["chunked_prefill"].long_share == 0.75 and NAMED["prefix_caching"].shared_prefix == 1024
    offline = NAMED["offline_256"].shapes()
    assert NAMED["offline_256"].seed == 0
    assert all(100 <= n <= 1024 for s in offline for n in (s.prompt, s.output))
    assert [w.name for w in named("all")] == list(SERVING)


@quick
@given(st.sampled_from(sorted(NAMED)), st.integers(16, 5000), st.integers(0, 5))
def test_every_workload_fits_the_window_it_is_chosen_for(name, window, seed):
    workload = fit(NAMED[name], window)
    assert all(s.prompt + s.output <= window and s.output >= 1 for s in workload.shapes(seed))
    if window >= NAMED[name].longest:
        assert workload is NAMED[name]
    elif window >= 1024:
        assert workload.name == f"{name}-small"


def test_three_quarters_of_the_prompts_are_long_exactly():
    workload = NAMED["chunked_prefill"]
    assert sum(s.prompt >= 1024 for s in workload.shapes()) == 36
    order = [s.prompt >= 1024 for s in workload.shapes()]
    assert order != sorted(order) and order != sorted(order, reverse=True)


def test_prompts_share_the_prefix_and_nothing_else():
    plan = make_plan(NAMED["prefix_caching-small"], Prompts(range(3, 4000)), 42)
    assert len({tuple(p.prompt[:832]) for p in plan}) == 1
    assert len({tuple(p.prompt[832:840]) for p in plan}) == 48
    assert all(len(p.prompt) == p.prompt_tokens for p in plan)
    assert plan == make_plan(NAMED["prefix_caching-small"], Prompts(range(3, 4000)), 42)
    other = make_plan(NAMED["prefix_caching-small"], Prompts(range(3, 4000)), 43)
    assert other[0].prompt[:4] != plan[0].prompt[:4]


def test_text_prompts_have_the_token_count_that_the_server_will_see(tiny):
    tokenizer = Tokenizer.from_folder(tiny)
    small = replace(NAMED["baseline"], prompt=uniform(1, 90), shared_prefix=8)
    plan = make_plan(small, Prompts(range(1, 400), tokenizer), 1)
    assert all(isinstance(p.prompt, str) for p in plan)
    assert [len(tokenizer.encode(p.prompt)) for p in plan] == [p.prompt_tokens for p in plan]


# The arithmetic.


def timeline(index: int, sent: float, times: list[float], tokens: int, status=Status.OK, asked=5) -> Record:
    return Record(index, 10, asked, due=sent - 0.001, sent=sent, finished=times[-1] if times else sent, times=times,
                  num_tokens=tokens, status=status)  # fmt: skip


def test_metrics_of_a_hand_made_timeline():
    records = [
        timeline(0, 1.0, [1.5, 1.6, 1.8, 2.0, 2.5], 5),
        timeline(1, 2.0, [3.0, 4.0], 5),  # four tokens in the second piece
        timeline(2, 2.0, [6.0], 1),  # a single token has no TPOT
        timeline(3, 2.0, [2.25, 5.0], 2, Status.HUNG_UP),
        timeline(4, 2.0, [], 0, Status.REFUSED),
    ]
    s = summarise(records)
    assert s.samples["ttft"] == pytest.approx([0.5, 1.0, 4.0])
    assert s.samples["tpot"] == pytest.approx([1.0 / 4, 1.0 / 4])
    assert s.samples["itl"] == pytest.approx([0.1, 0.2, 0.2, 0.5, 1.0])
    assert s.samples["e2e"] == pytest.approx([1.5, 2.0, 4.0])
    assert s.seconds == pytest.approx(5.0)
    assert (s.output_tokens, s.prompt_tokens, s.short) == (13, 30, 1)
    assert s.rates == pytest.approx(
        {"requests_per_second": 3 / 5, "output_tokens_per_second": 13 / 5, "total_tokens_per_second": 43 / 5}
    )
    assert s.lag == pytest.approx(0.001)


@quick
@given(st.lists(st.sampled_from(list(Status)), max_size=30))
def test_every_request_is_counted_once(statuses):
    s = summarise([timeline(i, 1.0, [2.0], 1, status) for i, status in enumerate(statuses)])
    assert s.requests == len(statuses)


@quick
@given(st.integers(2001, 20_000), st.integers(0, 9))
def test_thinned_samples_keep_their_percentiles(count, seed):
    rng = random.Random(seed)
    samples = [rng.expovariate(1) for _ in range(count)]
    kept, remark = report.thinned(samples)
    assert len(kept) <= report.KEPT + 1 and f"{len(samples):,}" in remark
    ordered, last = sorted(samples), len(samples) - 1
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        reach = count // report.KEPT + 2
        around = ordered[max(0, int(share * last) - reach) : int(share * last) + reach + 1]
        assert around[0] <= percentiles(kept)[name] <= around[-1]


@quick
@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b and b"\r" not in b)), st.data())
def test_events_are_found_wherever_the_network_cuts_the_stream(payloads, data):
    stream = b"".join(b": a comment\n\ndata: " + p + b"\r\n\r\n" for p in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    buffer, found = bytearray(), list[bytes]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[start:end]
        found += data_events(buffer)
    assert found == [p.strip() for p in payloads]


def test_retry_after_may_be_seconds_a_date_or_nonsense():
    assert retry_after("2") == 2 and retry_after(None) == 1 and retry_after("soon") == 1
    assert (
        retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        and retry_after("1e9") == 60
        and retry_after("nan") == 1
    )


# Against a server.


def test_stream_is_timed_and_counted_by_what_the_server_says(fake):
    fake.delay = 0.02
    records = send(fake.url, asked(6, 3), in_flight=1)
    assert ends(records) == ["completed"] * 2
    assert [r.num_tokens for r in records] == [6, 3] and len(records[0].times) == 6
    assert records[0].ttft >= 0.02 and records[0].tpot >= 0.02 and len(records[0].gaps) == 5
    assert records[1].sent >= records[0].finished
    assert fake.bodies[0] == {
        "model": "fake", "prompt": [5, 6, 7], "max_tokens": 6, "stream": True, "temperature": 0.0,
        "stream_options": {"include_usage": True}, "ignore_eos": True,
    }  # fmt: skip


def test_last_token_without_text_counts_and_ends_the_last_gap(fake):
    fake.last_is_empty, fake.delay = True, 0.02
    records = send(fake.url, asked(3, 1), in_flight=1)
    assert ends(records) == ["completed"] * 2
    assert [(r.num_tokens, len(r.times)) for r in records] == [(3, 3), (1, 1)]
    assert records[0].times[-1] == records[0].finished


def test_fields_that_a_server_does_not_know_can_be_left_out(fake):
    fake.knows -= {"ignore_eos", "stream_options"}
    assert ends(send(fake.url, asked(3))) == ["failed"]
    (record,) = send(fake.url, asked(3), ignore_eos=False, usage=False)
    assert record.status is Status.OK and record.num_tokens == 3


def test_refused_requests_are_counted_and_sent_again_only_if_wanted(fake):
    fake.refuse = 2
    records = send(fake.url, asked(2, 2, 2), in_flight=1)
    assert ends(records) == ["refused", "refused", "completed"]
    assert "too many wait" in records[0].detail
    fake.refuse, fake.retry_after = 2, "0.1"
    (record,) = send(fake.url, asked(2), retries=3)
    assert record.status is Status.OK and record.retries == 2
    assert record.ttft >= 0.2  # the waits belong to what the client saw


def test_errors_and_broken_streams_are_told_apart(fake):
    fake.error_at = 2
    (record,) = send(fake.url, asked(5))
    assert (record.status, record.num_tokens) == (Status.FAILED, 2) and "out of luck" in record.detail
    fake.error_at, fake.cut_at = None, 2
    (record,) = send(fake.url, asked(5))
    assert (record.status, record.num_tokens) == (Status.LOST, 2)
    fake.cut_at, fake.silent_at = None, 2
    (record,) = send(fake.url, asked(5), timeout=0.3)
    assert record.status is Status.LOST and "time limit" in record.detail
    (record,) = send("http://127.0.0.1:9", asked(5))
    assert record.status is Status.FAILED and "cannot connect" in record.detail


def test_outputs_shorter_than_asked_are_noticed(fake):
    fake.stop_at = 2
    summary = summarise(records := send(fake.url, asked(5, 5)))
    assert summary.short == 2
    assert any("shorter than asked" in line for line in report.problems(summary, records, ignore_eos=True))


def test_hanging_up_frees_the_server(fake):
    fake.delay = 0.01
    records = send(fake.url, asked(500, 500, hang_up_after=3))
    assert ends(records) == ["hung up"] * 2 and all(r.num_tokens == 3 for r in records)
    deadline = time.monotonic() + 10
    while fake.now and time.monotonic() < deadline:
        time.sleep(0.02)
    assert fake.now == 0 and fake.gone == 2


def test_slow_answers_delay_no_arrival(fake):
    fake.hold_until = 20  # no answer begins before all requests have come
    plan = [replace(p, due=0.02 * i) for i, p in enumerate(asked(*[1] * 20))]
    records = send(fake.url, plan)
    assert ends(records) == ["completed"] * 20
    assert all(r.sent >= r.due for r in records)
    assert [r.index for r in sorted(records, key=lambda r: r.sent)] == list(range(20))


def test_closed_loop_keeps_exactly_so_many_in_flight(fake):
    fake.delay = 0.01
    records = send(fake.url, asked(*[3] * 12, due=None), in_flight=4)
    assert ends(records) == ["completed"] * 12
    assert fake.most == 4


def test_cancelled_run_keeps_what_it_has(fake):
    fake.delay = 0.05

    async def go() -> list[Record]:
        target = HttpTarget(fake.url, "fake")
        task = asyncio.create_task(drive(target, asked(2, 400)))
        await asyncio.sleep(1.0)
        task.cancel()
        run = await task
        await target.close()
        assert run.interrupted
        return run.records

    records = asyncio.run(go())
    assert ends(records) == ["completed", "interrupted"] and 0 < records[1].num_tokens < 400


# Correct before fast.


def test_output_that_others_disturb_is_found_and_not_recorded(fake, tmp_path, capsys):
    fake.busy_is_wrong, fake.delay = True, 0.01
    flags = [
        "--url",
        fake.url,
        "--workload",
        "paged_attention",
        "--requests",
        "4",
        "--output-len",
        "6",
        "--check",
    ]
    assert run(main, [*flags, "--results", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "differs from its solo run at character" in error and "WRONG" in error and "--checkpoint" in error
    assert not list(tmp_path.iterdir())
    fake.busy_is_wrong = False
    assert run(main, [*flags, "--results", str(tmp_path)]) == 0
    result = load_result("serving_fake_paged_attention-640-custom", folder=tmp_path)
    assert result["checked"] == "4 of 4 outputs compared with solo runs: 24 tokens equal"


class Script:
    """A target whose outputs are given: those of a busy server first, then those of solo runs."""

    def __init__(self, outputs: list[list[int]]):
        self.outputs, self.prompts = outputs, list[list[int]]()

    async def send(self, request: Planned, record: Record) -> None:
        self.prompts.append(list(request.prompt))
        record.tokens = self.outputs.pop(0)
        record.num_tokens = len(record.tokens)
        record.end(Status.OK)

    def settle(self, record: Record) -> None: ...


def judged(busy: list[int], alone: list[int], scores: dict[int, float], behind: list[int] = []):  # noqa: B006
    """The verdict on `busy`, when the reference's scores at the difference are `scores`."""

    class Scores:
        rule = {"tolerance": 1e-4, "one_in": 1}  # noqa: RUF012

        def scores(self, tokens):
            made = torch.full((100,), -9.0)
            for token, score in scores.items():
                made[token] = score
            return made

    plan = asked(len(alone))
    target = Script([alone, behind])
    ours = Record.of(plan[0])
    ours.tokens, ours.num_tokens = busy, len(busy)
    ours.end(Status.OK)
    return asyncio.run(check(target, plan, [ours], Scores)), target  # type: ignore[arg-type]


def test_near_tie_is_forgiven_and_what_follows_it_is_checked_too():
    words, target = judged([1, 2, 3, 4], [1, 7, 8, 9], {2: 5.0, 7: 5.00005}, behind=[8, 9])
    assert "1 of them near ties" in words
    assert target.prompts[-1] == [5, 6, 7, 1, 7]  # went on behind the reference's token
    with pytest.raises(Different):
        judged([1, 2, 3, 4], [1, 7, 8, 9], {2: 5.0, 7: 5.00005}, behind=[8, 3])


def test_token_that_is_no_near_tie_is_an_error():
    with pytest.raises(Different, match="request 0"):
        judged([1, 2], [1, 7], {2: 4.0, 7: 5.0})


def test_text_leads_back_to_its_tokens_and_a_false_text_does_not(tiny):
    model, tokenizer, _ = load_model(tiny)
    reference, prompt, tokens = Reference(model, tokenizer), [40, 50, 60], list[int]()
    for _ in range(8):
        tokens.append(int(reference.scores([*prompt, *tokens]).argmax()))
    text = tokenizer.decode(tokens)
    followed = reference.follow(prompt, text, 8)
    assert tokenizer.decode(followed) == text
    with pytest.raises(AssertionError, match="token 0"):
        reference.follow(prompt, "no such text", 8)


# Engines and stages.


@pytest.mark.parametrize("stage", ["04", "06"])
def test_engine_is_driven_without_http_and_gives_what_it_gives_alone(stage, tiny):
    package, engine = load_engine(stage, str(tiny), ["--max-seq-len", "64", "--device", "cpu"])
    workload = replace(NAMED["paged_attention"], count=5, prompt=fixed(6), output=uniform(1, 12))

    async def go() -> tuple[list[Record], str]:
        target = EngineTarget(package, engine, "tiny", ignore_eos=True)
        info = await target.describe()
        assert (info.window, info.vocab, info.device) == (64, 400, "cpu")
        plan = make_plan(workload, Prompts(range(3, 400)), 1)
        plan[4] = replace(plan[4], max_tokens=40, hang_up_after=2)
        records = (await drive(target, plan)).records
        words = await check(target, plan, records, lambda: Reference(engine.model, engine.tokenizer))
        await target.close()
        return records, words

    records, words = asyncio.run(go())
    assert ends(records) == ["completed"] * 4 + ["hung up"]
    assert [len(r.tokens) for r in records[:4]] == [r.asked for r in records[:4]]
    assert "4 of 5 outputs" in words


def test_full_queue_is_refused_in_process_too(tiny):
    package, engine = load_engine("06", str(tiny), ["--max-waiting", "1", "--device", "cpu"])

    async def go() -> list[Record]:
        target = EngineTarget(package, engine, "tiny", ignore_eos=True)
        records = (await drive(target, asked(*[60] * 12))).records
        await target.close()
        return records

    records = asyncio.run(go())
    assert set(ends(records)) == {"completed", "refused"}
    assert "try again later" in next(r for r in records if r.status is Status.REFUSED).detail


def test_stage_server_is_started_measured_checked_and_stopped(tiny, tmp_path, capsys):
    flags = [
        "--stage",
        "06",
        "--model",
        str(tiny),
        "--device",
        "cpu",
        "--requests",
        "4",
        "--arrivals",
        "at_once",
    ]
    lengths = ["--prompt-len", "uniform:3:20", "--output-len", "12", "--prompts", "text", "--check"]
    assert run(main, [*flags, *lengths, "--results", str(tmp_path), "--", "--max-seq-len", "100"]) == 0
    result = load_result("s06_serving_baseline-custom", folder=tmp_path)
    values = result["values"]
    assert result["stage"] == 6 and result["code_hash"]
    assert "48 tokens equal" in result["checked"]
    assert values["completed"]["value"] == 4 and values["output_tokens"]["value"] == 48
    assert len(values["ttft"]["samples"]) == 4 and values["ttft"]["unit"] == "ms"
    assert values["ttft"]["p50"] <= values["e2e"]["p50"]
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == [f"s06_serving_baseline-custom_{kind}.png" for kind in ("distribution", "over_time")]
    out = capsys.readouterr().out
    assert "TTFT ms" in out and "4 completed" in out
    url = result["workload"]
    assert url["over"] == "HTTP" and url["dtype"] == "float32"


def test_server_that_does_not_start_is_quoted(tiny, capsys):
    assert run(main, ["--stage", "06", "--model", str(tiny), "--", "--max-seq-len", "9999"]) == 2
    error = capsys.readouterr().err
    assert "did not start" in error and "window is 128" in error and error.count("\n") == 1


# The command line.


def test_small_variant_is_chosen_by_itself_and_said_so(fake, capsys):
    fake.window = 1024
    flags = [
        "--url",
        fake.url,
        "--workload",
        "prefix_caching",
        "--rate",
        "500",
        "--output-len",
        "2",
        "--no-save",
    ]
    assert run(main, flags) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "this is prefix_caching-small-custom" in out
    assert all(len(b["prompt"]) + b["max_tokens"] <= 1024 for b in fake.bodies)


def test_length_that_was_asked_for_is_kept_or_refused_but_never_scaled(fake, capsys):
    flags = [
        "--url",
        fake.url,
        "--window",
        "200",
        "--requests",
        "2",
        "--warmup",
        "0",
        "--no-save",
        "--output-len",
    ]
    assert run(main, [*flags, "72"]) == 0  # the prompt's 128 fit beside it
    assert run(main, [*flags, "100"]) == 0  # they do not: the prompt shrinks
    assert [b["max_tokens"] for b in fake.bodies] == [72, 72, 100, 100]
    assert len(fake.bodies[0]["prompt"]) == 128 and len(fake.bodies[2]["prompt"]) == 100
    assert run(main, [*flags, "199"]) == 2
    error = capsys.readouterr().err
    assert "window has 200" in error and error.count("\n") == 1


def test_window_is_found_in_the_refusal_of_a_server_that_does_not_list_it(fake):
    async def go():
        target = HttpTarget(fake.url)
        try:
            return await target.describe()
        finally:
            await target.close()

    info = asyncio.run(go())
    assert (info.model, info.window, info.vocab, info.device) == ("fake", 640, None, "cpu")


def test_warmup_is_not_counted_and_shares_no_prompt(fake, capsys):
    flags = ["--url", fake.url, "--requests", "3", "--warmup", "2", "--output-len", "4", "--no-save"]
    assert run(main, flags) == 0
    assert "of 3 requests: 3 completed" in capsys.readouterr().out
    assert len(fake.bodies) == 5
    assert len({tuple(b["prompt"][:8]) for b in fake.bodies}) == 5


def test_field_that_the_server_refuses_is_named_with_the_way_out(fake, capsys):
    fake.knows -= {"ignore_eos"}
    assert run(main, ["--url", fake.url, "--requests", "3", "--no-save"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "ignore_eos: unknown field" in error and "--no-ignore-eos" in error


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], "--url"),
        (["--stage", "06", "--url", "x"], "--url"),
        (["--url", "http://127.0.0.1:9"], "no server answers"),
        (["--url", "nonsense"], "no server answers"),
        (["--stage", "77"], "stages with one: 04"),
        (["--stage", "six"], "must be a number"),
        (["--stage", "01", "--in-process"], "has no Engine"),
        (["--stage", "06", "--model", "no/such/folder/x"], "no such folder"),
        (["--stage", "06", "--model", "gpt2-xl"], "--in-process"),
        (["--stage", "06", "--workload", "bassline"], "did you mean 'baseline'"),
        (["--stage", "06", "--prompt-len", "uniform:1"], "lognormal:MEDIAN"),
        (["--stage", "06", "--arrivals", "poisson"], "requests/s"),
        (["--stage", "06", "--check", "--temperature", "1"], "greedy"),
        (["--url", "http://127.0.0.1:9", "--in-process"], "need --stage"),
        (["--stage", "06", "--in-process", "--", "--max-seq", "9"], "--max-seq-len"),
    ],
)
def test_mistakes_are_answered_in_one_line(flags, named, capsys):
    assert run(main, flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and named in error


def test_list_shows_every_workload_without_a_server(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(main, ["--list"]) == 0
    out = capsys.readouterr().out.replace("\n", "")
    assert all(name in out for name in SERVING)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child")
def test_ctrl_c_ends_cleanly_and_reports_what_there_is(fake, tmp_path):
    fake.delay = 0.05
    flags = [
        "--url",
        fake.url,
        "--output-len",
        "20",
        "--requests",
        "500",
        "--warmup",
        "0",
        "--results",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 300  # a busy machine imports torch slowly
    while len(fake.bodies) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(fake.bodies) >= 3
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "TTFT ms" in out and "interrupted" in out and "Traceback" not in error
    assert not list(tmp_path.iterdir())
