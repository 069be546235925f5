"""The promises that manifests name are kept by their stage and not by the one before; shown on a small chain too."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.tutorial.chain import ROOT, stages
from common.tutorial.chain.proofs import not_collected, not_failing
from tests.throwaway import Throwaway, build, write

pytestmark = pytest.mark.timeout(600)  # the whole chain is run in one


def test_promises_of_every_stage_are_collected() -> None:
    assert not_collected(ROOT) == []


def test_promises_of_every_stage_fail_on_the_engine_before(tmp_path: Path) -> None:
    assert not_failing(ROOT, tmp_path) == []


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    made = build(tmp_path / "repository")
    stages.cache_clear()
    return made


def test_proofs_find_nothing_wrong_with_a_sound_chain(chain: Throwaway, tmp_path: Path) -> None:
    assert not_collected(chain.root) == []
    assert not_failing(chain.root, tmp_path / "scratch") == []


def test_promise_that_was_kept_before_is_found(chain: Throwaway, tmp_path: Path) -> None:
    write(chain.stage(4) / "test_stage.py", "def test_zero_tokens():\n    from .engine import generate\n")
    assert not_failing(chain.root, tmp_path / "scratch") == [
        "s04_limits: test_zero_tokens passes on stage 03's engine: it proves nothing"
    ]


def test_promise_that_is_skipped_or_not_collected_is_found(chain: Throwaway, tmp_path: Path) -> None:
    skipped = "import pytest\n\n\ndef test_zero_tokens():\n    pytest.skip('no')\n"
    write(chain.stage(4) / "test_stage.py", skipped)
    write(
        chain.stage(3) / "test_stage.py",
        "class Holder:\n    def test_sample_is_greedy(self):\n        pass\n",
    )
    assert not_collected(chain.root) == [
        "s03_sampling: test_sample_is_greedy is not collected",
        "s03_sampling: test_truncate_forgets is not collected",
    ]
    assert "s04_limits: test_zero_tokens was skipped: it proves nothing here" in not_failing(
        chain.root, tmp_path / "scratch"
    )


def test_one_failing_case_of_several_is_proof_enough(chain: Throwaway, tmp_path: Path) -> None:
    text = (chain.stage(4) / "test_stage.py").read_text().replace("test_zero_tokens()", "test_zero_tokens(n)")
    text = "import pytest\n" + text.replace("def test", '@pytest.mark.parametrize("n", [0, 1])\ndef test')
    write(chain.stage(4) / "test_stage.py", text.replace("    assert", "    assert n or"))
    assert not_failing(chain.root, tmp_path / "scratch") == []
