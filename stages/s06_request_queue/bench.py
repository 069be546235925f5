"""Stage 06's benchmark: waits under random arrivals, the price of waking the thread, the price of the queue per token.

The tokens of the previous stage's engine and of this one, with and without its thread, are compared before the clock runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from common.bench.arrivals import poisson_gaps
from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result, in_turns, percentiles
from common.errors import UserError
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note, progress
from common.tutorial import load_stage

from . import engine
from .lesson.arrivals import Trial, drive, lindley, m_d_1
from .lesson.sides import WAYS, Sides, hand_over

PROMPT = (
    "Once upon a time there lived a poor miller who had three sons and nothing to leave them but his mill."
)
PROMPT_TOKENS = 16
NEW_TOKENS = 16  # of a request in the queue: short, so that many can be measured
TEXT_TOKENS = 128  # of the text that is timed by each way
LOADS = {20: 60, 50: 150, 70: 250, 80: 350, 90: 500}  # percent of the time that the engine is busy: requests
EVEN = 80  # percent at which evenly spaced arrivals are tried too

BENCH = Bench(
    __package__,
    "Queue wait against service time under Poisson arrivals; what the thread and the queue add to a token.",
    repeats=15,
    quick_repeats=3,
    seed=42,
)


def measure(run: Run) -> None:
    args = run.args
    ours = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype))
    sides = Sides.build(load_stage(5).engine, engine, ours, args.device, args.dtype)
    try:
        prompt = ours.tokenizer.encode(PROMPT)[:PROMPT_TOKENS]
        room = sides.engines["thread"].max_seq_len - len(prompt)
        if room < NEW_TOKENS:
            raise UserError(f"model {args.model!r} has room for {room} new tokens, {NEW_TOKENS} are needed")
        count = min(TEXT_TOKENS // 4 if run.quick else TEXT_TOKENS, room)
        share = 10 if run.quick else 1
        requests = [n // share for n in LOADS.values()]
        checked = f"{count} tokens by the previous stage's engine, by hand and by the thread are the same, in every run"
        result = run.result(checked, ours.device, ours.dtype, prompt_tokens=len(prompt), new_tokens=NEW_TOKENS,
                            text_tokens=count, loads_percent=list(LOADS), requests=requests)  # fmt: skip
        heading("The same tokens in three ways")
        measure_text(result, sides, prompt, count, run.repeats)
        measure_one_token(result, sides, prompt, 20 if run.quick else 200)
        heading("Requests that arrive at random")
        measure_loads(result, sides.engines["thread"], prompt, args.seed, share)
    finally:
        sides.close()
    show(result)
    run.save(result)


def measure_text(result: Result, sides: Sides, prompt: list[int], count: int, repeats: int) -> None:
    """Time per token in each way, and what it adds to the previous stage's: differences within a round."""
    expected, _ = sides.run("before", prompt, count)

    def seconds_per_token(way: str) -> float:
        tokens, seconds = sides.run(way, prompt, count)
        assert tokens == expected, f"{way}: not the tokens of the previous stage's engine"
        return seconds / count

    found = in_turns(WAYS, repeats, seconds_per_token)
    note(f"{count} tokens are the same in all three.")
    for way, seconds in found.items():
        result.add_times(f"{way}_ms_per_token", seconds, "ms")
        if way != "before":
            pairs = list(zip(seconds, found["before"], strict=True))
            result.add_times(f"{way}_adds_us_per_token", [a - b for a, b in pairs], "us")
            result.add(f"{way}_adds_percent", unit="%", samples=[100 * (a - b) / b for a, b in pairs])


def measure_one_token(result: Result, sides: Sides, prompt: list[int], times: int) -> None:
    """A request of one token: a step by hand, and through the sleeping thread."""

    def one_token(way: str) -> float:
        time.sleep(0.005)  # the thread has gone to sleep
        return sides.one_token(way, prompt)

    found = in_turns(("hand", "thread"), times, one_token)
    result.add_times("one_step_ms", found["hand"], "ms")
    result.add_times("one_token_ms", found["thread"], "ms")
    added = [t - h for t, h in zip(found["thread"], found["hand"], strict=True)]
    result.add_times("waking_adds_ms", added, "ms", note="by the thread less by hand, within a round")
    result.add_times("hand_over_us", hand_over(times), "us", note="an Event, and nothing else")


