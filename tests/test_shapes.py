"""Published shapes: each has exactly as many parameters as its publisher says."""

from __future__ import annotations

import pytest
import torch

from common.bench.shapes import PUBLISHED, published
from common.errors import UserError
from common.models import new_model

PARAMETERS = {
    "gpt2-124m": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "qwen3-0.6b": 596_049_920,
    "gemma-3-1b": 999_885_952,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    with torch.device("meta"):
        model = new_model(published(name))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]  # tied ones counted once


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'gpt2-125m' is not one of gpt2-124m, .*did you mean 'gpt2-124m'"):
        published("gpt2-125m")
