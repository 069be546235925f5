"""Records what transformers writes with the shipped checkpoints: `python -m tests.parity.record`.

The prompts are pieces of a tale that no checkpoint was trained on. A piece is taken only if it tells something: no
token of its continuation is a near tie, and where the text outgrows a sliding window, a window of one token less (or,
in every second piece, of one more) would write another token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from common.checkpoints.reference import FAMILIES, RECORDED
from common.loader import CHECKPOINTS
from common.terminal.console import show
from common.tokenizer import Tokenizer

TEXT = 1500  # tokens of the tale
LENGTHS = (1, 2, 9, 40, 64, 110, 127, 128, 129, 160, 190, 300)  # of the prompts; Gemma 3's window is 128
NEW = 40  # tokens that follow
MARGIN = 2e-3  # least distance of the best score to the next: twenty near ties


@dataclass(slots=True)
class Family:
    """transformers' model of one family, and the same with a window one token shorter and one longer."""

    model: Any
    one_off: list[Any]  # empty for a family without a window

    @classmethod
    def load(cls, family: str) -> Family:
        def model(**changes: Any) -> Any:
            found = transformers.AutoModelForCausalLM.from_pretrained(
                CHECKPOINTS / FAMILIES[family], dtype=torch.float32, attn_implementation="eager", **changes
            )
            return found.eval()

        plain = model()
        window = getattr(plain.config, "sliding_window", None)
        return cls(plain, [model(sliding_window=window + d) for d in (-1, 1)] if window else [])

    @torch.inference_mode()
    def complete(self, prompt: list[int]) -> list[int]:
        """`NEW` greedy tokens."""
        out = self.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
            max_new_tokens=NEW, min_new_tokens=NEW, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        tokens: list[int] = out[0, len(prompt) :].tolist()
        return tokens

    @torch.inference_mode()
    def tells(self, prompt: list[int], tokens: list[int], other: int) -> bool:
        """Whether another engine's tokens can be held against these; `other` says which window must differ."""
        whole, first = torch.tensor([prompt + tokens]), len(prompt) - 1
        scores = self.model(whole).logits[0, first:-1]
        best = scores.topk(2).values
        if bool((best[:, 0] - best[:, 1] < MARGIN).any()) or scores.argmax(-1).tolist() != tokens:
            return False
        if not self.one_off or len(prompt) + NEW // 2 < self.model.config.sliding_window:
            return True
        seen = self.one_off[other](whole).logits[0, first:-1]
        return bool(seen.argmax(-1).tolist() != tokens)


def search(family: Family, text: list[int], length: int, other: int) -> dict[str, Any]:
    """The first piece of this length that tells something."""
    for start in range(length * 7 % 100, len(text) - length, 13):
        prompt = text[start : start + length]
        tokens = family.complete(prompt)
        if family.tells(prompt, tokens, other):
            return {"start": start, "length": length, "tokens": tokens}
    raise SystemExit(f"no piece of {length} tokens tells anything")


def lines(recorded: dict[str, Any]) -> Iterator[str]:
    """As JSON, one line for each prompt."""
    yield "{"
    yield f'"made_with": {json.dumps(recorded["made_with"])},'
    yield f'"text": {json.dumps(recorded["text"])},'
    yield '"families": {'
    families = recorded["families"].items()
    yield ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in found) + "\n]" for name, found in families
    )
    yield "}}"


def main() -> None:
    tokenizer = Tokenizer.from_folder(CHECKPOINTS / FAMILIES["gpt2"])
    tale = (CHECKPOINTS / "heldout.txt").read_text(encoding="utf-8")
    text = list(tokenizer.encode(tale[: 8 * TEXT]))[:TEXT]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in FAMILIES:
        family = Family.load(name)
        found[name] = [search(family, text, length, i % 2) for i, length in enumerate(LENGTHS)]
        show(f"{name}: starts {[one['start'] for one in found[name]]}")
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__}, float32, eager"
    recorded = {"made_with": made_with, "text": text, "families": found}
    RECORDED.write_text("\n".join(lines(recorded)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
