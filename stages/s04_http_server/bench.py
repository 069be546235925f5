"""Stage 04's benchmark: what HTTP adds to a token, when the first one arrives, and whether the server stays awake.

Bare loop, facade, streamed and whole answers are checked to be the same text before the clock runs and in every run.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from common.bench.measure import Result, median
from common.errors import UserError
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    number,
    run,
    stage_parser,
)
from common.terminal.console import facts, heading, note, progress, table
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
COMMAND = "python -m stages.s04_http_server.bench"


@dataclass(slots=True)
class Work:
    """The four ways, what they are asked, and what came of it."""

    sides: Sides
    prompt: list[int]
    points: tuple[int, ...]
    busy: int
    quick: bool
    repeats: int
    start_s: float = 0.0
    trials: dict[str, list[Trial]] = field(default_factory=dict)  # of the whole text
    first: dict[str, list[Trial]] = field(default_factory=dict)  # of a few tokens: the time of the first
    idle: list[float] = field(default_factory=list)
    awake: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    envelope: dict[str, list[float]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.points[-1]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.sides.engine.device
        return device

    def body(self, count: int) -> dict[str, Any]:
        return self.sides.body(self.prompt, count)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        COMMAND,
        "Overhead of HTTP over the bare loop for each token, time to the first one, /health while the engine computes.",
        ["", "--quick", "--repeats 15 --threads 1", "--figure"],
    )
    add_model_flags(parser)
    add_bench_flags(parser, repeats=9)
    parser.add_argument(
        "--threads", type=number(int, 1), metavar="N", help="of torch, on both sides (as torch finds best)"
    )
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
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # the server's process inherits it
    ours = engine.Engine.from_pretrained(args.model, engine.EngineConfig(args.device, args.dtype))
    with (
        LiveServer(server_flags(args.model, args.device, args.dtype)) as server,
        httpx.Client(base_url=server.url, timeout=None) as client,
    ):
        work = prepare(ours, server, client, args)
        work.start_s = server.wait_ready()
        gc.collect()
        gc.freeze()  # what is there stays: from here on, to collect is a matter of microseconds
        measure(work)
        gc.unfreeze()
    result = record(work, name, args)
    show_result(result)
    if args.results or not args.quick:
        note(f"recorded in {result.save(args.results)}")
        if args.results is None and work.device.type == "cpu":
            return draw(name)
    return 0


def result_name(model: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", Path(model).name.lower()).strip("-")
    return "s04" if model == DEFAULT_MODEL else f"s04-{slug}"


def draw(name: str) -> int:
    from .lesson.figure import draw as drawn  # needs matplotlib, which a GPU box may lack

    note(f"drawn in {drawn(name)}")
    return 0


def prepare(ours: Any, server: LiveServer, client: httpx.Client, args: argparse.Namespace) -> Work:
    """Raises UserError for a window too small to measure anything."""
    prompt = ours.tokenizer.encode(PROMPT)[:PROMPT_TOKENS]
    room = ours.max_seq_len - len(prompt)
    points = tuple(n for n in (QUICK if args.quick else POINTS) if n <= room)
    if len(points) < 2:
        raise UserError(f"model {args.model!r} has a window of {ours.max_seq_len} tokens, too few to measure")
    sides = Sides(load_stage(3).engine, ours, client, server.model)
    busy = min(room, points[-1] if args.quick else BUSY)
    return Work(sides, prompt, points, busy, args.quick, 3 if args.quick else args.repeats)


def measure(work: Work) -> None:
    heading("The same text by four ways")
    once = {name: work.sides.run(name, work.prompt, work.count) for name in NAMES}
    check(once, work.count)
    note(f"{work.count} tokens are the same: {once['loop'].text[:60]!r}...")
    client = work.sides.client
    work.envelope = envelope.parts(20 if work.quick else 200)
    work.trials = collect(work, work.count, work.repeats)
    work.first = collect(work, min(4, work.count), work.repeats if work.quick else 3 * work.repeats)
    work.idle = load.ask_health(client, lambda asked: asked < (20 if work.quick else 200))
    for _ in range(1 if work.quick else 3):
        work.awake += load.health_while_generating(client, work.body(work.busy))
    together = min(CLIENT_TOKENS, work.count)
    work.together = load.first_chunks(client, work.body(together), CLIENTS)


def collect(work: Work, count: int, repeats: int) -> dict[str, list[Trial]]:
    """Trials of all ways in turns, each round checked; the first one warms up and is left out.

    Each round begins with another way: whoever follows a way of the other process finds cold caches.
    """
    trials: dict[str, list[Trial]] = {name: [] for name in NAMES}
    with progress(f"{count} tokens", repeats + 1) as advance:
        for turn in range(repeats + 1):
            gc.collect()
            first = turn % len(NAMES)
            made = {name: work.sides.run(name, work.prompt, count) for name in NAMES[first:] + NAMES[:first]}
            check(made, count)
            for name in NAMES if turn else ():
                trials[name].append(made[name])
            advance()
    return trials


def record(work: Work, name: str, args: argparse.Namespace) -> Result:
    workload = {"model": args.model, "dtype": str(work.sides.engine.dtype).removeprefix("torch."), "prompt_tokens": len(work.prompt),
                "new_tokens": work.count, "busy_tokens": work.busy, "clients": CLIENTS, "threads": torch.get_num_threads()}  # fmt: skip
    checked = f"{work.count} tokens: the loop's, the facade's and both answers over HTTP are the same text, in every run"
    command = COMMAND if args.model == DEFAULT_MODEL else f"{COMMAND} --model {args.model}"
    result = Result(name, 4, command, workload, None, checked, device=str(work.device))
    record_tokens(work, result)
    record_first(work, result)
    record_load(work, result)
    return result


def record_tokens(work: Work, result: Result) -> None:
    """Time of a token by each way, and what a way adds to the loop's: differences within a round."""
    loop = [1e3 * one.total for one in work.trials["loop"]]
    for way in NAMES:
        total = [1e3 * one.total for one in work.trials[way]]
        result.add(f"{way}_ms", unit="ms", samples=total)
        each = [t / work.count for t in total]
        result.add(f"{way}_ms_per_token", unit="ms", samples=each, note=LABELS[way])
        if way != "loop":
            added = [1e3 * (t - base) / work.count for t, base in zip(total, loop, strict=True)]
            result.add(f"{way}_adds_us_per_token", unit="us", samples=added)
            shares = [100 * (t - base) / base for t, base in zip(total, loop, strict=True)]
            result.add(f"{way}_adds_percent", unit="%", samples=shares)
    for n in work.points:
        for way in ("loop", "stream"):
            result.add(f"{way}_at_{n}", unit="ms", samples=[1e3 * at(one, n) for one in work.trials[way]])
    for part, seconds in work.envelope.items():
        result.add(f"{part}_us", unit="us", samples=[1e6 * s for s in seconds])
    result.add("envelope_us", sum(result.values[f"{part}_us"]["value"] for part in work.envelope), "us")
    text, received = len(work.trials["stream"][0].text.encode()), work.trials["stream"][0].received
    result.add("wire_bytes_per_token", received / work.count, "bytes")
    result.add("text_bytes_per_token", text / work.count, "bytes")


