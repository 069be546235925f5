"""The texts are true: what is quoted is what the code says, what is measured is bound, what is stale is found."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.tutorial import ROOT
from common.tutorial.texts import drawing, figures, readme
from common.tutorial.texts.articles import check, documents, fill, prose, read, skeleton, source
from common.tutorial.texts.articles.options import pick
from common.tutorial.texts.articles.render import find_article, readable
from common.tutorial.texts.fill import chosen

ENGINE_1 = '''"""One."""

LIMIT = 3


def walk(items):
    """Walks."""
    for item in items:
        print(item)
'''
ENGINE_2 = '''"""One."""

LIMIT = 4


class Cache:
    """Keeps things."""

    def __init__(self):
        """Empty."""
        self.items = []

    # Why: nothing is copied.
    @property
    def size(self):
        return len(self.items)

    def append(self, item):
        """Adds."""

        def inner():
            return item

        self.items.append(inner())


def walk(items):
    """Walks."""
    for item in items:
        yield item
'''
VALUES = {
    "speedup_64": {"value": 1.5, "unit": "x"},
    "speedup_512": {"value": 5.25, "unit": "x"},
    "without_64": {"value": 2.0, "unit": "ms"},
    "without_512": {"value": 8.0, "unit": "ms", "samples": [7.0, 8.0, 9.0], "p50": 8.0, "p95": 8.9},
    "bytes": {"value": 1200000, "unit": "bytes", "note": "bytes of the cache"},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two stages, one result, no texts."""
    for name, text in (("s01_one", ENGINE_1), ("s02_two", ENGINE_2)):
        engine = tmp_path / "stages" / name / "engine"
        engine.mkdir(parents=True)
        (engine / "walk.py").write_text(text)
    record(tmp_path, VALUES)
    (tmp_path / "articles").mkdir()
    return tmp_path


def record(root: Path, values: dict[str, Any]) -> None:
    result = {
        "schema": 1,
        "name": "s02",
        "stage": 2,
        "command": "make bench-02",
        "commit": "abc",
        "code_hash": "",
    }
    result |= {
        "machine": {"cpu": "A CPU"},
        "workload": {},
        "seed": 0,
        "checked": "equal",
        "recorded": "2025-01-01",
    }
    folder = root / "benchmarks" / "results" / "cpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s02.json").write_text(json.dumps(result | {"values": values}))


def write(root: Path, text: str, name: str = "README.md") -> Path:
    path = root / name
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def filled(root: Path, text: str) -> str:
    path = write(root, text)
    _, problems = fill([path], root)
    assert not problems, problems
    assert not check([path], root)
    return path.read_text()


def problems(root: Path, text: str, name: str = "README.md") -> str:
    return "\n".join(map(str, check([write(root, text, name)], root)))


# --- code ------------------------------------------------------------------------------------------------------------


def test_code_is_quoted_by_symbol_and_dedented(project: Path) -> None:
    text = filled(project, "<!-- code 02 engine/walk.py Cache.size LIMIT -->\n")
    assert (
        "```python\n# Why: nothing is copied.\n@property\ndef size(self):\n    return len(self.items)\n"
        in text
    )
    assert "\n\n\nLIMIT = 4\n```" in text
    assert "[`stages/s02_two/engine/walk.py`](stages/s02_two/engine/walk.py) · `Cache.size, LIMIT`" in text


def test_folded_bodies_show_as_dots_and_docstrings_can_go(project: Path) -> None:
    text = filled(
        project, "<!-- code stages/s02_two/engine/walk.py Cache | fold __init__, append | nodoc -->\n"
    )
    body = text.split("```python\n")[1].split("\n```")[0]
    assert body == (
        "class Cache:\n    def __init__(self):\n        ...\n\n    # Why: nothing is copied.\n    @property\n"
        "    def size(self):\n        return len(self.items)\n\n    def append(self, item):\n        ..."
    )


