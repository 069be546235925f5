"""Checkpoints for the stages' tests: tiny random ones in Hugging Face's layout. An attempt in work/ gets a copy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs a network is broken

TEXT = (
    "Once upon a time there lived an old king who had three daughters, and the youngest was so fair that the sun "
    "itself wondered when it shone upon her face. Hello world, said the fox; don't go into the forest alone! "
) * 3

GPT2: dict[str, Any] = {
    "vocab_size": 400,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
    "layer_norm_epsilon": 0.01,
}
LLAMA: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "rope_theta": 5000.0, "rms_norm_eps": 0.01,
}  # fmt: skip


def save_tokenizer(folder: Path, vocab_size: int = 400) -> None:
    """A byte-level BPE tokenizer trained on TEXT, as a tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))


def write_random(folder: Path, family: str, **changes: Any) -> Path:
    """A random model of a family, written by transformers, with a tokenizer beside it; the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"gpt2": GPT2, "llama": LLAMA}[family]
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(family, **{**sizes, **ends, "initializer_range": 0.2, **changes})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float()
    for parameter in model.parameters():  # biases of 0 and norms of 1 would hide a mistake
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


IN_ATTEMPT = Path(__file__).resolve().parent.name != "stages"


@pytest.fixture(autouse=IN_ATTEMPT)
def any_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an attempt the kind of an error counts, not its words: `match` is for our own engines."""
    if IN_ATTEMPT:
        kinds_only = pytest.raises
        monkeypatch.setattr(pytest, "raises", lambda *kinds, match=None, **more: kinds_only(*kinds, **more))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests about the words of messages, marked `wording`, are skipped in an attempt."""
    for item in items:
        if IN_ATTEMPT and item.get_closest_marker("wording"):
            item.add_marker(pytest.mark.skip(reason="about our words; yours may be others"))


@pytest.fixture(scope="session")
def save_random() -> Callable[..., Path]:
    """save_random(folder, "gpt2" or "llama", **config fields): a random model of one's own, with its tokenizer."""
    return write_random


@pytest.fixture(scope="session")
def random_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="session")
def random_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grouped heads, a head size of its own, an untied head."""
    return write_random(tmp_path_factory.mktemp("llama"), "llama")
