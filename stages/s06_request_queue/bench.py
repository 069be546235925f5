"""Stage 06's benchmark: what waiting costs under random arrivals, what waking the thread costs, what the queue costs a token.

The tokens of the previous stage's engine and of this one, with and without its thread, are compared before the clock runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.bench.measure import Result, percentiles
from common.errors import UserError
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    add_seed,
    number,
    run,
    stage_parser,
)
from common.terminal.console import facts, heading, note, progress, table
from common.tutorial import load_stage

from . import engine
from .lesson.arrivals import Trial, drive, lindley, m_d_1, poisson_gaps
from .lesson.sides import WAYS, Sides, hand_over, in_turns

PROMPT = (
    "Once upon a time there lived a poor miller who had three sons and nothing to leave them but his mill."
)
PROMPT_TOKENS = 16
NEW_TOKENS = 16  # of a request in the queue: short, so that many can be measured
TEXT_TOKENS = 128  # of the text that is timed by each way
LOADS = {20: 60, 50: 150, 70: 250, 80: 350, 90: 500}  # percent of the time that the engine is busy: requests
EVEN = 80  # percent at which evenly spaced arrivals are tried too
COMMAND = "python -m stages.s06_request_queue.bench"


@dataclass(slots=True)
class Work:
    """What was measured."""

    sides: Sides
    prompt: list[int]
    text_tokens: int
    trials: dict[str, Trial] = field(default_factory=dict)  # by "20", "50", ..., "even"
    text: dict[str, list[float]] = field(default_factory=dict)  # seconds of a text
    one: dict[str, list[float]] = field(default_factory=dict)  # seconds of a one-token request
    handed: list[float] = field(default_factory=list)  # seconds from one thread to another


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        COMMAND,
        "Queue wait against service time under Poisson arrivals; what the thread and the queue add to a token.",
        ["", "--quick", "--seed 1", "--figure"],
    )
    add_model_flags(parser)
    add_bench_flags(parser, repeats=15)
    add_seed(parser, 42)
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch finds best)")
    parser.add_argument(
        "--quick", action="store_true", help="short and not recorded, unless --results is given"
    )
    parser.add_argument("--figure", action="store_true", help="only draw the recorded result again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    name = result_name(args.model)
    if args.figure:
        return draw(name)
    if args.threads:
        torch.set_num_threads(args.threads)
    ours = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype))
    sides = Sides.build(load_stage(5).engine, engine, ours, args.device, args.dtype)
    try:
        work = measure(sides, ours.tokenizer.encode(PROMPT)[:PROMPT_TOKENS], args)
    finally:
        sides.close()
    result = record(work, name, args)
    show_result(result)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
        if args.results is None and ours.device.type == "cpu":
            return draw(name)
    return 0


def result_name(model: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", Path(model).name.lower()).strip("-")
    return "s06" if model == DEFAULT_MODEL else f"s06-{slug}"


def draw(name: str) -> int:
    from .lesson.figure import draw as drawn  # needs matplotlib, which a GPU box may lack

    note(f"drawn in {drawn(name)}")
    return 0


def measure(sides: Sides, prompt: list[int], args: argparse.Namespace) -> Work:
    """Checks, then times. Raises UserError for a window too small, AssertionError for tokens that differ."""
    room = sides.engines["thread"].max_seq_len - len(prompt)
    if room < NEW_TOKENS:
        raise UserError(f"model {args.model!r} has room for {room} new tokens, {NEW_TOKENS} are needed")
    work = Work(sides, prompt, min(TEXT_TOKENS // 4 if args.quick else TEXT_TOKENS, room))
    heading("The same tokens by three ways")
    expected, _ = sides.run("before", prompt, work.text_tokens)

    def text(way: str) -> float:
        tokens, seconds = sides.run(way, prompt, work.text_tokens)
        if tokens != expected:
            raise AssertionError(f"{way}: not the tokens of the previous stage's engine")
        return seconds

    for way in WAYS:
        text(way)
    note(f"{len(expected)} tokens are the same by all of them.")
    work.text = in_turns(WAYS, 3 if args.quick else args.repeats, text)
    work.one = in_turns(("hand", "thread"), 20 if args.quick else 200, lambda way: one_token(work, way))
    work.handed = hand_over(20 if args.quick else 200)
    measure_loads(work, args)
    return work


def one_token(work: Work, way: str) -> float:
    time.sleep(0.005)  # the thread has gone to sleep
    return work.sides.one_token(way, work.prompt)


def measure_loads(work: Work, args: argparse.Namespace) -> None:
    """Requests at random moments, more and more of them; then as many at even distances."""
    heading("Requests that come at random")
    made, share = work.sides.engines["thread"], 10 if args.quick else 1
    params = engine.SamplingParams(NEW_TOKENS, ignore_eos=True)
    plan = [(str(load), load, poisson_gaps(count // share, args.seed)) for load, count in LOADS.items()]
    plan.append(("even", EVEN, [1.0] * (150 // share)))
    with progress("loads", sum(len(gaps) / load for _, load, gaps in plan)) as advance:
        for name, load, gaps in plan:
            # Back to back, and each time anew: on a machine that warms up or is shared, a service time does not stay.
            service = drive(made, work.prompt, params, [0.0] * (3 if args.quick else 10)).service
            stretched = [gap * service * 100 / load for gap in gaps]
            work.trials[name] = drive(made, work.prompt, params, stretched)
            advance(len(gaps) / load)
    service = work.trials["20"].service
    note(f"A request of {NEW_TOKENS} tokens takes {1000 * service:.1f} ms once it runs.")


def record(work: Work, name: str, args: argparse.Namespace) -> Result:
    e = work.sides.engines["thread"]
    workload: dict[str, Any] = {
        "model": args.model, "dtype": str(e.dtype).removeprefix("torch."), "prompt_tokens": len(work.prompt),
        "new_tokens": NEW_TOKENS, "text_tokens": work.text_tokens, "loads_percent": list(LOADS),
        "requests": [len(work.trials[str(load)].waits) for load in LOADS], "threads": torch.get_num_threads(),
    }  # fmt: skip
    checked = f"{work.text_tokens} tokens by the previous stage's engine, by hand and by the thread are the same, in every run"
    command = COMMAND if args.model == DEFAULT_MODEL else f"{COMMAND} --model {args.model}"
    result = Result(name, 6, command, workload, args.seed, checked, device=str(e.device))
    record_text(work, result)
    record_one_token(work, result)
    for label, trial in work.trials.items():
        record_load(label, trial, result)
    return result


def record_text(work: Work, result: Result) -> None:
    """Time of a token by each way, and what a way adds to the previous stage's: differences within a round."""
    per_token = {way: [1e3 * s / work.text_tokens for s in work.text[way]] for way in WAYS}
    for way, samples in per_token.items():
        result.add(f"{way}_ms_per_token", unit="ms", samples=samples)
        if way != "before":
            pairs = list(zip(samples, per_token["before"], strict=True))
            result.add(f"{way}_adds_us_per_token", unit="us", samples=[1e3 * (a - b) for a, b in pairs])
            result.add(f"{way}_adds_percent", unit="%", samples=[100 * (a - b) / b for a, b in pairs])


