"""Stage 09's promises: four ways to the same numbers, and only one of them ever writes all scores down."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from common.checkpoints.reference import FAMILIES, references
from common.errors import UserError
from common.loader import load_model
from common.models import LayerInfo
from common.terminal.command_line import run

# Through the module, so that each test fails by itself on an engine that lacks what it needs.
from . import engine
from .lesson.layer import Layer, peak_bytes

WAYS = ("eager", "tiled", "sdpa", "varlen")
PROMPTS = [[5, 6], [7], [8, 9, 10, 11, 12, 13, 14], list(range(20, 60)), list(range(300, 315)), [9] * 23]


@pytest.fixture(scope="module")
def parts(random_llama):
    """(model, tokenizer, config)"""
    return load_model(random_llama, "cpu")


def new(parts, way, **config):
    # So few tokens per step that prompts come in chunks while others decode.
    small: dict[str, Any] = dict(max_seq_len=96, max_num_seqs=3, max_num_batched_tokens=11, attention=way)
    model, tokenizer, model_config = parts
    return engine.Engine(model, tokenizer, model_config, engine.EngineConfig(**small | config))


def params(count, **more):
    """The fixtures' models end texts at random; a test that counts tokens does not want that."""
    return engine.SamplingParams(count, **dict(ignore_eos=True) | more)


def layer_info(heads=4, kv_heads=2, size=8, window=None):
    return LayerInfo(0, size**-0.5, window, heads, kv_heads, size)


def random_qkv(info, b, t, s):
    shapes = (b, t, info.num_heads, info.head_dim), *[(b, info.num_kv_heads, s, info.head_dim)] * 2
    return [torch.randn(shape) for shape in shapes]


# The same numbers


@settings(deadline=None, max_examples=40)
@given(
    t=st.integers(1, 90),
    past=st.integers(0, 150),
    window=st.sampled_from([None, 1, 5, 64, 65, 100]),
    groups=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    large=st.booleans(),
)
def test_tiles_give_what_all_scores_give(t, past, window, groups, large):
    heads, kv_heads = groups
    info = layer_info(heads, kv_heads, window=window)
    torch.manual_seed(t + 1000 * past)
    q, k, v = random_qkv(info, 2, t, past + t)
    if large:
        # Scores of several hundred, whose exponentials no float holds.
        q *= 100
    positions = torch.arange(past, past + t).expand(2, t)
    mask = engine.attention.causal_mask(positions, past + t, window)
    expected = engine.attention.softmax_attention(info, q, k, v, mask)
    found = engine.flash.tiled_attention(info, q, k, v, positions)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4 if large else 1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_writes_the_tokens_of_the_eager_one(parts, way):
    expected = [one.tokens for one in new(parts, "eager").generate(PROMPTS, params(20))]
    assert [one.tokens for one in new(parts, way).generate(PROMPTS, params(20))] == expected


