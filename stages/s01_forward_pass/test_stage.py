"""Stage 01's promises: our BPE, our NumPy models and our tools say what tokenizers, torch and transformers say."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from common.errors import UserError
from common.loader import SHIPPED, find_checkpoint, load_config, load_model
from common.terminal.command_line import run

from . import bench
from .__main__ import main
from .lesson import agreement
from .lesson.bpe import BPE, byte_alphabet, merge, show
from .lesson.bpe_file import load_bpe, read_bpe
from .lesson.bpe_train import train
from .lesson.compare import compare, first_over, torch_trace, transformers_trace
from .lesson.passes import flops
from .lesson.tensors import count_parameters, list_tensors, widen

TEXT = (
    "Once upon a time there lived an old king who had three daughters. Hello world, said the fox; don't go alone! "
    * 4
)
HARD = [
    "Hello world", "", " ", "   ", "\n\n  a\t b \r\n", " leading and trailing  ", "it's DON'T we'll they've I'm you'd he're",
    "3.14159 12345 ١٢٣ ½ x² 1a2b", "naïve café cafe\u0301 Ångström Straße", "日本語のテキスト。中文，한국어", "Привет мир שלום مرحبا नमस्ते",
    "🙂👩‍👩‍👧‍👦🇩🇪 👍🏽!!", "\x00\x01\x1f\x7f\x85\xa0\u2028\u3000\ufeff\u200b", "a<|endoftext|>b <|user|> <|endoftext|><|user|", "<|end", "aaaaaaaaaa" * 20,
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff", "mixedПриветworld日本123!?", "…—“quotes” ‘s ’s", "_under_score CamelCase http://x.y/z?q=1&r=%20", "\u0301\u0301 ĠĊ Ġworld",
]  # fmt: skip
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def reference_tokenizer(vocab_size: int = 500, llama3: bool = False, prefix_space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=llama3))
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=not llama3)
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only]) if llama3 else bytes_only
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>", "<|user|>"], show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([TEXT, *HARD], trainer)
    return tokenizer


@pytest.fixture(scope="module", params=["gpt2", "prefix space", "llama 3"])
def pair(request: pytest.FixtureRequest) -> tuple[BPE, Tokenizer]:
    """Our BPE and the tokenizers library's, of the same file."""
    theirs = reference_tokenizer(
        llama3=request.param == "llama 3", prefix_space=request.param == "prefix space"
    )
    return read_bpe(json.loads(theirs.to_str())), theirs


@pytest.fixture(params=["random_gpt2", "random_llama", "storyteller-draft", "storyteller-llama"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """Each kind of model that NumPy computes: small random ones, and those that ship."""
    if request.param.startswith("random"):
        return request.getfixturevalue(request.param)
    folder = find_checkpoint(request.param)
    if not folder.is_dir():
        pytest.skip(f"{request.param} is not in this clone")
    return folder


def demo(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    status = run(main, list(flags))
    return status, *capsys.readouterr()


# Byte-pair encoding


@pytest.mark.parametrize("text", HARD)
def test_bpe_encodes_and_decodes_a_hard_corpus_as_tokenizers_does(pair, text):
    ours, theirs = pair
    ids = theirs.encode(text, add_special_tokens=False).ids
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
    assert ours.pieces(ids) == [theirs.id_to_token(i) for i in ids]


def known_alike(character: str) -> bool:
    """Whether the `regex` package, whose Unicode tables we use, and tokenizers, which has its own, class it alike."""
    ours, theirs = BOTH
    split = theirs.pre_tokenizer.pre_tokenize_str
    return all(len(ours.words(character + c)) == len(split(character + c)) for c in "a1!")


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]).filter(known_alike)),
    st.lists(st.integers(0, 300), max_size=30),
)
def test_bpe_agrees_with_tokenizers_on_any_text_and_any_ids(text, ids):
    ours, theirs = BOTH
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode(text)) == text
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


BOTH = (read_bpe(json.loads(reference_tokenizer().to_str())), reference_tokenizer())


