"""The demo of stage 07: five prompts one by one and as a batch, the same texts; then what the rectangle held."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from common.terminal.command_line import add_max_tokens, add_model_flags, add_seed, number, run, stage_parser
from common.terminal.console import facts, heading, live, note, printable, show, warn
from common.tutorial import load_stage

from .engine import Completion, Engine, EngineConfig, Output, Request, SamplingParams
from .lesson.recorder import Recorder
from .lesson.view import rectangle, texts, timeline

PROMPTS = (
    "Once upon a time",
    "The old king had three sons, and the youngest of them was called",
    "A fox and a hare",
    "In the dark forest, where no sun had ever shone, there stood a little house, and in it",
    "The miller's daughter",
)
SHARES = (1.0, 0.25, 0.5, 0.75, 0.15)  # of --max-tokens, so that the rows end at different times


@dataclass(slots=True)
class Race:
    """The same requests by two engines."""

    params: list[Any]
    alone: list[Completion]
    alone_seconds: float
    written: list[str]
    requests: list[Request]
    seconds: float


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s07_prefill_batching",
        "Five prompts one by one and as a batch: the same texts, the time of each, and what the padding costs.",
        ["--max-tokens 120", "--prompt 'A king' --prompt 'A queen who'", "--temperature 0.8 --seed 3"],
    )
    add_model_flags(parser)
    add_max_tokens(parser, 60)
    add_seed(parser)
    parser.add_argument(
        "--temperature", type=number(float, 0, 2), default=0.0, metavar="T", help="0 is greedy (%(default)s)"
    )
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="a prompt instead of the five (repeatable, up to 16)",
    )
    parser.add_argument("--equal", action="store_true", help="the same limit for all rows")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    prompts = (args.prompt or list(PROMPTS))[:16]
    settings = EngineConfig(args.device, args.dtype, max_num_seqs=len(prompts))
    engine = Engine.from_pretrained(args.model, settings)
    each = [params(args, i, SamplingParams) for i in range(len(prompts))]
    for prompt, own in zip(prompts, each, strict=True):
        engine.max_tokens(engine.encode(prompt), own)  # refused here, in one line
    warm_up(engine, prompts)
    recorder = Recorder(engine)
    race = run_race(engine, prompts, each, args)
    same = show_race(race)
    show_waste(engine, recorder)
    show_wait(engine, prompts[0])
    return 0 if same else 1


def params(args: argparse.Namespace, row: int, kind: Any) -> Any:
    share = 1.0 if args.equal else SHARES[row % len(SHARES)]
    limit = max(1, round(args.max_tokens * share))
    return kind(limit, temperature=args.temperature, seed=args.seed + row)


def warm_up(engine: Engine, prompts: Sequence[str]) -> None:
    """The first pass of a process is slow for reasons of its own. Another engine makes it, so that our counts stay clean."""
    other = Engine(engine.model, engine.tokenizer, engine.model_config, engine.config)
    other.generate(prompts, SamplingParams(2))
    other.generate(prompts[:1], SamplingParams(2))


def run_race(
    engine: Engine, prompts: Sequence[str], each: Sequence[SamplingParams], args: argparse.Namespace
) -> Race:
    heading(f"{len(prompts)} prompts, one by one: the engine of stage 06")
    before = load_stage(6).engine
    serial = before.Engine(
        engine.model, engine.tokenizer, engine.model_config, before.EngineConfig(args.device, args.dtype)
    )
    start = time.perf_counter()
    alone = serial.generate(prompts, [params(args, i, before.SamplingParams) for i in range(len(prompts))])
    alone_seconds = time.perf_counter() - start
    grid = Table.grid(padding=(0, 2, 0, 0))
    for i, (prompt, one) in enumerate(zip(prompts, alone, strict=True)):
        grid.add_row(str(i + 1), Text(printable(" ".join((prompt + one.text).split()))))
    show(grid)
    note(f"{sum(len(one.tokens) for one in alone)} tokens in {alone_seconds:.2f} s")
    heading("The same as one batch")
    written = [""] * len(prompts)
    start = time.perf_counter()

    def reader(row: int) -> Callable[[Output], None]:
        def read(output: Output) -> None:
            written[row] += output.text

        return read

    requests = [
        engine.add(engine.encode(prompt), own, f"row {i + 1}", reader(i))
        for i, (prompt, own) in enumerate(zip(prompts, each, strict=True))
    ]
    spent = 0.0  # drawing is not the engine's time
    with live() as view:
        while not all(r.done for r in requests):
            engine.step()
            drawing = time.perf_counter()
            view.update(texts(requests, written))
            spent += time.perf_counter() - drawing
    seconds = time.perf_counter() - start - spent
    return Race(list(each), alone, alone_seconds, written, requests, seconds)


def show_race(race: Race) -> bool:
    """The verdict -> whether every text is what it was alone."""
    count = sum(r.num_output_tokens for r in race.requests)
    note(f"{count} tokens in {race.seconds:.2f} s: {race.alone_seconds / race.seconds:.1f} times as fast")
    differ = [
        i + 1 for i, (one, text) in enumerate(zip(race.alone, race.written, strict=True)) if one.text != text
    ]
    if differ:
        warn(f"row {differ[0]} wrote a different text than it did alone")
    else:
        note("Every row wrote the text that it wrote alone.")
    return not differ


def show_waste(engine: Engine, recorder: Recorder) -> None:
    first, *rest = recorder.steps
    rows, width = first.shape
    heading(f"The first step: a rectangle of {rows} x {width} tokens")
    show("", rectangle(recorder.prompts, width), "")
    note(
        f"{first.padding} of {rows * width} tokens are padding: {100 * first.padding / (rows * width):.0f} %."
    )
    if rest:
        heading(f"The {len(rest)} steps after it: {rows} tokens each")
        show("", timeline(rest), "")
    facts({
        "tokens through the model": f"{engine.runner.num_computed:,}",
        "wasted on padding": f"{engine.runner.num_padding:,}, {100 * engine.runner.num_padding / engine.runner.num_computed:.0f} %",
    })  # fmt: skip


def show_wait(engine: Engine, prompt: str) -> None:
    """A request that no other joins starts after `batch_wait`."""
    heading("A lone request")
    request = engine.add(engine.encode(prompt), SamplingParams(1, ignore_eos=True), "alone")
    while not request.done:
        engine.step()
    waited, most = request.started - request.arrived, engine.config.batch_wait
    note(
        f"It waited {1e3 * waited:.1f} ms for other requests (batch_wait is {1e3 * most:.0f} ms), then ran by itself."
    )


if __name__ == "__main__":
    sys.exit(run(main))
