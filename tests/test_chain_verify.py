"""`verify` on a throw-away chain: each way to break a chain is named, with the stage and what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.tutorial.chain import stages
from common.tutorial.chain.locks import main as relock_main
from common.tutorial.chain.verify import locks_since, main
from tests.throwaway import Throwaway, build, write


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    return build(tmp_path)


def only(lines: list[str], *words: str) -> str:
    """The one line that has all `words`."""
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, lines
    return found[0]


def test_a_whole_chain_has_no_findings(chain: Throwaway) -> None:
    assert chain.errors() == []
    assert chain.warnings() == []


def test_hand_edit_of_an_early_carried_file_is_named(chain: Throwaway) -> None:
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    errors = chain.errors()
    line = only(errors, "s02_cache", "engine/attention.py differs from stage 01's")
    assert "declare it under [diff] changed" in line
    assert "make propagate FROM=01" in line
    assert "lesson's diff moved" in only(errors, "s01_forward")


def test_fix_that_leaks_into_a_later_lesson_moves_its_lock_only(chain: Throwaway) -> None:
    chain.edit(3, "cache.py", "del self.keys[length:]", "del self.keys[length:]\n        assert self.keys")
    chain.edit(4, "cache.py", "del self.keys[length:]", "del self.keys[length:]\n        assert self.keys")
    assert "relock --stage 03" in only(chain.errors(), "lesson's diff moved")


def test_fix_that_is_lost_in_a_later_lesson_is_found(chain: Throwaway) -> None:
    chain.edit(4, "generate.py", "        cache.append(tokens[-1])\n", "")
    assert "s04_limits" in only(chain.errors(), "lesson's diff moved")


def test_undeclared_new_and_missing_files_are_named(chain: Throwaway) -> None:
    write(chain.engine(2, "extra.py"), "X = 1\n")
    write(chain.engine(3, "extra.py"), "X = 1\n")
    chain.engine(4, "sampler.py").unlink()
    errors = chain.errors()
    only(errors, "s02_cache", "engine/extra.py is new but not declared")
    only(errors, "s04_limits", "engine/extra.py was in stage 03 and is gone")
    only(errors, "s04_limits", "engine/sampler.py was in stage 03 and is gone")


def test_declared_file_that_does_not_differ_is_named(chain: Throwaway) -> None:
    chain.manifest(3, 'changed = ["cache.py"]', 'changed = ["cache.py", "attention.py", "nothing.py"]')
    chain.manifest(3, "why = {", 'why = { "attention.py" = "no", "nothing.py" = "no",')
    errors = chain.errors()
    only(errors, "engine/attention.py does not differ from stage 02's but is declared changed")
    only(errors, "engine/nothing.py does not exist but is declared changed")


def test_wrong_kind_of_difference_is_named(chain: Throwaway) -> None:
    chain.manifest(3, 'added = ["sampler.py"]\nchanged = ["cache.py"]', 'added = ["sampler.py", "cache.py"]')
    only(chain.errors(), "engine/cache.py is changed, but stage.toml declares it added")


def test_drift_there_and_back_is_named_unless_the_reason_is_given(chain: Throwaway) -> None:
    for number in (2, 3):  # 01 and 04 agree with each other, then 02 and 04 around 03
        chain.edit(number, "attention.py", "SCALE = 0.125", "SCALE = 0.5")
    assert not [line for line in chain.errors() if "a change was lost" in line]
    chain.edit(2, "attention.py", "SCALE = 0.5", "SCALE = 0.125")
    line = only(chain.errors(), "engine/attention.py is what stage 02 has, and stage 03 differs")
    assert "s04_limits" in line
    chain.manifest(4, "[diff]", 'reverts = { "attention.py" = "only stage 03 needs it" }\n[diff]')
    assert not [line for line in chain.errors() if "a change was lost" in line]


def test_reverts_that_revert_nothing_are_named(chain: Throwaway) -> None:
    chain.manifest(4, "[diff]", 'reverts = { "cache.py" = "no" }\n[diff]')
    only(chain.errors(), "s04_limits", "reverts names cache.py, which reverts nothing")


def test_name_before_its_stage_is_named_whether_defined_or_imported(chain: Throwaway) -> None:
    write(
        chain.engine(1, "attention.py"),
        chain.engine(1, "attention.py").read_text() + "\n\nclass Cache:\n    pass\n",
    )
    chain.edit(2, "generate.py", "import Cache\n", "import Cache\nfrom .sampler import sample\n")
    errors = chain.errors()
    only(errors, "s01_forward", "already defines a Cache", "cache.Cache, which stage 02 introduces")
    only(errors, "s02_cache", "engine/generate.py already imports sampler.sample, which stage 03 introduces")


def test_member_of_a_class_counts_in_its_own_class_only(chain: Throwaway) -> None:
    text = chain.engine(1, "attention.py").read_text()
    write(chain.engine(1, "attention.py"), text + "\n\ndef truncate(text):\n    return text\n")
    assert not [line for line in chain.errors() if "truncate" in line]
    chain.edit(
        2, "cache.py", "    def size(self):", "    def truncate(self):\n        pass\n\n    def size(self):"
    )
    only(chain.errors(), "s02_cache", "engine/cache.py already defines cache.Cache.truncate")


def test_introduced_name_must_exist(chain: Throwaway) -> None:
    chain.manifest(3, '"sampler.sample"', '"samplers.sample"')
    assert "there is sampler.sample" in only(chain.errors(), "does not define it")


def test_promised_test_must_exist(chain: Throwaway) -> None:
    chain.manifest(3, '"test_truncate_forgets"', '"test_truncate_forgot"')
    only(chain.errors(), "s03_sampling", "proves test_truncate_forgot")


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        (
            "attention.py",
            "from stages.s01_forward.engine import attention",
            "an engine never imports a stage",
        ),
        ("attention.py", "from ...s01_forward.engine import attention", "outside its engine/"),
        ("attention.py", "import fastapi", "only engine/server/ may"),
        ("attention.py", "from .server import app", "imports its server/"),
        ("attention.py", "# as in stage 3", "'stage 3': an engine must not mention a stage"),
        ("attention.py", "# the next stage does this better", "'next stage'"),
    ],
)
def test_engine_stands_alone(chain: Throwaway, path: str, line: str, words: str) -> None:
    for number in (1, 2, 3, 4):
        chain.edit(number, path, "SCALE = 0.125", f"{line}\nSCALE = 0.125")
    assert len([error for error in chain.errors() if words in error]) == 4


def test_server_may_import_its_framework(chain: Throwaway) -> None:
    text = '"""App."""\n\nimport fastapi\n\nfrom ..attention import attend\n'
    for number in (3, 4):
        write(chain.engine(number, "server/app.py"), text)
    chain.manifest(3, 'added = ["sampler.py"]', 'added = ["sampler.py", "server/app.py"]')
    chain.relock_all()
    assert chain.errors() == []


def test_tests_and_demos_must_run_elsewhere_too(chain: Throwaway) -> None:
    write(chain.stage(2) / "bench.py", "from stages.s01_forward import engine\n")
    only(chain.errors(), "s02_cache", "bench.py imports stages.s01_forward: import relatively")


def test_diff_over_budget_needs_a_waiver_and_no_other_does(chain: Throwaway) -> None:
    lines = "".join(f"A{i} = {i}\n" for i in range(360))
    for number in (3, 4):
        write(chain.engine(number, "sampler.py"), chain.engine(number, "sampler.py").read_text() + lines)
    chain.relock_all()
    line = only(chain.errors(), "s03_sampling", "over +350 -100 in 9 files")
    assert "split the lesson, or give the reason as waiver" in line
    chain.manifest(3, "[diff]", 'waiver = "a table of constants"\n[diff]')
    assert chain.errors() == []
    chain.manifest(4, "[diff]", 'waiver = "just so"\n[diff]')
    only(chain.warnings(), "s04_limits", "needs no waiver")


def test_web_pages_and_removed_files_hardly_count(chain: Throwaway) -> None:
    for number in (3, 4):
        write(chain.engine(number, "server/page.html"), "<p>\n" * 900)
    chain.manifest(3, 'added = ["sampler.py"]', 'added = ["sampler.py", "server/page.html"]')
    for number in (1, 2, 3):
        write(chain.engine(number, "long.py"), "".join(f"B{i} = {i}\n" for i in range(200)))
    chain.manifest(1, '"generate.py"]\n', '"generate.py", "long.py"]\n')
    chain.manifest(4, 'changed = ["generate.py"]', 'changed = ["generate.py"]\nremoved = ["long.py"]')
    chain.manifest(4, "why = {", 'why = { "long.py" = "unused", ')
    chain.relock_all()
    assert chain.errors() == []


def test_claims_are_evaluated_over_results(chain: Throwaway) -> None:
    chain.manifest(3, "[diff]", "[claims]\nfast = \"r('s03', 'cpu', 'speedup') >= 2\"\n[diff]")
    only(chain.errors(), "s03_sampling", "claim fast", "no result 's03'")
    chain.result("s03", {"speedup": 1.5})
    only(chain.errors(), "claim fast does not hold", "(1.5 >= 2)")
    chain.result("s03", {"speedup": 2.5})
    assert chain.errors() == []
    chain.manifest(3, " >= 2", "")
    only(chain.errors(), "a claim is a comparison")
    chain.manifest(3, "'speedup'", "'spedup'")
    only(chain.errors(), "has no key 'spedup'; it has speedup")


def test_answers_and_headline_are_evaluated(chain: Throwaway) -> None:
    question = (
        "[headline]\nlabel = \"speed\"\nunit = \"x\"\nafter = \"r('s03', 'cpu', 'none')\"\n"
        '[[predict]]\nquestion = "Faster?"\nchoices = ["yes", "no"]\nanswer = "\'maybe\'"\nwhy = "It is."\n'
    )
    chain.manifest(3, "[diff]", question + "[diff]")
    chain.result("s03", {"speedup": 1.5})
    errors = chain.errors()
    only(errors, "headline after", "has no key")
    only(errors, "prediction 1: the answer is 'maybe', not one of its choices")


def test_results_of_other_code_are_warned_about_and_misfits_fail(chain: Throwaway) -> None:
    chain.result("s03", {"speedup": 1.5})
    assert chain.errors() == []
    assert chain.warnings() == []
    chain.edit(3, "sampler.py", "greedy=True", "greedy=False")
    only(chain.warnings(), "results/cpu/s03.json", "recorded with other code", "make bench-03")
    chain.result("s09", {"speedup": 1.5})
    only(chain.errors(), "results/cpu/s09.json", "no stage 09")
    chain.result("s02", {"speedup": 1.5}, stage=3)
    only(chain.errors(), "results/cpu/s02.json", "stage 3: record it again with make bench-02")
    chain.result("s02", {"speedup": 1.5}, command="python -m stages.s02_cache.bench --quick")
    only(chain.errors(), "results/cpu/s02.json", "is a short run")
    chain.result("s02", {"speedup": 1.5}, checked="")
    only(chain.errors(), "results/cpu/s02.json", "what was found correct")


def test_missing_and_stray_files_are_named(chain: Throwaway) -> None:
    (chain.stage(2) / "README.md").unlink()
    write(chain.stage(3) / "notes.txt", "x")
    write(chain.root / "stages" / "old" / "engine.py", "x")
    (chain.stage(4) / "exercises" / "solution_ex2_triple.py").unlink()
    errors = chain.errors()
    only(errors, "s02_cache", "README.md is missing")
    only(errors, "s03_sampling", "notes.txt is not expected")
    only(errors, "old is not part of the chain")
    only(errors, "s04_limits", "exercises/solution_ex2_triple.py is missing")


def test_articles_go_with_stages(chain: Throwaway) -> None:
    for name in ("00-the-model.md", "01-forward.md", "02-cache.md", "03-sampling.md", "04-limit.md"):
        write(chain.root / "articles" / name, "# x\n")
    errors = chain.errors()
    only(errors, "articles/04-limits.md is missing")
    only(errors, "04-limit.md belongs to no stage")


def test_unreadable_manifest_is_the_only_finding(chain: Throwaway) -> None:
    chain.manifest(2, "minutes = 5", "minuets = 5")
    assert chain.errors() == [
        "error: s02_cache: stage.toml: unknown field 'minuets'; did you mean 'minutes'?",
    ]


def test_gap_in_the_numbers_and_wrong_folder_are_named(chain: Throwaway) -> None:
    chain.manifest(3, "number = 3", "number = 5")
    only(chain.errors(), "s03_sampling", "stage.toml says s05_sampling")
    chain.manifest(3, "number = 5", "number = 3")
    chain.stage(2).rename(chain.root / "stages" / "gone")
    assert any("numbers have a gap" in line for line in chain.errors())


def test_conflict_markers_are_called_by_name(chain: Throwaway) -> None:
    chain.edit(3, "sampler.py", "    return", "<<<<<<< stage 03\n    return")
    only(chain.errors(), "engine/sampler.py holds conflict markers")


def test_relock_rewrites_only_the_named_line(chain: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    chain.edit(4, "generate.py", "count == 0", "count <= 0")
    chain.edit(3, "sampler.py", "greedy=True", "greedy=False")
    before = (chain.root / "stages" / "chain.lock").read_text().splitlines()
    stages.cache_clear()
    assert relock_main(["--stage", "04", "--root", str(chain.root)]) == 0
    after = (chain.root / "stages" / "chain.lock").read_text().splitlines()
    assert [a != b for a, b in zip(before, after, strict=True)] == [False, False, False, False, True]
    assert "s04_limits" in capsys.readouterr().out


def test_locks_since_the_merge_base_are_listed(chain: Throwaway) -> None:
    chain.edit(4, "generate.py", "count == 0", "count <= 0")
    stages.cache_clear()
    assert locks_since(chain.root, "main") == ["s04_limits"]


def test_command_prints_findings_and_fails(chain: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    stages.cache_clear()
    assert main(["--root", str(chain.root), "--table"]) == 0
    assert "s04_limits                   +3    -1    1 files" in capsys.readouterr().out
    chain.edit(1, "attention.py", "SCALE = 0.125", "SCALE = 0.25")
    assert main(["--root", str(chain.root), "--since", "HEAD"]) == 1
    out = capsys.readouterr().out
    assert "4 stages: 3 errors, 0 warnings" in out
    assert "locks changed since HEAD: s01_forward, s02_cache" in out


def test_twenty_stages_of_full_size_take_seconds(chain: Throwaway) -> None:
    body = "".join(f"def f{i}(x):\n    y{i} = x + {i}\n    return y{i}\n\n\n" for i in range(80))
    for number in (1, 2, 3, 4):
        for name in "abcdefgh":
            write(
                chain.engine(number, f"{name}.py"),
                body.replace("x + 40", f"x - {number}" if name < "e" else "x"),
            )
    start = time.perf_counter()
    chain.errors()
    seconds = time.perf_counter() - start
    assert seconds / 4 * 20 < 5 * 20  # the promise is 5 s; tests are not the place for tight times
