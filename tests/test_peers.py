"""Peers: each is asked for before it is imported, says in one line what it lacks, and writes the tokens that we write."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import checkpoints, peers
from benchmarks.peers import __main__ as command
from benchmarks.peers.checking import Reference
from benchmarks.peers.gguf_file import FILE, neighbours, rope_factors, write_gguf
from benchmarks.peers.shared import require_servable
from common.bench.reference import plain_scores
from common.bench.shapes import PUBLISHED
from common.equality import Tally
from common.errors import UserError
from common.loader import find_checkpoint, load_config, load_model, read_tensors
from common.models.config import Rope

DRAFT = find_checkpoint("storyteller-draft")
TINY = {
    "gpt2-124m": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama-3.2-1b": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                     "num_key_value_heads": 2, "head_dim": 16},
    "qwen3-0.6b": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "head_dim": 16},
    "gemma-3-1b": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "head_dim": 16,
                   "query_pre_attn_scalar": 16, "sliding_window": 12},
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Tests leave nothing in the user's cache, and find nothing there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other make these small models slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference():
    made = Reference(str(DRAFT), "cpu", "float32")
    yield made
    made.close()


def tiny(name: str) -> dict:
    return {**PUBLISHED[name], **TINY[name], "vocab_size": 4100}


# The registry.


def test_no_library_is_imported_before_it_is_asked_for():
    code = "import sys, benchmarks.peers as p; [p.missing(n) for n in p.PEERS if n != 'vllm']; " + (
        "print([m for m in ('transformers', 'llama_cpp', 'gguf', 'ctranslate2', 'vllm') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "vllm"])
def test_a_peer_that_is_not_installed_says_in_one_line_how_to_install_it(name, monkeypatch):
    for module in peers.PEERS[name].needs:
        monkeypatch.setitem(sys.modules, module, None)
    said = peers.missing(name)
    assert said.startswith(f"{name}: not installed; python -m pip install ") and "\n" not in said
    with pytest.raises(UserError, match=f"^{name}: not installed"):
        peers.make(name, DRAFT, "cpu", "float32")


def test_what_only_some_machines_have_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "needs a CUDA GPU" in peers.missing("vllm")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in peers.missing("transformers-compiled")
    assert peers.missing("transformers-static") is None


def test_unknown_peers_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'llamacpp' is not one of .*did you mean 'llama.cpp'"):
        peers.missing("llamacpp")


def test_what_a_peer_cannot_run_is_said_before_it_is_made():
    config = load_config(find_checkpoint("storyteller-gemma3"))
    assert "gemma3_text" in peers.supports("ctranslate2", config, "cpu", "float32")
    assert "not cpu" in peers.supports("vllm", config, "cpu", "float32")
    assert peers.supports("llama.cpp", config, "cpu", "bfloat16") is None


def test_requests_that_cannot_be_served_are_one_line():
    for prompts, limits, why in [
        ([[1]], [1, 2], "1 prompts and 2 limits"),
        ([[1], []], [1, 1], "at least one token"),
        ([[1]], [0], "at least 1"),
        ([[1] * 5], [6], "make 11 tokens, the model's window is 10"),
        ([[1], [1, 2]], [3, 3], "one length with one limit, not 1 to 2 tokens"),
    ]:
        with pytest.raises(UserError, match=why):
            require_servable("peer", prompts, limits, window=10, mixed=False)
    require_servable("peer", [[1], [1, 2]], [3, 4], window=10, mixed=True)


def test_the_command_lists_every_peer(capsys):
    assert command.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(peers.PEERS)


# The same tokens.


def agree(reference, name, prompts, limits):
    side = peers.make(name, DRAFT, "cpu", "float32")
    try:
        assert side.mixed == peers.PEERS[name].mixed and side.version and side.name == name
        served = side.run(prompts, limits)
        again = side.run(prompts, limits)
    finally:
        side.close()
    assert again.tokens == served.tokens
    assert [len(tokens) for tokens in served.tokens] == list(limits)
    tally = Tally()
    for prompt, mine, theirs in zip(prompts, reference.complete(prompts, limits), served.tokens, strict=True):
        reference.compare(name, prompt, mine, theirs, tally)
    for stamps, limit in zip(served.stamps, limits, strict=True):
        assert (
            len(stamps) == limit and stamps == sorted(stamps) and stamps[0] > 0 and stamps[-1] <= served.total
        )


@pytest.mark.parametrize("name", ["transformers", "transformers-static"])
def test_generate_writes_our_tokens(name, reference):
    agree(reference, name, reference.prompts(3, 9, seed=1), [12] * 3)


@pytest.mark.parametrize("name", ["transformers-continuous", "llama.cpp", "ctranslate2"])
def test_peers_that_mix_write_our_tokens_for_any_lengths_and_limits(name, reference):
    for module in peers.PEERS[name].needs:
        pytest.importorskip(module)
    prompts = [reference.prompts(1, length, seed=length)[0] for length in (3, 40, 9)]
    agree(reference, name, prompts, [10, 1, 14])


@pytest.mark.slow
def test_a_compiled_step_writes_our_tokens(reference):
    if why := peers.missing("transformers-compiled"):
        pytest.skip(why)
    agree(reference, "transformers-compiled", reference.prompts(2, 6, seed=1), [3] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_all_families_of_ours_pass_the_check(family, capsys):
    status = command.main(["check", "--model", f"storyteller-{family}", "--new", "150", "--only", "llama.cpp",
                           "--only", "ctranslate2", "--only", "transformers-continuous"])  # fmt: skip
    assert status == 0, capsys.readouterr().out


def test_a_peer_with_other_tokens_is_found_out(reference):
    (prompt,) = reference.prompts(1, 5, seed=2)
    (mine,) = reference.complete([prompt], [8])
    wrong = [*mine[:4], (mine[4] + 1) % 4096, *mine[5:]]
    with pytest.raises(AssertionError, match="token 4"):
        reference.compare("transformers", prompt, mine, wrong, Tally())


# GGUF.


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gguf_holds_the_checkpoints_numbers(dtype, tmp_path):
    gguf = pytest.importorskip("gguf")
    write_gguf(DRAFT, tmp_path, dtype)
    reader = gguf.GGUFReader(tmp_path / FILE)
    found = {
        t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors
    }
    theirs = dict(read_tensors(DRAFT))
    config = load_config(DRAFT)
    assert len(found) == len(theirs)
    kind = getattr(torch, dtype)
    for ours, name, turned in [("token_embd.weight", "transformer.wte.weight", False),
                               ("blk.1.attn_qkv.weight", "transformer.h.1.attn.c_attn.weight", True),
                               ("blk.0.ffn_down.bias", "transformer.h.0.mlp.c_proj.bias", False)]:  # fmt: skip
        want = theirs[name].t() if turned else theirs[name]
        want = want.to(kind).float() if want.dim() > 1 else want.float()
        torch.testing.assert_close(found[ours].reshape(want.shape), want, rtol=0, atol=0)
    assert reader.fields["gpt2.block_count"].contents() == config.num_layers
    assert reader.fields["gpt2.vocab_size"].contents() == config.vocab_size


def test_partners_of_rope_become_neighbours():
    rows = torch.arange(8)[:, None]  # two heads of four: partners are 0 and 2, 1 and 3
    assert neighbours(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_stretched_frequencies_become_factors():
    scaling = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    factors = rope_factors(Rope(10000.0, "llama3", scaling), 32)
    assert factors[0] == 1.0 and factors[-1] == 8.0 and factors.shape == (16,)


def test_a_conversion_is_made_once_and_again_when_the_weights_are_others(tmp_path):
    from benchmarks.peers.shared import converted

    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((DRAFT / name).read_bytes())
    first = converted(folder, "test", "float32", note_down)
    assert (
        converted(folder, "test", "float32", note_down) == first and (first / "made").read_text() == "float32"
    )
    assert converted(folder, "test", "float16", note_down) != first
    (folder / "model.safetensors").write_bytes(b"other")
    assert converted(folder, "test", "float32", note_down) != first


def note_down(folder: Path, part: Path, dtype: str) -> None:
    (part / "made").write_text(dtype)


# Checkpoints with random weights.


@pytest.mark.parametrize("name", TINY)
def test_a_random_checkpoint_is_read_alike_by_us_and_by_transformers(name, tmp_path):
    from transformers import AutoModelForCausalLM

    checkpoints.write_random(tiny(name), tmp_path / "made")
    reference = Reference(str(tmp_path / "made"), "cpu", "float32")
    (prompt,) = reference.prompts(1, 20, seed=3)
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "made", dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = twin(torch.tensor([prompt])).logits[0, -1]
    torch.testing.assert_close(plain_scores(reference.engine.model, prompt)[0], theirs, rtol=1e-3, atol=1e-4)
    assert reference.engine.tokenizer.decode([4099]) == " t4099"
    assert reference.engine.tokenizer.encode("Once upon a time", special=False)
    reference.close()


@pytest.mark.skipif(not find_spec("llama_cpp") or not find_spec("gguf"), reason="llama.cpp is not installed")
@pytest.mark.parametrize("name", TINY)
def test_llama_cpp_reads_random_checkpoints_too(name, tmp_path):
    checkpoints.write_random(tiny(name), tmp_path / "made")
    reference = Reference(str(tmp_path / "made"), "cpu", "float32")
    prompts = reference.prompts(2, 30, seed=3)
    side = peers.make("llama.cpp", tmp_path / "made", "cpu", "float32")
    tally = Tally()
    theirs = side.run(prompts, [6, 6]).tokens
    for prompt, mine, other in zip(prompts, reference.complete(prompts, [6, 6]), theirs, strict=True):
        reference.compare("llama.cpp", prompt, mine, other, tally)
    side.close()
    reference.close()


def test_the_command_makes_a_checkpoint_once_in_the_cache(monkeypatch, capsys):
    monkeypatch.setitem(PUBLISHED, "gpt2-124m", tiny("gpt2-124m"))
    assert checkpoints.main(["gpt2-124m", "--dtype", "bfloat16"]) == 0
    out = capsys.readouterr().out
    folder = Path(out.splitlines()[-1])
    assert "writing random bfloat16 weights" in out and checkpoints.cache_folder() in folder.parents
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert checkpoints.checkpoint("gpt2-124m", "bfloat16") == folder
    assert "writing" not in capsys.readouterr().out
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    model, _, config = load_model(folder, "cpu", "bfloat16")
    again = checkpoints.checkpoint("gpt2-124m", "bfloat16", folder.parent / "again")
    for (name, one), (_, other) in zip(read_tensors(folder), read_tensors(again), strict=True):
        assert one.dtype == torch.bfloat16 and torch.equal(one, other), name
    assert config.vocab_size == 4100 and model.head.weight is model.embed.weight


def test_an_interrupted_checkpoint_is_not_taken_for_a_whole_one(tmp_path):
    def interrupted() -> None:
        with checkpoints.whole(tmp_path / "it") as part:
            (part / "model.safetensors").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.glob("it*")) == []


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match="it cannot be written: No space"), checkpoints.whole(tmp_path / "it"):
        raise OSError(28, "No space left on device")


def test_a_checkpoints_name_that_is_no_shape_is_looked_up():
    assert checkpoints.checkpoint("storyteller-draft") == DRAFT