def test_moved_code_stays_current_and_changed_code_is_stale(project: Path) -> None:
    path = write(project, "<!-- code 02 engine/walk.py walk -->\n")
    fill([path], project)
    engine = project / "stages/s02_two/engine/walk.py"
    engine.write_text("# a line\n\n" + ENGINE_2)
    assert not check([path], project)
    engine.write_text(ENGINE_2.replace("yield item", "yield (item)"))
    (problem,) = check([path], project)
    assert problem.line == 1
    assert "stale (- yield item / + yield (item)); make articles" in problem.text


def test_unknown_symbol_file_stage_and_option_are_named(project: Path) -> None:
    assert "defines no 'Cache.pop'; it has __init__, size, append" in problems(
        project, "<!-- code 02 engine/walk.py Cache.pop -->\n"
    )
    assert "there is no file stages/s02_two/engine/run.py" in problems(
        project, "<!-- code 02 engine/run.py -->\n"
    )
    assert "there is no stage 09" in problems(project, "<!-- code 09 engine/run.py -->\n")
    assert "no option 'folds'; there are fold" in problems(
        project, "<!-- code 02 engine/walk.py | folds x -->\n"
    )
    assert "fold names pop" in problems(project, "<!-- code 02 engine/walk.py | fold pop -->\n")


def test_every_definition_of_this_project_can_be_quoted() -> None:
    path = ROOT / "common" / "tutorial" / "texts" / "articles" / "source.py"
    assert source.quote(path, ["_render"])[0].startswith("def _render")
    assert source.quote(path) == path.read_text().rstrip("\n").split("\n")


def test_line_ranges_mark_what_they_leave_out() -> None:
    lines = list("abcdef")
    assert pick(lines, "1-2,5-") == ["a", "b", "...", "e", "f"]
    assert pick(lines, "2") == ["...", "b", "..."]
    with pytest.raises(UserError, match="lines 5-9 of 6 lines"):
        pick(lines, "5-9")


# --- diff ------------------------------------------------------------------------------------------------------------


def test_diff_names_definitions_instead_of_line_numbers(project: Path) -> None:
    text = filled(project, "<!-- diff 01 02 engine/walk.py walk | context 1 -->\n")
    assert (
        "```diff\n@@ walk @@\n     for item in items:\n-        print(item)\n+        yield item\n```" in text
    )
    assert "`walk` · stage 01 → 02" in text


def test_diff_without_a_difference_is_refused(project: Path) -> None:
    write(project, ENGINE_2, "stages/s01_one/engine/walk.py")
    assert "does not differ between 01 and 02" in problems(project, "<!-- diff 01 02 engine/walk.py -->\n")


# --- commands --------------------------------------------------------------------------------------------------------


def test_output_is_taken_for_real_and_what_changes_is_hidden(project: Path) -> None:
    text = filled(
        project,
        """
        <!-- run echo "took 12.34 ms at $PWD, 3.2x, port localhost:45123"; echo 7 tokens | lines 1-2 -->
        """,
    )
    assert "took … ms at ., …x, port localhost:…\n7 tokens\n```" in text


def test_rerun_with_other_times_is_current_and_with_other_words_is_stale(project: Path) -> None:
    path = write(project, "<!-- run cat out -->\n")
    (project / "out").write_text("step   time\n1    9.8 ms   dog\n")
    fill([path], project)
    (project / "out").write_text("step    time\n1    12.1 ms   dog\n")
    assert not check([path], project)
    (project / "out").write_text("step    time\n1    12.1 ms   cat\n")
    assert "stale (- 1 … ms dog / + 1 … ms cat)" in str(check([path], project)[0])
    assert not check([path], project, run=False)


def test_exit_code_is_checked(project: Path) -> None:
    assert "ended with 3, not 0: oh" in problems(project, "<!-- run echo oh; exit 3 -->\n")
    assert "exit 3" in filled(project, "<!-- run echo oh; exit 3 | exit 3 -->\n")
    assert "did not end within 1 s" in problems(project, "<!-- run sleep 20 | timeout 1 -->\n")


