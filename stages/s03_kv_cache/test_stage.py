"""Stage 03's promises: the cache changes no text, never overflows, forgets exactly, and weighs what the formula says."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.bench.shapes import PUBLISHED, published
from common.checkpoints.reference import FAMILIES as SHIPPED
from common.checkpoints.reference import references
from common.errors import UserError
from common.loader import build_model, load_model
from common.models import LayerInfo, new_model, read_config
from common.terminal.command_line import run
from common.tutorial import load_stage

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import bench, engine

CPU = torch.device("cpu")
WINDOW = 96  # positions
SHARED: dict[str, Any] = {
    "vocab_size": 211, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": WINDOW, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "vocab_size": 211, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": WINDOW},
    "llama": SHARED | {"model_type": "llama", "num_key_value_heads": 2},
    "qwen3": SHARED | {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 20},
    "qwen3, sliding": SHARED | {
        "model_type": "qwen3", "num_key_value_heads": 1, "use_sliding_window": True, "sliding_window": 16,
        "max_window_layers": 1,
    },
    "gemma3": SHARED | {
        "model_type": "gemma3_text", "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16,
        "query_pre_attn_scalar": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def models():
    return {name: random_model(raw) for name, raw in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def model(request, models):
    return models[request.param]


def random_model(raw):
    """Weights so large that a wrong key or mask moves the logits far beyond rounding."""
    model: Any = build_model(read_config(raw), seed=5)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter *= 8
    return model


def some_tokens(count, seed=0):
    return torch.randint(211, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def fresh(model, capacity=WINDOW):
    """(cache, attend)"""
    cache = engine.KVCache(model.layers_info, capacity, CPU, torch.float32)
    return cache, engine.CachedAttention(cache)


@torch.inference_mode()
def logits_of(model, tokens, attend):
    from .engine.generate import forward

    return forward(model, tokens, attend)


@torch.inference_mode()
def logits_without_cache(model, tokens):
    attend = load_stage(1).engine.CausalAttention()
    hidden = model(torch.tensor(tokens), torch.arange(len(tokens)), attend)
    return model.logits(hidden[-1:])[0]


@contextmanager
def rows_seen(model):
    """How many tokens each call of the model got."""
    rows: list[int] = []
    handle = model.embed.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    try:
        yield rows
    finally:
        handle.remove()


def assert_same_text(model, prompt, count):
    """Tokens and logits of every step, against the engine that has no cache; and each token went through once."""
    with rows_seen(model) as rows:
        ours = list(engine.generate(model, prompt, count))
    assert sum(rows) == len(prompt) + count - 1
    theirs = list(load_stage(2).engine.generate(model, prompt, count))
    assert [one.id for one in ours] == [one.id for one in theirs]
    assert ours[-1].finish_reason == theirs[-1].finish_reason
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=1e-3, rtol=1e-4)


# The same text


@pytest.mark.parametrize("prompt", [1, 2, 63, 64, 65])
def test_cached_text_equals_uncached(model, prompt):
    assert_same_text(model, some_tokens(prompt), 6)


@pytest.mark.parametrize("prompt", [1, 17, WINDOW - 1])
def test_cached_text_equals_uncached_up_to_the_window(model, prompt):
    assert_same_text(model, some_tokens(prompt, seed=1), WINDOW - prompt)


def test_each_decode_step_sees_exactly_one_token(model):
    with rows_seen(model) as rows:
        list(engine.generate(model, some_tokens(9), 5))
    assert rows == [9, 1, 1, 1, 1]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_division_into_steps_gives_the_same_logits(models, data):
    model = models[data.draw(st.sampled_from(sorted(models)))]
    tokens = some_tokens(40)
    cuts = sorted(data.draw(st.sets(st.integers(1, 39), max_size=5)))
    _, attend = fresh(model)
    for start, end in zip([0, *cuts], [*cuts, 40], strict=True):
        logits = logits_of(model, tokens[start:end], attend)
    torch.testing.assert_close(logits, logits_without_cache(model, tokens), atol=1e-3, rtol=1e-4)


# The same tokens as transformers: the engine before might be wrong in the same way.


@pytest.mark.parametrize("family", SHIPPED)
def test_tokens_equal_transformers_within_and_past_a_sliding_window(family):
    model, _, _ = load_model(SHIPPED[family], "cpu", "float32")
    for one in references(family):
        found = [token.id for token in engine.generate(model, one.prompt, len(one.tokens))]
        assert found == one.tokens, f"after a prompt of {len(one.prompt)} tokens"


# Forgetting


@pytest.mark.parametrize("kept", [0, 1, 15, 16, 17, 30])
def test_logits_after_rolling_back_equal_a_fresh_run(model, kept):
    cache, attend = fresh(model)
    tokens, others = some_tokens(30), some_tokens(8, seed=2)
    logits_of(model, tokens, attend)
    cache.truncate_to(kept)
    assert cache.length == kept
    logits = logits_of(model, others, attend)
    again = logits_of(model, [*tokens[:kept], *others], fresh(model)[1])
    torch.testing.assert_close(logits, again, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("length", [-1, 6])
def test_more_tokens_than_there_are_cannot_be_kept(length):
    cache = engine.KVCache([LayerInfo(0, 1.0, None, 2, 1, 4)], 8, CPU, torch.float32)
    cache.extend(5)
    with pytest.raises(UserError):
        cache.truncate_to(length)
    assert cache.length == 5


@pytest.mark.wording
def test_refusals_of_the_cache_have_the_numbers():
    cache = engine.KVCache([LayerInfo(0, 1.0, None, 2, 1, 4)], 8, CPU, torch.float32)
    cache.extend(5)
    with pytest.raises(UserError, match="cannot truncate to 6 tokens: the KV cache holds 5"):
        cache.truncate_to(6)
    with pytest.raises(UserError, match="holds 5 of 8 tokens: no room for 4 more"):
        cache.extend(4)


class CacheMachine(RuleBasedStateMachine):
    """The cache against a list of numbers, token by token."""

    LAYERS = (LayerInfo(0, 1.0, None, 4, 2, 3), LayerInfo(1, 1.0, 4, 2, 1, 5))

    @initialize(capacity=st.integers(1, 12))
    def start(self, capacity):
        self.cache = engine.KVCache(self.LAYERS, capacity, CPU, torch.float32)
        self.expected: list[float] = []
        self.next = 1.0

    def numbers(self, layer, tokens):
        """[N, Hkv, D], different for each token, layer, head and dimension."""
        grid = torch.arange(layer.num_kv_heads * layer.head_dim).view(1, layer.num_kv_heads, layer.head_dim)
        return torch.tensor(tokens).view(-1, 1, 1) * 1000 + layer.index * 100 + grid

    @rule(count=st.integers(1, 13))
    def extend_and_write(self, count):
        before = [tensor.clone() for tensor in (*self.cache.k, *self.cache.v)]
        if len(self.expected) + count > self.cache.capacity:
            with pytest.raises(UserError):
                self.cache.extend(count)
            for old, kept in zip(before, (*self.cache.k, *self.cache.v), strict=True):
                assert torch.equal(old.nan_to_num(), kept.nan_to_num())
            return
        start = self.cache.extend(count)
        assert start == len(self.expected)
        new = [self.next + i for i in range(count)]
        self.next += count
        self.expected += new
        for layer in self.LAYERS:
            k = self.numbers(layer, new)
            got_k, got_v = self.cache.write(layer.index, start, k, -k)
            assert torch.equal(got_k, self.numbers(layer, self.expected).transpose(0, 1))
            assert torch.equal(got_v, -got_k)
            assert got_k.data_ptr() == self.cache.k[layer.index].data_ptr()  # no copy of the past

    @rule(share=st.floats(0, 1))
    def truncate(self, share):
        length = round(share * len(self.expected))
        self.cache.truncate_to(length)
        del self.expected[length:]

    @invariant()
    def holds_what_the_list_holds(self):
        if hasattr(self, "cache"):
            assert self.cache.length == len(self.expected)
            for layer in self.LAYERS:
                held = self.cache.k[layer.index][:, : self.cache.length]
                assert torch.equal(held, self.numbers(layer, self.expected).transpose(0, 1))


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)


# Room, and its price


def test_overflow_raises_before_anything_is_written(model):
    cache, attend = fresh(model, capacity=10)
    logits_of(model, some_tokens(8), attend)
    before = [t.clone() for t in (*cache.k, *cache.v)]
    with pytest.raises(UserError):
        logits_of(model, some_tokens(3), attend)
    assert cache.length == 8
    for old, new in zip(before, (*cache.k, *cache.v), strict=True):
        assert old.numpy().tobytes() == new.numpy().tobytes()
    logits_of(model, some_tokens(2), attend)  # what fits still fits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_equal_the_formula(model, dtype):
    config = model.config
    cache = engine.KVCache(model.layers_info, 37, CPU, dtype)
    assert cache.nbytes == 2 * config.num_layers * config.num_kv_heads * config.head_dim * 37 * dtype.itemsize


@pytest.mark.parametrize("name", PUBLISHED)
def test_bytes_of_published_shapes_equal_the_formula(name):
    config = published(name)
    with torch.device("meta"):
        layers = new_model(config).layers_info
    cache = engine.KVCache(layers, 8192, torch.device("meta"), torch.bfloat16)
    assert cache.nbytes == 2 * config.num_layers * config.num_kv_heads * config.head_dim * 8192 * 2


def test_memory_is_taken_once(models):
    cache, attend = fresh(models["llama"])
    addresses = [t.data_ptr() for t in (*cache.k, *cache.v)]
    for count in (5, 1, 1):
        logits_of(models["llama"], some_tokens(count), attend)
    assert addresses == [t.data_ptr() for t in (*cache.k, *cache.v)]


# The demo and the benchmark


@pytest.fixture
def demo(random_gpt2, monkeypatch):
    from . import __main__ as module

    monkeypatch.setattr(module, "read_bandwidth", lambda device: 1e9)
    return lambda *flags: run(module.main, ["--model", str(random_gpt2), "--device", "cpu", *flags])


def test_picture_shows_what_is_in_the_cache(models):
    from .lesson.picture import watch

    steps = watch(models["gpt2"], [5, 6, 7, 8])
    assert [len(one.given) for one in steps] == [4, 1, 1]
    assert [sum(one.filled) for one in steps] == [4, 5, 6]
    assert all(one.filled == sorted(one.filled, reverse=True) for one in steps)  # no gap
    assert len(steps[0].filled) == 7
    chosen = [one.chosen for one in steps]
    assert chosen == [one.id for one in engine.generate(models["gpt2"], [5, 6, 7, 8], 3)]


def test_demo_shows_the_same_text_the_slots_the_phases_and_the_price(demo, capsys):
    assert demo("--max-tokens", "6") == 0
    out = capsys.readouterr().out
    for part in ("the same text: 6 tokens equal", "[Once]", "decode 2", "prefill of the prompt", "speed-up",
                 "that memory bandwidth allows", "2 x 3 x 4 x 12 x", "llama-3.1-8b", "128k"):  # fmt: skip
        assert part in out, part
    assert "\x1b[" not in out


def test_demo_fails_when_the_texts_differ(demo, capsys, monkeypatch):
    demo("--max-tokens", "4")  # once right, so that what fails below is the comparison
    original = engine.KVCache.write

    def wrong(self, layer, start, k, v):
        original(self, layer, start, k, v)
        k, v = original(self, layer, start, k, v)
        return k, v.flip(1)

    monkeypatch.setattr(engine.KVCache, "write", wrong)
    capsys.readouterr()
    assert demo("--max-tokens", "8") == 1
    assert "not the same tokens: token" in capsys.readouterr().out


@pytest.mark.wording
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--max-tokens", "0"], "'0' is not a whole number at least 1"),
        (["--max-tokens", "128"], "window is 128 tokens"),
        (["--stop", ""], "none of them may be empty"),
        (["--max-token", "3"], "did you mean '--max-tokens'"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(demo, capsys, flags, message):
    assert demo(*flags) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("prompt", "window"), [(4, 1024), (40, 1024), (500, 1024), (1000, 1024), (4, 40), (60, 64)]
)
def test_growth_is_shown_at_rising_lengths_within_the_window(prompt, window):
    from .lesson.growth import choose_lengths

    lengths = choose_lengths(prompt, window)
    assert lengths == sorted(set(lengths))
    assert prompt < lengths[0]
    assert lengths[-1] <= window
    assert len(lengths) >= (4 if window - prompt >= 10 else 1)


def test_benchmark_checks_then_times_and_records(random_gpt2, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LENGTHS", (20, 24, 40))
    monkeypatch.setattr(bench, "BETWEEN", (30,))
    monkeypatch.setattr(bench, "read_bandwidth", lambda device: 1e9)
    flags = ["--model", str(random_gpt2), "--device", "cpu", "--quick", "--results", str(tmp_path)]
    assert run(bench.main, flags) == 0
    (path,) = tmp_path.glob("s03-*.json")
    result = json.loads(path.read_text())
    values = {key: entry["value"] for key, entry in result["values"].items()}
    for key in ("speedup_20", "speedup_40", "with_30", "without_30", "transformers_40", "decode_tokens_per_s",
                "decode_share_of_bound", "vs_transformers", "prefill_tokens_per_s", "without_step_40"):  # fmt: skip
        assert values[key] > 0, key
    assert values["cache_bytes_40"] == 2 * 3 * 4 * 12 * 40 * 4
    assert values["with_20"] < values["with_40"]
    assert "24 tokens equal" in result["checked"]
    assert "memory bandwidth allows" in capsys.readouterr().out


def test_benchmark_refuses_to_time_a_different_text(random_gpt2, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LENGTHS", (20,))
    original = engine.KVCache.write

    def wrong(self, layer, start, k, v):
        return original(self, layer, start, k, v.flip(0))

    monkeypatch.setattr(engine.KVCache, "write", wrong)
    flags = ["--model", str(random_gpt2), "--device", "cpu", "--quick", "--results", str(tmp_path)]
    assert run(bench.main, flags) == 1
    assert "nothing is recorded" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_figure_is_drawn_from_a_recorded_result(tmp_path, monkeypatch):
    from common.bench.measure import Result

    from .lesson import figure

    result = Result("s03", 3, "command", {"threads": 2}, 0, "checked", device="cpu")
    for n in (64, 128):
        for side, seconds in (("with", n), ("without", n * n), ("transformers", 2 * n)):
            result.add(f"{side}_{n}", seconds / 1000, "s")
    result.save(tmp_path)
    load = figure.load_result
    monkeypatch.setattr(figure, "load_result", lambda name, machine: load(name, machine, tmp_path))
    (path,) = figure.draw("s03", folder=tmp_path / "figures")
    assert path.name == "s03-total-time.svg"
    assert path.read_text().startswith("<?xml")
