"""The demo of stage 01: one prompt from text to the probabilities of the next token, every step shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch
from rich.text import Text
from torch import Tensor

from common.errors import UserError
from common.loader import find_checkpoint, load_model
from common.models import Model, ModelConfig
from common.terminal.command_line import add_model_flags, add_prompt, number, read_prompt, run, stage_parser
from common.terminal.console import Candidate, candidates, facts, heading, note, panel, printable, show, warn
from common.tokenizer import Tokenizer

from .engine import CausalAttention
from .lesson.agreement import check, show_agreement
from .lesson.bpe_file import load_bpe
from .lesson.bpe_train import train
from .lesson.mask import Unmasked, expectations, mask_picture
from .lesson.numpy_gpt2 import check_tokens
from .lesson.report import merges_table, model_facts, parts_table, positions_table, tensors_table, tokens_view
from .lesson.tensors import TensorInfo, count_parameters, list_tensors

MASK_UP_TO = 8  # tokens; the picture of a longer mask does not fit a narrow terminal
COMPARE_UP_TO = 500_000_000  # parameters; a larger model is copied three more times only if asked for


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s01_forward_pass",
        "One forward pass: tokens, logits, the ten likeliest next tokens, and the proof that it is right.",
        ['--prompt "The old king" --top 5', "--model storyteller-llama --word forest", "--inspect"],
    )
    add_model_flags(parser)
    add_prompt(parser, "Hello world")
    parser.add_argument(
        "--top", type=number(int, 1), default=10, metavar="N", help="number of candidates shown (%(default)s)"
    )
    parser.add_argument(
        "--word", metavar="TEXT", help="word whose merges are shown (the prompt's longest word)"
    )
    parser.add_argument("--inspect", action="store_true", help="list the checkpoint's tensors and stop")
    parser.add_argument(
        "--train", type=Path, metavar="FILE", help="learn merges from a text file and show the first ones"
    )
    parser.add_argument(
        "--compare",
        action=argparse.BooleanOptionalAction,
        help="compare with NumPy and transformers (for models up to 0.5 B parameters)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.train:
        return show_training(args.train)
    folder = find_checkpoint(args.model)
    if args.inspect:
        return show_tensors(folder)
    prompt = read_prompt(args)
    if not prompt:
        raise UserError("--prompt is empty; a forward pass needs at least one token")
    infos = list_tensors(folder)
    model, tokenizer, config = load_model(folder, args.device, args.dtype)
    tokens = tokenizer.encode(prompt)
    check_tokens(tokens, config)
    show_tokens(prompt, tokens, tokenizer)
    show_merges(folder, prompt, args.word, tokenizer)
    show_model(args.model, config, infos, model)
    show_next_token(tokens, model, tokenizer, args.top)
    if len(tokens) > 1:
        show_mask(tokens, model, tokenizer)
    small = sum(count_parameters(infos).values()) <= COMPARE_UP_TO
    if args.compare or (args.compare is None and small):
        heading("Do others compute the same?")
        return 0 if show_agreement(check(folder, config, model, tokens)) else 1
    note("not compared with NumPy and transformers, because the model is large; add --compare to do it")
    return 0


def show_tokens(prompt: str, tokens: Sequence[int], tokenizer: Tokenizer) -> None:
    heading("Text becomes tokens")
    panel(prompt if len(prompt) <= 600 else prompt[:600] + " ...", "prompt")
    show(tokens_view(tokenizer.pieces(tokens), tokens))
    note(f"{len(tokens)} tokens: Ġ is the space before a word.")


def show_merges(folder: Path, prompt: str, word: str | None, tokenizer: Tokenizer) -> None:
    """Shows one word's merges, and whether our BPE and the tokenizers library agree on the whole prompt."""
    heading("How a word becomes a token: byte-pair encoding")
    try:
        bpe = load_bpe(folder)
    except UserError as error:
        return note(f"not shown: {error}")
    show(merges_table(bpe, word or max(bpe.words(prompt), key=len)[:40]))
    note("Of all neighbouring pairs, the one learned first (the lowest rank) is joined, until none is left.")
    ours, theirs = bpe.encode(prompt), tokenizer.encode(prompt, special=False)
    if ours == theirs:
        return show(
            Text(f"our BPE and the tokenizers library agree on all {len(ours)} tokens", style="green")
        )
    return warn(f"our BPE gives {ours}, the tokenizers library {theirs}")