def test_pipes_of_the_command_are_no_options(project: Path) -> None:
    assert "$ printf 'b\\na\\n' | sort\na\n...\n```" in filled(
        project, "<!-- run printf 'b\\na\\n' | sort | lines 1 -->\n"
    )


def test_mask_hides_what_no_unit_tells(project: Path) -> None:
    text = filled(project, "<!-- run echo id 7f3a | mask (?<=id )\\w+ -->\n")
    assert "\nid …\n" in text


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_number_in_prose_follows_the_result(project: Path) -> None:
    path = write(project, "It is <!-- r s02 cpu speedup_512 .1f -->9.9<!-- /r -->x faster.\n")
    assert "stale (- 9.9 / + 5.2)" in str(check([path], project)[0])
    fill([path], project)
    assert "cpu speedup_512 .1f -->5.2<!--" in path.read_text()
    record(project, VALUES | {"speedup_512": {"value": 6.0, "unit": "x"}})
    assert "stale (- 5.2 / + 6.0)" in str(check([path], project)[0])


@pytest.mark.parametrize(
    ("directive", "shown"),
    [
        ("r s02 cpu without_512/without_64 .0f", "4"),
        ("r s02 cpu bytes/1e6 .1f", "1.2"),
        ("r s02 cpu without_512.p95 .2f", "8.90"),
        ("r s02 cpu bytes ,.0f", "1,200,000"),
        ("calc 2*6*6*64*4/1e3 .1f", "18.4"),
        ("calc r('s02','cpu','without_512')/8", "1"),
    ],
)
def test_expressions_over_results(project: Path, directive: str, shown: str) -> None:
    name = directive.split()[0]
    assert f"-->{shown}<!-- /{name}" in filled(
        project, f"We see <!-- {directive} -->?<!-- /{name} --> here.\n"
    )


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("r s02 cpu speed", "no key 'speed'; it has speedup_64"),
        ("r s09 cpu speed", "no result 's09'"),
        ("r s02 cpu __import__('os')", "cannot be used here"),
        ("r s02 cpu bytes .1q", "not a number format"),
        ("given", "needs a source"),
    ],
)
def test_wrong_bindings_are_named(project: Path, directive: str, message: str) -> None:
    name = directive.split()[0]
    assert message in problems(project, f"We see <!-- {directive} -->5 GB<!-- /{name} --> here.\n")


MEASURED = ["5.3x", "12 ms", "3.35 TB/s", "1,200 tokens/s", "40 %", "40%", "0.4 s", "2 GB", "a 5-second wait", "3 times faster",
            "$0.12", "1.5× more", "90 TFLOP/s", "12 MB/s", "7 µs", "2 hours", "8 ms."]  # fmt: skip
HARMLESS = ["3 prompts", "12 tokens", "3 x 4", "a 2x2 matrix", "stage 03", "4096 entries", "float32", "`5 ms`", "GPT-2", "1e-4",
            "[it](https://x.org/12%20ms)", "124M", "s03", "layers 3 and 4", "4 x 256", "step 3: B", "2 bytes"]  # fmt: skip


@pytest.mark.parametrize("text", MEASURED)
def test_measured_number_without_a_source_is_found(text: str) -> None:
    document = read(Path("x.md"), f"# T\n\nIt took {text} here.\n")
    assert [problem.line for problem in prose.unbound(document)] == [3]
    bound = read(Path("x.md"), f"It took <!-- given a paper -->{text}<!-- /given --> here.\n")
    assert not list(prose.unbound(bound))


@pytest.mark.parametrize("text", HARMLESS)
def test_other_numbers_pass(text: str) -> None:
    assert not list(prose.unbound(read(Path("x.md"), f"We see {text} here.\n")))


def test_bound_number_keeps_its_unit_and_its_neighbour_is_still_seen() -> None:
    document = read(Path("x.md"), "Is <!-- calc 2*3 -->6<!-- /calc --> ms, or 7 ms.\n")
    assert [problem.text.split("'")[1] for problem in prose.unbound(document)] == ["7 ms"]


