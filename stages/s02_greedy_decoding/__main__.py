"""The demo of stage 02: transformers' generate() and our own loop write the same text, then each step is shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from common.errors import UserError
from common.loader import find_checkpoint, load_model
from common.models import Model
from common.terminal.command_line import (
    add_max_tokens,
    add_model_flags,
    add_prompt,
    add_stop,
    number,
    read_prompt,
    run,
    stage_parser,
)
from common.terminal.console import Flow, heading, live, note, printable, show
from common.tokenizer import Tokenizer

from .engine import Token, generate
from .lesson.black_box import BlackBox
from .lesson.growth import show_growth
from .lesson.loops import find_loop, marked
from .lesson.outcome import Outcome, collect, timed
from .lesson.steps import show_outcomes, show_step

COMPARE_UP_TO = 500_000_000  # parameters; a larger model is loaded a second time only if asked for
STEPS_SHOWN = 3
PROMPT = "Once upon a time there was"  # greedy decoding goes in circles after it, within 100 tokens


@dataclass(frozen=True, slots=True)
class Scene:
    """What is generated, and with what."""

    model: Model
    tokenizer: Tokenizer
    prompt: list[int]
    max_tokens: int
    eos_ids: tuple[int, ...]
    stop: list[str]

    @property
    def prompt_text(self) -> str:
        return self.tokenizer.decode(self.prompt, skip_special=False)

    def generate(self) -> Iterator[Token]:
        return generate(
            self.model,
            self.prompt,
            self.max_tokens,
            eos_ids=self.eos_ids,
            stop=self.stop,
            tokenizer=self.tokenizer,
        )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s02_greedy_decoding",
        "Greedy decoding: the black box and our loop side by side, step by step, and what it costs.",
        ['--prompt "The old king" --max-tokens 40', '--stop "." --show-steps', "--prompt-ids 12,7,33"],
    )
    add_model_flags(parser)
    add_prompt(parser, PROMPT)
    parser.add_argument(
        "--prompt-ids", type=token_ids, metavar="IDS", help="token ids instead of text: 12,7,33"
    )
    add_max_tokens(parser, 20)
    add_stop(parser)
    parser.add_argument(
        "--show-steps", action="store_true", help=f"show all steps, not only the first {STEPS_SHOWN}"
    )
    parser.add_argument(
        "--loop-tokens",
        type=number(int, 0),
        default=100,
        metavar="N",
        help="length in tokens of the text that shows the loop and the times, 0 for none (%(default)s)",
    )
    parser.add_argument(
        "--compare",
        action=argparse.BooleanOptionalAction,
        help="run transformers beside ours (for models up to 0.5 B parameters)",
    )
    return parser.parse_args(argv)


def token_ids(text: str) -> list[int]:
    """An argparse type: whole numbers between commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of token ids such as 12,7,33") from None


def read_tokens(args: argparse.Namespace, tokenizer: Tokenizer) -> list[int]:
    if args.prompt_ids is None:
        return tokenizer.encode(read_prompt(args))
    if args.prompt != PROMPT or args.prompt_file:
        raise UserError("--prompt-ids and a text exclude each other: give one of them")
    return list(args.prompt_ids)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    folder = find_checkpoint(args.model)
    model, tokenizer, config = load_model(folder, args.device, args.dtype)
    tokens = read_tokens(args, tokenizer)
    scene = Scene(model, tokenizer, tokens, args.max_tokens, config.eos_token_ids, args.stop)
    scene.generate()  # what cannot be generated is refused here, before anything is shown
    next(generate(model, tokens[:1], 1))  # warm up: the first pass of a process is slow

    box = open_black_box(folder, model, args.compare)
    reference = show_black_box(box, scene) if box else None
    ours = show_glass_box(scene)
    same = show_verdict(box, scene, ours, *reference) if box and reference else True
    show_steps(scene, args.max_tokens if args.show_steps else STEPS_SHOWN)
    show_statistics(ours, reference[0] if reference else None, len(tokens))
    room = min(args.loop_tokens, config.max_positions - len(scene.prompt))
    if room > 0:
        longer = show_loop(scene, room)
        heading("What a token costs as the text grows")
        show_growth(longer, len(scene.prompt))
    return 0 if same else 1


