"""The demo of stage 08: long and short requests join and leave a running batch, drawn step by step as the scheduler decides."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from common.terminal.command_line import add_model_flags, add_seed, number, run, stage_parser
from common.terminal.console import console, heading, live, note, show, table, warn

from .engine import Engine, EngineConfig, Output, Request, SamplingParams
from .lesson.recorder import CHUNK, Recorder, Step
from .lesson.view import timeline, told

LONG = "Once upon a time there was an old king who had a garden, and in the garden stood a tree that bore golden apples. "
PAUSE = 0.04  # seconds that each step stays on the screen at least, so that the eye can follow


@dataclass(slots=True)
class Entry:
    """A request of the demo, and the step before which it arrives."""

    name: str
    arrives: int
    prompt: list[int]
    params: SamplingParams
    request: Request | None = None
    outputs: list[Output] = field(default_factory=list)
    left: int = 0  # the step in which it ended

    @property
    def tokens(self) -> list[int]:
        return [token for output in self.outputs for token in output.tokens]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s08_continuous_batching",
        "Two long and three short requests join and leave a running batch; the timeline is drawn as it happens.",
        ["--budget 16", "--whole", "--mode static", "--rows 5"],
    )
    add_model_flags(parser)
    add_seed(parser)
    parser.add_argument("--long", type=number(int, 2, 400), default=60, metavar="N",
                        help="tokens in a long answer (%(default)s)")  # fmt: skip
    parser.add_argument("--short", type=number(int, 1, 400), default=8, metavar="N",
                        help="tokens in a short answer (%(default)s)")  # fmt: skip
    parser.add_argument("--rows", type=number(int, 1, 64), default=3, metavar="N",
                        help="requests that run at once (%(default)s)")  # fmt: skip
    parser.add_argument("--budget", type=number(int, 1), default=24, metavar="N",
                        help="token budget per step (%(default)s)")  # fmt: skip
    parser.add_argument(
        "--whole", action="store_true", help="run each prompt in one step instead of in chunks"
    )
    parser.add_argument(
        "--mode",
        choices=("continuous", "static"),
        default="continuous",
        help="when requests may join (%(default)s)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.budget < args.rows:
        raise UserError(
            f"--budget {args.budget} must be at least --rows {args.rows}: each running request needs a token"
        )
    config = EngineConfig(
        args.device, args.dtype, max_num_seqs=args.rows, max_num_batched_tokens=args.budget,
        chunked_prefill=not args.whole, batching_mode=args.mode,
    )  # fmt: skip
    engine = Engine.from_pretrained(args.model, config)
    entries = make_entries(engine, args)
    for entry in entries:
        engine.max_tokens(entry.prompt, entry.params)  # refused here, in one line
    heading(f"Five requests, {args.rows} rows, {args.budget} tokens per step, {args.mode} batching")
    table(None, ["request", "arrives before step", "prompt", "answer", "drawn"],
          [[g.name, g.arrives, len(g.prompt), g.params.max_tokens, "greedy" if not g.params.temperature else
            f"temperature {g.params.temperature}, seed {g.params.seed}"] for g in entries])  # fmt: skip
    steps = serve(engine, entries)
    show_end(engine, entries, steps)
    return check(engine, entries)


def make_entries(engine: Engine, args: argparse.Namespace) -> list[Entry]:
    """Two long and three short requests; the second long one has a prompt of several chunks."""
    book = engine.encode(LONG * 8)[:80]
    plan = [("long 1", 1, engine.encode("There was once a"), args.long), ("short 1", 4, book[:9], args.short),
            ("long 2", 8, book, args.long), ("short 2", 14, book[20:32], args.short),
            ("short 3", 18, book[40:47], args.short)]  # fmt: skip
    return [
        Entry(
            name,
            arrives,
            prompt,
            SamplingParams(count, temperature=0.8 * (i % 2), seed=args.seed + i, ignore_eos=True),
        )
        for i, (name, arrives, prompt, count) in enumerate(plan)
    ]


def serve(engine: Engine, entries: Sequence[Entry]) -> list[Step]:
    """Steps the engine until all requests have left, and draws each step."""
    names, to_come = [entry.name for entry in entries], list(entries)
    width = max(20, console.width - 2 - max(map(len, names)))
    recorder = Recorder(engine)
    show("")
    with live() as view:
        while to_come or not engine.scheduler.is_finished:
            while to_come and (to_come[0].arrives <= len(recorder.steps) + 1 or engine.scheduler.is_finished):
                join(engine, to_come.pop(0))
            start = time.perf_counter()
            engine.step()
            for entry in entries:
                if entry.request and entry.request.done:
                    entry.left = entry.left or len(recorder.steps)
            steps = recorder.steps
            view.update(timeline(steps, names, width), news(steps))
            if console.is_interactive:
                time.sleep(max(0.0, PAUSE - (time.perf_counter() - start)))
    return recorder.steps


def join(engine: Engine, entry: Entry) -> None:
    entry.request = engine.add(entry.prompt, entry.params, entry.name, entry.outputs.append)


def news(steps: Sequence[Step]) -> str | None:
    """A line for a step that differs from the one before it."""
    if not steps or (len(steps) > 1 and steps[-1].shares == steps[-2].shares):
        return None
    return told(len(steps), steps[-1])


def show_end(engine: Engine, entries: Sequence[Entry], steps: Sequence[Step]) -> None:
    rows = []
    for entry in entries:
        mine = [step.shares[entry.name] for step in steps if entry.name in step.shares]
        waited, chunks = sum(not count for _, count in mine), sum(kind == CHUNK for kind, _ in mine)
        rows.append([entry.name, waited, chunks or "-", entry.left, len(entry.tokens)])
    table(None, ["request", "steps waited", "chunks", "left after step", "tokens"], rows)
    order = sorted(entries, key=lambda entry: entry.left)
    note(f"They left in this order: {', '.join(entry.name for entry in order)}.")
    wanted = sum(len(entry.prompt) + len(entry.tokens) - 1 for entry in entries)
    note(f"{len(steps)} steps, {engine.runner.num_computed} tokens through the model; their texts need {wanted}. "
         f"The largest step had {max(step.tokens for step in steps)}.")  # fmt: skip


def check(engine: Engine, entries: Sequence[Entry]) -> int:
    """Each output against the same request alone, in a fresh engine."""
    heading("Each of them alone")
    wrong = []
    for entry in entries:
        solo = Engine(engine.model, engine.tokenizer, engine.model_config, engine.config)
        alone = solo.generate([entry.prompt], entry.params)[0].tokens
        if alone != entry.tokens:
            wrong.append(entry.name)
    if wrong:
        warn(f"alone, other tokens were written for: {', '.join(wrong)}")
        return 1
    note(
        f"All {sum(len(g.tokens) for g in entries)} tokens are those that each request gets when it has the engine to itself."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
