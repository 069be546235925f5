"""Trains the shipped checkpoints from text files: `python -m common.checkpoints.training.train stories.txt --out FOLDER`.

One run makes all five within `--minutes` on one large GPU: the tokenizer, `storyteller` on tales and then on tales and
conversations, its draft by imitation, and the three small families as `storyteller` was. Each is written as soon as it is
done, in bf16, and measured as written; `metrics.json` beside them feeds the model card (`evaluate --write-card`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from common.loader import SHIPPED, load_model, resolve_device, save_model
from common.terminal import command_line

from . import distil, scores
from .batches import Mixture, Rows, Stories
from .data import Data, prepare
from .optimise import (
    Loss,
    Phase,
    Source,
    add_dropout,
    as_it_is,
    compile_layers,
    new_model,
    next_token_loss,
    optimise,
)
from .shapes import CONTEXT, RECIPES, Recipe, tiny
from .text import pack, write_tokenizer

STARTED = time.monotonic()
BASE = 0.72  # part of the training time that belongs to tales alone
MEASURING = 0.06  # part of a model's time that is kept for writing and measuring it


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    device = resolve_device(args.device)
    torch.manual_seed(args.seed)
    recipes = [tiny(r) if args.tiny else r for r in RECIPES if r.name in (args.only or SHIPPED)]
    if args.steps:
        recipes = [replace(recipe, steps=args.steps) for recipe in recipes]
    data = prepare(args.texts, args.out / "storyteller", device, tiny=args.tiny, seed=args.seed)
    say(f"{data.facts['tokens']:,} tokens of tales, {len(data.chat[0])} rows of conversations on {device}")
    for i, recipe in enumerate(recipes):
        left = STARTED + 60 * args.minutes - time.monotonic()
        share = max(left, 1) * recipe.share / sum(r.share for r in recipes[i:])
        say(f"{recipe.name}: {share:.0f} s")
        entry = make(recipe, data, args, device, time.monotonic() + share * (1 - MEASURING))
        record(args.out, recipe.name, entry, data.facts | machine(device))
        say(f"{recipe.name}: written; {json.dumps(entry)}")
    return 0


def parser() -> argparse.ArgumentParser:
    p = command_line.stage_parser(
        "python -m common.checkpoints.training.train", __doc__ or "", ["stories.txt --out checkpoints"]
    )
    p.add_argument(
        "texts", nargs="+", type=Path, metavar="TEXT", help="documents, divided by a line <|endoftext|>"
    )
    p.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a folder for each checkpoint goes here"
    )
    p.add_argument(
        "--only", action="append", type=command_line.choice(*SHIPPED), metavar="NAME", help="(repeatable)"
    )
    p.add_argument(
        "--minutes", type=command_line.number(float, 0.01), default=8.5, help="for everything (%(default)s)"
    )
    p.add_argument("--steps", type=command_line.number(int, 1), help="most steps of each phase")
    p.add_argument("--tiny", action="store_true", help="smaller models and little text: does the script run?")
    p.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (%(default)s)")
    p.add_argument("--seed", type=command_line.number(int, 0), default=0, metavar="N")
    return p


def make(
    recipe: Recipe, data: Data, args: argparse.Namespace, device: torch.device, until: float
) -> dict[str, Any]:
    """Trains, writes and measures one checkpoint; returns its entry in metrics.json."""
    model = new_model(recipe, device, args.seed)
    size = sum(p.numel() for p in model.parameters())
    begin = time.monotonic()
    hooks = add_dropout(model, recipe.dropout)
    if device.type == "cuda" and not args.no_compile:
        compile_layers(model)
    entry: dict[str, Any] = {
        "parameters": size,
        "lr": recipe.lr,
        "rows": recipe.rows,
        "dropout": recipe.dropout,
    }
    entry |= (imitation if recipe.teacher else two_phases)(model, recipe, data, args.out, until)
    for hook in hooks:
        hook.remove()
    folder = args.out / recipe.name
    save_model(model, folder, torch.bfloat16)
    write_tokenizer(data.tokenizer, folder)
    entry["seconds"] = round(time.monotonic() - begin, 1)
    return entry | measure(recipe, data, args.out, device)


def two_phases(model: Any, recipe: Recipe, data: Data, out: Path, until: float) -> dict[str, Any]:
    """Tales; then half tales, half conversations, at a lower rate."""
    now = time.monotonic()
    stories, rows = Stories(data.stream, data.chat[0].shape[1]), Rows(*data.chat)

    def loss_so_far() -> float:
        with as_it_is(model) as plain:
            return scores.loss_on(plain, *data.held_out)

    def phase(name: str, lr: float, source: Source, steps: int, end: float) -> int:
        check = lambda: f"held out {loss_so_far():.3f}"  # noqa: E731
        spec = Phase(name=name, lr=lr, rows=recipe.rows, steps=steps, until=end, check=check)
        return optimise(model, source, next_token_loss, spec)

    steps = phase("tales", recipe.lr, stories, recipe.steps, now + BASE * (until - now))
    before = loss_so_far()
    mixed = Mixture((stories, rows), (1, 1))
    chat_steps = phase("chat", 0.3 * recipe.lr, mixed, max(1, recipe.steps // 2), until)
    return {"steps": steps, "chat_steps": chat_steps, "loss_before_chat": round(before, 4)}


def imitation(model: Any, recipe: Recipe, data: Data, out: Path, until: float) -> dict[str, Any]:
    """A quarter tales, a quarter conversations, half what the teacher itself says."""
    teacher = load_teacher(recipe, out, data.stream.device)
    length = data.chat[0].shape[1]
    count, new = (6144, 256) if length == CONTEXT else (8, 16)
    prompts = distil.story_prompts(data.stream.cpu(), count, min(512, length // 2))
    step = max(1, len(data.openings) // (count // 2))
    asked = [opening for opening in data.openings[::step] if len(opening) + new < CONTEXT]
    written = [*distil.own_words(teacher, prompts, new), *distil.own_words(teacher, asked, new, seed=1000)]
    order = torch.randperm(len(written)).tolist()
    own = pack([written[i] for i in order], length)
    say(f"  {len(own[0])} rows of the teacher's own words")
    own_rows = Rows(own[0].to(data.stream.device), own[1].to(data.stream.device))
    mixed = Mixture((Stories(data.stream, length), Rows(*data.chat), own_rows), (1, 1, 2))
    phase = Phase(name="draft", lr=recipe.lr, rows=recipe.rows, steps=recipe.steps, until=until)
    loss: Loss = distil.imitate(teacher)
    return {
        "steps": optimise(model, mixed, loss, phase),
        "teacher": recipe.teacher,
        "teacher_rows": len(own[0]),
    }


def load_teacher(recipe: Recipe, out: Path, device: torch.device) -> Any:
    """As this run wrote it, else as it ships."""
    made = out / str(recipe.teacher)
    return load_model(made if made.is_dir() else str(recipe.teacher), device, torch.bfloat16)[0]


def measure(recipe: Recipe, data: Data, out: Path, device: torch.device) -> dict[str, Any]:
    """The checkpoint as it was written, in float32."""
    model = load_model(out / recipe.name, device, torch.float32)[0]
    entry: dict[str, Any] = {"loss": round(scores.loss_on(model, *data.held_out), 4)}
    entry["chat_loss"] = round(scores.loss_on(model, *data.held_out_chat), 4)
    if recipe.teacher:
        teacher = load_teacher(recipe, out, device).float()
        entry["agreement"] = round(scores.agreement(teacher, model, data.held_out[0]), 4)
        inputs = data.held_out[0]
        prompts = [row[:n].tolist() for row in inputs for n in (16, 64) if n < len(row) // 2]
        entry["acceptance"] = scores.rounded(
            scores.acceptance(teacher, model, prompts, 128 if len(inputs[0]) == CONTEXT else 16)
        )
        asked = data.held_out_openings[:: max(1, len(data.held_out_openings) // 64)]
        entry["acceptance_chat"] = scores.rounded(scores.acceptance(teacher, model, asked, 128))
    return entry


def machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": name, "torch": torch.__version__}


def record(out: Path, name: str, entry: dict[str, Any], facts: dict[str, Any]) -> None:
    """Adds a checkpoint to metrics.json; what is there of the others stays."""
    path = out / "metrics.json"
    metrics = json.loads(path.read_text()) if path.exists() else {"checkpoints": {}}
    metrics["data"] = facts
    metrics["checkpoints"][name] = entry
    path.write_text(json.dumps(metrics, indent=1) + "\n")


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
