"""The model card as Markdown, from measured numbers only. Rendered by `evaluate --write-card`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.models import read_config

from .shapes import RECIPES

SOURCES = Path(__file__).with_name("sources.tsv")  # title, author, Project Gutenberg number

TEMPLATE = """\
<!-- Written by `python -m common.checkpoints.training.evaluate --write-card`; change common/checkpoints/training/card.py instead. -->
# The shipped checkpoints

Small language models that tell old fairy tales. They exist so that every stage of this project runs offline, on a CPU,
with a model that has really learned something. All are in Hugging Face layout and bf16, share one tokenizer (byte-level
BPE, 4,096 tokens) and a context of 1,024 tokens, and take {megabytes:.1f} MB together.

{models}

The draft was distilled from `storyteller`. The three small families were trained as `storyteller` was.

## How good they are

Loss is the mean cross entropy in nats per token on the {held_out} documents of the corpus that were kept from training, of
the bf16 weights as they ship. "Before chat" is the loss on the same tales before conversations were learned; "on chat" counts
the assistant's words in conversations built from the held-out documents. Perplexity is per token on `heldout.txt`, {tales_tokens:,} tokens of our own
tales, which no corpus holds.

{losses}

`python -m common.checkpoints.training.evaluate` measures perplexity and acceptance again, on any machine.

**Acceptance.** The draft proposes 4 tokens greedily and `storyteller` keeps those it would have written itself.

{acceptance}

## Samples

Unedited, the first try each, from `storyteller` in float32 at temperature {temperature}, seeds 0, 1, 2.

{samples}

## Training

```
python -m common.checkpoints.training.train stories.txt --out FOLDER
```

on {device} with torch {torch}; the corpus is not part of this project. {tokens:,} tokens from {documents:,} documents, one in a
hundred more held out. AdamW (betas 0.9 and 0.95, weight decay 0.1), cosine to zero, bf16 autocast over float32 weights, rows of
1,024 tokens.

{training}

Conversations are made from the same tales by script ({conversations:,} of them, {conversation_tokens:,} tokens): somebody asks for a
story about something that stands in a tale's opening, and goes on asking; the answers are the tale, cut where sentences end.
The last third of training is half tales and half such conversations, where only the assistant's words count. A conversation reads

```
<|user|>
Tell me a story about a fox.<|end|>
<|assistant|>
Once there was a fox ...<|end|>
```

after an optional `<|system|>` text; `<|end|>` and `<|endoftext|>` both end an answer.

## Limits

They know tales and nothing else: no facts, no arithmetic, no instructions but "tell" and "go on". A story keeps its tone for a page and
its plot for a paragraph; names change on the way. English only. The corpus is from the 19th and early 20th century, and its
views of people and peoples are those of that time. Some tales stand in several of its books, so the held-out loss flatters a little;
`heldout.txt` does not. They are made for learning how inference works, and fit for nothing else.

## Sources

{books} books of Project Gutenberg, in the public domain in the USA, by number:

{sources}
"""


def render(
    metrics: Mapping[str, Any],
    told: Sequence[tuple[str, str]],
    talk: Sequence[tuple[str, str]],
    temperature: float,
) -> str:
    """metrics: metrics.json with its "evaluation". told: prompts and continuations; talk: questions and answers."""
    books = [line.split("\t") for line in SOURCES.read_text(encoding="utf-8").splitlines()]
    data, evaluation = metrics["data"], metrics["evaluation"]
    return TEMPLATE.format(
        megabytes=sum(metrics["bytes"].values()) / 1e6,
        models=models(metrics), losses=losses(metrics), acceptance=acceptance(metrics), training=training(metrics),
        samples=quoted(told, talk), temperature=temperature,
        held_out=data["held_out_documents"], tales_tokens=int(next(iter(evaluation.values()))["tokens"]),
        device=data["device"], torch=data["torch"], tokens=data["tokens"], documents=data["documents"],
        conversations=data["conversations"], conversation_tokens=data["conversation_tokens"],
        books=len(books), sources="\n".join(f"- {title} ({author}), {number or 'no number'}" for title, author, number in books),
    )  # fmt: skip


def models(metrics: Mapping[str, Any]) -> str:
    rows = []
    for recipe in trained(metrics):
        c, size = read_config(recipe.config), metrics["checkpoints"][recipe.name]["parameters"]
        heads = f"{c.num_heads}" if c.num_heads == c.num_kv_heads else f"{c.num_heads}/{c.num_kv_heads}"
        size_mb = metrics["bytes"][f"{recipe.name}/model.safetensors"] / 1e6
        rows.append((f"`{recipe.name}`", c.model_type, c.num_layers, c.hidden_size, f"{heads} x {c.head_dim}", c.intermediate_size,
                     f"{size / 1e6:.2f} M", f"{size_mb:.1f} MB"))  # fmt: skip
    return table(
        ("name", "architecture", "layers", "width", "heads x size", "inner", "parameters", "weights"), rows
    )


def losses(metrics: Mapping[str, Any]) -> str:
    rows = []
    for recipe in trained(metrics):
        entry, found = metrics["checkpoints"][recipe.name], metrics["evaluation"][recipe.name]
        before = f"{entry['loss_before_chat']:.3f}" if "loss_before_chat" in entry else "-"
        rows.append((f"`{recipe.name}`", f"{entry['loss']:.3f}", before, f"{entry['chat_loss']:.3f}",
                     f"{found['perplexity']:.2f}", f"{found['bits_per_byte']:.3f}"))  # fmt: skip
    return table(("name", "loss", "before chat", "on chat", "perplexity", "bits per byte"), rows)


def acceptance(metrics: Mapping[str, Any]) -> str:
    entry = metrics["checkpoints"].get("storyteller-draft", {})
    found = metrics["evaluation"].get("storyteller-draft", {})
    places = (("behind the first lines of `heldout.txt`", found.get("acceptance")),
              ("behind the first lines of held-out documents", entry.get("acceptance")),
              ("answers to held-out questions", entry.get("acceptance_chat")))  # fmt: skip
    rows = [(where, f"{x['rate']:.2f}", f"{x['per_step']:.2f}") for where, x in places if x]
    both = table(("where", "accepted of proposed", "tokens per step of the target"), rows)
    if "agreement" not in entry:
        return both
    return f"{both}\n\nOn held-out text as it stands, the two agree on the likeliest token at {entry['agreement']:.1%} of all places."


def training(metrics: Mapping[str, Any]) -> str:
    rows = []
    for recipe in trained(metrics):
        e = metrics["checkpoints"][recipe.name]
        steps = f"{e['steps']:,}" + (f" + {e['chat_steps']:,}" if "chat_steps" in e else "")
        rows.append((f"`{recipe.name}`", steps, e["rows"], e["lr"], e["dropout"], f"{e['seconds']:.0f}"))
    return table(("name", "steps (tales + chat)", "rows", "learning rate", "dropout", "seconds"), rows)


def trained(metrics: Mapping[str, Any]) -> list[Any]:
    return [r for r in RECIPES if r.name in metrics["checkpoints"] and r.name in metrics["evaluation"]]


def quoted(told: Iterable[tuple[str, str]], talk: Iterable[tuple[str, str]]) -> str:
    tales = [quote(f"**{prompt}**{text}") for prompt, text in told]
    return "\n\n---\n\n".join([*tales, quote("\n\n".join(f"**{q}**\n\n{a}" for q, a in talk))])


def quote(text: str) -> str:
    """Markdown's block quote, with line breaks where the text has them."""
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