def test_bare_numbers_under_a_unit_in_a_hand_written_table_are_found(project: Path) -> None:
    found = problems(
        project, "| what | ms |\n|---|---|\n| a | 12.5 |\n| b | <!-- calc 3 -->3<!-- /calc --> |\n"
    )
    assert "README.md:3: '12.5' under 'ms'" in found
    assert ":4:" not in found


def test_result_tables_by_key_and_by_placeholder(project: Path) -> None:
    rows = filled(project, "<!-- result s02 cpu table bytes speedup_512 | format ,.0f .2f -->\n")
    assert "| bytes of the cache | 1,200,000 bytes |\n| speedup 512 | 5.25 x |" in rows
    grid = filled(
        project,
        "<!-- result s02 cpu table without_{n} speedup_{n} | heads tokens, plain, speed-up | format .1f -->\n",
    )
    assert (
        "| tokens | plain (ms) | speed-up |\n| ---: | ---: | ---: |\n| 64 | 2.0 | 1.5 |\n| 512 | 8.0 |"
        in grid
    )
    assert "[`benchmarks/results/cpu/s02.json`](benchmarks/results/cpu/s02.json) · A CPU" in grid


def test_rows_of_a_table_are_named_and_ordered_for_readers(project: Path) -> None:
    record(project, {f"{side}_nats": {"value": 2.0, "unit": "nats"} for side in ("after", "before")})
    text = "<!-- result s02 cpu table {side}_nats | heads side, nats | rows before=stage 01, after=stage 02 -->\n"
    assert "| side | nats |\n| --- | ---: |\n| stage 01 | 2 |\n| stage 02 | 2 |" in filled(project, text)
    assert "rows must name after, before" in problems(project, text.split(" | rows")[0] + " -->\n")
    assert "no 'now' in s02; it has after, before" in problems(project, text.replace("before=", "now="))


COMPARED = {
    "a_ms": {"value": 10.0, "unit": "ms", "samples": [10.0, 9.9, 10.1]},
    "b_ms": {"value": 8.0, "unit": "ms", "samples": [8.0, 8.2, 7.9]},
    "c_ms": {"value": 10.2, "unit": "ms", "samples": [10.2, 9.0, 12.0]},
    "a_adds_percent": {"value": 20.0, "unit": "%"},
    "a_adds_us": {"value": 2000.0, "unit": "us"},
}


@pytest.mark.parametrize(
    ("directive", "shown"),
    [("minus s02 cpu a_ms b_ms .1f", "2.0"), ("ratio s02 cpu a_ms b_ms .2f", "1.25"), ("percent s02 cpu a_ms b_ms .0f", "25")],
)  # fmt: skip
def test_a_difference_in_prose_is_computed_from_the_two_numbers(
    project: Path, directive: str, shown: str
) -> None:
    record(project, COMPARED)
    name = directive.split()[0]
    assert f"-->{shown}<!--" in filled(project, f"It is <!-- {directive} -->?<!-- /{name} --> more.\n")


def test_a_difference_that_is_noise_is_said_in_words(project: Path) -> None:
    record(project, COMPARED)
    noise = "It is <!-- minus s02 cpu c_ms a_ms -->0.2<!-- /minus --> ms more.\n"
    assert "do not differ by more than their samples do: say so in words" in problems(project, noise)
    words = "There is <!-- same s02 cpu c_ms a_ms -->no difference that we could measure<!-- /same -->.\n"
    assert not problems(project, words)
    assert "differ by more than" in problems(project, words.replace("c_ms", "b_ms"))


def test_another_statistic_than_that_of_the_numbers_beside_it_is_found(project: Path) -> None:
    record(project, COMPARED)
    table = "# T\n\n<!-- result s02 cpu table a_ms b_ms -->\n"
    added = "\nIt adds <!-- r s02 cpu a_adds_percent -->20<!-- /r --> %, <!-- r s02 cpu a_adds_us -->2000<!-- /r --> µs.\n"
    path = write(project, table + added)
    fill([path], project)
    found = "\n".join(map(str, check([path], project)))
    assert "a_adds_percent (20) is not what a_ms and b_ms of this section give (25)" in found
    assert "compute it, <!-- percent s02 cpu a_ms b_ms -->" in found
    assert "a_adds_us" not in found  # 10 ms less 8 ms
    path = write(project, table + "\n## Elsewhere\n" + added)
    fill([path], project)
    assert not check([path], project)