@pytest.mark.parametrize("way", ["tiled", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_writes_what_transformers_wrote(family, way):
    """Past a sliding window, in chunks, while others decode."""
    made = engine.Engine.from_pretrained(
        FAMILIES[family], engine.EngineConfig("cpu", "float32", 340, max_num_seqs=5, max_num_batched_tokens=61, attention=way)
    )  # fmt: skip
    asked = references(family)
    counts = [12 - 3 * (i % 3) for i in range(len(asked))]
    found = made.generate([one.prompt for one in asked], [params(count) for count in counts])
    assert [one.tokens for one in found] == [
        one.tokens[:count] for one, count in zip(asked, counts, strict=True)
    ]


def test_sampled_texts_do_not_depend_on_the_way(parts):
    each = [params(12, temperature=0.9, seed=i, top_k=7) for i in range(len(PROMPTS))]
    texts = {way: [one.tokens for one in new(parts, way).generate(PROMPTS, each)] for way in WAYS}
    assert all(tokens == texts["eager"] for tokens in texts.values())


def test_requests_that_leave_and_come_do_not_mix_up_rows(parts):
    """Rows become free out of order, so busy rows have idle ones between them."""
    counts = [2, 19, 3, 11, 1, 7]
    together = new(parts, "sdpa", max_num_seqs=4).generate(PROMPTS, [params(count) for count in counts])
    for prompt, count, one in zip(PROMPTS, counts, together, strict=True):
        assert one.tokens == new(parts, "eager", max_num_seqs=1).generate([prompt], params(count))[0].tokens


# Without the matrix


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return out


def largest(way, n):
    info = layer_info(heads=4, kv_heads=4, size=8)
    layer = Layer(info, torch.device("cpu"), torch.float32, torch.float32)
    call = layer.call(way, n)
    with Largest() as seen:
        call()
    return seen.elements


def test_only_the_eager_way_makes_a_tensor_that_grows_with_the_square():
    growth = {way: largest(way, 512) / largest(way, 128) for way in ("eager", "tiled", "sdpa")}
    assert growth["eager"] == 16
    assert growth["tiled"] <= 4
    assert growth["sdpa"] <= 4


def test_peak_memory_is_really_measured():
    device = torch.device("cpu")
    assert peak_bytes(lambda: torch.ones(10), device) == 40
    assert peak_bytes(lambda: torch.ones(30_000_000), device) == 120_000_000
    # The highest, not the sum, and not what is left at the end.
    assert 8000 <= peak_bytes(lambda: torch.ones(1000).add(1).mul(2), device) < 9000


def test_decoding_requests_are_read_in_place(parts, monkeypatch):
    """No copy of the cache: the keys that torch's kernel gets are the cache's own memory."""
    made = new(parts, "sdpa")
    for prompt in PROMPTS[:3]:
        made.add(prompt, params(30))
    for _ in range(9):
        made.step()
    seen: list = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watched(q, k, v, *args, **named):
        seen.append((q.shape, k.untyped_storage().data_ptr()))
        return real(q, k, v, *args, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    made.step()
    kept = {layer.untyped_storage().data_ptr() for layer in made.runner.cache.k}
    assert len(seen) == len(kept)
    assert all(pointer in kept for _, pointer in seen)
    # Query heads that share a key head are rows of one product: 6 heads on 2 are 3 rows.
    assert all(shape[1:3] == (2, 3) for shape, _ in seen)


def test_a_fresh_prompt_needs_no_mask(parts, monkeypatch):
    asked: list = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watched(q, k, v, mask=None, **named):
        asked.append((mask is None, named.get("is_causal", False)))
        return real(q, k, v, mask, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    made = new(parts, "sdpa", max_num_batched_tokens=64)
    made.add(PROMPTS[3], params(1))
    made.step()
    assert set(asked) == {(True, True)}


# All chunks in one call


def reference_varlen(q, k, v, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa=False):
    """torch's variable-length kernel, which needs a GPU, as a loop over requests."""
    assert cu_q.dtype == cu_k.dtype == torch.int32
    assert enable_gqa == (q.shape[1] != k.shape[1])
    outs = []
    for i in range(len(cu_q) - 1):
        queries, keys = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
        n, s = int(cu_q[i + 1] - cu_q[i]), int(cu_k[i + 1] - cu_k[i])
        assert n <= max_q
        assert s <= max_k
        window = None if window_size[0] < 0 else window_size[0] + 1
        info = LayerInfo(0, scale, window, q.shape[1], k.shape[1], q.shape[2])
        mask = engine.attention.causal_mask(torch.arange(s - n, s)[None], s, window)
        part = (q[queries][None], k[keys].transpose(0, 1)[None], v[keys].transpose(0, 1)[None])
        outs.append(engine.attention.softmax_attention(info, *part, mask)[0])
    return torch.cat(outs)


@pytest.mark.parametrize("family", ["storyteller-llama", "storyteller-gemma3"])
def test_all_chunks_of_a_step_go_into_one_call_per_layer(family, monkeypatch):
    parts = load_model(family, "cpu", "float32")
    calls: list[int] = []

    @functools.wraps(reference_varlen)
    def counted(*args, **named):
        calls.append(len(args[3]) - 1)
        return reference_varlen(*args, **named)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", counted)
    prompts = [list(range(10, 10 + n)) for n in (90, 3, 170, 41)]
    config: dict[str, Any] = dict(max_seq_len=256, max_num_seqs=3, max_num_batched_tokens=100)
    expected = [one.tokens for one in new(parts, "eager", **config).generate(prompts, params(8))]
    made = new(parts, "varlen", **config)
    made.runner.attend.varlen = True
    assert [one.tokens for one in made.generate(prompts, params(8))] == expected
    layers = len(parts[0].layers_info)
    assert max(calls) >= 2, "no step had two chunks, so the test shows nothing"
    assert len(calls) % layers == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_gpu_the_kernel_gives_what_the_eager_way_gives(family):
    parts = load_model(FAMILIES[family], "cuda", "bfloat16")
    logits: dict[str, list] = {}
    for way in ("eager", "varlen"):
        made = new(parts, way, max_seq_len=256, max_num_batched_tokens=100)
        forward, kept = made.runner.forward, logits.setdefault(way, [])
        made.runner.forward = lambda inputs, forward=forward, kept=kept: (
            kept.append(forward(inputs)) or kept[-1]
        )
        for n in (90, 3, 170):
            made.add(list(range(10, 10 + n)), params(1))
        while not made.scheduler.is_finished:
            made.step()
        assert made.runner.attend.varlen == (way == "varlen")
    # A step in which no prompt ends has no logits.
    ours, expected = (torch.cat(logits[way]) for way in ("varlen", "eager"))
    assert len(ours) == 3
    # bfloat16, and logits with a standard deviation of 3 to 4.
    assert float((ours - expected).abs().max()) < 0.5


def test_without_the_correction_only_the_first_tile_is_right():
    """The article's "Break it"."""
    from .lesson.uncorrected import errors

    apart = errors(300)
    assert float(apart[: engine.flash.TILE].max()) == 0
    assert float(apart[2 * engine.flash.TILE :].max()) > 0.1


# What really runs


def test_what_really_runs_is_read_back(parts):
    runs = {way: new(parts, way).runner.attend.runs for way in (*WAYS, "auto")}
    assert (runs["eager"], runs["tiled"]) == ("eager", "tiled")
    assert runs["sdpa"].startswith("sdpa: ")
    # A CPU has no variable-length kernel: the same call per chunk instead, and it says so.
    assert runs["varlen"] == runs["auto"] == runs["sdpa"]


def test_health_says_how_attention_is_computed(parts):
    from .engine.server.app import create_app

    made = new(parts, "tiled")

    async def ask():
        app = create_app(lambda: made, model_name="tale")
        route: Any = next(r for r in app.routes if getattr(r, "path", "") == "/health")
        async with app.router.lifespan_context(app):
            while app.state.service.engine is None:
                await asyncio.sleep(0.001)
            return (await route.endpoint()).body

    assert b'"attention":"tiled"' in asyncio.run(asyncio.wait_for(ask(), 60))


def test_an_unknown_way_is_refused_with_the_ways_there_are():
    with pytest.raises(UserError, match="attention = 'fast'.*eager.*tiled.*sdpa.*varlen"):
        engine.EngineConfig(attention="fast")


# Demo and benchmark


@pytest.fixture
def plain(monkeypatch, capsys):
    """plain(main, *argv): (exit code, what it prints without a terminal)"""
    monkeypatch.setenv("COLUMNS", "100")

    def call(main, *argv):
        code = run(main, argv)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def test_the_demo_shows_the_ways_side_by_side_and_that_their_texts_agree(plain, random_llama):
    from .__main__ import main

    code, out = plain(main, "--model", str(random_llama), "--max-tokens", "10", "--lengths", "64,128")
    assert code == 0, out
    assert all(way in out for way in WAYS)
    assert "running maximum" in out
    assert "the same text" in out


def test_the_demo_refuses_nonsense_in_one_line(plain, random_llama):
    from .__main__ import main

    code, out = plain(main, "--model", str(random_llama), "--lengths", "64,none")
    assert (code, out.count("\n")) == (2, 1)
