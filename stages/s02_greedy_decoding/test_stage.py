"""Stage 02's promises: the tokens of transformers, the end at the right place, and a demo that says what it did."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from common.errors import UserError
from common.loader import SHIPPED, build_model, find_checkpoint, load_model, save_model
from common.models import read_config
from common.terminal.command_line import run

from . import engine
from .lesson import black_box as box
from .lesson import compare
from .lesson.growth import rows_run, sparkline
from .lesson.loops import find_loop, marked
from .lesson.outcome import collect, timed
from .lesson.steps import top

os.environ["HF_HUB_OFFLINE"] = "1"
TALE = "Once upon a time there lived an old king. He had three daughters — naïve, kind and wise. 🙂 The end\n"
VOCABULARY = 320
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 96},
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 20, "tie_word_embeddings": True},
    "gemma3_text": {
        "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 96, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
}  # fmt: skip


def save_random(folder, family):
    """A tiny random checkpoint with a byte-level tokenizer beside it; two end tokens."""
    sizes = FAMILIES[family] if family == "gpt2" else OTHERS | FAMILIES[family]
    ends = {"bos_token_id": 0, "eos_token_id": [0, 1]}
    config = read_config({"model_type": family, "vocab_size": VOCABULARY, **sizes, **ends})
    model: Any = build_model(config, seed=3)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:  # scores far apart, and texts that are not one token again and again
            parameter *= 4 if name == "embed.weight" else 15
    save_model(model, folder)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TALE] * 3, trainer)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Family -> the folder of its tiny random checkpoint."""
    return {family: save_random(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="session")
def random_gpt2(folders):
    """(model, tokenizer, config)"""
    return load_model(folders["gpt2"], "cpu")


@pytest.fixture(scope="session")
def tokenizer(random_gpt2):
    return random_gpt2[1]


class Scripted:
    """A model that says what it is told: the token at position i is followed by script[i]."""

    def __init__(self, script: Sequence[int], window: int = 10_000):
        self.script = torch.tensor(script)
        self.config = SimpleNamespace(vocab_size=VOCABULARY, max_positions=window)
        self.device = torch.device("cpu")

    def __call__(self, tokens, positions, attend):
        return self.script[positions]

    def logits(self, hidden):
        return torch.nn.functional.one_hot(hidden, VOCABULARY).float()


def say(tokenizer, tokens, limit=None, **options):
    """What the loop makes of a model that says `tokens`, after a prompt of one token."""
    model = Scripted([*tokens, 2])  # one more, in case the loop goes on too long
    return list(engine.generate(model, [5], limit or len(tokens) + 1, tokenizer=tokenizer, **options))


def text_of(tokens):
    return "".join(token.text for token in tokens)


# Where a text ends


@pytest.mark.parametrize("end", [0, 1])
def test_any_of_several_end_tokens_ends_the_text_and_does_not_show(tokenizer, end):
    ids = tokenizer.encode("three daughters")
    out = say(tokenizer, [*ids, end, *ids], eos_ids=(0, 1))
    assert text_of(out) == "three daughters"
    assert [token.id for token in out] == [*ids, end]
    assert [token.finish_reason for token in out] == [None] * len(ids) + ["stop"]
    assert out[-1].text == ""


def test_without_end_tokens_the_limit_ends_the_text(tokenizer):
    ids = tokenizer.encode("an old king lived")
    out = say(tokenizer, ids, limit=len(ids) - 1, eos_ids=(0,))
    assert text_of(out) == tokenizer.decode(ids[:-1])
    assert [token.finish_reason for token in out] == [None] * (len(ids) - 2) + ["length"]


def test_an_end_token_as_the_last_allowed_one_is_a_stop(tokenizer):
    assert say(tokenizer, [7, 0], limit=2, eos_ids=(0,))[-1].finish_reason == "stop"


def test_text_ends_before_a_stop_string_that_spans_tokens(tokenizer):
    ids = tokenizer.encode("There lived an old king. He had")
    assert not any("old king" in piece for piece in map(str, tokenizer.pieces(ids)))
    out = say(tokenizer, ids, stop=["old king", "zebra"])
    assert text_of(out) == "There lived an "
    assert out[-1].finish_reason == "stop"
    assert len(out) < len(ids)  # it does not go on after the stop string


def test_text_that_only_looked_like_a_stop_string_is_shown(tokenizer):
    ids = tokenizer.encode("an old king")
    out = say(tokenizer, ids, limit=len(ids), stop=["old kings", "king\n"])
    assert text_of(out) == "an old king"
    assert out[-1].finish_reason == "length"


@pytest.mark.parametrize("held", ["kingdom", "zebra"])
def test_a_stop_string_that_is_a_special_token_stops_at_its_id_and_does_not_show(tokenizer, held):
    ids = tokenizer.encode("an old king")
    out = say(tokenizer, [*ids, 1, *ids], stop=["<|end|>", held])
    assert [token.id for token in out] == [*ids, 1]
    assert text_of(out) == "an old king"
    assert out[-1].finish_reason == "stop"


def test_a_special_token_that_is_no_stop_string_ends_nothing(tokenizer):
    ids = tokenizer.encode("an old king")
    out = say(tokenizer, [*ids, 1, *ids], limit=2 * len(ids) + 1, stop=["<|endoftext|>"])
    assert text_of(out) == "an old kingan old king"
    assert out[-1].finish_reason == "length"


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [0.0, math.nan], [-math.inf, -math.inf]])
def test_logits_without_a_highest_one_are_an_error_and_not_a_token(tokenizer, bad):
    """argmax finds a token in any of these, often 0, which ends many texts: an empty answer that looks right."""
    model: Any = Scripted([7, 8])
    made = engine.generate(model, [5], 2, tokenizer=tokenizer, eos_ids=(0,))
    assert next(made).id == 7
    model.logits = lambda hidden: torch.tensor([bad])
    with pytest.raises(RuntimeError, match="NaN"):
        next(made)


def test_an_end_token_releases_what_was_held_back(tokenizer):
    ids = tokenizer.encode("an old king")
    out = say(tokenizer, [*ids, 0], eos_ids=(0,), stop=["kingdom"])
    assert text_of(out) == "an old king"
    assert out[-1].finish_reason == "stop"


@example(text="abcd", stops=["abcd", "bc"], cuts=[])
@example(text="aab", stops=["ab"], cuts=[1, 2])
@given(
    text=st.text("abé", max_size=24),
    stops=st.lists(st.text("abé", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 24), max_size=24),
)
def test_the_text_ends_at_the_same_place_however_it_is_divided_into_tokens(text, stops, cuts):
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    seen = text[: min(ends)] if ends else text  # as far as the first stop string that is complete
    expected = min((seen.split(stop)[0] for stop in stops), key=len, default=seen)
    pieces = [text[a:b] for a, b in pairwise([0, *sorted(cuts), len(text)])]  # some are empty
    decoder = SimpleNamespace(push=lambda i: pieces[i], flush=lambda: "")
    any_tokenizer: Any = SimpleNamespace(stream=lambda after: decoder, special_id=lambda text: None)
    stream = engine.text.TextStream(any_tokenizer, stops)
    shown = ""
    for i in range(len(pieces)):
        shown += stream.push(i)
        assert expected.startswith(shown)  # nothing is shown that must be taken back
        if stream.stopped:
            break
    shown += stream.flush()
    assert shown == expected
    assert stream.stopped == bool(ends)


def test_half_a_character_is_never_shown(tokenizer):
    ids = tokenizer.encode("🙂🙂 é")
    out = say(tokenizer, ids, limit=len(ids), stop=["xyz"])
    assert text_of(out) == "🙂🙂 é"
    assert not any("\ufffd" in token.text for token in out)
    assert any(token.text == "" for token in out)


def test_the_caller_may_end_the_text_by_not_asking_for_more(random_gpt2):
    model, _, _ = random_gpt2
    tokens: Any = engine.generate(model, [5, 6], 50)
    first = [next(tokens).id for _ in range(3)]
    tokens.close()
    assert first == [token.id for token in engine.generate(model, [5, 6], 3)]


# What is returned


def test_only_new_tokens_and_their_text_are_returned(random_gpt2):
    model, tokenizer, _ = random_gpt2
    prompt = tokenizer.encode("Once upon a time")
    out = list(engine.generate(model, prompt, 12, tokenizer=tokenizer))
    ids = [token.id for token in out]
    assert len(ids) == 12
    assert text_of(out) == tokenizer.decode(ids)
    whole = [token.id for token in engine.generate(model, prompt + ids[:5], 7)]
    assert whole == ids[5:]  # the same text when the prompt already holds its beginning


def test_the_callers_prompt_is_not_changed(random_gpt2):
    prompt = [5, 6, 7]
    collect(engine.generate(random_gpt2[0], prompt, 3))
    assert prompt == [5, 6, 7]


def test_logits_are_those_of_one_forward_pass_over_the_whole_text(random_gpt2):
    model, _, _ = random_gpt2
    tokens = [5, 9, 17]
    for token in engine.generate(model, tokens, 5):
        hidden = model(torch.tensor(tokens), torch.arange(len(tokens)), engine.CausalAttention())
        torch.testing.assert_close(token.logits, model.logits(hidden)[-1])
        assert token.id == int(token.logits.argmax())
        tokens = [*tokens, token.id]


@pytest.mark.parametrize("length", [1, 95], ids=["one token", "all but one of the window"])
def test_shortest_and_longest_prompt_give_the_tokens_of_transformers(folders, random_gpt2, length):
    model, _, _ = random_gpt2
    prompt = torch.randint(2, VOCABULARY, (length,), generator=torch.Generator().manual_seed(0)).tolist()
    assert_same_as_transformers(folders["gpt2"], model, prompt, min(32, 96 - length), ())


def test_too_many_tokens_are_refused_at_the_call(random_gpt2):
    model, _, _ = random_gpt2
    with pytest.raises(UserError):
        engine.generate(model, [5] * 90, 7)  # nothing is iterated
    assert len(list(engine.generate(model, [5] * 90, 6))) == 6


@pytest.mark.wording
def test_a_refusal_for_too_many_tokens_has_the_numbers(random_gpt2):
    with pytest.raises(UserError, match=r"90 prompt tokens and 7 new ones make 97, .* window is 96 tokens"):
        engine.generate(random_gpt2[0], [5] * 90, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(tokens=[]), "prompt is empty"),
        (dict(tokens=[5, VOCABULARY]), "token 320 is not in the vocabulary, whose ids go from 0 to 319"),
        (dict(tokens=[-1]), "token -1 is not in the vocabulary"),
        (dict(max_new_tokens=0), "max_new_tokens is 0"),
        (dict(stop=["x"]), "need a tokenizer"),
        (dict(stop=[""], tokenizer="any"), "none of them may be empty"),
    ],
)
def test_what_cannot_be_generated_is_refused_at_the_call(random_gpt2, arguments, message):
    with pytest.raises(UserError, match=message):
        engine.generate(random_gpt2[0], **dict(tokens=[5], max_new_tokens=3) | arguments)


# The same tokens as transformers


def assert_same_as_transformers(folder, model, prompt, new, eos_ids):
    reference = box.BlackBox(folder, torch.device("cpu"), torch.float32)
    theirs, logits = reference.generate(prompt, new, eos_ids)

    def ours(begun):
        return collect(engine.generate(model, [*prompt, *begun], new - len(begun), eos_ids=eos_ids)).tokens

    reference.check(ours, theirs.tokens, logits)
    return theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_32_tokens_equal_transformers_in_every_family(folders, family):
    model, tokenizer, _ = load_model(folders[family], "cpu")
    theirs = assert_same_as_transformers(folders[family], model, tokenizer.encode("Once upon a time"), 32, ())
    assert len(theirs.tokens) == 32
    assert len(set(theirs.tokens)) > 3  # a text, not one token for ever


@pytest.mark.parametrize("name", SHIPPED)
def test_32_tokens_of_a_shipped_checkpoint_equal_transformers(name):
    if not (find_checkpoint(name) / "model.safetensors").is_file():
        pytest.skip(f"{name} is not here")
    model, tokenizer, config = load_model(name, "cpu", "float32")
    prompt = tokenizer.encode("Once upon a time")
    theirs = assert_same_as_transformers(find_checkpoint(name), model, prompt, 32, config.eos_token_ids)
    assert theirs.tokens


