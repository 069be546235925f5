"""`make sanity`: does every model still say what it said when it shipped?

Loading is strict (each tensor has a place, each place a tensor), the next eight tokens are compared with
recorded ones, and the chat template is rendered. One line per model; the exit status is 1 if any fails.
`--record` writes the fixture and is for the person who trains the checkpoints.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
import torch.nn.functional as F
from rich.text import Text
from torch import Tensor

from common.errors import UserError
from common.loader import CHECKPOINTS, SHIPPED, load_model, resolve_device, resolve_dtype
from common.models import LayerInfo, Model
from common.terminal.command_line import add_model_flags, stage_parser
from common.terminal.console import piece, show

__all__ = ["greedy", "main", "shortfall"]

FIXTURES = CHECKPOINTS / "fixtures.json"
PROMPT = "Once upon a time"
NEW_TOKENS = 8
ALL = "all"  # every shipped model
# How far a recorded token's logit may lie below the best one: rounding in float32 reorders near-ties only;
# bfloat16 keeps 8 bits of logits around 10, while a wrong weight is off by whole units.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


def attend(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over one text. q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
    at = torch.arange(q.shape[0], device=q.device)
    back = at[:, None] - at[None, :]
    visible = (back >= 0) & (back < (layer.window or q.shape[0]))
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    grouped = layer.num_heads != layer.num_kv_heads
    out = F.scaled_dot_product_attention(q, k, v, visible, scale=layer.scale, enable_gqa=grouped)
    return out[0].transpose(0, 1)


def logits_of(model: Model, tokens: list[int]) -> Tensor:
    """The logits at every position, [N, vocab_size], in float32."""
    device = next(model.parameters()).device
    ids = torch.tensor(tokens, device=device)
    hidden = model(ids, torch.arange(len(tokens), device=device), attend)
    return model.logits(hidden).float()


def greedy(model: Model, prompt: list[int]) -> list[int]:
    """The eight likeliest next tokens, one after the other, without a cache."""
    tokens = list(prompt)
    for _ in range(NEW_TOKENS):
        tokens.append(int(logits_of(model, tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def shortfall(model: Model, prompt: list[int], expected: list[int]) -> float:
    """How far the least likely of the expected tokens is below the best of its step, in logits; 0 if all are best."""
    rows = logits_of(model, prompt + expected)[len(prompt) - 1 : -1]
    chosen = rows.gather(1, torch.tensor(expected, device=rows.device)[:, None])[:, 0]
    return float((rows.amax(dim=1) - chosen).max())


def check_chat(tokenizer: Any) -> str:
    """Renders one message through the chat template. Raises UserError where its text is lost."""
    if not tokenizer.has_chat_template:
        return "no chat template"
    rendered = tokenizer.render_chat([{"role": "user", "content": "Tell me a story."}])
    if "Tell me a story." not in rendered or not tokenizer.encode_chat(
        [{"role": "user", "content": "Hello"}]
    ):
        raise UserError(f"chat template: the message is missing from {rendered!r}")
    return "chat template ok"


def check(name: str, device: str, dtype: str, fixtures: dict[str, Any]) -> str:
    """What is said of a sound model. Raises UserError with what is wrong."""
    start = time.perf_counter()
    model, tokenizer, _ = load_model(name, device, dtype)
    seconds = time.perf_counter() - start
    kind = next(model.parameters()).dtype
    count = sum(p.numel() for p in model.parameters())
    head = f"{count / 1e6:.1f} M parameters, loaded in {seconds:.2f} s"
    fixture = fixtures.get(name)
    if fixture is None and name in SHIPPED:
        raise UserError(f"no recorded tokens in {FIXTURES.name}")
    if fixture is None:
        prompt = tokenizer.encode(PROMPT)
        new = greedy(model, prompt)
        if not torch.isfinite(logits_of(model, prompt + new)).all():
            raise UserError("logits are not finite")
        return f"{head}, no recorded tokens: {piece(tokenizer.decode(new))}, {check_chat(tokenizer)}"
    prompt = tokenizer.encode(fixture["prompt"])
    if prompt != fixture["prompt_tokens"]:
        raise UserError(f"the prompt is tokens {prompt}, recorded {fixture['prompt_tokens']}")
    short = shortfall(model, prompt, fixture["tokens"])
    if not short <= TOLERANCE[kind]:  # a NaN fails too
        raise UserError(
            f"tokens {greedy(model, prompt)}, recorded {fixture['tokens']} ({short:.3g} logits below)"
        )
    return f"{head}, {NEW_TOKENS} tokens as recorded: {piece(tokenizer.decode(fixture['tokens']))}, {check_chat(tokenizer)}"


def record(names: list[str]) -> None:
    """Writes the fixture of each model, in float32 on the CPU; other models' entries stay."""
    fixtures = read_fixtures()
    for name in names:
        model, tokenizer, _ = load_model(name, "cpu", "float32")
        prompt = tokenizer.encode(PROMPT)
        fixtures[name] = {"prompt": PROMPT, "prompt_tokens": prompt, "tokens": greedy(model, prompt)}
        show(Text(f"recorded {name}: {piece(tokenizer.decode(fixtures[name]['tokens']))}"))
    lines = [f"  {json.dumps(name)}: {json.dumps(fixtures[name])}" for name in sorted(fixtures)]
    FIXTURES.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def read_fixtures() -> dict[str, Any]:
    return json.loads(FIXTURES.read_text("utf-8")) if FIXTURES.exists() else {}


def main(argv: list[str]) -> int:
    parser = stage_parser(
        "python -m common.tutorial sanity",
        "Load models, compare eight greedy tokens with recorded ones, render the chat template.",
        ["", "--model storyteller-llama", "--model Qwen/Qwen3-0.6B"],
    )
    add_model_flags(parser, model=ALL)
    parser.add_argument("--record", action="store_true", help="write the fixture instead of comparing")
    args = parser.parse_args(argv)
    names = list(SHIPPED) if args.model == ALL else [args.model]
    resolve_dtype(args.dtype, resolve_device(args.device))  # a wrong one is said once, not for every model
    if args.record:
        record(names)
        return 0
    fixtures, failed = read_fixtures(), 0
    for name in names:
        try:
            with torch.inference_mode():
                state, text = ("ok", check(name, args.device, args.dtype, fixtures))
        except UserError as error:
            if args.model != ALL:
                raise
            state, text = "FAILED", str(error)
            failed += 1
        show(Text.assemble((f"{state:<7}", "green" if state == "ok" else "bold red"), f"{name}: {text}"))
    return 1 if failed else 0