def show_model(name: str, config: ModelConfig, infos: Sequence[TensorInfo], model: Model) -> None:
    heading("The model")
    facts(model_facts(name, config, infos, str(model.dtype).removeprefix("torch."), str(model.device)))
    show("", parts_table(infos))


def show_next_token(tokens: Sequence[int], model: Model, tokenizer: Tokenizer, top: int) -> None:
    """One pass over all tokens; the last row of logits says what comes next."""
    heading("One forward pass")
    start = perf_counter()
    logits = forward(model, tokens)
    milliseconds = 1000 * (perf_counter() - start)
    n, vocabulary = logits.shape
    show(
        f"logits [{n}, {vocabulary}] in {milliseconds:.1f} ms: after each token, a score for each of {vocabulary}"
    )
    show("", positions_table(tokens, logits, tokenizer), "")
    best = logits[-1].softmax(-1).topk(min(top, vocabulary))
    ids = best.indices.tolist()
    columns = tokenizer.pieces(ids), ids, best.values.tolist(), logits[-1][best.indices].tolist()
    show(Text("The last row: what may follow the prompt", style="bold"))
    show(candidates([Candidate(*row) for row in zip(*columns, strict=True)]))
    before, after = (tokenizer.decode(part, skip_special=False) for part in (tokens, [*tokens, ids[0]]))
    new = after[len(before) :] if after.startswith(before) else tokenizer.pieces(ids[:1])[0]
    longer = Text(printable(before[-300:])).append(printable(new), style="bold reverse")
    panel(longer, "with the likeliest token")


def show_mask(tokens: Sequence[int], model: Model, tokenizer: Tokenizer) -> None:
    """Shows the causal mask, and what the rows of logits say without it."""
    heading("The mask: what if a token could see the future?")
    pieces = tokenizer.pieces(tokens)
    if len(tokens) <= MASK_UP_TO:
        note("One row per token: ■ marks the tokens it may look at, · those it may not.")
        show(mask_picture(pieces), "")
    masked, unmasked = forward(model, tokens), forward(model, tokens, Unmasked())
    show(expectations(pieces, masked, unmasked, tokenizer), "")
    note(
        "Without the mask an earlier token has already seen the one it should predict, and the last row changes too: "
        "in every layer it reads tokens that the model was never trained to produce."
    )


@torch.inference_mode()
def forward(model: Model, tokens: Sequence[int], attend: CausalAttention | None = None) -> Tensor:
    """Token ids [N] to logits [N, vocab_size], float32 on the CPU: all that this stage's engine is for."""
    device = model.device
    ids = torch.tensor(tokens, device=device)
    hidden = model(ids, torch.arange(len(tokens), device=device), attend or CausalAttention())
    logits: Tensor = model.logits(hidden)
    return logits.float().cpu()


def show_tensors(folder: Path) -> int:
    infos = list_tensors(folder)
    show(tensors_table(infos), "", parts_table(infos))
    return 0


def show_training(file: Path, merges: int = 30) -> int:
    """The first merges that a text teaches."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--train {str(file)!r} cannot be read: {error}") from None
    bpe = train(text, 256 + merges)
    heading(f"The first {len(bpe.ranks)} merges learned from {file.name}")
    show(tokens_view(bpe.pieces(range(256, 256 + len(bpe.ranks))), range(256, 256 + len(bpe.ranks)), "rank"))
    note("Frequent pairs come first. The 256 ids before them are the single bytes.")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