def at(trial: Trial, n: int) -> float:
    """Seconds until token n; a chunk may hold the text of several tokens, so the share of chunks stands for it."""
    return trial.seconds[max(0, round(n / trial.count * len(trial.seconds)) - 1)]


def record_first(work: Work, result: Result) -> None:
    """Time to the first token: of short texts, many of them."""
    first = {way: [1e3 * one.seconds[0] for one in work.first[way]] for way in ("loop", "engine", "stream")}
    for way, samples in first.items():
        result.add("ttft_ms" if way == "stream" else f"{way}_ttft_ms", unit="ms", samples=samples)
    added = [over - bare for over, bare in zip(first["stream"], first["loop"], strict=True)]
    result.add("ttft_adds_ms", unit="ms", samples=added)
    whole = median([1e3 * one.total for one in work.trials["whole"]])
    result.add("reader_starts_sooner", whole / median(first["stream"]), "x")


def record_load(work: Work, result: Result) -> None:
    result.add(
        "start_s", work.start_s, "s", note="from starting the process to the first request it can serve"
    )
    result.add("health_idle_ms", unit="ms", samples=[1e3 * s for s in work.idle])
    result.add("health_busy_ms", unit="ms", samples=[1e3 * s for s in work.awake])
    for nth, seconds in enumerate(work.together, start=1):
        result.add(f"client_{nth}_of_{CLIENTS}_ttft_ms", 1e3 * seconds, "ms")


def show_result(result: Result) -> None:
    value = {key: entry["value"] for key, entry in result.values.items()}
    rows = [
        [label, f"{value[f'{way}_ms_per_token']:.2f}", f"{value.get(f'{way}_adds_us_per_token', 0):,.0f}",
         f"{value.get(f'{way}_adds_percent', 0):.1f} %"]
        for way, label in LABELS.items()
    ]  # fmt: skip
    table(None, ["way", "ms a token", "added us", "added"], rows)
    busy, idle = (result.values[key] for key in ("health_busy_ms", "health_idle_ms"))
    facts({
        "first token": f"{value['ttft_ms']:.1f} ms streamed, {value['loop_ttft_ms']:.1f} ms by the bare loop",
        "the reader starts": f"{value['reader_starts_sooner']:.0f}x sooner than without streaming",
        "/health while generating": f"P50 {busy['p50']:.1f} ms, P99 {busy['p99']:.1f} ms of {len(busy['samples'])} (idle P50 {idle['p50']:.1f} ms)",
        "on an envelope": f"JSON {value['json_us']:.0f} us + hand-over {value['hand_over_us']:.0f} us + socket "
        f"{value['socket_us']:.0f} us = {value['envelope_us']:.0f} us a token",
        "on the wire": f"{value['wire_bytes_per_token']:.0f} bytes a token, {value['text_bytes_per_token']:.1f} of them text",
        f"{CLIENTS} clients at once": "first token after "
        + ", ".join(f"{value[f'client_{n}_of_{CLIENTS}_ttft_ms']:,.0f} ms" for n in range(1, CLIENTS + 1)),
        "process to first answer": f"{value['start_s']:.1f} s",
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