def open_black_box(folder: Any, model: Model, wanted: bool | None) -> BlackBox | None:
    """None, with the reason in one line, if there is nothing to compare with."""
    if wanted is None and sum(p.numel() for p in model.parameters()) > COMPARE_UP_TO:
        note("not compared with transformers, because the model is large; add --compare to do it")
    elif wanted is not False:
        try:
            return BlackBox(folder, model.device, model.dtype)
        except ImportError:
            note("transformers is not installed, so the black box is left out")
    return None


def show_black_box(box: BlackBox, scene: Scene) -> tuple[Outcome, list[Any]]:
    heading("The black box: transformers' generate()")
    box.generate(scene.prompt[:1], 1)  # as above
    theirs, logits = box.generate(scene.prompt, scene.max_tokens, scene.eos_ids)
    theirs.text = scene.tokenizer.decode(theirs.tokens)
    show_text(scene.prompt_text, theirs.text)
    note(
        f"{len(theirs.tokens)} tokens in {sum(theirs.seconds):.2f} s. There is the text. How it got there, it doesn't say."
    )
    return theirs, logits


def show_text(prompt: str, text: str) -> None:
    flow = Flow()
    flow.write(prompt, style="bright_black")
    flow.write(text)
    flow.end()


def show_glass_box(scene: Scene) -> Outcome:
    """Our loop; the text appears as it is made."""
    heading("The glass box: our own loop, token by token")
    flow = Flow()
    flow.write(scene.prompt_text, style="bright_black")
    ours = Outcome()
    for token, seconds in timed(scene.generate()):
        ours.add(token, seconds)
        flow.write(token.text)
    flow.end()
    return ours


def show_verdict(box: BlackBox, scene: Scene, ours: Outcome, theirs: Outcome, logits: list[Any]) -> bool:
    """Says whether the tokens are the same, after comparing them."""
    reference = theirs.tokens
    if ours.finish_reason == "stop" and ours.tokens[-1] not in scene.eos_ids:
        reference = reference[: len(ours.tokens)]  # the black box does not know our stop strings
        note(f"ours ended before a stop string; {len(reference)} tokens are compared")

    def answer(begun: list[int]) -> list[int]:
        """Ours. After a near-tie: what our loop adds to the reference's first tokens, `begun`."""
        if not begun:
            return ours.tokens
        left = len(reference) - len(begun)
        return collect(generate(scene.model, [*scene.prompt, *begun], left, eos_ids=scene.eos_ids)).tokens

    try:
        tally = box.check(answer, reference, logits)
    except AssertionError as error:
        show(Text(f"not the same tokens: {error}", style="bold red"))
        return False
    show(Text(f"token by token the same as the black box: {tally}", style="green"))
    return True


def show_steps(scene: Scene, count: int) -> None:
    """The first `count` steps, each shown as soon as it is made."""
    heading("Step by step: always the likeliest token")
    for i, (token, seconds) in enumerate(timed(scene.generate()), start=1):
        show_step(i, scene.tokenizer, token, seconds)
        if i == count and not token.finish_reason:
            return note("add --show-steps to see all of them")
    return None


def show_statistics(ours: Outcome, theirs: Outcome | None, prompt_tokens: int) -> None:
    heading("Side by side" if theirs else "In numbers")
    show_outcomes(({"black box": theirs} if theirs else {}) | {"glass box": ours}, prompt_tokens)


def show_loop(scene: Scene, count: int) -> Outcome:
    """A longer text, up to its own end. Repetitions are marked."""
    heading(f"{count} tokens: where always taking the likeliest one leads")
    ours, texts = Outcome(), []
    tokens = generate(scene.model, scene.prompt, count, eos_ids=scene.eos_ids, tokenizer=scene.tokenizer)
    with live() as view:
        for token, seconds in timed(tokens):
            ours.add(token, seconds)
            texts.append(token.text)
            view.update(marked(scene.prompt_text, texts, find_loop(ours.tokens)))
    loop = find_loop(ours.tokens)
    if loop:
        unit = printable("".join(texts[loop.start : loop.start + loop.period])).strip()
        note(
            f"from token {loop.start + 1} on the same {loop.period} tokens, {loop.times:.1f} times: {unit!r}"
        )
    else:
        note(f"no loop at the end of these {len(texts)} tokens; try another prompt, or --loop-tokens 300")
    return ours


if __name__ == "__main__":
    sys.exit(run(main))
