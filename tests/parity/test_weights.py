"""Checkpoints as they are published, as transformers reads them: what is tied, named otherwise, stale, damaged or too much."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.loader import build_model, load_weights, resolve_dtype
from common.models import MODELS, llama, read_config
from common.models.weights import materialize

from .test_configs import WRONG, raw
from .test_models import CASES, run

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TIED = ["gpt2", "llama3-scaled", "qwen3", "gemma3"]
TOKENS = torch.arange(3, 20)


def save(folder, case: str):
    """A tiny random checkpoint -> its tensors."""
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(CASES[case], attn_implementation="eager")
    theirs.float().save_pretrained(folder)
    return load_file(folder / WHOLE)


def same_as_transformers(folder) -> bool:
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        want = theirs.eval()(TOKENS[None]).logits[0]
    return bool((run(load_weights(folder, "cpu"), TOKENS) - want).abs().max() < 1e-3)


def embedding(tensors) -> str:
    return next(name for name in tensors if name.endswith(("embed_tokens.weight", "wte.weight")))


@pytest.mark.parametrize("case", TIED)
def test_tied_weights_may_be_stored_under_the_heads_name_alone(case, tmp_path):
    tensors = save(tmp_path, case)
    want = run(load_weights(tmp_path, "cpu"), TOKENS)
    tensors["lm_head.weight"] = tensors.pop(embedding(tensors))
    save_file(tensors, tmp_path / WHOLE)
    assert torch.equal(run(load_weights(tmp_path, "cpu"), TOKENS), want)
    assert same_as_transformers(tmp_path)


@pytest.mark.parametrize("case", TIED)
def test_a_head_that_differs_from_what_it_is_said_to_be_tied_to_is_used(case, tmp_path):
    tensors = save(tmp_path, case)
    tensors["lm_head.weight"] = torch.randn(97, 48)
    save_file(tensors, tmp_path / WHOLE)
    model = load_weights(tmp_path, "cpu")
    assert torch.equal(model.head.weight, tensors["lm_head.weight"])
    assert not model.config.tie_word_embeddings and not model.config.raw["tie_word_embeddings"]
    assert same_as_transformers(tmp_path)


@pytest.mark.parametrize("case", TIED)
def test_a_tied_head_may_be_stored_a_second_time(case, tmp_path):
    tensors = save(tmp_path, case)
    tensors["lm_head.weight"] = tensors[embedding(tensors)].clone()
    save_file(tensors, tmp_path / WHOLE)
    assert load_weights(tmp_path, "cpu").config.tie_word_embeddings
    assert same_as_transformers(tmp_path)


@pytest.mark.parametrize("case", TIED)
def test_a_model_saved_without_its_head_has_names_without_their_prefix(case, tmp_path):
    torch.manual_seed(0)
    transformers.AutoModel.from_config(CASES[case]).float().save_pretrained(tmp_path)
    prefix = MODELS[json.loads((tmp_path / "config.json").read_text())["model_type"]].prefix
    assert not any(name.startswith(prefix) for name in load_file(tmp_path / WHOLE))
    assert same_as_transformers(tmp_path)


def test_an_untied_model_without_a_head_is_refused(tmp_path):
    transformers.AutoModel.from_config(CASES["llama-grouped"]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"tensor 'lm_head.weight' is missing"):
        load_weights(tmp_path, "cpu")


def test_a_stale_index_beside_a_whole_file_is_not_read(tmp_path):
    save(tmp_path, "llama-grouped")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert same_as_transformers(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "7",
        "{",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        '{"weight_map": "model.safetensors"}',
        '{"weight_map": {"a": 7}}',
        '{"weight_map": {"a": null}}',
        '{"weight_map": {"a": ["x.safetensors"]}}',
        '{"weight_map": {"a": "../x.safetensors"}}',
        '{"weight_map": {"a": "x.bin"}}',
    ],
)
def test_a_malformed_index_is_one_line_that_names_it(content, tmp_path):
    save(tmp_path, "llama-grouped")
    (tmp_path / WHOLE).rename(tmp_path / "moved")
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(UserError, match=r"index\.json") as caught:
        load_weights(tmp_path, "cpu")
    assert "\n" not in str(caught.value)


def test_a_shard_that_is_missing_is_named(tmp_path):
    save(tmp_path, "llama-grouped")
    (tmp_path / WHOLE).rename(tmp_path / "moved")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(UserError, match=r"holds no one\.safetensors"):
        load_weights(tmp_path, "cpu")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000])
def test_a_file_that_ends_early_is_one_line(keep, tmp_path):
    save(tmp_path, "llama-grouped")
    (tmp_path / WHOLE).write_bytes((tmp_path / WHOLE).read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged or cut short") as caught:
        load_weights(tmp_path, "cpu")
    assert "\n" not in str(caught.value)


def test_the_same_tensor_under_two_names_is_refused(tmp_path):
    tensors = save(tmp_path, "llama-grouped")
    save_file(tensors | {"norm.weight": torch.zeros(48)}, tmp_path / WHOLE)
    with pytest.raises(UserError, match=r"norm\.weight"):
        load_weights(tmp_path, "cpu")


def test_packed_integers_do_not_become_weights(tmp_path):
    tensors = save(tmp_path, "llama-grouped")
    tensors["model.norm.weight"] = torch.ones(48, dtype=torch.int8)
    save_file(tensors, tmp_path / WHOLE)
    with pytest.raises(UserError, match=r"'model\.norm\.weight'.*int8"):
        load_weights(tmp_path, "cpu")


def test_a_size_that_no_memory_holds_is_one_line():
    small = json.loads(CASES["llama-grouped"].to_json_string(use_diff=False))
    for sizes in ({"vocab_size": 10**12}, {"vocab_size": 2**31 - 1, "hidden_size": 2**31 - 8}):
        with pytest.raises(UserError, match=r"vocab_size is 1000000000000|multiply to more") as caught:
            build_model(read_config(small | sizes))
        assert "\n" not in str(caught.value)


def test_float16_in_which_gemma_overflows_is_neither_chosen_nor_taken():
    gemma, llama = (
        read_config(json.loads(CASES[case].to_json_string(use_diff=False)))
        for case in ("gemma3", "llama-grouped")
    )
    device = torch.device("mps")
    assert resolve_dtype("auto", device, gemma) == torch.float32
    assert resolve_dtype("auto", device, llama) == resolve_dtype("float16", device, llama) == torch.float16
    for dtype in ("float16", torch.float16):
        with pytest.raises(UserError, match="gemma3_text overflow"):
            build_model(gemma, dtype=dtype)
    assert build_model(gemma, dtype="bfloat16").dtype == torch.bfloat16


def test_memory_is_reported_for_the_device_that_lacks_it(monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...\nmany lines")

    monkeypatch.setattr(torch, "empty_like", fail)
    with torch.device("meta"):
        model = MODELS["gpt2"](read_config(json.loads(CASES["gpt2"].to_json_string(use_diff=False))))
    with pytest.raises(UserError, match=r"model: 0\.0 GB of weights do not fit in the memory of cpu"):
        materialize(model, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A good checkpoint of each family."""
    made = {case: tmp_path_factory.mktemp(case) for case in TIED}
    for case, folder in made.items():
        save(folder, case)
    return made


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_a_config_says_the_checkpoint_loads_and_runs_or_is_refused_in_one_line(folders, data):
    folder = folders[data.draw(st.sampled_from(TIED))]
    good = json.loads((folder / "config.json").read_text())
    key = data.draw(st.sampled_from(sorted(good)))
    content = {**good, key: data.draw(st.sampled_from([*WRONG, 1, 2, 3, 16, 48]))}
    (folder / "config.json").write_text(json.dumps(content))
    refused = ""
    try:
        assert run(load_weights(folder, "cpu"), TOKENS[:1] - 3).shape == (1, 97)
    except UserError as error:
        refused = str(error)
    finally:
        (folder / "config.json").write_text(json.dumps(good))
    assert "\n" not in refused and len(refused) < 400


@pytest.mark.parametrize("case", ["llama-grouped", "qwen3", "gemma3"])
def test_queries_and_keys_are_rotated_in_one_call_per_layer(case, monkeypatch):
    model, rotate, calls = build_model(read_config(raw(case))), llama.rotate, []

    def counted(x, cos, sin):
        calls.append(tuple(x.shape))
        return rotate(x, cos, sin)

    monkeypatch.setattr(llama, "rotate", counted)
    run(model, TOKENS)
    heads = model.config.num_heads + model.config.num_kv_heads
    assert calls == [(len(TOKENS), heads, model.config.head_dim)] * model.config.num_layers