def test_letters_newer_than_the_tokenizers_unicode_tables_are_the_known_limit():
    ours, theirs = BOTH
    texts = [chr(c) + "'ll" for c in range(0x80, 0x3000)]  # U+209F is such a letter
    split = theirs.pre_tokenizer.pre_tokenize_str
    differ = [t for t in texts if ours.words(t) != [t[start:end] for _, (start, end) in split(t)]]
    assert not [t for t in differ if known_alike(t[0])]
    assert ("\u209f'll" in differ) != known_alike("\u209f")
    assert all(ours.decode(ours.encode(t)) == t for t in differ)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"ba", b"aa", b"aab"]), min_size=2, max_size=12),
    st.text("ab", max_size=30),
)
def test_the_fast_merge_is_the_rule_shown_step_by_step(parts, word):
    ranks = {pair: rank for rank, pair in enumerate(dict.fromkeys(pairwise(parts)))}
    steps = list(BPE({}, ranks).steps(word))
    assert list(steps[-1].symbols if steps else [bytes([b]) for b in word.encode()]) == merge(
        word.encode(), ranks
    )


def test_a_very_long_word_is_not_quadratic():
    assert b"".join(merge(b"a" * 100_000, {(b"a", b"a"): 0, (b"aa", b"aa"): 1})) == b"a" * 100_000


def test_training_learns_the_merges_that_tokenizers_learns():
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = TEXT + " ".join(HARD).replace("<|endoftext|>", "") + "aaaa aaa banana bananas " * 5
    special = ["<|endoftext|>"]
    theirs.train_from_iterator(
        [text],
        trainers.BpeTrainer(vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=2),
    )  # fmt: skip
    expected = read_bpe(json.loads(theirs.to_str()))
    ours = train(text, 480, special)
    assert ours.ranks == expected.ranks
    assert {**ours.vocab, b"<|endoftext|>": 0} == expected.vocab
    assert ours.encode("bananas<|endoftext|>") == theirs.encode("bananas<|endoftext|>").ids


def test_training_stops_when_no_pair_repeats_and_refuses_a_vocabulary_without_room():
    assert train("abcd", 1000).ranks == {}
    with pytest.raises(UserError, match=r"vocab_size is 256; 256 bytes and 1 special"):
        train("abc", 256, ["<s>"])


def test_merges_in_both_layouts_are_read_alike():
    data = json.loads(reference_tokenizer().to_str())
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]
    assert read_bpe(data).ranks == BOTH[0].ranks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "Unigram"}}, "type is 'Unigram'"),
        ({"model": {"byte_fallback": True}}, "byte_fallback is True"),
        ({"pre_tokenizer": None}, "pre_tokenizer ends with None"),
        ({"normalizer": {"type": "Lowercase"}}, "type is 'Lowercase'"),
        ({"model": {"vocab": {"a": 0}}}, "lacks 255 of the 256 bytes"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused_by_name(tmp_path, change, message):
    data = json.loads(reference_tokenizer().to_str())
    for key, value in change.items():
        data[key] = {**data[key], **value} if isinstance(data[key], dict) and value else value
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=message):
        load_bpe(tmp_path)


def test_bad_text_and_bad_ids_are_answered_in_one_line():
    with pytest.raises(UserError, match=r"lone surrogate U\+D800"):
        BOTH[0].encode("a\ud800")
    with pytest.raises(UserError, match="token id 99999 is not in the vocabulary"):
        BOTH[0].decode([99999])


def test_every_byte_is_visible_and_the_space_is_known():
    assert len(set(byte_alphabet().values())) == 256
    assert all(character.isprintable() and not character.isspace() for character in byte_alphabet().values())
    assert show(b" world\n") == "ĠworldĊ"


