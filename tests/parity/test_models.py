"""Our models against transformers': the same checkpoint, the same hidden states and logits at every position.

The checkpoints are tiny, random, and written by transformers itself, with every feature of a family switched on.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.loader import build_model, fill, load_config, materialize, save_model
from common.models import Model, computes_in, new_model, read_config
from common.tutorial import load_stage

LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)  # fmt: skip
SIZE = dict(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=256,
)
BIG_INIT = dict(initializer_range=0.3)  # so that a wrong detail moves the logits far more than rounding does

CASES = {
    "gpt2": transformers.GPT2Config(vocab_size=97, n_embd=48, n_layer=3, n_head=4, n_positions=256, **BIG_INIT),
    "gpt2-inner": transformers.GPT2Config(vocab_size=97, n_embd=48, n_layer=2, n_head=4, n_positions=256, n_inner=100, tie_word_embeddings=False, **BIG_INIT),
    "llama-grouped": transformers.LlamaConfig(**SIZE, num_key_value_heads=2, **BIG_INIT),
    "llama3-scaled": transformers.LlamaConfig(**SIZE, num_key_value_heads=1, rope_parameters=LLAMA3, tie_word_embeddings=True, **BIG_INIT),
    "llama-linear": transformers.LlamaConfig(**SIZE, rope_parameters=dict(rope_type="linear", rope_theta=5e3, factor=2.0), **BIG_INIT),
    "llama-biased": transformers.LlamaConfig(**SIZE, num_key_value_heads=2, attention_bias=True, mlp_bias=True, head_dim=16, **BIG_INIT),
    "qwen3": transformers.Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=20, tie_word_embeddings=True, **BIG_INIT),
    "qwen3-biased": transformers.Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=20, attention_bias=True, **BIG_INIT),
    "qwen3-window": transformers.Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=20, use_sliding_window=True, sliding_window=16, max_window_layers=1, **BIG_INIT),
    "gemma3": transformers.Gemma3TextConfig(**SIZE | dict(num_hidden_layers=7), num_key_value_heads=2, head_dim=20, sliding_window=16, query_pre_attn_scalar=30, **BIG_INIT),
    "gemma3-linear": transformers.Gemma3TextConfig(
        **SIZE | dict(num_hidden_layers=3), num_key_value_heads=1, head_dim=16, sliding_window=8, layer_types=["full_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=1e4)), **BIG_INIT),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """(folder, transformers' model) of one tiny random checkpoint."""
    torch.manual_seed(0)
    theirs = (
        transformers.AutoModelForCausalLM.from_config(CASES[request.param], attn_implementation="eager")
        .float()
        .eval()
    )
    for p in theirs.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, 0.5, 0.2)  # norms and biases that matter
    theirs.save_pretrained(tmp_path)
    return tmp_path, theirs


def load(folder):
    with torch.device("meta"):
        model: Any = new_model(load_config(folder))
    materialize(model, torch.device("cpu"), torch.float32)
    fill(model, folder)
    return model.eval()


def run(model, tokens):
    attend = load_stage(1).engine.CausalAttention()
    with torch.inference_mode():
        return model.logits(model(tokens, torch.arange(len(tokens)), attend))


def test_logits_equal_transformers_at_every_position(case):
    folder, theirs = case
    ours = load(folder)
    for n in (1, 2, 7, 100):
        tokens = torch.randint(0, 97, (n,), generator=torch.Generator().manual_seed(n))
        with torch.inference_mode():
            want = theirs(tokens[None]).logits[0]
        got = run(ours, tokens)
        assert (got - want).abs().max() < 1e-3
        assert torch.equal(got.argmax(-1), want.argmax(-1))


def test_saving_and_reloading_changes_nothing(case, tmp_path):
    folder, theirs = case
    ours = load(folder)
    save_model(ours, tmp_path / "saved")
    original, saved = (
        load_file(folder / "model.safetensors"),
        load_file(tmp_path / "saved" / "model.safetensors"),
    )
    assert original.keys() == saved.keys()
    assert all(torch.equal(original[k], saved[k]) for k in original)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    tokens = torch.arange(20)
    with torch.inference_mode():
        assert torch.equal(again(tokens[None]).logits, theirs.eval()(tokens[None]).logits) or torch.allclose(
            again(tokens[None]).logits, theirs(tokens[None]).logits, atol=1e-4
        )


