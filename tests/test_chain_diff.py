"""The lesson as a diff: reading order, reasons, folding, comparisons, the pages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.tutorial.chain import find_stage, stages
from common.tutorial.chain.locks import diff_lock
from common.tutorial.chain.source import hunks
from common.tutorial.learner import diff
from common.tutorial.learner.align import align
from common.tutorial.learner.lesson import between, segments
from common.tutorial.learner.trycheck import main as try_main
from common.tutorial.texts.highlight import changed_words, coloured_lines, pieces
from tests.throwaway import Throwaway, build, write


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    made = build(tmp_path)
    stages.cache_clear()
    return made


def shown(chain: Throwaway, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert diff.main([*args, "--root", str(chain.root)]) == 0
    return capsys.readouterr().out


def test_files_come_in_reading_order_with_their_reasons(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(chain, capsys, "02")
    assert out.index("1. cache.py (new, 11 lines)") < out.index("2. generate.py (+3 -0)  fills the cache")
    assert "+14 -0 in 2 files" in out
    chain.manifest(2, "[diff]\n", '[diff]\norder = ["generate.py"]\n')
    out = shown(chain, capsys, "02")
    assert out.index("1. generate.py") < out.index("2. cache.py")


def test_unchanged_functions_are_one_line_and_changed_ones_are_whole(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(chain, capsys, "03")
    assert "class Cache:" in out
    assert "... __init__(), append(), size(): 12 unchanged lines" in out
    assert "+     def truncate(self, length):" in out
    out = shown(chain, capsys, "04")
    assert "... stop(): 5 unchanged lines" in out
    assert "  15       return tokens" in out


def test_wide_terminal_shows_both_sides_and_a_narrow_one_signs(
    chain: Throwaway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.terminal import console

    monkeypatch.setattr(diff.console, "width", 180)
    line = next(line for line in shown(chain, capsys, "04").splitlines() if "count` may be 0" in line)
    assert line.count("new tokens after") == 2
    monkeypatch.setattr(diff.console, "width", 100)
    line = next(line for line in shown(chain, capsys, "04").splitlines() if "count` may be 0" in line)
    assert line.count("new tokens after") == 1
    assert console.console is diff.console


def test_several_stages_at_once_name_each_reason_with_its_stage(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(chain, capsys, "04", "--from", "01")
    assert "02: fills the cache; 04: knows its limit" in out
    assert "stage 01 -> stage 04" in out
    with pytest.raises(UserError, match="FROM=04: must be a stage before 02"):
        diff.main(["02", "--from", "04", "--root", str(chain.root)])


def test_own_attempt_is_compared_with_ours(chain: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="make try-03"):
        diff.main(["03", "--mine", "--root", str(chain.root)])
    try_main(["03", "--root", str(chain.root)])
    assert "yours -> ours" in shown(chain, capsys, "03", "--mine")
    shutil.copytree(
        chain.stage(3) / "engine", chain.root / "work" / "s03_sampling" / "engine", dirs_exist_ok=True
    )
    assert "no difference between yours and ours" in shown(chain, capsys, "03", "--mine")


def test_pages_need_nothing_from_outside_and_hold_every_line(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (3, 4):
        chain.edit(number, "sampler.py", "One index", "<script>alert(1)</script> One index & more")
    shown(chain, capsys, "03", "--html")
    folder = chain.root / "work" / "diffs"
    assert sorted(path.name for path in folder.iterdir()) == [
        "01-forward.html", "02-cache.html", "03-sampling.html", "04-limits.html", "index.html",
    ]  # fmt: skip
    page = (folder / "03-sampling.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "@import" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "can be rolled back" in page
    assert 'href="04-limits.html"' in page
    text = re.sub(r"<[^>]+>", "", page)
    for line in chain.engine(3, "cache.py").read_text().splitlines():
        assert line.strip() in text
    index = (folder / "index.html").read_text()
    assert index.count("Why ") == 4


def test_page_over_several_stages_has_a_name_of_its_own(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(chain, capsys, "04", "--from", "02", "--html")
    assert "04-limits-from-02.html" in out.replace("\n", "")
    assert (chain.root / "work" / "diffs" / "04-limits.html").exists()


def test_removed_file_is_one_line_in_the_terminal_and_folded_on_the_page(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.engine(4, "sampler.py").unlink()
    out = shown(chain, capsys, "04")
    assert "all 4 lines are gone" in out
    assert "def sample" not in out
    shown(chain, capsys, "04", "--html")
    assert "all 4 lines are gone" in (chain.root / "work" / "diffs" / "04-limits.html").read_text()


def test_file_that_is_not_python_folds_by_context_only(chain: Throwaway) -> None:
    old = "".join(f"line {i}\n" for i in range(30))
    cut = segments("page.html", old, old.replace("line 15\n", "line fifteen\n"))
    assert [s.kind for s in cut] == ["fold", "same", "change", "same", "fold"]
    assert cut[0].label == "12 unchanged lines"


def test_inserted_function_begins_at_its_own_first_line() -> None:
    old = "def a():\n    return 1\n\n\ndef c():\n    return 1\n"
    new = "def a():\n    return 1\n\n\ndef b():\n    return 1\n\n\ndef c():\n    return 1\n"
    change = next(hunk for hunk in hunks(old, new) if not hunk.same)
    assert new.splitlines()[change.b0 : change.b1] == ["def b():", "    return 1", "", ""]


def test_versions_of_a_line_stand_opposite_each_other() -> None:
    old = ["return attend(q, k, v)", ""]
    new = ["k, v = cache.write(k, v)", "return attend(q, k, v, mask)", ""]
    assert align(old, new) == [(None, 0), (0, 1), (1, 2)]


def test_changed_words_are_marked_and_unrelated_lines_are_not() -> None:
    old, new = changed_words("x = attend(q, k)", "x = attend(q, k, mask)")
    assert (old, [("x = attend(q, k, mask)")[a:b] for a, b in new]) == ([], [", mask"])
    assert changed_words("import torch", "    return [a for a in b]") == ([], [])


SOURCE = st.lists(
    st.sampled_from(["def f():", "    x = 1", "    return x", "", "class A:", "y = 2"]), max_size=14
)


@settings(max_examples=150, deadline=None)
@given(old=SOURCE, new=SOURCE)
def test_segments_cover_both_texts_once_and_in_order(old: list[str], new: list[str]) -> None:
    """Whatever changes: no line is lost or shown twice, unchanged stretches are equal, pairs cover their change."""
    a = b = 0
    for s in segments("x.py", "\n".join(old), "\n".join(new)):
        assert (s.a0, s.b0) == (a, b)
        a, b = s.a1, s.b1
        if s.kind != "change":
            assert old[s.a0 : s.a1] == new[s.b0 : s.b1]
        else:
            assert [i for i, _ in s.pairs if i is not None] == list(range(s.a0, s.a1))
            assert [j for _, j in s.pairs if j is not None] == list(range(s.b0, s.b1))
    assert a == len("\n".join(old).splitlines())
    assert b == len("\n".join(new).splitlines())


@settings(max_examples=60, deadline=None)
@given(lines=SOURCE, at=st.integers(0, 14))
def test_colours_change_no_character(lines: list[str], at: int) -> None:
    text = "\n".join(lines)
    coloured = coloured_lines("x.py", text)
    assert ["".join(part for _, part in line) for line in coloured] == text.splitlines()
    for line, source in zip(coloured, text.splitlines(), strict=True):
        assert "".join(part for _, part, _ in pieces(line, [(at, at + 2)])) == source


@settings(max_examples=60, deadline=None)
@given(old=SOURCE, new=SOURCE)
def test_lock_moves_exactly_when_solid_lines_do(old: list[str], new: list[str]) -> None:
    before, after = {"x.py": "\n".join(old)}, {"x.py": "\n".join(new)}
    blank = {"x.py": "\n".join([*new, "", ""])}
    assert diff_lock(before, after) == diff_lock(before, dict(after))
    if after != before and blank != before:
        assert diff_lock(before, after) == diff_lock(before, blank)
    assert diff_lock(before, after) != diff_lock(before, {"x.py": "\n".join([*new, "z = 3"])})


def test_carried_fix_leaves_the_lock_of_a_lesson_alone(chain: Throwaway) -> None:
    lesson = between(find_stage("04", chain.root), chain.root)
    before = chain.locks()
    for number in (2, 3, 4):
        chain.edit(
            number, "generate.py", "    return tokens[-1] == 0", "    return not tokens[-1]  # 0 ends it"
        )
    after = chain.locks()
    assert before["s04_limits"] == after["s04_limits"]
    assert before["s03_sampling"] == after["s03_sampling"]
    assert before["s02_cache"] != after["s02_cache"]
    assert [file.path for file in lesson.files] == ["generate.py"]


def test_file_with_broken_syntax_is_still_shown(chain: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    write(chain.engine(4, "generate.py"), "def broken(:\n")
    assert "def broken(:" in shown(chain, capsys, "04")
