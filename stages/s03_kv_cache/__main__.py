"""The demo of stage 03: one text with and without the cache, a picture of the cache, its phases, gain and price."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import ModuleType
from typing import Any

from rich.text import Text

from common.bench.measure import against_bound, decode_bound, read_bandwidth
from common.equality import assert_same_tokens, near_tie_rule
from common.loader import load_model
from common.models import Model
from common.terminal.command_line import (
    add_max_tokens,
    add_model_flags,
    add_prompt,
    add_stop,
    read_prompt,
    run,
    stage_parser,
)
from common.terminal.console import Flow, console, heading, note, show, table
from common.tokenizer import Tokenizer
from common.tutorial import load_stage

from . import engine
from .lesson.growth import choose_lengths, show_growth
from .lesson.memory import show_cache, show_published
from .lesson.picture import SLOTS, draw, watch
from .lesson.runs import Run


@dataclass(frozen=True, slots=True)
class Scene:
    """What is generated, and with what."""

    model: Model
    tokenizer: Tokenizer
    prompt: list[int]
    max_tokens: int
    eos_ids: tuple[int, ...]
    stop: list[str]

    def tokens(self, side: ModuleType, begun: Sequence[int] = ()) -> Iterator[Any]:
        """An engine's tokens after the prompt and the tokens `begun`."""
        left = self.max_tokens - len(begun)
        more = dict(eos_ids=self.eos_ids, stop=self.stop, tokenizer=self.tokenizer)
        tokens: Iterator[Any] = side.generate(self.model, [*self.prompt, *begun], left, **more)
        return tokens


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s03_kv_cache",
        "The KV cache: the same text with and without it, timed; what is in it; what it costs.",
        ['--prompt "The old king" --max-tokens 200', "--model storyteller-llama", "--prompt-file tale.txt"],
    )
    add_model_flags(parser)
    add_prompt(parser)
    add_max_tokens(parser, 100)
    add_stop(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    model, tokenizer, config = load_model(args.model, args.device, args.dtype)
    tokens = tokenizer.encode(read_prompt(args))
    scene = Scene(model, tokenizer, tokens, args.max_tokens, config.eos_token_ids, args.stop)
    scene.tokens(engine)  # what cannot be generated is refused here, before anything is shown
    without = load_stage(2).engine
    for side in (without, engine):
        next(side.generate(model, tokens[:1], 1))  # warm up: the first pass of a process is slow

    heading("The same text twice")
    slow, chosen = stream(scene, without, "without a cache, every step reads the whole text")
    fast, _ = stream(scene, engine, "with it, every step reads one token")
    same = show_verdict(scene, slow, fast, chosen)
    heading("What is in the cache")
    show_picture(scene)
    heading("Two phases: prefill and decode")
    show_phases(scene, fast)
    heading("The longer the text, the more it saves")
    lengths = choose_lengths(len(tokens), config.max_positions)
    if lengths:
        show_growth(without, model, tokens, lengths)
        note(
            "Without a cache a token costs more the longer the text is; with it, nearly the same at any length."
        )
    heading("What it costs: memory")
    cache = engine.KVCache(model.layers_info, len(tokens) + args.max_tokens, model.device, model.dtype)
    agree = show_cache(cache, model.layers_info) and show_published()
    if not agree:
        show(Text("the cache does not have as many bytes as the formula says", style="bold red"))
    return 0 if same and agree else 1


def stream(scene: Scene, side: ModuleType, title: str) -> tuple[Run, list[Any]]:
    """Writes the text as it is made. Returns its times, and the tokens with their logits."""
    show("", Text(title, style="bold"))
    flow = Flow()
    flow.write(scene.tokenizer.decode(scene.prompt, skip_special=False), style="bright_black")
    result, tokens, start = Run(len(scene.prompt)), [], perf_counter()
    for token in scene.tokens(side):
        result.seconds.append(perf_counter() - start)
        result.tokens.append(token.id)
        tokens.append(token)
        flow.write(token.text)
    flow.end()
    note(f"{len(tokens)} tokens in {result.seconds[-1]:.2f} s")
    return result, tokens


def show_verdict(scene: Scene, slow: Run, fast: Run, chosen: Sequence[Any]) -> bool:
    """Compares the two texts and says whether they are the same; the run without a cache is the reference."""
    show("")
    try:
        tally = assert_same_tokens(
            lambda begun: [one.id for one in scene.tokens(engine, begun)] if begun else fast.tokens,
            slow.tokens,
            lambda i: chosen[i].logits.float(),
            **near_tie_rule(scene.model.dtype),
        )
    except AssertionError as error:
        show(Text(f"not the same tokens: {error}", style="bold red"))
        return False
    times = slow.seconds[-1] / fast.seconds[-1]
    show(Text(f"the same text: {tally}; {times:.1f} times as fast with the cache", style="green"))
    return True


def show_picture(scene: Scene) -> None:
    """Shows the slots after prefill and after two decode steps, read from a real cache."""
    for slots in SLOTS:  # as many as fit the terminal
        begin = scene.prompt[: slots - 3]
        snapshots = watch(scene.model, begin)
        ids = [*begin, *(one.chosen for one in snapshots)]
        pieces = {i: scene.tokenizer.decode([i], skip_special=False) for i in ids}
        picture = draw(snapshots, pieces)
        if console.measure(picture).maximum <= console.width:
            break
    if len(begin) < len(scene.prompt):
        note(f"with the prompt's first {len(begin)} tokens")
    show("", picture, "")
    note("[written in this step]; everything else was already there and is only read.")
    note("A token enters the cache when it goes through the model, one step after it was chosen.")


def show_phases(scene: Scene, fast: Run) -> None:
    """Shows the time of each phase. The text so far, used as a prompt, shows what a long prefill is like."""
    n = len(scene.prompt)
    text = [*scene.prompt, *fast.tokens][: scene.model.config.max_positions - 1]
    start = perf_counter()
    next(engine.generate(scene.model, text, 1))
    whole = perf_counter() - start
    rows = [
        ["prefill of the prompt", n, *rate(n, fast.seconds[0])],
        ["prefill of the whole text", len(text), *rate(len(text), whole)],
    ]
    if len(fast.tokens) > 1:
        rows.append(["decode, one at a time", len(fast.tokens) - 1, *rate(1, 1 / fast.decode_rate)])
    table(None, ["phase", "tokens", "ms per token", "tokens/s"], rows)
    if len(fast.tokens) > 1:
        device = scene.model.device
        bound = decode_bound(scene.model, n + len(fast.tokens) // 2, read_bandwidth(device))
        note(f"decode: {against_bound(fast.decode_rate, bound)}.")
    note("A prefill reads the weights once for all its tokens; each decode step reads them all for one.")


def rate(tokens: int, seconds: float) -> tuple[str, str]:
    return f"{1000 * seconds / tokens:.2f}", f"{tokens / seconds:,.0f}"


if __name__ == "__main__":
    sys.exit(run(main))
