"""Measures the shipped checkpoints again: `python -m common.checkpoints.training.evaluate`.

Perplexity on `heldout.txt`, tales of our own that no corpus holds, and how many of the draft's greedy proposals
`storyteller` accepts behind their first lines. In float32, on the CPU unless told otherwise. `--write-card` renders the
model card from these numbers, from what training recorded in metrics.json, and from fresh samples.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.loader import CHECKPOINTS, SHIPPED, load_model, read_json
from common.terminal import command_line, console
from common.tokenizer import Tokenizer

from . import card, scores
from .batched import generate
from .shapes import END, END_OF_TEXT
from .text import read_documents

HELD_OUT = CHECKPOINTS / "heldout.txt"
PROMPT_TOKENS, NEW_TOKENS = (16, 64), 96  # of the tales, for the acceptance rate
TEMPERATURE = 0.7
STORY_PROMPTS = ("Once upon a time", "There was once a poor woodcutter who")
ASKED = ("Tell me a story about a rabbit.", "What happened next?", "Go on.")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    tales = read_documents([args.text])
    names = args.only or [name for name in SHIPPED if (args.folder / name).is_dir()]
    if not names:
        raise UserError(f"{args.folder} holds none of {', '.join(SHIPPED)}")
    measured = {name: measure(args.folder / name, tales, args.device) for name in names}
    rows = [
        (name, f"{m['perplexity']:.2f}", f"{m['bits_per_byte']:.3f}", m["tokens"])
        for name, m in measured.items()
    ]
    console.table(
        f"{args.text.name}: {len(tales)} tales", ("checkpoint", "perplexity", "bits/byte", "tokens"), rows
    )
    if {"storyteller", "storyteller-draft"} <= set(names):
        found = draft_acceptance(args.folder, tales, args.device)
        measured["storyteller-draft"]["acceptance"] = found
        console.facts(
            {"accepted of proposed": f"{found['rate']:.3f}", "tokens per step": f"{found['per_step']:.2f}"}
        )
    if args.write_card:
        write_card(args.folder, measured, args.device)
        console.note(f"wrote README.md, metrics.json and SHA256SUMS in {args.folder}")
    return 0


def parser() -> argparse.ArgumentParser:
    p = command_line.stage_parser(
        "python -m common.checkpoints.training.evaluate", __doc__ or "", ["", "--only storyteller-draft"]
    )
    p.add_argument(
        "--only", action="append", type=command_line.choice(*SHIPPED), metavar="NAME", help="(repeatable)"
    )
    p.add_argument(
        "--folder", type=Path, default=CHECKPOINTS, help="where the checkpoints lie (the shipped ones)"
    )
    p.add_argument("--text", type=Path, default=HELD_OUT, help="other texts, divided by a line <|endoftext|>")
    p.add_argument("--device", default="cpu", help="cpu, cuda, auto (%(default)s)")
    p.add_argument(
        "--write-card", action="store_true", help="render README.md, note the numbers and the hashes"
    )
    return p


def measure(folder: Path, tales: Sequence[str], device: str) -> dict[str, Any]:
    """Perplexity and bits per byte of one checkpoint. Raises UserError for a text longer than the context."""
    model, tokenizer, config = load_model(folder, device, torch.float32)
    longest = max(len(tokenizer.encode(tale)) for tale in tales)
    if longest >= config.max_positions:
        raise UserError(f"a text of {longest} tokens does not fit the context of {config.max_positions}")
    return scores.rounded(scores.perplexity(model, tokenizer, tales))


def draft_acceptance(folder: Path, tales: Sequence[str], device: str) -> dict[str, Any]:
    """How the draft fares on what `storyteller` says behind the first tokens of each tale."""
    target, tokenizer, _ = load_model(folder / "storyteller", device, torch.float32)
    draft = load_model(folder / "storyteller-draft", device, torch.float32)[0]
    encoded = [[END_OF_TEXT, *tokenizer.encode(tale)] for tale in tales]
    prompts = [ids[:n] for ids in encoded for n in PROMPT_TOKENS]
    return scores.rounded(scores.acceptance(target, draft, prompts, NEW_TOKENS))


def write_card(folder: Path, measured: dict[str, dict[str, Any]], device: str) -> None:
    metrics = read_json(folder / "metrics.json")
    metrics["evaluation"] = metrics.get("evaluation", {}) | measured
    files = sorted(p for name in SHIPPED if (folder / name).is_dir() for p in (folder / name).iterdir())
    metrics["bytes"] = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    told, talk = samples(folder, device)
    (folder / "README.md").write_text(card.render(metrics, told, talk, TEMPERATURE), encoding="utf-8")


def samples(folder: Path, device: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What `storyteller` says, first try: (prompt, continuation) of tales, (question, answer) of a conversation."""
    model, tokenizer, _ = load_model(folder / "storyteller", device, torch.float32)
    told = [
        (prompt, say(model, tokenizer, tokenizer.encode(prompt), seed))
        for seed, prompt in enumerate(STORY_PROMPTS)
    ]
    messages: list[dict[str, str]] = []
    for seed, question in enumerate(ASKED):
        messages.append({"role": "user", "content": question})
        answer = say(model, tokenizer, tokenizer.encode_chat(messages), seed)
        messages.append({"role": "assistant", "content": answer})
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    return told, list(zip(ASKED, answers, strict=True))


def say(model: Any, tokenizer: Tokenizer, prompt: list[int], seed: int, new: int = 200) -> str:
    ids = generate(model, [prompt], new, eos=(END_OF_TEXT, END), temperature=TEMPERATURE, seed=seed)[0]
    return tokenizer.decode(ids)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