# --- form ------------------------------------------------------------------------------------------------------------


def test_fence_without_directive_fails(project: Path) -> None:
    assert "README.md:3: this block has no directive" in problems(project, "text\n\n```python\n1\n```\n")


def test_at_most_two_illustrative_blocks(project: Path) -> None:
    block = "<!-- illustrative -->\n```text\na\n```\n\n"
    assert not problems(project, block * 2)
    assert "more than 2 illustrative blocks" in problems(project, block * 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- cod 02 x.py -->\n", "no block directive 'cod'; there are code"),
        ("a <!-- r s02 cpu bytes -->5\n", "without its twin"),
        ("a <!-- code x.py --> b\n", "must be alone on its line"),
        ("a <!-- todo --> b\n", "no directive 'todo'"),
        ("<!-- calc 1+1 -->2<!-- /calc --> things\n", "begins its line"),
        ("- <!-- calc 1+1 -->2<!-- /calc --> things\n", "begins its line"),
        ("a <!-- given a--b -->2<!-- /given --> things\n", "holds `--`"),
        ("see [x](nowhere.md)\n", "the link to nowhere.md leads nowhere"),
        ("```python\nnever closed\n", "never closed"),
        ("<!-- commands -->\n", "has no block below"),
    ],
)
def test_malformed_texts_are_named(project: Path, text: str, message: str) -> None:
    assert message in problems(project, text)


def test_filling_twice_changes_nothing_and_keeps_what_people_wrote(project: Path) -> None:
    path = write(
        project,
        """
        # Title

        - item
          <!-- code 02 engine/walk.py LIMIT -->

        Text with `code` and 3 cats.
        <!-- diff 01 02 engine/walk.py LIMIT -->
        The end.
        """,
    )
    changed, _ = fill([path], project)
    once = path.read_text()
    assert changed == [path]
    assert "  ```python\n  LIMIT = 4\n  ```\n\nText with `code` and 3 cats.\n" in once
    assert once.endswith("```\nThe end.\n")
    assert fill([path], project) == ([], [])


@given(st.lists(st.sampled_from(["<!-- code a -->", "```", "~~~", "| a |", "", "<!-- r a -->x<!-- /r -->", "a 5 ms", "[`x`](y)",
                                 "<!--", "-->", "  ```sh", "<!-- part x -->", "<!-- illustrative -->"])))  # fmt: skip
def test_parser_owns_each_line_once_and_keeps_offsets(lines: list[str]) -> None:
    text = "\n".join(lines)
    document = read(Path("x.md"), text)
    assert len(document.prose) == len(text)
    owned = [line for block in document.blocks for line in range(block.start, block.end)]
    assert len(owned) == len(set(owned))
    for inline in document.inlines:
        assert text[inline.start : inline.end] == inline.value


# --- the skeleton of an article --------------------------------------------------------------------------------------


def article(**change: str) -> str:
    """A made-up article that passes, with parts replaced."""
    filler = "We look at the cache and see what it holds. " * 130
    texts = {part.name: f"Words on {part.name}." for part in skeleton.PARTS}
    bound = "It took <!-- r s02 cpu without_512 -->8<!-- /r --> ms."
    texts |= {"where": filler, "pain": bound, "measure": bound, "gap": bound}
    texts |= {"idea": "![the cache](../README.md)", "promises": "- a\n- b\n- c", "papers": "- x\n- y"}
    texts |= change
    return "# Title\n\n" + "\n".join(
        f"<!-- part {name} -->\n\n{text}\n" for name, text in texts.items() if text
    )


def form(project: Path, text: str, name: str = "articles/02-two.md") -> str:
    write(project, "", "README.md")
    return problems(project, text, name)


