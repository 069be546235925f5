"""The demo of stage 05: one prompt under nine presets, how wide each draw was, one draw under glass, and what a seed is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from rich.table import Table
from rich.text import Text as Styled

from common.loader import load_model
from common.terminal.command_line import (
    add_max_tokens,
    add_model_flags,
    add_prompt,
    add_seed,
    choice,
    number,
    read_prompt,
    run,
    stage_parser,
)
from common.terminal.console import heading, live, make_table, note, printable, show, table

from .engine import SamplingParams
from .lesson.distribution import effective, entropy
from .lesson.pictures import cascade, sparkline
from .lesson.presets import COLUMNS, PRESETS, settings
from .lesson.runs import Run, Scene

PARAMETERS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
GLASS: dict[str, Any] = {"temperature": 0.8, "top_k": 10, "top_p": 0.9, "min_p": 0.05}
EXAMINED = 16  # tokens, of which the most open one is put under glass
SAMPLES = 3


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s05_sampling",
        "Sampling: one prompt under nine presets, how uncertain each draw is, what truncation cuts, what a seed gives.\n"
        "A parameter of your own (--temperature 0.7 --top-k 40) becomes one more preset.",
        ['--prompt "The old king"', "--preset plain --preset hot", "--temperature 0.7 --min-p 0.1"],
    )
    add_model_flags(parser)
    add_prompt(parser)
    add_max_tokens(parser, 40)
    add_seed(parser, 1)
    parser.add_argument(
        "--preset", action="append", type=choice(*PRESETS), metavar="NAME",
        help=f"run only this preset (repeatable): {', '.join(PRESETS)}",
    )  # fmt: skip
    group = parser.add_argument_group("a preset of your own")
    for name in PARAMETERS:
        kind = number(int, 0) if name == "top_k" else float
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X")
    return parser.parse_args(argv)


def presets(args: argparse.Namespace) -> dict[str, SamplingParams]:
    """The chosen presets, with the seed. Raises UserError for a value out of range."""
    chosen = {name: PRESETS[name] for name in (args.preset or PRESETS)}
    own = {name: getattr(args, name) for name in PARAMETERS if getattr(args, name) is not None}
    if own:
        chosen["yours"] = {"temperature": 1.0, **own}
    return {name: SamplingParams(seed=args.seed, **values) for name, values in chosen.items()}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    chosen = presets(args)
    model, tokenizer, config = load_model(args.model, args.device, args.dtype)
    prompt = tokenizer.encode(read_prompt(args))
    scene = Scene(model, tokenizer, prompt, args.max_tokens, config.eos_token_ids)
    scene.tokens(None)  # what cannot be generated is refused here, before anything is shown

    heading("One prompt, many ways to choose the next token")
    show_settings(chosen)
    runs = {name: Run(params) for name, params in chosen.items()}
    write_all(scene, runs)
    heading("How many tokens the draw hesitates between")
    show_widths(runs)
    heading("One draw under glass")
    show_glass(scene, args, chosen)
    heading("The same seed, the same text")
    params = SamplingParams(temperature=1.0, seed=args.seed)
    same = show_twice(scene, params)
    heading(f"One seed, {SAMPLES} samples")
    show_samples(scene, params)
    return 0 if same else 1


def show_settings(chosen: dict[str, SamplingParams]) -> None:
    rows = [[name, *settings(params)] for name, params in chosen.items()]
    table(None, ["preset", *COLUMNS.values()], rows)


def write_all(scene: Scene, runs: dict[str, Run]) -> None:
    """All texts, one after the other, in a table that grows."""
    with live() as view:
        for one in runs.values():
            for _ in one.follow(scene):
                view.update(texts(scene, runs))
        view.update(texts(scene, runs))


def texts(scene: Scene, runs: dict[str, Run]) -> Table:
    start = flat(scene.tokenizer.decode(scene.prompt))
    rows = [
        [name, Styled.assemble((start, "bright_black"), flat(one.text)) if one.ids else ""]
        for name, one in runs.items()
    ]
    return make_table(["preset", "text"], rows)


def flat(text: str) -> str:
    """On one line, for a cell of a table."""
    return printable(text.replace("\n", "↵ "))


def show_widths(runs: dict[str, Run]) -> None:
    """A small bar per step: the entropy of what was drawn from; its mean in nats, and as equally likely tokens."""
    highest = max(max(one.drawn) for one in runs.values())
    rows = []
    for name, one in runs.items():
        mean = sum(one.drawn) / len(one.drawn)
        left = sorted(one.left)[len(one.left) // 2]
        rows.append(
            [name, Styled(sparkline(one.drawn, highest), style="cyan"), f"{mean:.2f}", f"{effective(mean):,.1f}", left]
        )  # fmt: skip
    table(None, ["preset", "entropy of each step", "nats", "effective", "left"], rows)
    note(
        "Entropy says how open a draw was: 0 is no choice; exp(mean) is the equivalent number of equally likely tokens."
    )
    note("Left: how many tokens could be drawn at all (median). A tail of unlikely ones hardly adds entropy.")


def show_glass(scene: Scene, args: argparse.Namespace, chosen: dict[str, SamplingParams]) -> None:
    """The most open draw of a short text, step by step: with the learner's own truncation, if there is one."""
    params = chosen.get("yours", SamplingParams())
    if not params.truncates:
        params = SamplingParams(seed=args.seed, **GLASS)
    made = list(islice(scene.tokens(params), EXAMINED))
    at = max(range(len(made)), key=lambda i: entropy(made[i].logits.float().softmax(-1)))
    before = scene.tokenizer.decode([*scene.prompt, *(one.id for one in made[:at])])
    show("", Styled(f"after: {flat(before)}", style="bright_black"))
    show("", cascade(made[at].logits, params, scene.tokenizer), "")
    note("Percent after each step, from left to right. The draw is among what is left, in proportion.")


def show_twice(scene: Scene, params: SamplingParams) -> bool:
    """Runs it twice and compares. A difference, which must never happen, is reported."""
    (ids, text), (again, _) = scene.text(params), scene.text(params)
    show(Styled(flat(text)))
    same = ids == again
    verdict = f"drawn twice with seed {params.seed}: all {len(ids)} tokens are the same"
    show(Styled(verdict if same else "two runs of one seed differ", style="green" if same else "bold red"))
    return same


def show_samples(scene: Scene, params: SamplingParams) -> None:
    rows = []
    for index in range(SAMPLES):
        _, text = scene.text(replace(params, sample_index=index))
        rows.append([index, flat(text)])
    table(None, ["sample", "text"], rows)
    different = len({text for _, text in rows})
    note(
        f"{SAMPLES} samples, {different} different texts. A server's `n` asks for them; each can be drawn again."
    )


if __name__ == "__main__":
    sys.exit(run(main))
