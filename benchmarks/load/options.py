"""The command line of `benchmarks.serving`, and what it makes of a named workload."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from common.bench.arrivals import CLOSED, PATTERNS
from common.errors import UserError
from common.terminal.command_line import number, split_options, stage_parser

from .lengths import FORMS, Lengths
from .workloads import NAMED, Workload, fit, named

__all__ = ["PROG", "adapted", "base_workloads", "listing", "parse"]

PROG = "python -m benchmarks.serving"
DESCRIPTION = """Measure a server under load: TTFT, TPOT, ITL, end-to-end latency, throughput, and what became of each request.

Give one of --url (any server that speaks OpenAI's protocol), --stage (starts a stage's server, measures it, stops it) and
--stage with --in-process (drives the stage's engine without HTTP). What follows -- goes to the stage's server or engine."""
EXAMPLES = [
    "--stage 06 --workload baseline",
    "--stage 08 --workload all --check -- --max-num-seqs 32",
    "--url http://127.0.0.1:8000 --label vllm --workload offline_256",
    "--url http://127.0.0.1:8080 --arrivals ramp --rate 8 --requests 64 --prompt-len 128 --output-len uniform:16:64",
    "--stage 08 --in-process --model gpt2-xl --device cuda --workload offline_256 -- --max-num-seqs 256",
    "--list",
]
T = TypeVar("T")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and those after `--`. Raises UserError where they do not go together."""
    own, options = split_options(argv)
    parser = stage_parser(PROG, DESCRIPTION, EXAMPLES)
    _add_target(parser)
    _add_workload(parser)
    _add_run(parser)
    args = parser.parse_args(own)
    if args.list:
        return args, options
    if (args.url is None) == (args.stage is None):
        raise UserError("give one of --url URL and --stage NN")
    if args.url is not None and (args.in_process or options or args.device or args.dtype):
        raise UserError("--in-process, --device, --dtype and what follows -- need --stage")
    for name in ("device", "dtype"):
        if getattr(args, name):
            options = [f"--{name}", getattr(args, name), *options]
    return args, options


def _value(parse: Callable[[str], T]) -> Callable[[str], T]:
    """An argparse type whose UserErrors keep their words."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except UserError as e:
            raise argparse.ArgumentTypeError(str(e)) from None

    return read


def _add_target(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured")
    group.add_argument("--url", help="a running server, with or without /v1")
    group.add_argument("--stage", metavar="NN", help="start this stage's server, and stop it at the end")
    group.add_argument("--in-process", action="store_true", help="drive the stage's engine without HTTP")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="with --stage: checkpoint, or in-process a published shape with random weights (storyteller); "
        "with --url: what requests call the model (the first that the server lists)",
    )
    group.add_argument("--device", help="of the stage: auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--dtype", help="of the stage: auto, float32, bfloat16, float16")
    group.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="with --url: the served checkpoint, if it is at hand; for text prompts, and near ties in --check",
    )
    group.add_argument("--window", type=number(int, 2), metavar="N", help="the server's window, in tokens")
    group.add_argument("--vocab", type=number(int, 1), metavar="N", help="ids 0..N-1 may be in prompts")
    group.add_argument(
        "--label", metavar="NAME", help="what results call the server (its stage, or the model)"
    )


def _add_workload(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("workload (a named one, whose parts the other flags replace)")
    group.add_argument(
        "--workload", default="baseline", metavar="NAME", help="a name of --list, or all (%(default)s)"
    )
    group.add_argument("--list", action="store_true", help="list the named workloads and stop")
    group.add_argument("--requests", type=number(int, 1), metavar="N", help="how many")
    group.add_argument("--arrivals", metavar="PATTERN", help=", ".join((*CLOSED, *PATTERNS)))
    group.add_argument("--rate", type=number(float, 0), metavar="R", help="requests/s; of a ramp, at its end")
    group.add_argument("--start-rate", type=number(float, 0), metavar="R", help="of a ramp, requests/s")
    group.add_argument("--burst", type=number(int, 1), metavar="N", help="requests of one burst")
    group.add_argument("--concurrency", type=number(int, 1), metavar="N", help="in flight, for closed")
    lengths = _value(Lengths.parse)
    group.add_argument("--prompt-len", type=lengths, metavar="LEN", help=FORMS)
    group.add_argument("--output-len", type=lengths, metavar="LEN", help="the same forms")
    group.add_argument(
        "--shared-prefix", type=number(int, 0), metavar="N", help="tokens all prompts begin with"
    )
    group.add_argument("--long-share", type=number(float, 0, 1), metavar="S", help="share of long prompts")
    group.add_argument("--long-len", type=lengths, metavar="LEN", help="their lengths")
    group.add_argument("--seed", type=number(int, 0), metavar="N", help="(42; of offline_256: 0)")
    group.add_argument(
        "--prompts", default="ids", choices=("ids", "text"), help="how prompts are sent (%(default)s)"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--check",
        nargs="?",
        type=number(int, 1),
        const=True,
        metavar="N",
        help="compare the outputs (or N of them) with solo runs afterwards",
    )
    group.add_argument(
        "--no-ignore-eos", dest="ignore_eos", action="store_false", help="for servers without that field"
    )
    group.add_argument(
        "--no-usage", dest="usage", action="store_false", help="for servers without stream_options"
    )
    group.add_argument(
        "--temperature", type=number(float, 0, 2), default=0.0, metavar="T", help="(%(default)s)"
    )
    group.add_argument(
        "--warmup",
        type=number(int, 0),
        default=2,
        metavar="N",
        help="requests before, not counted (%(default)s)",
    )
    group.add_argument(
        "--hang-up",
        type=number(float, 0, 1),
        default=0.0,
        metavar="S",
        help="share of clients that go away mid-stream (%(default)s)",
    )
    group.add_argument(
        "--retry",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="send a refused request again (%(default)s times)",
    )
    group.add_argument(
        "--timeout",
        type=number(float, 0.1),
        default=600.0,
        metavar="S",
        help="seconds of silence, then lost (%(default)s)",
    )
    group.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="for result files (benchmarks/results/ and the machine's name)",
    )
    group.add_argument("--plots", type=Path, metavar="FOLDER", help="for figures (benchmarks/plots)")
    group.add_argument("--no-save", dest="save", action="store_false", help="print only")


def base_workloads(args: argparse.Namespace) -> list[Workload]:
    """The named workloads, before `adapted`. Raises UserError for flags that cannot be together."""
    if args.check and args.temperature > 0:
        raise UserError(f"--check compares greedy outputs, so --temperature {args.temperature:g} must be 0")
    bases = named(args.workload)
    for base in bases:
        _changed(base, args)  # what is wrong here is wrong for any server: say so before one starts
    return bases


def adapted(base: Workload, args: argparse.Namespace, window: int | None) -> tuple[Workload, Workload]:
    """The workload with the parts that flags replace -> as named, and as it fits the window.

    A named length may shrink to fit, one that was asked for is kept. Raises UserError where that is too long.
    """
    wanted = _changed(base, args)
    if window is None or wanted.longest <= window:
        return wanted, wanted
    fits = _changed(fit(base, window), args)
    if fits.longest > window:
        raise UserError(
            f"workload {fits.name}: needs up to {fits.longest:,} positions, the server's window has {window:,}; "
            "give shorter --prompt-len, --output-len, --long-len or --shared-prefix"
        )
    return wanted, fits


def _changed(workload: Workload, args: argparse.Namespace) -> Workload:
    arrivals = {
        "pattern": args.arrivals,
        "rate": args.rate,
        "start_rate": args.start_rate,
        "burst": args.burst,
        "concurrency": args.concurrency,
    }
    parts = {
        "count": args.requests,
        "prompt": args.prompt_len,
        "output": args.output_len,
        "shared_prefix": args.shared_prefix,
        "long_share": args.long_share,
        "long_prompt": args.long_len,
    }
    arrivals = {name: value for name, value in arrivals.items() if value is not None}
    parts = {name: value for name, value in parts.items() if value is not None}
    if arrivals:
        parts["arrivals"] = replace(workload.arrivals, **arrivals)
    if parts:
        workload = replace(workload, name=f"{workload.name}-custom", **parts)
    return workload if args.seed is None else replace(workload, seed=args.seed)


def listing() -> list[list[object]]:
    """Rows for --list: name, requests, arrivals, prompt and output lengths."""
    rows: list[list[object]] = []
    for w in NAMED.values():
        prompt = f"{w.shared_prefix:,} shared + {w.prompt}" if w.shared_prefix else str(w.prompt)
        if w.long_prompt:
            prompt += f"; {100 * w.long_share:.0f} %: {w.long_prompt}"
        rows.append([w.name, w.count, str(w.arrivals), prompt, str(w.output), w.longest])
    return rows
