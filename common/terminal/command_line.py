"""What all command lines share: flags that keep one name, help with examples, one way to fail.

A stage picks the `add_*` functions it needs. Whether a device, a dtype or a model exists is not decided here
but in `common.loader`, so that the servers and the tests meet the same rule.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from common.errors import UserError

__all__ = [
    "Parser",
    "add_bench_flags",
    "add_max_tokens",
    "add_model_flags",
    "add_prompt",
    "add_seed",
    "add_stop",
    "choice",
    "choose",
    "number",
    "read_prompt",
    "run",
    "split_options",
    "stage_parser",
]

DEFAULT_MODEL = "storyteller"
DEFAULT_PROMPT = "Once upon a time"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with the flag that was probably meant."""

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            self.error(f"unknown argument {unknown[0]!r}{suggestion(unknown[0].split('=')[0], flags)}")
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_one_line(message)} (see {self.prog} --help)\n")


def stage_parser(prog: str, description: str, examples: Sequence[str] = ()) -> Parser:
    """A parser with the house style.

    prog: as the user types it, e.g. "python -m stages.s02_greedy_decoding".
    examples: complete argument lists, shown below the flags with `prog` before each.
    """
    lines = [f"  {prog} {example}".rstrip() for example in examples]
    return Parser(
        prog=prog,
        description=description,
        epilog="examples:\n" + "\n".join(lines) if lines else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a flag has one name in the articles, the tests and the shell
    )


def add_model_flags(parser: argparse.ArgumentParser, model: str = DEFAULT_MODEL) -> None:
    """--model, --device, --dtype."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=model,
        metavar="NAME",
        help="a shipped checkpoint, a folder, or a name on the hub (%(default)s)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (%(default)s)")
    group.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16 (%(default)s)")


def add_seed(parser: argparse.ArgumentParser, default: int | None = 0) -> None:
    parser.add_argument(
        "--seed", type=number(int, 0), default=default, metavar="N", help="random seed (%(default)s)"
    )


def add_prompt(parser: argparse.ArgumentParser, default: str = DEFAULT_PROMPT) -> None:
    """--prompt or --prompt-file; `read_prompt` turns what was given into text."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--prompt", default=default, metavar="TEXT", help="text to continue (%(default)r)")
    group.add_argument("--prompt-file", metavar="PATH", help="read the prompt from a UTF-8 file, - for stdin")


def add_max_tokens(parser: argparse.ArgumentParser, default: int = 20) -> None:
    parser.add_argument(
        "--max-tokens",
        type=number(int, 1),
        default=default,
        metavar="N",
        help="maximum number of tokens to generate (%(default)s)",
    )


def add_stop(parser: argparse.ArgumentParser) -> None:
    """--stop, as often as wanted; `args.stop` is a list."""
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this text (repeatable)"
    )


def add_bench_flags(parser: argparse.ArgumentParser, repeats: int = 5) -> None:
    """--repeats and --results, for the `bench.py` of every stage."""
    parser.add_argument(
        "--repeats",
        type=number(int, 1),
        default=repeats,
        metavar="N",
        help="timed runs of each side (%(default)s)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="where the result file goes (benchmarks/results/ and the machine's name)",
    )


def split_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first `--`, and those after it: a program's own flags, and what it passes to an engine."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def read_prompt(args: argparse.Namespace) -> str:
    """The prompt of `add_prompt`. A file's last newline is dropped: editors add it, nobody means it."""
    if args.prompt_file is None:
        text = str(args.prompt)
    elif args.prompt_file == "-":
        text = _decode(sys.stdin.buffer.read(), "stdin").removesuffix("\n")
    else:
        try:
            raw = Path(args.prompt_file).read_bytes()
        except OSError as error:
            raise UserError(
                f"--prompt-file {args.prompt_file!r} cannot be read: {error.strerror or error}"
            ) from error
        text = _decode(raw, args.prompt_file).removesuffix("\n")
    return text


def _decode(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"--prompt-file {source!r} is not UTF-8 text (byte {error.start})") from error


def number(kind: type[int] | type[float], low: float, high: float | None = None) -> Callable[[str], float]:
    """An argparse type: a finite int or float within [low, high]."""
    span = f"at least {low}" if high is None else f"between {low} and {high}"
    word = "a whole number" if kind is int else "a number"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {span}") from None
        if not low <= value < float("inf") or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not {word} {span}")
        return value

    return parse


def choice(*options: str) -> Callable[[str], str]:
    """An argparse type: one of `options`; a near miss is answered with what was probably meant."""

    def parse(text: str) -> str:
        if text in options:
            return text
        raise argparse.ArgumentTypeError(_not_one_of(text, options))

    return parse


def choose(field: str, value: str, options: Iterable[str]) -> str:
    """`value` if it is among `options`, else a UserError that names the field, the value and what is possible."""
    options = tuple(options)
    if value in options:
        return value
    raise UserError(f"{field}: {_not_one_of(value, options)}")


def suggestion(value: str, options: Iterable[str]) -> str:
    """ "; did you mean X?" if one of `options` is close to `value`, else nothing."""
    close = difflib.get_close_matches(value, list(options), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _not_one_of(value: str, options: Sequence[str]) -> str:
    return f"{value!r} is not one of {', '.join(options)}{suggestion(value, options)}"


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` and return the exit status of the process.

    0 or what main returns; 2 with one line on stderr for bad input; 130 after Ctrl-C; 141 (128 + SIGPIPE) when
    the reader of our output has gone, as for any program in a shell pipe. Other exceptions keep their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not end the run
    try:
        status = main(argv) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit; that must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as stop:  # argparse: --help and its errors
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except UserError as error:
        return _fail(str(error))
    except Exception as error:
        if not _is_hub_error(error):
            raise
        return _fail(f"the hub cannot be used: {error}")


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {_one_line(message)}\n")
    return 2


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _is_hub_error(error: Exception) -> bool:
    """Whether huggingface_hub raised it. An error's module that was never imported cannot have raised it."""
    errors = sys.modules.get("huggingface_hub.errors")
    if errors is None:
        return False
    return isinstance(
        error, (errors.OfflineModeIsEnabled, errors.HfHubHTTPError, errors.LocalEntryNotFoundError)
    )
