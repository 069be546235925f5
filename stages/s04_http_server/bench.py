"""Stage 04's benchmark: what HTTP adds to a token, when the first one arrives, and whether the server keeps answering.

Bare loop, facade, streamed and whole answers are checked to be the same text before the clock runs and in every run.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import httpx
import torch

from common.bench.harness import Bench, Run, show_table
from common.bench.measure import Result
from common.errors import UserError
from common.terminal.command_line import run as run_main
from common.terminal.console import facts, heading, note
from common.tutorial import load_stage

from . import engine
from .lesson import envelope, load
from .lesson.process import LiveServer, server_flags
from .lesson.sides import LABELS, NAMES, Sides, Trial, check

PROMPT = (
    "Once upon a time there lived a poor miller who had three sons and nothing to leave them but his mill."
)
PROMPT_TOKENS = 16
POINTS = (1, 32, 64, 128, 192, 256)  # tokens at which the figure looks; the last is the text's length
QUICK = (1, 16, 32)
BUSY = 1000  # tokens of the generation during which /health is asked
CLIENTS = 4
CLIENT_TOKENS = 64

BENCH = Bench(
    __package__,
    "Overhead of HTTP over the bare loop for each token, time to the first one, /health while the engine computes.",
    repeats=9,
    quick_repeats=3,
)


def measure(run: Run) -> None:
    args = run.args
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # the server's process inherits it
    ours = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype))
    prompt = ours.tokenizer.encode(PROMPT)[:PROMPT_TOKENS]
    room = ours.max_seq_len - len(prompt)
    points = tuple(n for n in (QUICK if run.quick else POINTS) if n <= room)
    if len(points) < 2:
        raise UserError(f"model {args.model!r} has a window of {ours.max_seq_len} tokens, too few to measure")
    busy, count = min(room, points[-1] if run.quick else BUSY), points[-1]
    with (
        LiveServer(server_flags(args.model, args.device, args.dtype)) as server,
        httpx.Client(base_url=server.url, timeout=None) as client,
    ):
        sides = Sides(load_stage(3).engine, ours, client, server.model)
        start_s = server.wait_ready()
        heading("The same text by four ways")
        once = {way: sides.run(way, prompt, count) for way in NAMES}
        check(once, count)
        note(f"{count} tokens are the same: {once['loop'].text[:60]!r}...")
        checked = f"{count} tokens: the loop's, the facade's and both answers over HTTP are the same text, in every run"
        result = run.result(checked, ours.device, ours.dtype, prompt_tokens=len(prompt), new_tokens=count,
                            busy_tokens=busy, clients=CLIENTS)  # fmt: skip
        gc.collect()
        gc.freeze()  # what is there stays: from here on, to collect is a matter of microseconds
        times = 20 if run.quick else 200
        record_tokens(result, sides.in_turns(prompt, count, run.repeats), points, envelope.parts(times))
        record_first(result, sides.in_turns(prompt, min(4, count), run.repeats * (1 if run.quick else 3)))
        result.add(
            "start_s", start_s, "s", note="from starting the process to the first request it can serve"
        )
        idle = load.ask_health(client, lambda asked: asked < times)
        result.add_times("health_idle_ms", idle, "ms")
        body = sides.body(prompt, busy)
        rounds = [load.health_while_generating(client, body) for _ in range(1 if run.quick else 3)]
        result.add_times("health_busy_ms", [s for seconds in rounds for s in seconds], "ms")
        together = load.first_chunks(client, sides.body(prompt, min(CLIENT_TOKENS, count)), CLIENTS)
        for nth, seconds in enumerate(together, start=1):
            result.add(f"client_{nth}_of_{CLIENTS}_ttft_ms", 1e3 * seconds, "ms")
        gc.unfreeze()
    show(result)
    run.save(result)


def record_tokens(result: Result, trials: dict[str, list[Trial]], points: Sequence[int],
                  parts: dict[str, list[float]]) -> None:  # fmt: skip
    """Time of a token by each way, and what a way adds to the loop's: differences within a round."""
    count, loop = points[-1], [one.total for one in trials["loop"]]
    for way in NAMES:
        total = [one.total for one in trials[way]]
        result.add_times(f"{way}_ms", total, "ms")
        result.add_times(f"{way}_ms_per_token", [t / count for t in total], "ms", note=LABELS[way])
        if way != "loop":
            added = [t - base for t, base in zip(total, loop, strict=True)]
            result.add_times(f"{way}_adds_us_per_token", [s / count for s in added], "us")
            shares = [100 * s / base for s, base in zip(added, loop, strict=True)]
            result.add(f"{way}_adds_percent", unit="%", samples=shares)
    for n in points:
        for way in ("loop", "stream"):
            result.add_times(f"{way}_at_{n}", [one.until(n) for one in trials[way]], "ms")
    for part, seconds in parts.items():
        result.add_times(f"{part}_us", seconds, "us")
    result.add("envelope_us", sum(result[f"{part}_us"] for part in parts), "us")
    answer = trials["stream"][0]
    result.add("wire_bytes_per_token", answer.received / count, "bytes")
    result.add("text_bytes_per_token", len(answer.text.encode()) / count, "bytes")


def record_first(result: Result, trials: dict[str, list[Trial]]) -> None:
    """Time to the first token, from many short texts."""
    first = {way: [one.seconds[0] for one in trials[way]] for way in ("loop", "engine", "stream")}
    for way, seconds in first.items():
        result.add_times("ttft_ms" if way == "stream" else f"{way}_ttft_ms", seconds, "ms")
    added = [over - bare for over, bare in zip(first["stream"], first["loop"], strict=True)]
    result.add_times("ttft_adds_ms", added, "ms")
    result.add_ratio("reader_starts_sooner", "whole_ms", "ttft_ms")


def show(result: Result) -> None:
    columns = {"ms per token": ("{}_ms_per_token", "{:.2f}"), "added us": ("{}_adds_us_per_token", "{:,.0f}"),
               "added": ("{}_adds_percent", "{:.1f} %")}  # fmt: skip
    show_table(result, "way", LABELS, columns)
    answers = len(result.values["health_busy_ms"]["samples"])
    waits = ", ".join(f"{result[f'client_{n}_of_{CLIENTS}_ttft_ms']:,.0f} ms" for n in range(1, CLIENTS + 1))
    facts({
        "first token": f"{result['ttft_ms']:.1f} ms streamed, {result['loop_ttft_ms']:.1f} ms by the bare loop",
        "the reader starts": f"{result['reader_starts_sooner']:.0f}x sooner than without streaming",
        "/health while generating": f"P50 {result['health_busy_ms.p50']:.1f} ms, P99 {result['health_busy_ms.p99']:.1f} ms "
        f"of {answers} (idle P50 {result['health_idle_ms.p50']:.1f} ms)",
        "on an envelope": f"JSON {result['json_us']:.0f} us + hand-over {result['hand_over_us']:.0f} us + socket "
        f"{result['socket_us']:.0f} us = {result['envelope_us']:.0f} us per token",
        "on the wire": f"{result['wire_bytes_per_token']:.0f} bytes per token, {result['text_bytes_per_token']:.1f} of them text",
        f"{CLIENTS} clients at once": f"first token after {waits}",
        "process to first answer": f"{result['start_s']:.1f} s",
    })  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return BENCH.main(measure, argv)


if __name__ == "__main__":
    sys.exit(run_main(main))
