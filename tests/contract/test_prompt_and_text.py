"""Where a completion joins its prompt: with any kind of tokenizer, prompt and text together are the whole text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from common.loader import build_model
from common.models import read_config
from common.tokenizer import Tokenizer
from tests.contract.subjects import Subject
from tests.parity.test_tokenizer import byte_level, gemma_style, llama_style, metaspace

pytestmark = pytest.mark.needs("generate")
COUNT = 12


def written(subject: Subject, tokenizer: Tokenizer, prompts: list[list[int]]) -> list[tuple[list[int], str]]:
    """New tokens and their text, of a random model over this tokenizer's vocabulary."""
    raw = {"model_type": "gpt2", "vocab_size": tokenizer.vocab_size, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = read_config({**raw, "n_positions": 64, "eos_token_id": 0})
    model, package = build_model(config, seed=1), subject.engine
    if not hasattr(package, "Engine"):
        outs = [list(package.generate(model, p, COUNT, tokenizer=tokenizer)) for p in prompts]
        return [([o.id for o in out], "".join(o.text for o in out)) for out in outs]
    engine = package.Engine(model, tokenizer, config, package.EngineConfig(device="cpu"))
    done = engine.generate(prompts, package.SamplingParams(COUNT, ignore_eos=True))
    engine.close()
    return [(one.tokens, one.text) for one in done]


@pytest.mark.parametrize("style", [byte_level, llama_style, gemma_style, metaspace])
def test_a_completion_is_what_the_whole_text_has_more_than_its_prompt(
    subject: Subject, style: Callable[[], Tokenizer]
):
    tokenizer, draw = style(), random.Random(0)
    ids = [i for i in range(3, tokenizer.vocab_size) if "<" not in tokenizer.pieces([i])[0]]
    # A random model likes to write its last token again.
    words = [i for i in ids if tokenizer.pieces([i])[0][0] in "▁Ġ"]
    prompts = [[*draw.choices(ids, k=4), draw.choice(words)] for _ in range(12)]
    prompts = [p for p in prompts if "\ufffd" not in tokenizer.decode(p)]
    for prompt, (tokens, text) in zip(prompts, written(subject, tokenizer, prompts), strict=True):
        assert tokenizer.decode(prompt) + text == tokenizer.decode([*prompt, *tokens])