def measure_loads(result: Result, made: engine.Engine, prompt: list[int], seed: int, share: int) -> None:
    """Requests at random moments, at growing rates; then evenly spaced ones. share: one in so many is sent."""
    params = engine.SamplingParams(NEW_TOKENS, ignore_eos=True)
    plan = [(str(load), load, scaled(poisson_gaps(count // share, seed))) for load, count in LOADS.items()]
    plan.append(("even", EVEN, [1.0] * (150 // share)))
    with progress("loads", sum(len(gaps) / load for _, load, gaps in plan)) as advance:
        for label, load, gaps in plan:
            # Back to back, and again for each load: on a machine that warms up or is shared, a service time does not stay.
            service = drive(made, prompt, params, [0.0] * max(3, 10 // share)).service
            stretched = [gap * service * 100 / load for gap in gaps]
            record_load(result, label, drive(made, prompt, params, stretched))
            advance(len(gaps) / load)
    note(f"A request of {NEW_TOKENS} tokens takes {result['service_ms_20']:.1f} ms once it runs.")


def scaled(gaps: list[float]) -> list[float]:
    """Random gaps with a mean of exactly 1: what a short run measures is then close to the load that was meant."""
    return [gap * len(gaps) / sum(gaps) for gap in gaps]


def record_load(result: Result, label: str, trial: Trial) -> None:
    """Waits and service times, and what theory says about this load and about these very arrivals."""
    predicted = percentiles(lindley(trial.arrived, trial.services))["mean"]
    result.add(f"load_{label}", 100 * trial.load, "%", note="arrivals per second x mean service time")
    result.add_times(f"service_ms_{label}", trial.services, "ms", value=trial.service)
    result.add_times(f"wait_ms_{label}", trial.waits, "ms", value=trial.wait)
    result.add(f"wait_x_{label}", trial.wait / trial.service, "x", note="mean wait over mean service time")
    result.add(f"lindley_ms_{label}", 1e3 * predicted, "ms", note="from these arrivals and service times")
    ahead = sum(trial.ahead) / len(trial.ahead)
    result.add(f"ahead_{label}", ahead, "requests", note="waiting ahead of a request when it arrived")
    result.add(f"little_{label}", trial.rate * trial.wait, "requests", note="rate x mean wait")
    if label != "even" and trial.load < 1:
        result.add(f"m_d_1_x_{label}", m_d_1(trial.load), "x", note="the mean of an endless run")


def show(result: Result) -> None:
    columns = {
        "load": ("load_{}", "{:.0f} %"), "service": ("service_ms_{}", "{:.1f} ms"), "mean wait": ("wait_ms_{}", "{:.1f} ms"),
        "P95": ("wait_ms_{}.p95", "{:.1f} ms"), "Lindley": ("lindley_ms_{}", "{:.1f} ms"),
        "wait / service": ("wait_x_{}", "{:.2f}"), "M/D/1": ("m_d_1_x_{}", "{:.2f}"),
    }  # fmt: skip
    show_table(result, "meant", [*LOADS, "even"], columns)
    facts({
        "one token": f"{result['one_step_ms']:.2f} ms stepped by hand, {result['one_token_ms']:.2f} ms through the thread",
        "waking the thread adds": f"{result['waking_adds_ms.p50']:.2f} ms (P95 {result['waking_adds_ms.p95']:.2f} ms); "
        f"an Event alone takes {result['hand_over_us']:.0f} us",
        "a token of a text": f"{result['before_ms_per_token']:.3f} ms in stage 05; by hand {result['hand_adds_us_per_token']:+.0f} us, "
        f"with the thread {result['thread_adds_us_per_token']:+.0f} us ({result['thread_adds_percent']:+.1f} %)",
        "Little's law at 80 %": f"{result['little_80']:.2f} wait on average; arrivals found {result['ahead_80']:.2f}",
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
