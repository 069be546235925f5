"""The checkpoint that the suite serves: the small shipped one, or a tiny random one where that is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.loader import build_model, find_checkpoint, load_model, save_model
from common.models import read_config

SHIPPED = "storyteller-draft"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint with what it must answer, by a loop that shares nothing with the stages'."""

    argument: str  # for --model
    name: str  # what requests call it
    model: Any
    tokenizer: Any

    @property
    def window(self) -> int:
        return int(self.model.config.max_positions)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text))

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        """`count` greedy tokens; end tokens are tokens like any other."""
        import torch

        tokens = list(tokens)
        with torch.inference_mode():
            for _ in range(count):
                hidden = self.model(torch.tensor(tokens), torch.arange(len(tokens)), look_back)
                tokens.append(int(self.model.logits(hidden[-1:])[0].argmax()))
        return tokens[-count:]

    def greedy_text(self, prompt: str, count: int) -> str:
        return str(self.tokenizer.decode(self.greedy(self.encode(prompt), count)))


def look_back(layer: Any, q: Any, k: Any, v: Any) -> Any:
    """Causal attention, written down: q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
    import torch

    groups = layer.num_heads // layer.num_kv_heads
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * layer.scale
    position = torch.arange(len(q))
    scores = scores.masked_fill(position[None, :] > position[:, None], -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


def load_checkpoint(folder: Path) -> Checkpoint:
    """folder: where a tiny one may be written."""
    shipped = find_checkpoint(SHIPPED) / "model.safetensors"
    argument = SHIPPED if shipped.exists() else str(write_tiny(folder / "tiny"))
    model, tokenizer, _ = load_model(argument, "cpu", "float32")
    return Checkpoint(argument, Path(argument).name, model, tokenizer)


def write_tiny(folder: Path) -> Path:
    """A random GPT-2 with a byte-level tokenizer, in Hugging Face's layout."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = {"model_type": "gpt2", "vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 2}
    save_model(build_model(read_config({**raw, "n_positions": 1024, "eos_token_id": 0}), seed=1), folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["Once upon a time there was a fox who told the king a story"] * 10, trainer
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder
