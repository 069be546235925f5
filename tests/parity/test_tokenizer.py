"""Promises of `common.tokenizer`, against `tokenizers` and transformers: round trips, streaming, chat rendering."""

from __future__ import annotations

import json
import time
from functools import lru_cache

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from common.errors import UserError
from common.loader import build_model, load_model, save_model
from common.models import read_config
from common.tokenizer import ROLES as CONFIG_KEYS
from common.tokenizer import Tokenizer

TEXTS = [
    "Once upon a time there was a little rabbit. The rabbit's friend said: hello, world!",
    "Über den Wölken — naïve café, 東京は夜。 Привет, мир! 🐇🌍👨‍👩‍👧",
    "numbers 1234567890 and    spaces\tand\n\nnew lines",
] * 3
HARD = [
    "",
    " ",
    "  leading and trailing  ",
    "\n\n\t x",
    "👨‍👩‍👧‍👦🏳️‍🌈é é \u200b\ufeff\u202e",
    "日本語テキスト",
    "\x00\x1b[0m\x7f",
    "�",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
]


@lru_cache
def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen: bytes as characters. Has special, plain and non-ASCII added tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_tokens([AddedToken("<tool call>"), AddedToken("é東")])
    return Tokenizer(backend, {"eos_token": "<|end|>"})


def sentencepiece(strip: bool) -> Tokenizer:
    """As Llama 2 and TinyLlama are converted (strip), and as Gemma (not): `▁` for spaces, bytes for the unknown."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    backend.train_from_iterator(TEXTS[::3], trainer)
    trained = json.loads(backend.to_str())["model"]
    vocab = trained["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    merges = [tuple(pair) for pair in trained["merges"]]
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    prepend = [normalizers.Prepend("▁")] if strip else []
    backend.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    first = [decoders.Strip(" ", 1, 0)] if strip else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *first]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.add_tokens([AddedToken("<tool>", normalized=False)])
    backend.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A"], special_tokens=[("<s>", vocab["<s>"])]
    )
    return Tokenizer(backend, {"bos_token": "<s>", "eos_token": "</s>"})


@lru_cache
def llama_style() -> Tokenizer:
    return sentencepiece(strip=True)


@lru_cache
def gemma_style() -> Tokenizer:
    return sentencepiece(strip=False)


@lru_cache
def metaspace() -> Tokenizer:
    """The Metaspace decoder, which drops the first token's space."""
    made = sentencepiece(strip=False)
    made.backend.pre_tokenizer = pre_tokenizers.Metaspace()
    made.backend.normalizer = normalizers.Sequence([])
    made.backend.decoder = decoders.Metaspace()
    return Tokenizer(made.backend)


@lru_cache
def no_decoder() -> Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "<u>": 2}, unk_token="<u>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer(backend)


STYLES = [byte_level, llama_style, gemma_style, metaspace, no_decoder]


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Random ids, also beyond the vocabulary; and runs of byte tokens, which random ids seldom give."""
    anything = st.integers(0, tokenizer.vocab_size + 2)
    bytes_only = st.sampled_from(
        [
            i
            for i in range(tokenizer.vocab_size)
            if len(tokenizer.pieces([i])[0]) == 1 or tokenizer.pieces([i])[0][:3] == "<0x"
        ]
    )
    real = st.text().map(lambda text: tokenizer.encode(text))
    runs = st.lists(
        st.one_of(st.lists(anything, max_size=3), st.lists(bytes_only, max_size=8), real), max_size=6
    )
    return runs.map(lambda lists: [i for part in lists for i in part])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("skip_special", [True, False])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_stream_concatenates_to_the_full_decode_for_any_ids(style, skip_special, data):
    tokenizer = style()
    ids = data.draw(ids_of(tokenizer))
    stream = tokenizer.stream(skip_special)
    pushed = [stream.push(i) for i in ids]
    assert "".join(pushed) + stream.flush() == tokenizer.decode(ids, skip_special)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("skip_special", [True, False])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_behind_a_prompt_the_stream_is_what_the_full_decode_has_more(style, skip_special, data):
    tokenizer = style()
    prompt, ids = data.draw(ids_of(tokenizer)), data.draw(ids_of(tokenizer))
    before, both = tokenizer.decode(prompt, skip_special), tokenizer.decode([*prompt, *ids], skip_special)
    stream = tokenizer.stream(skip_special, after=prompt)
    text = "".join(map(stream.push, ids)) + stream.flush()
    if len(both) < len(before) or both[: len(before)].rstrip("�") != before.rstrip("�"):
        return  # half a character at the prompt's end has become another text: there is no "more"
    assert text == both[len(before) :]


@pytest.mark.parametrize("style", STYLES)
@given(text=st.text(alphabet=st.sampled_from("abc 东🐇é\n"), min_size=1, max_size=12), at=st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_a_text_cut_at_any_token_goes_on_as_it_was_written(style, text, at):
    tokenizer = style()
    ids = tokenizer.encode(text)
    stream = tokenizer.stream(after=ids[:at])
    pushed = "".join(map(stream.push, ids[at:])) + stream.flush()
    before = tokenizer.decode(ids[:at])
    if "�" not in before:
        assert before + pushed == tokenizer.decode(ids)


@pytest.mark.parametrize("style", [llama_style, metaspace])
def test_a_completion_keeps_its_first_space(style):
    tokenizer = style()
    prompt, new = (tokenizer.encode(text, special=False) for text in ("Once upon", "a time"))
    assert tokenizer.pieces(new)[0].startswith("▁")
    shown = {
        name: "".join(map(tokenizer.stream(after=after).push, new))
        for name, after in {"behind": prompt, "bos": [tokenizer.bos_token_id or 10**6], "first": []}.items()
    }
    assert shown == {"behind": " a time", "bos": "a time", "first": "a time"}


@pytest.mark.parametrize("style", [byte_level, llama_style])
def test_a_character_that_a_prompt_begins_and_a_completion_ends_swallows_nothing_else(style):
    tokenizer = style()
    ids = tokenizer.encode("x🐇 y")
    cut = next(i for i in range(len(ids)) if tokenizer.decode(ids[: i + 1]).endswith("🐇"))
    stream = tokenizer.stream(after=ids[:cut])
    assert "".join(map(stream.push, ids[cut:])) + stream.flush() == " y"


@pytest.mark.parametrize("style", [byte_level, llama_style])
def test_of_a_prompt_only_the_end_is_looked_at(style):
    tokenizer = style()
    prompt = tokenizer.encode("a 🐇") * 1000

    class Counted(list):
        reads = 0

        def __reversed__(self):
            for item in super().__reversed__():
                Counted.reads += 1
                yield item

    tokenizer.stream(after=Counted(prompt))
    assert Counted.reads < 8


@pytest.mark.parametrize("style", [byte_level, llama_style, gemma_style])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="�")))
@example("🐇🌍👨‍👩‍👧 東京")
@settings(max_examples=200, deadline=None)
def test_stream_never_shows_part_of_a_character(style, text):
    tokenizer = style()
    stream = tokenizer.stream()
    for token_id in tokenizer.encode(text):
        assert "�" not in stream.push(token_id)


def test_a_whole_character_is_shown_with_its_last_byte():
    tokenizer = byte_level()
    stream = tokenizer.stream()
    ids = tokenizer.encode("a𝔘b")
    shown = [stream.push(i) for i in ids]
    assert len(ids) == 6
    assert shown == ["a", "", "", "", "𝔘", "b"]


def test_invalid_bytes_come_out_without_waiting_for_more():
    tokenizer = byte_level()
    stream = tokenizer.stream()
    high = next(i for i in range(tokenizer.vocab_size) if tokenizer.pieces([i]) == ["ÿ"])  # the byte 0xFF
    assert [stream.push(high) for _ in range(3)] == ["�", "�", "�"]
    assert stream.flush() == ""


@pytest.mark.parametrize("style", [byte_level, llama_style])
def test_unfinished_bytes_come_out_at_the_end_as_in_the_full_decode(style):
    tokenizer = style()
    ids = tokenizer.encode("x🐇")[:-1]
    stream = tokenizer.stream()
    shown = "".join(stream.push(i) for i in ids)
    assert "�" not in shown
    assert shown + stream.flush() == tokenizer.decode(ids)
    assert "�" in tokenizer.decode(ids)


@pytest.mark.parametrize("style", [byte_level, llama_style])
def test_cost_of_a_token_does_not_grow_with_the_text_even_for_unfinished_bytes(style):
    tokenizer = style()
    lead = tokenizer.token_to_id("ð" if style is byte_level else "<0xF0>")  # opens a character of four bytes
    stream = tokenizer.stream()
    start = time.perf_counter()
    for _ in range(200_000):
        stream.push(lead)
    assert stream.flush()
    assert time.perf_counter() - start < 20  # decoding the text again for each token would take an hour


def test_two_streams_do_not_share_state():
    tokenizer = byte_level()
    ids = tokenizer.encode("𝔘")
    one, two = tokenizer.stream(), tokenizer.stream()
    for token_id in ids[:-1]:
        one.push(token_id)
    assert "".join(two.push(i) for i in ids) == "𝔘"
    assert one.push(ids[-1]) == "𝔘"


def test_a_decoder_that_cannot_be_streamed_exactly_is_refused():
    made = no_decoder().backend
    backend = tokenizers.Tokenizer.from_str(made.to_str())
    backend.decoder = decoders.BPEDecoder()
    with pytest.raises(UserError, match="BPEDecoder cannot be streamed; choose from ByteLevel"):
        Tokenizer(backend)


@given(text=st.text())
@settings(max_examples=300, deadline=None)
def test_byte_level_round_trip_is_exact(text):
    tokenizer = byte_level()
    assert tokenizer.decode(tokenizer.encode(text), skip_special=False) == text


@pytest.mark.parametrize("style", [byte_level, llama_style, gemma_style])
@pytest.mark.parametrize("text", HARD)
def test_hard_texts_round_trip(style, text):
    tokenizer = style()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text) == tokenizer.backend.encode(text).ids


def test_pieces_are_the_vocabulary_as_written():
    tokenizer = byte_level()
    assert tokenizer.pieces(tokenizer.encode(" upon\n")) == ["Ġupon", "Ċ"]
    assert tokenizer.pieces([tokenizer.vocab_size + 5]) == [f"<unused {tokenizer.vocab_size + 5}>"]
    llama = llama_style()
    assert llama.pieces(llama.encode("🐇", special=False)) == ["▁", "<0xF0>", "<0x9F>", "<0x90>", "<0x87>"]


def test_a_lone_surrogate_is_refused():
    with pytest.raises(UserError, match="character 1 is a lone surrogate"):
        byte_level().encode("a\ud83d")


def test_truncation_and_padding_of_the_file_are_ignored():
    backend = tokenizers.Tokenizer.from_str(byte_level().backend.to_str())
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    assert Tokenizer(backend).encode("a b c d e") == byte_level().encode("a b c d e")


# ---- from a folder


def save(folder, tokenizer: Tokenizer, config: dict | None = None, **files: dict | str):
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    if config is not None:
        files["tokenizer_config.json"] = config
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer\.json; a checkpoint needs one"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json: not a tokenizer file"):
        Tokenizer.from_folder(tmp_path)
    save(tmp_path, byte_level())
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"tokenizer_config\.json must hold a JSON object, not \[1\]"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{,")
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not JSON"):
        Tokenizer.from_folder(tmp_path)


def test_special_tokens_come_as_text_object_map_or_id(tmp_path):
    end = byte_level().token_to_id("<|end|>")
    folder = save(tmp_path, byte_level(), {"eos_token": "<|end|>", "bos_token": {"content": "<|user|>"}})
    made = Tokenizer.from_folder(folder)
    assert (made.eos_token_id, made.bos_token_id) == (end, made.token_to_id("<|user|>"))
    save(folder, byte_level(), {}, special_tokens_map__json={"eos_token": {"content": "<|end|>"}})
    assert Tokenizer.from_folder(folder).eos_token_id == end
    (folder / "special_tokens_map.json").unlink()
    save(folder, byte_level(), {}, config__json={"eos_token_id": [end, 5], "bos_token_id": 40})
    made = Tokenizer.from_folder(folder)
    assert made.eos_token_id == end
    assert made.bos_token_id is None  # id 40 is an ordinary piece, a default nobody set
    save(folder, byte_level(), {}, config__json={"bos_token_id": byte_level().token_to_id("<tool call>")})
    assert Tokenizer.from_folder(folder).bos_token_id is None  # added, but text that is shown
    save(folder, byte_level(), {"eos_token": None}, config__json={"eos_token_id": end})
    assert Tokenizer.from_folder(folder).eos_token_id is None  # an explicit null means none


def test_tokens_only_named_in_tokenizer_config_are_added(tmp_path):
    size = byte_level().vocab_size
    listed = {
        str(size): {"content": "<|pad|>", "special": True, "lstrip": False, "rstrip": False},
        str(size + 1): {"content": "<think>", "special": False},
    }
    folder = save(tmp_path, byte_level(), {"added_tokens_decoder": listed, "pad_token": "<|pad|>"})
    made = Tokenizer.from_folder(folder)
    ids = made.encode("<|pad|><think>")
    assert ids == [size, size + 1]
    assert made.decode(ids) == "<think>"
    save(folder, byte_level(), {"added_tokens_decoder": {"3": {"content": "<|new|>", "special": True}}})
    with pytest.raises(UserError, match=r"'<\|new\|>' has id 3, but"):
        Tokenizer.from_folder(folder)


NAMED = {
    "additional": {"tokenizer_config__json": {"additional_special_tokens": ["<|tool|>", {"__type": "AddedToken", "content": "<|x|>", "special": True}]}},
    "extra, a list": {"tokenizer_config__json": {"extra_special_tokens": ["<|tool|>", "<|x|>"]}},
    "extra, by role": {"tokenizer_config__json": {"extra_special_tokens": {"tool_token": "<|tool|>", "x_token": "<|x|>"}}},
    "a map": {"special_tokens_map__json": {"additional_special_tokens": ["<|tool|>", "<|x|>"]}},
    "a map of roles": {"special_tokens_map__json": {"pad_token": "<|tool|>", "mask_token": {"content": "<|x|>"}}},
    "a role of the model's own": {"tokenizer_config__json": {"tool_token": "<|tool|>", "x_token": "<|x|>"}},
    "added and in a map": {
        "added_tokens__json": {"<|x|>": 403, "<|tool|>": 402},
        "special_tokens_map__json": {"extra_special_tokens": ["<|tool|>", "<|x|>"]},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_special_token_is_one_id_wherever_it_is_named(tmp_path, name):
    assert byte_level().vocab_size == 402
    ours, theirs = both(save(tmp_path, byte_level(), **NAMED[name]))
    ids = ours.encode("a<|tool|>b<|x|>", special=False)
    assert len(ids) == 4 and ids == theirs.encode("a<|tool|>b<|x|>", add_special_tokens=False)
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True) == "ab"
    stream = ours.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == "ab"


def test_tokens_of_added_tokens_json_alone_are_one_id_and_are_shown(tmp_path):
    ours = Tokenizer.from_folder(save(tmp_path, byte_level(), added_tokens__json={"<think>": 402}))
    assert ours.encode("<think>") == [402] and ours.decode([402]) == "<think>"
    save(tmp_path, byte_level(), added_tokens__json={"<think>": 7})
    with pytest.raises(UserError, match=r"added_tokens\.json: token '<think>' has id 7, but 402"):
        Tokenizer.from_folder(tmp_path)


def test_an_end_token_that_only_the_tokenizer_names_ends_the_text(tmp_path):
    end = byte_level().token_to_id("<|end|>")
    config = {
        "model_type": "gpt2",
        "vocab_size": 402,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 1,
        "n_positions": 8,
    }
    save_model(build_model(read_config(config | {"eos_token_id": 5})), tmp_path)
    save(tmp_path, byte_level(), {"eos_token": "<|end|>"})
    model, tokenizer, read = load_model(tmp_path, "cpu")
    assert read.eos_token_ids == model.config.eos_token_ids == (5, end)
    assert tokenizer.eos_token_id == end


WRONG = [
    [],
    None,
    0,
    "0",
    7,
    {},
    -1,
    True,
    [None],
    [7],
    {"a": 1},
    {"content": 7},
    {"content": "x", "special": 1},
    "\ud800",
]
FILES = {
    "tokenizer_config.json": [
        *CONFIG_KEYS,
        "additional_special_tokens",
        "extra_special_tokens",
        "added_tokens_decoder",
    ],
    "special_tokens_map.json": [*CONFIG_KEYS, "additional_special_tokens", "extra_special_tokens"],
    "added_tokens.json": ["<a>", ""],
}


@pytest.mark.parametrize("file", FILES)
def test_a_wrong_value_in_a_tokenizers_files_is_one_line_with_file_and_key(tmp_path, file):
    for key in FILES[file]:
        for value in WRONG:
            save(tmp_path, byte_level(), **{file.replace(".", "__"): {key: value}})
            try:
                Tokenizer.from_folder(tmp_path).encode("a")
            except UserError as error:
                text = str(error)
            else:
                text = ""
            if not text:
                empty = value in ([], {}) and key in (
                    "extra_special_tokens",
                    "additional_special_tokens",
                    "added_tokens_decoder",
                )
                assert value in (None, "0") or empty or key == "", (key, value)
            assert not text or (file in text and key in text and "\n" not in text), text


@pytest.mark.parametrize("content", ["[]", "7", "null", "{", "", '"x"'])
@pytest.mark.parametrize("file", FILES)
def test_a_tokenizers_file_that_holds_no_object_is_one_line(tmp_path, file, content):
    save(tmp_path, byte_level(), **{file.replace(".", "__"): content})
    with pytest.raises(UserError, match=file.replace(".", r"\.")) as caught:
        Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


# ---- chat, against transformers

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
HEADERS = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content'] | trim %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set rules = '' %}{%- set turns = messages %}
{%- endif %}
{{- '<|head|>system<|/head|>\\n\\nToday: ' + (today if today is defined else strftime_now('%Y')) + '\\n' + rules }}
{%- for turn in turns %}
    {{- '<|head|>' + turn.role + '<|/head|>\\n\\n' + turn.content | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\\n\\n' }}{%- endif %}"""