def test_a_sharded_checkpoint_equals_the_single_file(case, tmp_path):
    folder, theirs = case
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    tokens = torch.arange(30)
    assert torch.equal(run(load(tmp_path / "sharded"), tokens), run(load(folder), tokens))


def test_every_tensor_is_needed_and_no_other_is_taken(case):
    folder, _ = case
    path = folder / "model.safetensors"
    whole = load_file(path)
    for name in list(whole)[:: max(1, len(whole) // 6)]:
        save_file({k: v for k, v in whole.items() if k != name}, path)
        with pytest.raises(UserError, match=f"{name.split('.')[-2]}.*missing"):
            load(folder)
        save_file(whole | {name: torch.cat((whole[name], whole[name]))}, path)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            load(folder)
    save_file(whole | {"model.extra.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="unexpected tensor 'model.extra.weight'"):
        load(folder)


def test_gpt2_key_layouts_of_published_files(tmp_path):
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(CASES["gpt2"])
    theirs.save_pretrained(tmp_path)
    tokens = torch.arange(9)
    want = run(load(tmp_path), tokens)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {k.removeprefix("transformer."): v for k, v in tensors.items()}
    bare |= {f"h.{i}.attn.bias": torch.ones(1, 1, 256, 256).tril() for i in range(3)}
    bare["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(bare, tmp_path / "model.safetensors")
    assert torch.equal(run(load(tmp_path), tokens), want)
    save_file(bare | {"lm_head.weight": torch.zeros(97, 48)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="lm_head"):
        load(tmp_path)


def test_modules_replaced_before_loading_take_the_weights(tmp_path):
    """The seam that quantisation, adapters and shards use: another Linear, half of its columns, int8 in place of floats."""
    from common.models import Linear

    class Counting(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.parts, self.bias, self.loaded = base, base.parts, base.bias, []

        def load(self, part, tensor):
            self.loaded.append(part)
            self.base.load(part, tensor)

        def forward(self, x):
            return self.base(x)

    config = read_config(json.loads(CASES["llama-grouped"].to_json_string(use_diff=False)))
    original = build_model(config, seed=3)
    save_model(original, tmp_path)
    with torch.device("meta"):
        model: Any = new_model(config)
    for path, module in list(model.named_modules()):
        if isinstance(module, Linear):
            model.set_submodule(path, Counting(module))
    materialize(model, torch.device("cpu"), torch.float32)
    fill(model, tmp_path)
    assert model.blocks.layers[0].attn.qkv.loaded.sort() is None
    assert sorted(model.blocks.layers[0].attn.qkv.loaded) == ["k.weight", "q.weight", "v.weight"]
    assert torch.equal(run(model, torch.arange(10)), run(original, torch.arange(10)))
    shard = Linear(24, {"q": 48, "k": 24, "v": 24})
    q = load_file(tmp_path / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    shard.load("q.weight", q, columns=slice(24, 48))
    assert torch.equal(shard.weight[:48], q[:, 24:])


def test_tied_heads_share_one_parameter_and_are_counted_once():
    config = read_config(json.loads(CASES["qwen3"].to_json_string(use_diff=False)))
    model = build_model(config)
    assert model.head.weight is model.embed.weight
    assert sum(p is model.embed.weight for p in model.parameters()) == 1


def test_layers_info_is_what_attend_is_called_with():
    config = read_config(json.loads(CASES["gemma3"].to_json_string(use_diff=False)))
    model, seen = build_model(config), []

    def attend(layer, q, k, v):
        assert q.shape == (5, layer.num_heads, layer.head_dim) and k.shape == v.shape == (
            5,
            layer.num_kv_heads,
            layer.head_dim,
        )
        seen.append(layer)
        return q

    model(torch.arange(5), torch.arange(5), attend)
    assert seen == model.layers_info
    assert [i.window for i in seen] == [16, 16, 16, 16, 16, None, 16]


def test_a_model_says_where_it_is_and_what_it_computes_in(tmp_path):
    config = read_config(json.loads(CASES["qwen3"].to_json_string(use_diff=False)))
    for dtype in (torch.float32, torch.bfloat16):
        model = build_model(config, dtype=dtype)
        assert isinstance(model, Model)
        cpu = torch.device("cpu")
        assert (model.device, model.dtype, model.kv_dtype) == (cpu, dtype, computes_in(dtype, cpu))
    with torch.device("meta"):
        assert new_model(config).device.type == "meta"