def test_a_wrong_token_is_not_accepted(folders, random_gpt2):
    reference = box.BlackBox(folders["gpt2"], torch.device("cpu"), torch.float32)
    theirs, logits = reference.generate([5, 6], 8)
    wrong = [*theirs.tokens[:5], int(logits[5].argmin()), *theirs.tokens[6:]]
    with pytest.raises(AssertionError, match="token 5"):
        reference.check(lambda begun: wrong[len(begun) :], theirs.tokens, logits)


def test_the_black_box_is_timed_token_by_token_and_stops_at_end_tokens(folders):
    reference = box.BlackBox(folders["gpt2"], torch.device("cpu"), torch.float32)
    free, _ = reference.generate([5, 6], 8)
    assert len(free.seconds) == len(free.tokens) == 8
    assert min(free.seconds) > 0
    assert free.finish_reason == "length"
    ended, _ = reference.generate([5, 6], 8, eos_ids=(free.tokens[2],))
    assert ended.tokens == free.tokens[: free.tokens.index(free.tokens[2]) + 1]
    assert ended.finish_reason == "stop"


# What the demo shows around it


def test_time_that_the_reader_spends_between_tokens_does_not_count(monkeypatch):
    clock = [0.0]
    monkeypatch.setitem(timed.__globals__, "perf_counter", lambda: clock[0])

    def tokens():
        for i in range(3):
            clock[0] += 2.0
            yield engine.Token(i, "", torch.zeros(1))

    seconds = []
    for _, one in timed(tokens()):
        seconds.append(one)
        clock[0] += 50.0
    assert seconds == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], None),
        ([7, 7, 7], None),  # very, very, very
        ([9, *[1, 2, 3] * 5], (1, 3, 15)),
        ([9, 8, *[1, 2, 3, 4, 5] * 3, 1, 2], (2, 5, 17)),
        ([*[1, 2, 3] * 5, 9], None),  # it got out again
        ([4] * 12, (0, 1, 12)),
        ([0, *range(1, 7), *range(1, 7)], (1, 6, 12)),
    ],
)
def test_a_loop_is_found_where_the_text_ends_in_one(tokens, found):
    loop = find_loop(tokens)
    assert (loop and (loop.start, loop.period, loop.length)) == found


def test_every_repetition_is_marked_and_nothing_is_lost():
    tokens = [9, *[1, 2, 3] * 5]
    shown = marked("P", [f"<{token}>" for token in tokens], find_loop(tokens)).plain
    assert shown.count("⟲") == 4
    assert shown.replace("⟲", "") == "P" + "".join(f"<{token}>" for token in tokens)


def test_bars_grow_with_the_times():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▂▃▄▅▆▇██"
    assert len(sparkline(range(1, 1000))) == 50


def test_the_five_candidates_are_the_likeliest_with_their_probabilities(tokenizer):
    logits = torch.full((VOCABULARY,), -torch.inf)
    logits[[40, 50]] = torch.tensor([1.0, 3.0]).log()
    best, second, *rest = top(tokenizer, logits)
    assert (best.token_id, second.token_id) == (50, 40)
    assert (best.probability, second.probability) == pytest.approx((0.75, 0.25))
    assert len(rest) == 3


def demo(folder, *flags):
    from .__main__ import main  # here, so that the other tests run before there is a loop to show

    return run(main, ["--model", str(folder), *flags])


def test_demo_shows_both_boxes_the_steps_the_numbers_and_the_loop(folders, capsys):
    assert (
        demo(folders["gpt2"], "--prompt", "Once upon a time", "--max-tokens", "6", "--loop-tokens", "60") == 0
    )
    out = capsys.readouterr().out
    for part in (
        "The black box", "The glass box", "token by token the same as the black box: 6 tokens equal",
        "step 1:", "step 3:", "--show-steps to see all", "prefill", "total tokens", "finish reason", "first 10 tokens", "Stage 03",
    ):  # fmt: skip
        assert part in out, part
    assert "step 4:" not in out
    assert "\x1b[" not in out
    assert out.count("Once upon a time") >= 3


