"""A `config.json` means what it means to transformers, or it is refused in one line that names file and key."""

from __future__ import annotations

import json
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.fields import Fields
from common.loader import load_config
from common.models import MODELS, read_config

from .test_models import CASES

FAMILIES = {"gpt2": "gpt2", "llama": "llama3-scaled", "qwen3": "qwen3-window", "gemma3": "gemma3-linear"}
WRONG: list[Any] = [[], None, 0, "0", 7, {}, -1, True, 0.5, [None], {"a": 1}, float("nan")]


def raw(case: str) -> dict[str, Any]:
    return json.loads(CASES[case].to_json_string(use_diff=False))


def older(case: str) -> dict[str, Any]:
    """As published files spell it."""
    new = raw(case)
    rope = new.pop("rope_parameters", None) or {}
    if "full_attention" in rope:
        local, rope = rope["sliding_attention"], dict(rope["full_attention"])
        new["rope_local_base_freq"] = local["rope_theta"]
    if rope:
        new |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    return new


def one_line(error: BaseException, file: str, key: str) -> bool:
    text = str(error)
    return file in text and key in text and "\n" not in text and len(text) < 300


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("gpt2")])
def test_the_spelling_of_published_files_means_the_same(case):
    assert read_config(older(case)) == read_config(raw(case))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        load_config(tmp_path)


def test_the_older_spelling_of_a_config_means_the_same():
    new = json.loads(CASES["llama3-scaled"].to_json_string(use_diff=False))
    old = {k: v for k, v in new.items() if k != "rope_parameters"}
    scaling = dict(new["rope_parameters"])
    old |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling, "torch_dtype": "bfloat16"}
    assert read_config(old) == read_config(new)
    new = json.loads(CASES["gemma3"].to_json_string(use_diff=False))
    old = {
        k: v for k, v in new.items() if k not in ("rope_parameters", "layer_types", "_sliding_window_pattern")
    }
    old |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    assert read_config(old) == read_config(new)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"model_type": "mamba"},
            'model_type = "mamba" is not supported; choose from gpt2, llama, qwen3, gemma3_text',
        ),
        ({"clip_qkv": 3}, "unknown key 'clip_qkv'"),
        ({"hidden_act": "relu"}, 'hidden_act = "relu" is not supported; choose from silu'),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1, but must be a whole number between 1"),
        ({"hidden_size": None}, "hidden_size is null, but must be a whole number"),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            'rope_parameters: rope_type = "yarn" is not supported; choose from default, linear, llama3',
        ),
        ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters: factor is missing"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_by_name(change, says):
    raw = json.loads(CASES["llama-grouped"].to_json_string(use_diff=False)) | change
    with pytest.raises(UserError, match=says):
        read_config(raw)


