"""`propagate` on a throw-away chain: clean, already applied, conflicting and removed; locks and tests after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.tutorial.chain import stages
from common.tutorial.chain.locks import current_locks, moved, read_locks
from common.tutorial.chain.merge import Labels, merge_stage
from common.tutorial.chain.propagate import main
from tests.throwaway import Throwaway, build, git


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    return build(tmp_path)


def propagate(chain: Throwaway, *args: str, tests: str = "none") -> int:
    stages.cache_clear()
    return main([*args, "--tests", tests, "--root", str(chain.root)])


def shifted(chain: Throwaway) -> list[str]:
    return moved(read_locks(chain.root), current_locks(chain.root))


def test_clean_fix_reaches_all_stages_and_moves_no_later_lock(chain: Throwaway) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    assert propagate(chain, "--from", "01") == 0
    assert all("SCALE = 0.25" in chain.engine(n, "attention.py").read_text() for n in (1, 2, 3, 4))
    assert shifted(chain) == ["s01_forward"]


def test_fix_is_merged_into_files_that_later_lessons_changed(chain: Throwaway) -> None:
    chain.edit(1, "generate.py", "return tokens[-1] == 0", "return bool(tokens) and tokens[-1] == 0")
    lesson = chain.engine(4, "generate.py").read_text()
    assert propagate(chain, "--from", "01") == 0
    assert chain.engine(4, "generate.py").read_text() == lesson.replace(
        "return tokens[-1] == 0", "return bool(tokens) and tokens[-1] == 0"
    )
    assert shifted(chain) == ["s01_forward"]


def test_fix_that_a_later_stage_has_already_is_no_conflict(chain: Throwaway) -> None:
    for number in (1, 3):
        chain.edit(number, "generate.py", "return tokens[-1] == 0", "return not tokens[-1]")
    assert propagate(chain, "--from", "01") == 0
    assert all("return not tokens[-1]" in chain.engine(n, "generate.py").read_text() for n in (1, 2, 3, 4))
    assert shifted(chain) == ["s01_forward"]


def test_propagating_twice_changes_nothing_more(chain: Throwaway) -> None:
    chain.edit(1, "generate.py", "return tokens[-1] == 0", "return not tokens[-1]")
    propagate(chain, "--from", "01")
    before = git(chain.root, "diff")
    assert propagate(chain, "--from", "01") == 0
    assert git(chain.root, "diff") == before


def test_conflict_stops_labelled_and_continues_once_resolved(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.edit(1, "generate.py", "    for _ in range(count):\n", "    for _ in range(max(count, 0)):\n")
    assert propagate(chain, "--from", "01") == 1
    assert "stopped at stage 02" in capsys.readouterr().out
    text = chain.engine(2, "generate.py").read_text()
    assert "<<<<<<< stage 02\n" in text
    assert "||||||| stage 01 at " in text
    assert ">>>>>>> stage 01 with the fix\n" in text
    assert "max(" not in chain.engine(3, "generate.py").read_text()

    with pytest.raises(UserError, match="still holds conflict markers"):
        propagate(chain, "--continue")
    with pytest.raises(UserError, match="a propagation from 01 waits at stage 02"):
        propagate(chain, "--from", "03")

    start, end = text.index("<<<<<<<"), text.index(">>>>>>> stage 01 with the fix\n")
    resolved = "    cache = Cache()\n    for _ in range(max(count, 0)):\n        cache.append(tokens[-1])\n"
    end += len(">>>>>>> stage 01 with the fix\n")
    chain.engine(2, "generate.py").write_text(text[:start] + resolved + text[end:])
    assert propagate(chain, "--continue") == 0
    for number in (2, 3, 4):
        assert chain.engine(number, "generate.py").read_text().count("for _ in range(max(count, 0)):") == 1
    assert "if count == 0" in chain.engine(4, "generate.py").read_text()
    assert {"s03_sampling", "s04_limits"}.isdisjoint(shifted(chain))
    with pytest.raises(UserError, match="nothing to continue"):
        propagate(chain, "--continue")


def test_same_command_again_continues_and_abort_forgets(chain: Throwaway) -> None:
    chain.edit(1, "generate.py", "    for _ in range(count):\n", "    for _ in range(max(count, 0)):\n")
    assert propagate(chain, "--from", "01") == 1
    with pytest.raises(UserError, match="still holds conflict markers"):
        propagate(chain, "--from", "01")
    assert propagate(chain, "--abort") == 0
    with pytest.raises(UserError, match="nothing to continue"):
        propagate(chain, "--continue")


def test_fix_that_is_committed_already_finds_its_base(chain: Throwaway) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    chain.commit("fix the scale")
    (chain.root / "unrelated.txt").write_text("x")
    chain.commit("something else")
    assert propagate(chain, "--from", "01") == 0
    assert "SCALE = 0.25" in chain.engine(4, "attention.py").read_text()
    assert shifted(chain) == ["s01_forward"]


def test_base_can_be_named(chain: Throwaway) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    chain.commit("fix the scale")
    assert propagate(chain, "--from", "01", "--base", "HEAD~1") == 0
    assert "SCALE = 0.25" in chain.engine(4, "attention.py").read_text()
    with pytest.raises(UserError, match="BASE=nowhere: no such commit"):
        propagate(chain, "--from", "01", "--base", "nowhere")


def test_only_the_named_file_is_carried(chain: Throwaway) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    chain.edit(1, "generate.py", "return tokens[-1] == 0", "return not tokens[-1]")
    assert propagate(chain, "--from", "01", "--file", "engine/generate.py") == 0
    assert "not tokens" in chain.engine(4, "generate.py").read_text()
    assert "SCALE = 0.125" in chain.engine(2, "attention.py").read_text()
    with pytest.raises(UserError, match="nothing to carry; changed there: attention.py, generate.py"):
        propagate(chain, "--from", "01", "--file", "cache.py")


def test_new_and_removed_files_travel_too(chain: Throwaway) -> None:
    chain.engine(1, "tools").mkdir()
    chain.engine(1, "tools/text.py").write_text("X = 1\n")
    chain.engine(1, "attention.py").unlink()
    assert propagate(chain, "--from", "01") == 0
    assert chain.engine(4, "tools/text.py").read_text() == "X = 1\n"
    assert not chain.engine(4, "attention.py").exists()
    assert shifted(chain) == ["s01_forward"]


def test_change_ends_where_a_lesson_removed_the_file(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (3, 4):
        chain.engine(number, "attention.py").unlink()
    chain.relock_all()
    chain.commit("03 needs no attention")
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    assert propagate(chain, "--from", "01") == 0
    assert "the change ends here" in capsys.readouterr().out
    assert not chain.engine(3, "attention.py").exists()
    assert shifted(chain) == ["s01_forward", "s03_sampling"]  # 03 now removes other lines


def test_removed_file_that_a_lesson_changed_is_left_to_a_person(chain: Throwaway) -> None:
    chain.engine(1, "generate.py").unlink()
    assert propagate(chain, "--from", "01") == 1
    assert chain.engine(2, "generate.py").exists()
    chain.engine(2, "generate.py").unlink()
    assert propagate(chain, "--continue") == 1  # 04 changed it again
    assert not chain.engine(3, "generate.py").exists()


def test_file_from_an_earlier_stage_is_pointed_out(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.edit(3, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    assert propagate(chain, "--from", "03") == 0
    assert "came to stage 03 unchanged from 01" in capsys.readouterr().out


def test_nothing_to_carry_is_one_clear_line(chain: Throwaway) -> None:
    with pytest.raises(UserError, match="nothing to carry"):
        propagate(chain, "--from", "01")
    with pytest.raises(UserError, match="is the last stage"):
        propagate(chain, "--from", "04")
    with pytest.raises(UserError, match="FROM=NN: which stage"):
        propagate(chain)


def test_only_named_stages_are_relocked(chain: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    chain.edit(3, "sampler.py", "greedy=True", "greedy=False")
    chain.edit(4, "generate.py", "count == 0", "count <= 0")
    assert propagate(chain, "--from", "03", "--relock", "03") == 0
    assert shifted(chain) == ["s04_limits"]
    out = capsys.readouterr().out
    assert "relocked: s03_sampling" in out
    assert "locks that moved: s03_sampling, s04_limits" in out
    assert "make relock STAGE=04" in out


def test_stages_whose_lock_moved_and_the_last_are_tested(
    chain: Throwaway, capfd: pytest.CaptureFixture[str]
) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    assert propagate(chain, "--from", "01", tests="moved") == 0
    out = capfd.readouterr().out
    assert "testing 01, 04" in out
    assert "2 passed" in out
    chain.edit(1, "attention.py", "scores.index(top)", "0")
    assert propagate(chain, "--from", "01", tests="all") == 1
    assert "testing 01, 02, 03, 04" in capfd.readouterr().out


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "    d"]), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(base=LINES, fix=LINES)
def test_merge_of_an_unchanged_file_is_the_fix_itself(base: list[str], fix: list[str]) -> None:
    """Whatever the texts: a carried file becomes the fixed one, and a fixed one stays as it is."""
    old, new = "\n".join(base), "\n".join(fix)
    labels = Labels("ours", "base", "theirs")
    for ours in (old, new):
        merged = merge_stage({"x.py": old}, {"x.py": new}, {"x.py": ours}, labels)
        assert [item.text for item in merged] == ([new] if old != new else [])
        assert not any(item.conflicts for item in merged)