def record_one_token(work: Work, result: Result) -> None:
    """A request of one token: a step by hand, and through the sleeping thread."""
    hand, thread = ([1e3 * s for s in work.one[way]] for way in ("hand", "thread"))
    result.add("one_step_ms", unit="ms", samples=hand)
    result.add("one_token_ms", unit="ms", samples=thread)
    added = [t - h for t, h in zip(thread, hand, strict=True)]
    result.add("waking_adds_ms", unit="ms", samples=added, note="by the thread less by hand, within a round")
    result.add(
        "hand_over_us", unit="us", samples=[1e6 * s for s in work.handed], note="an Event, and nothing else"
    )


def record_load(label: str, trial: Trial, result: Result) -> None:
    """Waits and services, and beside them what theory says of this load and of these very arrivals."""
    predicted = percentiles(lindley(trial.arrived, trial.services))["mean"]
    result.add(f"load_{label}", 100 * trial.load, "%", note="arrivals per second x mean service time")
    result.add(f"service_ms_{label}", 1e3 * trial.service, "ms", samples=[1e3 * s for s in trial.services])
    result.add(f"wait_ms_{label}", 1e3 * trial.wait, "ms", samples=[1e3 * s for s in trial.waits])
    result.add(f"wait_x_{label}", trial.wait / trial.service, "x", note="mean wait over mean service time")
    result.add(f"lindley_ms_{label}", 1e3 * predicted, "ms", note="from these arrivals and service times")
    result.add(
        f"ahead_{label}", sum(trial.ahead) / len(trial.ahead), "requests", note="waiting, as arrivals saw it"
    )
    result.add(f"little_{label}", trial.rate * trial.wait, "requests", note="rate x mean wait")
    if label != "even" and trial.load < 1:
        result.add(f"m_d_1_x_{label}", m_d_1(trial.load), "x", note="the mean of an endless run")


def show_result(result: Result) -> None:
    value = {key: entry["value"] for key, entry in result.values.items()}
    rows = [
        [label, f"{value[f'load_{label}']:.0f} %", f"{value[f'service_ms_{label}']:.1f} ms",
         f"{value[f'wait_ms_{label}']:.1f} ms", f"{result.values[f'wait_ms_{label}']['p95']:.1f} ms",
         f"{value[f'lindley_ms_{label}']:.1f} ms", f"{value[f'wait_x_{label}']:.2f}",
         f"{value[f'm_d_1_x_{label}']:.2f}" if f"m_d_1_x_{label}" in value else "-"]
        for label in (*map(str, LOADS), "even")
    ]  # fmt: skip
    names = ["meant", "load", "service", "mean wait", "P95", "Lindley", "wait / service", "M/D/1"]
    table(None, names, rows)
    woken = result.values["waking_adds_ms"]
    facts({
        "one token": f"{value['one_step_ms']:.2f} ms stepped by hand, {value['one_token_ms']:.2f} ms through the thread",
        "waking the thread adds": f"{woken['p50']:.2f} ms (P95 {woken['p95']:.2f} ms); an Event alone takes "
        f"{value['hand_over_us']:.0f} us",
        "a token of a text": f"{value['before_ms_per_token']:.3f} ms in stage 05; by hand {value['hand_adds_us_per_token']:+.0f} us, "
        f"with the thread {value['thread_adds_us_per_token']:+.0f} us ({value['thread_adds_percent']:+.1f} %)",
        "Little's law at 80 %": f"{value['little_80']:.2f} wait on average; arrivals found {value['ahead_80']:.2f}",
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