def test_complete_article_passes(project: Path) -> None:
    assert form(project, article()) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"where": "Short."}, "words; an article has 1,000 to 2,500"),
        ({"where": "word " * 2600}, "words; an article has 1,000 to 2,500"),
        ({"gap": ""}, "no <!-- part gap -->: the bound"),
        ({"break": ""}, "no <!-- part break -->: one experiment that breaks"),
        ({"promises": "- a\n- b"}, "part 'promises' lists 2 items; 3 to 5"),
        ({"papers": "- a"}, "part 'papers' lists 1 items; 2 to 4"),
        ({"pain": "It hurts."}, "part 'pain' holds no recorded number"),
        ({"idea": "No picture."}, "part 'idea' has no picture"),
        ({"run": "x\n<!-- part break -->\ny"}, "part 'break' stands 2 times"),
        ({"run": "x\n<!-- part brake -->\ny"}, "no part 'brake'"),
    ],
)
def test_article_with_a_flaw_is_named(project: Path, change: dict[str, str], message: str) -> None:
    assert message in form(project, article(**change))


def test_parts_out_of_order_are_named(project: Path) -> None:
    text = (
        article()
        .replace("part run", "part X")
        .replace("part diff", "part run")
        .replace("part X", "part diff")
    )
    assert "part 'diff' comes before 'run'" in form(project, text) or "part 'run'" in form(project, text)


def test_first_stage_needs_no_pain_and_article_00_no_skeleton(project: Path) -> None:
    assert form(project, article(pain="Nothing yet."), "articles/01-one.md") == ""
    (project / "articles/01-one.md").unlink()
    assert form(project, "# The model\n\nShort.\n", "articles/00-the-model.md") == ""


def test_words_leave_out_code_and_comments() -> None:
    text = "One two.\n<!-- illustrative -->\n```text\nfive six seven\n```\n[three](a/b/c.md) <!-- given x -->four<!-- /given -->\n"
    assert prose.words(read(Path("x.md"), text)) == 4


# --- reading, README, figures ----------------------------------------------------------------------------------------


def test_terminal_version_hides_comments_and_keeps_code(project: Path) -> None:
    text = "# T\n<!-- part where -->\nIs <!-- calc 2+2 -->4<!-- /calc -->.\n\n<!-- illustrative -->\n```text\n<!-- kept -->\n```\n![p](a.svg)\n"
    shown = readable(write(project, text))
    assert shown == "# T\nIs 4.\n\n```text\n<!-- kept -->\n```\n*[picture: p (articles/a.svg)]*\n"


def test_unknown_article_is_refused(project: Path) -> None:
    write(project, "# T\n", "articles/03-x.md")
    assert find_article("3", project).name == "03-x.md"
    with pytest.raises(UserError, match="article '07' does not exist; there are 03"):
        find_article("07", project)
    with pytest.raises(UserError, match="neither a number nor one of"):
        chosen(["nonsense"])


def test_commands_of_a_readme_are_listed_with_what_they_need(project: Path) -> None:
    path = write(
        project,
        """
        <!-- commands -->
        ```sh
        # first
        make stage-01  # a comment
        python -m x

        ```

        <!-- commands | needs a network -->
        ```sh
        git clone somewhere
        ```
        """,
    )
    assert [(c.line, c.text, c.needs) for c in readme.commands(path)] == [
        (4, "make stage-01", ""),
        (5, "python -m x", ""),
        (11, "git clone somewhere", "a network"),
    ]
    assert not check([path], project)


def test_generated_tables_are_filled_like_any_block(project: Path) -> None:
    path = write(project, "<!-- stages -->\n")
    fill([path], project, tables={"stages": lambda: ["| a |", "| --- |", "| 1 |"]})
    assert path.read_text() == "<!-- stages -->\n| a |\n| --- |\n| 1 |\n"
    assert "stale" in str(check([path], project, tables={"stages": lambda: ["| a |", "| --- |", "| 2 |"]})[0])