def test_demo_shows_all_steps_and_takes_ids(folders, capsys):
    assert (
        demo(
            folders["gpt2"],
            "--prompt-ids",
            "40,41",
            "--max-tokens",
            "5",
            "--show-steps",
            "--loop-tokens",
            "0",
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "step 5:" in out
    assert "ends the text (length)" in out
    assert "What a token costs" not in out


def test_demo_ends_at_a_stop_string_and_compares_up_to_there(folders, random_gpt2, capsys):
    model, tokenizer, _ = random_gpt2
    made = collect(engine.generate(model, [40, 41], 12, tokenizer=tokenizer))
    stop = made.text[6:9]
    flags = ("--prompt-ids", "40,41", "--max-tokens", "12", "--loop-tokens", "0", "--stop", stop)
    assert demo(folders["gpt2"], *flags) == 0
    out = capsys.readouterr().out
    assert "ours ended before a stop string" in out
    assert "tokens equal" in out


def test_demo_fails_when_the_tokens_are_not_the_same(folders, capsys, monkeypatch):
    def wrong(*arguments, **options):
        for token in engine.generate(*arguments, **options):
            yield replace(token, id=int(token.logits.argmin())) if token.finish_reason else token

    monkeypatch.setattr(importlib.import_module(".__main__", __package__), "generate", wrong)
    assert demo(folders["gpt2"], "--max-tokens", "4", "--loop-tokens", "0") == 1
    out = capsys.readouterr().out
    assert "not the same tokens: token 3" in out
    assert "the same as the black box" not in out


def test_demo_runs_without_transformers(folders, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert demo(folders["gpt2"], "--max-tokens", "3", "--loop-tokens", "0") == 0
    out = capsys.readouterr().out
    assert "the black box is left out" in out
    assert "the same as the black box" not in out


@pytest.mark.wording
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt-ids", "1,x"], "'1,x' is not a list of token ids"),
        (["--prompt-ids", "1,999"], "token 999 is not in the vocabulary"),
        (["--prompt-ids", "1", "--prompt", "Hello"], "exclude each other"),
        (["--max-tokens", "0"], "'0' is not a whole number at least 1"),
        (["--max-tokens", "96"], "window is 96 tokens"),
        (["--stop", ""], "none of them may be empty"),
        (["--prompt-file", "/no/such/file"], "cannot be read"),
        (["--show-step"], "did you mean '--show-steps'"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(folders, capsys, flags, message):
    assert demo(folders["gpt2"], *flags) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_prompt_from_a_file(folders, capsys, tmp_path):
    (tmp_path / "prompt.txt").write_text("an old king\n")
    flags = (
        "--prompt-file",
        str(tmp_path / "prompt.txt"),
        "--max-tokens",
        "2",
        "--loop-tokens",
        "0",
        "--no-compare",
    )
    assert demo(folders["gpt2"], *flags) == 0
    assert "an old king" in capsys.readouterr().out


# What the benchmark records


@pytest.fixture
def bench():
    return importlib.import_module(".bench", __package__)


def test_benchmark_compares_then_times_and_records(bench, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LENGTHS", (8, 16))
    monkeypatch.setattr(bench, "LONG", 6)
    monkeypatch.setattr(bench, "read_bandwidth", lambda device: 1e9)
    flags = ["--model", str(folders["gpt2"]), "--quick", "--results", str(tmp_path)]
    assert run(bench.main, flags) == 0
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    keys = (
        "ms_per_token_8",
        "ms_per_token_16",
        "transformers_cached_ms_16",
        "growth_8_to_16",
        "bandwidth_share_16",
    )
    for key in (*keys, "tokens_per_s", "transformers_cached_tokens_per_s"):
        assert result["values"][key]["value"] > 0, key
    assert len(result["values"]["ms_per_token_8"]["samples"]) == 2 * 3
    assert result["checked"].startswith("42 tokens equal")  # three sides: twice 4, and 6
    assert "ours reaches" in capsys.readouterr().out


def test_benchmark_does_not_time_different_tokens(bench, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LENGTHS", (8,))
    monkeypatch.setattr(compare, "collect", lambda tokens: SimpleNamespace(tokens=[3] * len(list(tokens))))
    assert run(bench.main, ["--model", str(folders["gpt2"]), "--quick", "--results", str(tmp_path)]) == 1
    assert "nothing is recorded" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_work_counted_is_the_work_done(random_gpt2):
    model, _, _ = random_gpt2
    rows = []
    handle = model.embed.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    collect(engine.generate(model, [5, 6, 7], 4))
    handle.remove()
    assert rows == [3, 4, 5, 6]
    assert sum(rows) == rows_run(3, 4)
