"""`doctor` and `sanity`: what is wrong with a machine or a model is found and named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from common.errors import UserError
from common.loader import build_model
from common.models import read_config
from common.models.layers import LayerInfo
from common.tutorial.chain import ROOT
from common.tutorial.learner import doctor, sanity

LLAMA = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return build_model(read_config(LLAMA))


def test_its_own_greedy_tokens_are_never_short(model):
    prompt = [5, 9, 2]
    new = sanity.greedy(model, prompt)
    assert len(new) == sanity.NEW_TOKENS
    assert sanity.shortfall(model, prompt, new) == 0.0


@pytest.mark.parametrize("place", [0, 7])
def test_one_other_token_is_noticed_wherever_it_stands(model, place):
    prompt = [5, 9, 2]
    new = sanity.greedy(model, prompt)
    rows = sanity.logits_of(model, prompt + new)
    new[place] = int(rows[len(prompt) - 1 + place].argmin())
    assert sanity.shortfall(model, prompt, new) > 1e-3


@pytest.mark.parametrize("window", [None, 3])
def test_attention_sees_the_past_and_no_further_than_the_window(window):
    torch.manual_seed(0)
    q, k, v = torch.randn(6, 4, 8), torch.randn(6, 2, 8), torch.randn(6, 2, 8)
    out = sanity.attend(LayerInfo(0, 0.3, window, 4, 2, 8), q, k, v)
    for i in range(6):
        first = max(0, i + 1 - (window or 6))
        for head in range(4):
            scores = k[first : i + 1, head // 2] @ q[i, head] * 0.3
            assert torch.allclose(out[i, head], scores.softmax(0) @ v[first : i + 1, head // 2], atol=1e-5)


def test_shipped_models_say_what_they_said(capsys):
    assert sanity.main([]) == 0
    assert capsys.readouterr().out.count("8 tokens as recorded") == len(sanity.SHIPPED)


def test_a_model_that_says_something_else_fails(monkeypatch, capsys):
    fixtures = sanity.read_fixtures()
    fixtures["storyteller-draft"]["tokens"][3] ^= 1
    monkeypatch.setattr(sanity, "read_fixtures", lambda: fixtures)
    assert sanity.main([]) == 1
    assert "FAILED storyteller-draft: tokens" in capsys.readouterr().out
    with pytest.raises(UserError, match="recorded"):
        sanity.main(["--model", "storyteller-draft"])


def test_a_shipped_model_without_a_record_fails(monkeypatch):
    monkeypatch.setattr(sanity, "read_fixtures", dict)
    with pytest.raises(UserError, match=r"no recorded tokens in fixtures\.json"):
        sanity.main(["--model", "storyteller-draft"])


def test_a_kernel_is_run_and_its_values_are_right():
    pytest.importorskip("triton")
    [found] = doctor.check_kernel("cpu")
    assert found.state == doctor.OK
    assert "largest error" in found.text


@pytest.mark.parametrize("error", ["nan", "0.5"])
def test_a_kernel_with_wrong_values_fails(error):
    pytest.importorskip("triton")
    code = (
        "import sys; from common.tutorial.learner import kernel_check as k; "
        f"k.largest_error = lambda device: float('{error}'); sys.exit(k.main())"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 1


def test_a_missing_checkpoint_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr("common.loader.CHECKPOINTS", tmp_path)
    found = list(doctor.check_checkpoints("cpu"))
    assert [one.state for one in found] == [doctor.FAILED] * len(sanity.SHIPPED)


def test_a_check_that_breaks_is_a_line_of_the_report_and_the_others_still_run(monkeypatch, capsys):
    def breaks(device):
        raise OSError("no such library\nand more")

    fine = doctor.Finding(doctor.OK, "fine", "all of it")
    monkeypatch.setattr(doctor, "CHECKS", (breaks, lambda device: iter([fine])))
    with pytest.raises(UserError, match="1 of the checks"):
        doctor.main([])
    out = capsys.readouterr().out
    assert "FAILED breaks" in out
    assert "OSError: no such library" in out
    assert "fine" in out


def test_a_sound_machine_passes(monkeypatch, capsys):
    monkeypatch.setattr(
        doctor, "CHECKS", (lambda device: iter([doctor.Finding(doctor.NOTE, "GPU", "none")]),)
    )
    assert doctor.main([]) == 0
    assert "note   GPU" in capsys.readouterr().out


def test_untested_versions_are_pointed_out(monkeypatch):
    monkeypatch.setattr(doctor, "tested_versions", lambda: {"torch": "0.1"})
    text = " ".join(one.text for one in doctor.check_packages("cpu") if one.state == doctor.NOTE)
    assert "(tested with 0.1)" in text