def test_flag_table_is_taken_from_a_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse
    import sys
    import types

    def main(argv: list[str]) -> None:
        parser = argparse.ArgumentParser()
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--prompt", default="Once", help="the text (%(default)s)")
        group.add_argument("--prompt-file")
        parser.parse_args(argv)
        raise AssertionError("the demo must not run")

    module = types.ModuleType("made_up_demo")
    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_demo", module)
    parser = readme.parser_of("made_up_demo")
    assert parser is not None
    prompt = next(action for action in parser._actions if action.dest == "prompt")
    assert readme._excluded(parser, prompt) == "`--prompt-file`"
    assert (readme._default(prompt), readme._help(prompt)) == ("`Once`", "the text")
    assert argparse.ArgumentParser().parse_known_args([])[1] == []  # put back


def test_figures_are_deterministic_and_refuse_wrong_data(tmp_path: Path) -> None:
    row = drawing.Row("K", ["a", "<b>"], "wr", ["0", "1"], [(0, 1, "both")])
    text = drawing.draw("A & B", [drawing.Panel("p", [row])])
    assert text == drawing.draw("A & B", [drawing.Panel("p", [row])])
    assert "&lt;b&gt;" in text
    assert "<title>A &amp; B</title>" in text
    with pytest.raises(UserError, match="2 cells but 1 marks"):
        drawing.draw("t", [drawing.Panel("p", [drawing.Row("K", ["a", "b"], "w")])])
    with pytest.raises(UserError, match="no mark 'z'"):
        drawing.draw("t", [drawing.Panel("p", [drawing.Row("K", ["a"], "z")])])
    spec = tmp_path / "x.toml"
    spec.write_text('kind = "state"\ntitle = "t"\n[[panel]]\nrows = []\n')
    with pytest.raises(UserError, match=r"x.toml: panel has no 'rows'"):
        figures.render(spec)


def test_chart_is_out_of_date_when_its_result_changes(project: Path) -> None:
    spec = project / "chart.toml"
    spec.write_text(
        'kind = "lines"\ntitle = "T"\nresult = ["s02", "cpu"]\nlog = ["x"]\nlines = [{ label = "plain", key = "without_{n}" }]\n'
    )
    assert not figures.is_current(spec, project)
    spec.with_suffix(".svg").write_text(figures.render(spec, project))
    assert figures.is_current(spec, project)
    record(project, VALUES | {"without_512": {"value": 9.0, "unit": "ms"}})
    assert not figures.is_current(spec, project)


# --- this repository -------------------------------------------------------------------------------------------------


def terms(text: str) -> set[str]:
    """Words in bold that define something: no sentence, no list entry with a full stop."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = (" ".join(bold.split()) for bold in re.findall(r"\*\*(?=\S)([^*]+?)(?<=\S)\*\*", plain))
    return {term.lower() for term in found if len(term.split()) < 6 and not term.endswith((".", "?", ","))}


def test_terms_that_articles_00_to_04_define_are_in_the_glossary() -> None:
    glossary = (ROOT / "articles" / "glossary.md").read_text(encoding="utf-8")
    known = {part for term in terms(glossary) for part in (term, *term.split(", "), *term.split(" ("))}
    known |= {f"{term}s" for term in known} | {term.split(" (")[-1].rstrip(")") for term in known}
    for path in sorted((ROOT / "articles").glob("0[0-4]-*.md")):
        missing = terms(path.read_text(encoding="utf-8")) - known
        assert not missing, f"{path.name}: {sorted(missing)}"


def test_texts_of_this_repository_are_true() -> None:
    """Code, diffs, numbers and form; the quoted commands are run by `articles --check`, in CI."""
    found = check(documents(ROOT), ROOT, run=False, tables=readme.tables())
    assert not found, "\n".join(map(str, found))


def test_figures_of_this_repository_are_current() -> None:
    stale = [path.name for path in sorted(figures.FOLDER.glob("*.toml")) if not figures.is_current(path)]
    assert not stale, f"{', '.join(stale)}: run python -m common.tutorial figures"
