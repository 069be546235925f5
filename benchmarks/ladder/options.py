"""The flags of `benchmarks.run`, and the command that a result file says repeats it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from common.bench.harness import slug, typed
from common.errors import UserError
from common.loader import resolve_device, resolve_dtype
from common.terminal.command_line import (
    DEFAULT_MODEL,
    Parser,
    add_bench_flags,
    add_model_flags,
    add_seed,
    number,
    stage_parser,
)

__all__ = ["PROG", "parse"]

PROG = "python -m benchmarks.run"
EXAMPLES = ("", "--quick", "--stages 2,3,7-8 --peers transformers,llama.cpp", "--model gpt2-124m --device cuda",
            "--batch 1,2,4,8,16,32", "--contexts 128,256,512,1024", "--reference --requests 16", "--figure")  # fmt: skip
FULL = {"repeats": 3, "prompt_tokens": 64, "new_tokens": 128, "crowd": 16}
QUICK = {"repeats": 1, "prompt_tokens": 32, "new_tokens": 32, "crowd": 8}
KINDS = {"batch": "batch", "contexts": "memory", "reference": "reference"}  # flag -> what is measured


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags, with `kind` (what is measured), `result` (its file's name) and `command` added."""
    args = parser().parse_args(argv)
    asked = [name for name in KINDS if getattr(args, name)]
    if len(asked) > 1:
        raise UserError(f"--{asked[0]} and --{asked[1]}: one at a time")
    args.kind = KINDS[asked[0]] if asked else "ladder"
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    name, device = slug(Path(args.model).name), resolve_device(args.device)
    if (dtype := resolve_dtype(args.dtype, device)) != resolve_dtype("auto", device):
        name += f"-{str(dtype).removeprefix('torch.')}"
    args.result = "ladder" if (args.kind, name) == ("ladder", slug(DEFAULT_MODEL)) else f"{args.kind}-{name}"
    if args.commit is not None and not re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", args.commit):
        raise UserError(
            f"--commit {args.commit!r}: write 7 to 40 hexadecimal digits, as git rev-parse HEAD gives"
        )
    args.command = typed(PROG, argv)
    return args


def parser() -> Parser:
    made = stage_parser(
        PROG,
        "What did each stage buy, and where do we stand against what a user would pick instead? All sides get the same\n"
        "prompts on the same weights; whose tokens are wrong gets no time. After Ctrl-C the same command goes on.",
        EXAMPLES,
    )
    who = made.add_argument_group("who")
    who.add_argument(
        "--stages", default="all", metavar="N,N-N", help="all, or numbers such as 2,3,7-8 (%(default)s)"
    )
    who.add_argument(
        "--peers", default="all", metavar="NAMES", help="all that can be used, none, or names (%(default)s)"
    )
    add_model_flags(made)
    what = made.add_argument_group("what")
    for name, text in (("prompt-tokens", "tokens in each prompt"), ("new-tokens", "tokens for each request"),
                       ("crowd", "requests that come at once")):  # fmt: skip
        default = FULL[name.replace("-", "_")]
        what.add_argument(f"--{name}", type=number(int, 2), metavar="N", help=f"{text} ({default})")
    what.add_argument(
        "--batch", type=counts(1), metavar="N,N", help="instead: throughput by number of requests"
    )
    what.add_argument("--contexts", type=counts(16), metavar="N,N", help="instead: memory by length of text")
    what.add_argument("--reference", action="store_true",
                      help="instead: 256 requests of 100 to 1,024 tokens in and out, all at once")  # fmt: skip
    what.add_argument("--requests", type=number(int, 1), default=256, metavar="N",
                      help="of --reference, for smaller machines (%(default)s)")  # fmt: skip
    how = made.add_argument_group("how")
    add_seed(how)  # type: ignore[arg-type]  # a group takes arguments as a parser does
    add_bench_flags(how, repeats=FULL["repeats"])  # type: ignore[arg-type]
    how.set_defaults(repeats=None)
    how.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch chooses)")
    how.add_argument("--quick", action="store_true",
                     help="short lengths, one round; recorded only where --results says")  # fmt: skip
    how.add_argument("--commit", metavar="HASH", help="recorded where there is no git to ask")
    how.add_argument("--figure", action="store_true", help="measure nothing, draw what is recorded")
    how.add_argument("--fresh", action="store_true", help="forget what an interrupted run has measured")
    return made


def counts(least: int) -> Callable[[str], list[int]]:
    """An argparse type: whole numbers with commas, rising."""

    def parse(text: str) -> list[int]:
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isdigit() and int(part) >= least for part in parts):
            raise argparse.ArgumentTypeError(
                f"{text!r}: write whole numbers from {least} on, such as {least},{2 * least}"
            )
        return sorted({int(part) for part in parts})

    return parse
