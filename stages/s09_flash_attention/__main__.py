"""The demo of stage 09: a softmax that corrects itself, tile by tile; four ways to one text; memory as prompts grow."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import torch

from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import add_max_tokens, add_model_flags, run, stage_parser
from common.terminal.console import facts, heading, note, show, table, warn

from .engine import Engine, EngineConfig, SamplingParams
from .lesson.layer import WAYS, Layer, peak_bytes
from .lesson.running import running_softmax

PROMPT = "Once upon a time there was an old king who had a garden, and in the garden stood a tree"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s09_flash_attention",
        "Attention in four ways: the same text, but only one of them writes all scores down.",
        ["--lengths 512,2048,8192", "--max-tokens 60", "--prompt 'A fox and a hare'"],
    )
    add_model_flags(parser)
    add_max_tokens(parser, 30)
    parser.add_argument("--prompt", default=PROMPT, metavar="TEXT", help="text to continue")
    parser.add_argument(
        "--lengths",
        default="256,512,1024,2048",
        metavar="N,N",
        help="prompt lengths to measure (%(default)s)",
    )
    args = parser.parse_args(argv)
    args.lengths = read_lengths(args.lengths)
    return args


def read_lengths(text: str) -> list[int]:
    """Raises UserError."""
    try:
        lengths = [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--lengths {text!r} must be whole numbers with commas between them") from None
    if not all(1 <= n <= 16384 for n in lengths):
        raise UserError(f"--lengths {text!r}: each must be between 1 and 16384")
    return lengths


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    model, tokenizer, config = load_model(args.model, args.device, args.dtype)
    engines = {
        way: Engine(model, tokenizer, config, EngineConfig(attention=way, max_num_seqs=1)) for way in WAYS
    }
    tokens = engines["eager"].encode(args.prompt)
    engines["eager"].max_tokens(tokens, SamplingParams(args.max_tokens))  # refused here, in one line
    show_running_softmax()
    same = show_texts(engines, tokens, args)
    show_growth(Layer.of(model), args.lengths)
    show_what_runs(engines, model.device)
    return 0 if same else 1


def show_running_softmax() -> None:
    """Six scores in three tiles: what is known after each, and how the sums are corrected when the maximum rises."""
    heading("A softmax that never sees all scores at once")
    scores, values = [1.0, 3.0, 2.0, 5.0, 4.0, 0.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    rows = [
        [
            " ".join(f"{score:g}" for score in step.scores), f"{step.highest:g}", f"{step.correction:.3f}",
            f"{step.total:.3f}", f"{step.out / step.total:.3f}",
        ]
        for step in running_softmax(scores, values, tile=2)
    ]  # fmt: skip
    table(None, ["tile of scores", "running maximum", "correction", "running sum", "average so far"], rows)
    whole = torch.tensor(scores).softmax(dim=0) @ torch.tensor(values)
    note(f"All six at once give {float(whole):.3f}: the last row's average.")


def show_texts(engines: dict[str, Engine], tokens: list[int], args: argparse.Namespace) -> bool:
    """Every way writes the same text; returns whether it did."""
    heading("Four ways, one text")
    texts, rows = {}, []
    for way, engine in engines.items():
        start = time.perf_counter()
        done = engine.generate([tokens], SamplingParams(args.max_tokens, ignore_eos=True))[0]
        texts[way] = done.text
        rows.append([way, engine.runner.attend.runs, f"{time.perf_counter() - start:.2f} s"])
    show("", args.prompt + texts["eager"])
    table(None, ["--attention", "what runs", "time"], rows)
    different = [way for way, text in texts.items() if text != texts["eager"]]
    if different:
        warn(f"{', '.join(different)} wrote a different text")
    else:
        note("All of them wrote the same text, token by token.")
    return not different


def show_growth(layer: Layer, lengths: Sequence[int]) -> None:
    """Memory and time of one layer by the length of the prompt."""
    heading(f"One layer, a prompt that grows: {layer.info.num_heads} query heads of {layer.info.head_dim}")
    ways = ("eager", "tiled", "sdpa")
    rows = []
    for n in lengths:
        memory, seconds = [], []
        for way in ways:
            call = layer.call(way, n)
            call()
            memory.append(f"{peak_bytes(call, layer.device) / 1e6:,.1f} MB")
            start = time.perf_counter()
            float(call().sum())
            seconds.append(f"{1000 * (time.perf_counter() - start):,.1f} ms")
        rows.append([f"{n:,}", *memory, *seconds])
    table(None, ["tokens", *(f"{way}" for way in ways), *(f"{way} " for way in ways)], rows)
    note(
        "The eager way needs four times the memory for twice the tokens: a score for each pair of tokens and each head."
    )


def show_what_runs(engines: dict[str, Engine], device: torch.device) -> None:
    heading("What this machine has")
    one = engines["eager"]
    auto = Engine(one.model, one.tokenizer, one.model_config, EngineConfig(max_num_seqs=1))
    facts({
        "device": str(device),
        "sdpa": engines["sdpa"].runner.attend.runs,
        "varlen": engines["varlen"].runner.attend.runs,
        "auto": auto.runner.attend.runs,
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