def test_shipped_tokenizers_are_read_by_our_bpe():
    for name in SHIPPED:
        folder = find_checkpoint(name)
        if not (folder / "tokenizer.json").exists():
            pytest.skip("no shipped checkpoints in this clone")
        ours, theirs = load_bpe(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
        for text in HARD:
            assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


# The models


@pytest.mark.parametrize("length", [1, 2, 100])
def test_numpy_torch_and_transformers_agree_layer_by_layer(checkpoint, length):
    model, tokenizer, config = load_model(checkpoint, "cpu", "float32")
    tokens = tokenizer.encode(TEXT)[:length]
    traces = {"numpy": agreement.load_numpy(checkpoint, config)(tokens), "torch": torch_trace(model, tokens)}
    rows = compare(transformers_trace(agreement.load_transformers(checkpoint), tokens), traces)
    assert [row.layer for row in rows][:2] == ["embedding", "layer 0"]
    assert len(rows) == config.num_layers + 3
    assert max(error for row in rows for error in row.errors.values()) < 1e-4


def test_numpy_reads_tied_heads_and_bfloat16(tmp_path, save_random):
    folder = save_random(tmp_path, "llama", tie_word_embeddings=True, num_key_value_heads=6)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model, _, config = load_model(folder, "cpu", "float32")
    report = agreement.check(folder, config, model, [5, 6, 7, 8])
    assert set(report.first_over()) == {"ours (torch)", "NumPy"}
    assert not any(report.first_over().values())


def test_numpy_works_at_the_full_length_and_refuses_one_more(random_gpt2):
    model = agreement.load_numpy(random_gpt2, load_config(random_gpt2))
    assert model([1] * 128)["logits"].shape == (128, 400)
    with pytest.raises(UserError, match="129 tokens long; this model takes 1 to 128"):
        model([1] * 129)
    with pytest.raises(UserError, match="token id 400 is outside the vocabulary of 400"):
        model([400])


def test_no_token_sees_a_later_one(checkpoint):
    model = agreement.load_numpy(checkpoint, load_config(checkpoint))
    short, long = model([5, 6, 7]), model([5, 6, 7, 8, 9])
    for layer, hidden in short.items():
        np.testing.assert_allclose(long[layer][:3], hidden, rtol=1e-5, atol=1e-5, err_msg=layer)


def test_numpy_refuses_what_it_does_not_implement(tmp_path, random_gpt2, random_llama, save_random):
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(UserError, match="scaled RoPE"):
        agreement.NumpyLlama.from_folder(save_random(tmp_path, "llama", rope_parameters=rope))
    with pytest.raises(UserError, match="holds a gpt2 model, not llama"):
        agreement.NumpyLlama.from_folder(random_gpt2)
    with pytest.raises(UserError, match="holds a llama model, not gpt2"):
        agreement.NumpyGPT2.from_folder(random_llama)


def test_the_comparison_names_the_first_layer_that_is_wrong(random_gpt2):
    model, _, config = load_model(random_gpt2, "cpu", "float32")
    model.blocks.layers[1].mlp.down.bias += 0.01
    report = agreement.check(random_gpt2, config, model, [1, 2, 3])
    assert report.first_over() == {"ours (torch)": "layer 1", "NumPy": None}


def test_the_comparison_calls_nan_wrong_and_refuses_other_shapes():
    good = {"layer 0": np.ones((2, 3), np.float32)}
    assert first_over(compare(good, {"bad": {"layer 0": good["layer 0"] * np.nan}})) == {"bad": "layer 0"}
    with pytest.raises(UserError, match="'layer 0' is missing"):
        compare(good, {"bad": {}})


def test_without_transformers_the_comparison_says_so_and_continues(random_gpt2, monkeypatch, capsys):
    def missing(folder):
        raise ImportError("No module named 'transformers'")

    monkeypatch.setattr(agreement, "load_transformers", missing)
    status, out, _ = demo(capsys, "--model", str(random_gpt2))
    assert status == 0
    assert "transformers is left out: No module named 'transformers'" in out
    assert "largest difference from NumPy" in out


def test_the_comparison_tool_fails_over_tolerance(random_gpt2, capsys):
    assert run(agreement.main, ["--model", str(random_gpt2)]) == 0
    assert run(agreement.main, ["--model", str(random_gpt2), "--tolerance", "1e-12"]) == 1
    assert "first layer over tolerance: layer 0" in capsys.readouterr().out


# The tensor inspector


def test_parameters_are_counted_by_part_and_tied_ones_once(random_gpt2, random_llama, tmp_path):
    for folder in (random_gpt2, random_llama):
        model = load_model(folder, "cpu")[0]
        assert sum(count_parameters(list_tensors(folder)).values()) == sum(
            p.numel() for p in model.parameters()
        )
    assert count_parameters(list_tensors(random_gpt2))["embeddings"] == (400 + 128) * 48
    shutil.copytree(random_gpt2, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights |= {
        "lm_head.weight": weights["transformer.wte.weight"].clone(),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 9, 9),
    }
    save_file(weights, tmp_path / "model.safetensors")
    assert count_parameters(list_tensors(tmp_path)) == count_parameters(list_tensors(random_gpt2))


def test_the_inspector_reads_every_dtype_and_both_layouts(tmp_path):
    values = torch.tensor([[0.0, -1.5], [3.25, 1e-3]])
    dtypes = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
    for i, dtype in enumerate(dtypes):
        save_file(
            {f"t{i}": values.to(dtype), f"empty{i}": torch.empty(0, 3)}, tmp_path / f"part-{i}.safetensors"
        )
    index = {"weight_map": {f"t{i}": f"part-{i}.safetensors" for i in range(len(dtypes))}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = {info.name: info.read() for info in list_tensors(tmp_path)}
    for i, dtype in enumerate(dtypes):
        np.testing.assert_array_equal(found[f"t{i}"], values.to(dtype).float().numpy())
        assert found[f"empty{i}"].shape == (0, 3)


def test_every_bfloat16_is_widened_exactly():
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(widen(bits), expected)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:5], lambda data: b"\xff" * 100, lambda data: b""]
)
def test_a_damaged_file_is_answered_in_one_line(tmp_path, damage):
    save_file({"x": torch.ones(3)}, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(damage(data))
    with pytest.raises(UserError, match="cut short"):
        list_tensors(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        list_tensors(tmp_path / "nowhere")


# The demo


def test_the_demo_shows_pieces_ids_logits_and_the_next_word(checkpoint, capsys):
    status, out, _ = demo(capsys, "--model", str(checkpoint), "--prompt", "Hello world")
    model, tokenizer, config = load_model(checkpoint, "cpu")
    tokens = tokenizer.encode("Hello world")
    assert status == 0
    assert f"logits [{len(tokens)}, {config.vocab_size}]" in out
    assert all(part in out for part in ["Ġ", *map(str, tokens), "layer 0", "final norm"])
    assert "our BPE and the tokenizers library agree" in out
    logits = torch_trace(model, tokens)["logits"][-1]
    best = out.split("what may follow")[1].split("\n 1 ")[1].splitlines()[0]
    assert f" {int(logits.argmax())} " in best
    assert "\x1b" not in out


@pytest.mark.parametrize("prompt", ["a", " ", "\n \t ", "\x1b[2J", "🙂"])
def test_odd_prompts_behave(random_gpt2, capsys, prompt):
    status, out, _ = demo(capsys, "--model", str(random_gpt2), "--prompt", prompt)
    assert status == 0
    assert "within" in out
    assert "\x1b" not in out


def test_a_prompt_that_fills_the_window_works_and_a_longer_one_is_refused(random_gpt2, capsys):
    assert demo(capsys, "--model", str(random_gpt2), "--prompt", "a" * 128, "--word", "king")[0] == 0
    status, _, err = demo(capsys, "--model", str(random_gpt2), "--prompt", "a" * 129)
    assert (status, err) == (2, "error: the prompt is 129 tokens long; this model takes 1 to 128\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "--prompt is empty"),
        (["--top", "0"], "'0' is not a whole number at least 1"),
        (["--train", "/no/such/file"], "--train '/no/such/file' cannot be read"),
        (["--model", "/no/such/folder"], "no such folder"),
    ],
)
def test_wrong_input_is_answered_in_one_line(random_gpt2, capsys, flags, message):
    status, _, err = demo(capsys, "--model", str(random_gpt2), *flags)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_demo_inspects_and_trains(random_gpt2, tmp_path, capsys):
    assert "transformer.h.0.attn.c_attn.weight" in demo(capsys, "--model", str(random_gpt2), "--inspect")[1]
    (tmp_path / "text.txt").write_text(TEXT)
    assert (
        "The first 30 merges learned from text.txt" in demo(capsys, "--train", str(tmp_path / "text.txt"))[1]
    )


# The benchmark


def test_the_benchmark_checks_times_and_records(random_gpt2, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "read_bandwidth", lambda device: 1e10)  # measuring it takes seconds
    flags = ["--model", str(random_gpt2), "--quick", "--results", str(tmp_path)]
    assert run(bench.main, flags) == 0
    (path,) = tmp_path.glob("s01-*.json")
    values = json.loads(path.read_text())["values"]
    assert {"ours_64_ms", "transformers_64_ms", "numpy_64_ms", "bound_64_ms"} <= set(values)
    assert values["ours_difference_layer_2"]["value"] < 1e-4
    assert "bound set by" in capsys.readouterr().out


def test_the_benchmark_does_not_time_wrong_results(random_gpt2, tmp_path, monkeypatch):
    model, tokenizer, config = load_model(random_gpt2, "cpu", "float32")
    model.blocks.layers[2].mlp.down.bias += 0.01
    monkeypatch.setattr(bench, "load_model", lambda *_: (model, tokenizer, config))
    assert run(bench.main, ["--model", str(random_gpt2), "--quick", "--results", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())


def test_operations_are_counted_from_the_shapes(random_gpt2):
    model = load_model(random_gpt2, "cpu")[0]
    matrices = 3 * 12 * 48 * 48  # q k v o, and an MLP four times as wide
    assert flops(model, 10) == 2 * 10 * matrices + 3 * 2 * 10 * 10 * 48 + 2 * 400 * 48
