"""The load generator: sends a workload to a server or an engine, and tells what its users would have seen.

It speaks OpenAI's protocol, so the same command measures a stage's server, vLLM's and llama.cpp's. The parts are in
`benchmarks.load`; this file has the order of things: look, warm up, run, check, report.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.bench.measure import Result
from common.bench.shapes import PUBLISHED
from common.errors import UserError
from common.loader import SHIPPED, find_checkpoint, load_config, load_model
from common.memory import peak_memory
from common.terminal.command_line import run
from common.terminal.console import heading, note, progress, table, write
from common.tokenizer import Tokenizer

from .load import report
from .load.check import Different, check
from .load.driver import Run, drive
from .load.figures import draw
from .load.http import HttpTarget
from .load.inprocess import EngineTarget, load_engine
from .load.metrics import Summary, summarise
from .load.options import PROG, adapted, base_workloads, listing, parse
from .load.prompts import BYTES, Prompts, make_plan
from .load.record import Info, Record, Status, Target
from .load.reference import Reference
from .load.server import running_server, stage_number
from .load.workloads import Workload

WARMUP_TOKENS = 16  # of output
PLOTS = Path(__file__).parent / "plots"


@dataclass(slots=True)
class Session:
    """One server and all that is known of it here."""

    args: argparse.Namespace
    command: str
    target: Target
    info: Info
    prompts: Prompts
    make_reference: Callable[[], Reference] | None  # None: the served model is not at hand

    @property
    def label(self) -> str:
        text = self.args.label or ("" if self.args.stage else self.info.model.rpartition("/")[2])
        if self.args.stage and self.args.in_process:
            text = text or "in-process"
        return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")

    def result_name(self, workload: Workload) -> str:
        stage = f"s{stage_number(self.args.stage):02d}_" if self.args.stage else ""
        return "_".join(filter(None, (f"{stage}serving", self.label, workload.name)))


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    args, options = parse(words)
    if args.list:
        columns = ["name", "requests", "arrivals", "prompt tokens", "output tokens", "window"]
        table("Named workloads", columns, listing())
        return 0
    workloads = base_workloads(args)
    command = f"{PROG} {shlex.join(words)}".strip()
    model = args.model or "storyteller"
    if args.in_process:
        package, engine = load_engine(args.stage, model, options)
        return asyncio.run(session(args, command, workloads, (package, engine, model)))
    if args.stage and model in PUBLISHED:
        raise UserError(
            f"--model {model}: a shape with random weights has no tokenizer to serve; add --in-process"
        )
    if args.stage:
        find_checkpoint(model)  # a wrong name is told, and a download shown, before a server starts
    with running_server(args.stage, model, options) if args.stage else nullcontext(args.url) as url:
        args.url = url
        return asyncio.run(session(args, command, workloads, None))


async def session(
    args: argparse.Namespace, command: str, workloads: Sequence[Workload], engine: tuple[Any, Any, str] | None
) -> int:
    target: Target
    if engine:
        package, made, name = engine
        target = EngineTarget(
            package, made, Path(name).name, ignore_eos=args.ignore_eos, temperature=args.temperature
        )
    else:
        served = None if args.stage else args.model
        target = HttpTarget(
            args.url, served, args.ignore_eos, args.usage, args.timeout, args.retry, args.temperature
        )
    try:
        look = await prepare(args, command, target, engine)
        statuses = []
        for workload in workloads:
            statuses.append(await measure(look, workload))
            if statuses[-1] == 130:
                break
        return max(statuses)
    finally:
        await target.close()


async def prepare(
    args: argparse.Namespace, command: str, target: Target, engine: tuple[Any, Any, str] | None
) -> Session:
    """Finds out what the server can take. What it does not say comes from flags or from its checkpoint."""
    info = await target.describe()
    tokenizer: Tokenizer | None = None
    make_reference = None
    special: set[int] = set()
    if engine:
        made = engine[1]
        tokenizer, special = made.tokenizer, set(made.model_config.eos_token_ids)
        make_reference = lambda: Reference(made.model, made.tokenizer)  # noqa: E731
    else:
        checkpoint = args.checkpoint or (args.model or "storyteller" if args.stage else None)
        checkpoint = checkpoint or (info.model if info.model in SHIPPED else None)
        if checkpoint:
            folder = find_checkpoint(checkpoint)
            config, tokenizer = load_config(folder), Tokenizer.from_folder(folder)
            info.window, info.vocab = info.window or config.max_positions, config.vocab_size
            special = set(config.eos_token_ids)
            where, dtype = info.device or "auto", info.dtype or "auto"
            make_reference = lambda: Reference(*load_model(checkpoint, where, dtype)[:2])  # noqa: E731
    info.window, info.vocab = args.window or info.window, args.vocab or info.vocab
    if args.prompts == "text" and tokenizer is None:
        raise UserError("--prompts text needs the served model's tokenizer: give --checkpoint NAME")
    ids = [i for i in (range(info.vocab) if info.vocab else BYTES) if i not in special]
    prompts = Prompts(ids, tokenizer if args.prompts == "text" else None)
    return Session(args, command, target, info, prompts, make_reference)


async def measure(look: Session, base: Workload) -> int:
    """One workload -> the exit status: 0, 1 where a request went wrong or an output is wrong, 130 after Ctrl-C."""
    args = look.args
    wanted, workload = adapted(base, args, look.info.window)
    heading(f"{workload.name}: {workload.count} requests, {workload.arrivals}")
    if workload is not wanted:
        note(
            f"{wanted.name} needs {wanted.longest:,} positions and the window has {look.info.window:,}: this is {workload.name}"
        )
    if look.info.vocab is None:
        note(
            f"the server does not say its vocabulary: prompts use ids {BYTES.start} to {BYTES.stop - 1}; see --vocab"
        )
    await warm_up(look, workload)
    plan = make_plan(workload, look.prompts, workload.seed, args.hang_up)
    with progress(workload.name, len(plan)) as advance:
        done = await drive(look.target, plan, workload.arrivals.in_flight, advance)
    summary = summarise(done.records)
    report.show_summary(f"Latency, {summary.counts[Status.OK]} completed requests", summary)
    lines = report.problems(summary, done.records, args.ignore_eos)
    report.show_problems(lines)
    if done.interrupted:
        note("interrupted: no result was saved")
        return 130
    checked = "output lengths only" if not summary.short else "nothing"
    if args.check:
        try:
            checked = await compare(look, plan, done)
        except Different as e:
            sys.stderr.write(f"error: {workload.name}: {e}; no result was saved\n")
            return 1
        note(checked)
    if args.save and summary.counts[Status.OK]:
        save(look, workload, summary, done.records, checked)
    return int(
        bool(summary.counts[Status.FAILED] or summary.counts[Status.LOST] or not summary.counts[Status.OK])
    )


async def compare(look: Session, plan: Sequence[Any], done: Run) -> str:
    most = None if look.args.check is True else look.args.check
    total = min(most or len(plan), sum(r.status is Status.OK for r in done.records))
    with progress("checking", total) as advance:
        return await check(look.target, plan, done.records, look.make_reference, most, advance)


async def warm_up(look: Session, workload: Workload) -> None:
    """Requests like those to come, one after another, not measured. Raises UserError where one does not complete."""
    count = min(look.args.warmup, workload.count)
    if not count:
        return
    # Another seed and name: nothing of it may be found again in a prefix cache.
    like = replace(workload, name=f"{workload.name} warm-up", count=count, output=workload.output)
    plan = [
        replace(p, max_tokens=min(p.max_tokens, WARMUP_TOKENS))
        for p in make_plan(like, look.prompts, workload.seed + 1)
    ]
    for request, record in zip(plan, (await drive(look.target, plan, in_flight=1)).records, strict=True):
        if record.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if record.status is not Status.OK:
            hint = "; try --no-ignore-eos" if "ignore_eos" in record.detail else ""
            hint = hint or ("; try --no-usage" if "stream_options" in record.detail else "")
            raise UserError(
                f"{workload.name}: warm-up request {request.index} ({request.prompt_tokens} tokens) {record.status}: "
                f"{record.detail}{hint}"
            )


def save(
    look: Session, workload: Workload, summary: Summary, records: Sequence[Record], checked: str
) -> None:
    """The result file and its figures."""
    args, info = look.args, look.info
    name = look.result_name(workload)
    about = {
        "model": info.model,
        "dtype": info.dtype or "unknown",
        "device": info.device or "unknown",
        "over": "in-process" if args.in_process else "HTTP",
        **workload.describe(),
        "prompts": args.prompts,
        "ignore_eos": args.ignore_eos,
        "temperature": args.temperature,
        "hang_up": args.hang_up,
        "warmup": args.warmup,
    }
    stage = stage_number(args.stage) if args.stage else None
    result = Result(name, stage, look.command, about, workload.seed, checked, info.device)
    report.record_values(result, summary)
    if args.in_process:
        result.add("peak_memory", peak_memory(info.device), "bytes")
    path = result.save(args.results)
    folder = args.plots or args.results or PLOTS
    figures = draw(workload.name, path.stem, records, info.device, folder / name)
    for made, word in ((path, "saved"), *((figure, "drawn") for figure in figures)):
        write(f"{word} {made}", end="\n")  # a path is never wrapped


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a server that we started must end with us
    sys.exit(run(main))