# What others wrote into configs, without changing a forward pass.
PUBLISHED = {
    "GPT-2 medium": ("gpt2", {"n_special": 0, "predict_special_tokens": True, "n_ctx": 1024}),
    "GPT-2 XL": ("gpt2", {"output_past": True, "task_specific_params": {"text-generation": {"max_length": 50}}}),
    "distilgpt2": ("gpt2", {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}),
    "SmolLM2": ("llama", {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"}}),
    "unsloth": ("llama", {"unsloth_version": "2024.9", "unsloth_fixed": True, "pad_token_id": 4}),
    "vicuna": ("llama", {"max_sequence_length": 2048, "pad_token_id": -1, "_name_or_path": "vicuna"}),
    "old transformers": ("llama", {
        "num_labels": 2, "tokenizer_class": "LlamaTokenizer", "is_decoder": False, "torchscript": False, "pruned_heads": {},
        "finetuning_task": None, "do_sample": True, "temperature": 0.7, "top_p": 0.9, "_commit_hash": "abc", "prefix": None,
        "num_beams": 1, "bad_words_ids": None, "tie_encoder_decoder": False, "cross_attention_hidden_size": None,
    }),
    "null for what a family does not have": ("llama", {"sliding_window": None, "layer_types": None, "quantization": None}),
    "null for what is optional": ("qwen3", {"rope_scaling": None, "quantization_config": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_published_configs_carry_along_asks_for_nothing(name):
    family, more = PUBLISHED[name]
    assert read_config(raw(FAMILIES[family]) | more) == read_config(raw(FAMILIES[family]))


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("llama", "rope_interleaved", True),
        ("llama", "quantization", {"group_size": 64, "bits": 4}),
        ("llama", "pruned_heads", {"0": [1]}),
        ("llama", "partial_rotary_factor", 0.5),
        ("llama", "sliding_window", 4096),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "add_cross_attention", True),
        ("gemma3", "use_bidirectional_attention", True),
        ("gemma3", "final_logit_softcapping", 30.0),
        ("qwen3", "hidden_act", "gelu"),
    ],
)
def test_what_changes_the_function_is_refused_by_name(family, key, value):
    with pytest.raises(UserError, match=key):
        read_config(raw(FAMILIES[family]) | {key: value})


def allowed(key: str, value: Any, before: Any) -> bool:
    """Whether a value is right for a key, judged by the one that a good file has there."""
    if value is None:  # only where transformers takes null, too
        return key not in REQUIRED_BY_ALL
    if value == {}:
        return isinstance(before, dict) or before is None
    if key.endswith("os_token_id") or key == "max_window_layers":
        return type(value) is int and value >= 0
    if isinstance(before, bool):
        return isinstance(value, bool)
    if isinstance(before, float) or key in ("query_pre_attn_scalar", "rope_theta", "rope_local_base_freq"):
        return type(value) in (int, float) and value > 0
    return type(value) is int and value > 0


REQUIRED_BY_ALL = set(
    """vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads n_embd n_head n_layer n_positions
    rms_norm_eps layer_norm_epsilon max_position_embeddings hidden_act hidden_activation activation_function
    tie_word_embeddings attention_bias mlp_bias use_sliding_window rope_theta model_type factor""".split()
)


@pytest.mark.parametrize("spell", [raw, older])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_of_a_wrong_type_is_refused_in_one_line_and_never_taken_in_silence(family, spell):
    fields = Fields(spell(FAMILIES[family]))
    MODELS[fields.raw["model_type"]].Config.from_fields(fields)
    for key in fields.asked:
        before = fields.raw.get(key)
        for value in WRONG:
            error = refusal({**fields.raw, key: value})
            if error is None:
                assert allowed(key, value, before), (key, value)
            else:
                also = {"num_key_value_heads": "num_attention_heads", "num_hidden_layers": "layer_types"}.get(
                    key, key
                )
                assert one_line(error, "config.json", key) or one_line(error, "config.json", also), (
                    key,
                    value,
                )


def refusal(content: dict[str, Any]) -> UserError | None:
    try:
        read_config(content)
    except UserError as error:
        return error
    return None


@given(st.data())
def test_no_content_of_a_rope_makes_a_traceback(data):
    anything = st.recursive(
        st.sampled_from(WRONG),
        lambda inner: st.dictionaries(st.sampled_from([*ROPE, "x"]), inner, max_size=4),
        max_leaves=6,
    )
    family, key = (
        data.draw(st.sampled_from([*FAMILIES])),
        data.draw(st.sampled_from(["rope_scaling", "rope_parameters"])),
    )
    error = refusal(raw(FAMILIES[family]) | {key: data.draw(anything)})
    assert error is None or one_line(error, "config.json", key)


ROPE = "rope_type type rope_theta factor low_freq_factor high_freq_factor original_max_position_embeddings full_attention".split()


def test_what_is_not_in_the_file_is_what_transformers_has_there():
    old = older("llama3-scaled")
    del old["rope_scaling"]["original_max_position_embeddings"]
    scaling = {**raw("llama3-scaled")["rope_parameters"], "original_max_position_embeddings": 256}
    assert read_config(old) == read_config(raw("llama3-scaled") | {"rope_parameters": scaling})
    qwen = raw("qwen3") | {"num_attention_heads": 4}
    del qwen["head_dim"]
    assert read_config(qwen).head_dim == transformers.Qwen3Config().head_dim == 128
    ours, theirs = read_config({"model_type": "gemma3_text"}), transformers.Gemma3TextConfig()
    assert (ours.hidden_size, ours.num_layers, ours.num_heads, ours.num_kv_heads, ours.head_dim, ours.max_positions) == (
        theirs.hidden_size, theirs.num_hidden_layers, theirs.num_attention_heads, theirs.num_key_value_heads, theirs.head_dim,
        theirs.max_position_embeddings)  # fmt: skip
    assert read_config({"model_type": "gemma3_text", "num_hidden_layers": 12}).num_layers == 12


def write(folder, config=None, generation=None):
    (folder / "config.json").write_text(json.dumps(raw("qwen3") if config is None else config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_end_tokens_of_both_files_end_the_text(tmp_path):
    config = load_config(write(tmp_path, raw("qwen3") | {"eos_token_id": 3}, {"eos_token_id": [5, 3]}))
    assert config.eos_token_ids == (3, 5)


@pytest.mark.parametrize("value", ["0", [], {}, True, -1, 0.5, [None], ["0"], [1, -1]])
def test_an_end_token_that_could_never_be_met_is_refused(tmp_path, value):
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path, None, {"eos_token_id": value}))
    assert one_line(caught.value, "generation_config.json", "eos_token_id")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["[]", "7", "null", '"text"', "{", "", "\x00", '{"a": 1'])
def test_a_file_that_is_no_object_is_one_line(tmp_path, file, content):
    (write(tmp_path) / file).write_text(content)
    with pytest.raises(UserError) as caught:
        load_config(tmp_path)
    assert one_line(caught.value, file, "")


def test_a_file_that_is_not_utf8_is_one_line(tmp_path):
    (write(tmp_path) / "config.json").write_bytes(b"\xff{}")
    with pytest.raises(UserError) as caught:
        load_config(tmp_path)
    assert one_line(caught.value, "config.json", "")
