"""Checks exercise 3."""

from __future__ import annotations

import itertools

import pytest
import torch

from common.loader import build_model
from common.models import read_config
from common.tutorial import load_stage
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)

# Token 1 looks best at first, but nothing is sure after it; after token 2, a 3 is certain.
TREE = {
    (0,): [0.0, 0.5, 0.4, 0.1],
    (0, 1): [0.3, 0.3, 0.2, 0.2],
    (0, 2): [0.0, 0.0, 0.0, 1.0],
    (0, 3): [0.25, 0.25, 0.25, 0.25],
}


def tree(tokens):
    return torch.tensor(TREE[tuple(tokens)]).log()


def random_chain(tokens):
    """A model that sees the last two tokens only."""
    seed = 31 * tokens[-1] + (tokens[-2] if len(tokens) > 1 else 0)
    return torch.randn(5, generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(0)


def test_greedy_decoding_misses_the_likelier_text():
    tokens, score = exercise.beam_search(tree, [0], 2, 1)
    assert tokens[0] == 1
    assert score == pytest.approx(torch.tensor(0.15).log().item(), rel=1e-4)


def test_two_beams_find_it():
    tokens, score = exercise.beam_search(tree, [0], 2, 2)
    assert tokens == [2, 3]
    assert score == pytest.approx(torch.tensor(0.4).log().item(), rel=1e-4)


def test_as_many_beams_as_texts_find_the_best_of_all():
    every = itertools.product(range(5), repeat=4)

    def score_of(text):
        return sum(random_chain([0, *text[:i]])[token].item() for i, token in enumerate(text))

    best = max(every, key=score_of)
    tokens, score = exercise.beam_search(random_chain, [0], 4, 5**4)
    assert tokens == list(best)
    assert score == pytest.approx(score_of(best), rel=1e-4)


def test_one_beam_is_our_greedy_loop():
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    model = build_model(read_config({"model_type": "gpt2", **sizes}))
    for parameter in model.parameters():
        parameter *= 12
    generate = load_stage(2).engine.generate

    def ours(tokens):
        return next(generate(model, tokens, 1)).logits.log_softmax(0)

    tokens, _ = exercise.beam_search(ours, [3, 4], 8, 1)
    assert tokens == [token.id for token in generate(model, [3, 4], 8)]