CHATML = """{%- set ns = namespace(first=true) %}
{%- if tools %}{{- 'Tools: ' + tools | map('tojson') | join(', ') }}{%- endif %}
{%- for m in messages %}
    {%- if loop.index0 > 20 %}{%- break %}{%- endif %}
    {%- if m.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}{% generation %}{{ m.content }}{% endgeneration %}{{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
    {%- set ns.first = false %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
{{- messages | length | tojson }}{{ {'ü<': ["'"]} | tojson(indent=1) }}"""
TURNS = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set lead = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set lead = '' %}{% set rest = messages %}{% endif %}
{%- for m in rest -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate user/assistant") }}
    {%- endif -%}
    {%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (lead if loop.first else '') }}
    {%- if m['content'] is string -%}{{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for part in m['content'] -%}{{ part['text'] | trim if part['type'] == 'text' }}{%- endfor -%}
    {%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
TEMPLATES = {"zephyr": ZEPHYR, "headers": HEADERS, "chatml": CHATML, "turns": TURNS}

TALK = [
    {"role": "user", "content": "  Tell me a story, <please>  "},
    {"role": "assistant", "content": "Once …\n"},
    {"role": "user", "content": "What's next? 🐇"},
]
CHATS = {"talk": TALK, "system": [{"role": "system", "content": "Be kind. "}, *TALK], "one": TALK[:1]}
CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def both(folder):
    """(ours, transformers') of a folder."""
    transformers = pytest.importorskip("transformers")
    return Tokenizer.from_folder(folder), transformers.PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("place", ["config", "named", "file"])
def test_chat_is_rendered_and_encoded_as_transformers_does(tmp_path, name, chat, prompt, place):
    template = TEMPLATES[name]
    if place == "config":
        save(tmp_path, llama_style(), CONFIG | {"chat_template": template})
    elif place == "named":
        named = [{"name": "other", "template": "no"}, {"name": "default", "template": template}]
        save(tmp_path, llama_style(), CONFIG | {"chat_template": named})
    else:
        save(tmp_path, llama_style(), CONFIG | {"chat_template": "no"}, chat_template__jinja=template)
    ours, theirs = both(tmp_path)
    assert ours.has_chat_template
    expected = theirs.apply_chat_template(CHATS[chat], tokenize=False, add_generation_prompt=prompt)
    assert ours.render_chat(CHATS[chat], prompt) == expected
    ids = theirs.apply_chat_template(CHATS[chat], add_generation_prompt=prompt, return_dict=False)
    assert ours.encode_chat(CHATS[chat], prompt) == ids
    assert ids.count(ours.bos_token_id) <= 1


def test_template_variables_pass_through_as_in_transformers(tmp_path):
    ours, theirs = both(save(tmp_path, llama_style(), CONFIG | {"chat_template": CHATML}))
    expected = theirs.apply_chat_template(
        TALK, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert "<think>" in expected
    assert ours.render_chat(TALK, enable_thinking=False) == expected


@pytest.mark.parametrize("text", [*HARD, *TEXTS[:3], "<s>a</s> <tool> b"])
@pytest.mark.parametrize(
    "ends", [{}, {"add_bos_token": True}, {"add_bos_token": False, "add_eos_token": True}]
)
@pytest.mark.parametrize("style", [byte_level, llama_style])
def test_encode_and_decode_equal_transformers(tmp_path, style, ends, text):
    names = CONFIG if style is llama_style else {"eos_token": "<|end|>", "bos_token": "<|user|>"}
    ours, theirs = both(save(tmp_path, style(), names | ends))
    ids = theirs.encode(text)
    assert ours.encode(text) == ids
    assert ours.encode(text, special=False) == theirs.encode(text, add_special_tokens=False)
    for skip in (True, False):
        decoded = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert ours.decode(ids, skip) == decoded


def test_a_base_model_chats_through_the_plain_fallback():
    tokenizer = llama_style()
    assert not tokenizer.has_chat_template
    chat = [{"role": "system", "content": "You tell tales."}, *TALK[1:]]
    assert tokenizer.render_chat(chat) == (
        "You tell tales.\n\nAssistant: Once …\n\nUser: What's next? 🐇\nAssistant:"
    )
    ids = tokenizer.encode_chat(chat)
    assert ids[0] == tokenizer.bos_token_id  # the template writes none, so the post-processor's is right
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_base_models_chat_stops_before_the_users_next_line():
    tokenizer = llama_style()
    (stop,) = tokenizer.chat_stop
    first, second = TALK[:1], TALK[:3]
    answer, _, _ = tokenizer.render_chat(second)[len(tokenizer.render_chat(first)) :].partition(stop)
    assert answer.strip() == TALK[1]["content"].strip()
    assert Tokenizer(tokenizer.backend, CONFIG, ZEPHYR).chat_stop == ()


def test_templates_may_ask_for_tools_and_documents_that_are_none(tmp_path):
    asks = "{% if tools is not none %}TOOLS{% endif %}{% if documents is not none %}DOCS{% endif %}{{ messages[0].content }}"
    ours, theirs = both(save(tmp_path, llama_style(), CONFIG | {"chat_template": asks}))
    assert ours.render_chat(TALK) == theirs.apply_chat_template(TALK, tokenize=False) == TALK[0]["content"]
    assert "TOOLS" in ours.render_chat(TALK, tools=[])


@pytest.mark.parametrize(
    "value", [7, True, {}, {"default": "x"}, [7], [None], [], [{"name": "default", "template": 7}]]
)
def test_a_chat_template_of_a_wrong_type_is_one_line(tmp_path, value):
    with pytest.raises(UserError, match=r"tokenizer_config\.json: chat_template") as caught:
        Tokenizer.from_folder(save(tmp_path, llama_style(), {"chat_template": value}))
    assert "\n" not in str(caught.value)


def test_a_template_file_that_is_not_utf8_is_one_line(tmp_path):
    save(tmp_path, llama_style())
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"chat_template\.jinja is not UTF-8"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("template", "messages", "part"),
    [
        (TURNS, [TALK[1]], "Roles must alternate user/assistant"),
        (ZEPHYR, [], "a non-empty list"),
        (ZEPHYR, "hello", "a non-empty list"),
        (ZEPHYR, ["hello"], r"messages\[0\]: needs a role"),
        (ZEPHYR, [TALK[0], {"content": "x"}], r"messages\[1\]: needs a role"),
        (ZEPHYR, [{"role": "user", "content": None}], "cannot render"),
        ("{% if %}", TALK, "the chat template says"),
        ("{{ messages.append(1) }}", TALK, "the chat template says"),  # the sandbox holds
        ("{{ ''.__class__.__mro__ }}", TALK, "the chat template says"),
    ],
)
def test_what_a_template_refuses_is_a_user_error(template, messages, part):
    tokenizer = Tokenizer(llama_style().backend, CONFIG, template)
    with pytest.raises(UserError, match=part) as caught:
        tokenizer.render_chat(messages)
    assert "\n" not in str(caught.value)


def test_named_templates_without_a_default_are_refused(tmp_path):
    named = [{"name": "rag", "template": "a"}, {"name": "tool_use", "template": "b"}]
    with pytest.raises(UserError, match="no entry named default, only rag, tool_use"):
        Tokenizer.from_folder(save(tmp_path, llama_style(), {"chat_template": named}))
