"""README keeps its word: its commands run, its picture is a recording, its table promises only what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.chain import ROOT, stages
from common.tutorial.texts import figures, readme, record
from common.tutorial.texts.articles import commands, documents
from tests.throwaway import build

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# A command that several texts name is README's, else the first text's.
TYPED = {
    command.text: command
    for path in sorted(documents(ROOT), key=lambda path: path != README, reverse=True)
    for command in readme.commands(path)
}
QUICK = ("make help", "make diff-03", "make predict-03")  # seconds each, all of them without torch


def copy_of_the_tree(folder: Path) -> Path:
    """What a clone of the files as they are now would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands run in a copy, so that no attempt in work/ and no result of the reader's is touched."""
    root = copy_of_the_tree(tmp_path_factory.mktemp("a clone"))
    python = root / ".venv" / "bin" / "python"  # what `make` sets up for a reader: here, this very Python
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return root


def run(text: str, root: Path) -> None:
    command = TYPED[text]
    output = commands.execute(commands.Run(text, timeout_s=300), root)
    assert not output.error, f"{command.path}:{command.line}: {output.error}\n" + "\n".join(
        output.lines[-20:]
    )


@pytest.mark.parametrize("text", QUICK)
def test_quick_command_of_the_readme_works(text):
    assert TYPED[text].path == README
    run(text, ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text, command in TYPED.items() if not command.needs])
def test_every_command_that_a_text_tells_to_type_works(text, clone):
    run(text, clone)


def test_what_cannot_be_run_here_says_what_it_needs():
    needs = {text: command.needs for text, command in TYPED.items() if command.path == README}
    for text in ("make test", "make bench-03", "make stage-02 MODEL=gpt2", "make check-03"):
        assert needs[text], text
    assert sum(not reason for reason in needs.values()) >= 12


def test_promise_command_and_picture_stand_on_the_first_screen():
    first = TEXT.split("\n## ")[0]
    assert first.startswith("# Vitrine\n")
    assert "make stage-08" in first
    assert "make test" in first
    picture = re.search(r"!\[[^\]]{20,}\]\(([^)]+)\)", first)
    assert picture is not None
    assert (ROOT / picture[1]).with_suffix(".toml").exists()  # drawn by a command, not by hand
    assert TEXT[: picture.start()].count("\n") < 20


def named_targets(text: str) -> set[str]:
    """Targets of every `make ...` in code, in a line or in a block."""
    code = re.findall(r"^```.*?^```|^    .*?$|`[^`\n]+`", text, re.M | re.S)
    return set(re.findall(r"(?<![\w-])make ([a-z][\w-]*)", "\n".join(code)))


def possible(target: str) -> bool:
    name = re.sub(r"-(\d\d|NN)$", "-%", target)
    return re.search(rf"^{re.escape(name)}:", MAKEFILE, re.M) is not None


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(name):
    named = named_targets((ROOT / name).read_text(encoding="utf-8"))
    assert len(named) > 3
    assert not [target for target in named if not possible(target)]
    assert not possible("stag-02")


def test_every_command_for_learners_is_explained():
    learning = MAKEFILE.split("##@ Checking")[0].split("##@ Learning")[1] + MAKEFILE.split("##@ Checking")[1]
    targets = re.findall(r"^([\w-]+%?): setup ##", learning.split("##@ Maintaining")[0], re.M)
    assert len(targets) > 12
    named = {re.sub(r"-(\d\d|NN)$", "-%", target) for target in named_targets(TEXT)}
    missing = set(targets) - named - {"bench", "chat"}  # `chat` comes with its stage
    assert not missing


def test_stages_that_do_not_exist_are_planned_and_others_are_not(tmp_path):
    root = build(tmp_path).root
    rows = readme.stage_table(root)[2:]
    assert len(rows) == 20
    assert [row.endswith("| planned |") for row in rows] == [False] * 4 + [True] * 16
    assert "](stages/s02_" in rows[1]
    assert "](stages/" not in rows[4]


def test_first_lines_say_how_many_stages_are_here():
    numbers = (
        "No One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve Thirteen Fourteen Fifteen Sixteen"
    )
    words = [*numbers.split(), "Seventeen", "Eighteen", "Nineteen", "All"]
    first = TEXT.split("```")[0]
    assert f"**{words[len(stages())]} of twenty stages are here**" in first


def test_a_command_for_the_reader_works_in_a_plain_shell():
    plain = re.compile(
        r"(make|curl|head|diff|source|VITRINE_SOLUTIONS=1 \.venv/bin/python|\.venv/bin/python) "
    )
    assert not [text for text, c in TYPED.items() if not plain.match(text) and c.path == README]
    for path in sorted((ROOT / "stages").glob("s0[1-4]_*/README.md")):
        assert not [c.text for c in readme.commands(path) if not plain.match(c.text)], path


def test_every_stages_page_links_its_article():
    for stage in stages():
        article = next((ROOT / "articles").glob(f"{stage.nn}-*.md"), None)
        page = (stage.folder / "README.md").read_text(encoding="utf-8")
        assert article is None or f"(../../articles/{article.name})" in page, stage.folder.name


def test_every_article_that_breaks_something_has_its_symptom():
    page = (ROOT / "articles" / "symptoms.md").read_text(encoding="utf-8")
    articles = sorted((ROOT / "articles").glob("[0-9][0-9]-*.md"))
    assert len(articles) > len(stages())
    assert not [article.name for article in articles if f"({article.name})" not in page]


def test_the_model_that_all_stages_share_has_its_row(tmp_path):
    root = build(tmp_path).root
    (root / "articles").mkdir(exist_ok=True)
    (root / "articles" / "00-the-model.md").write_text("# The model\n", encoding="utf-8")
    rows = readme.stage_table(root)[2:]
    assert rows[0].startswith("| 00 | The model |")
    assert "(articles/00-the-model.md)" in rows[0]
    assert len(rows) == 21


def test_this_tables_stages_are_those_of_the_chain():
    linked = re.findall(r"^\| (\d\d) \| \[", TEXT, re.M)
    assert linked == [stage.nn for stage in stages()]


def test_flags_of_servers_stand_beside_those_of_demos():
    rows = readme.flag_table(stages())
    assert any(row.startswith("| `--prompt` | demo |") for row in rows)
    if any((stage.folder / "engine" / "server").exists() for stage in stages()):
        assert any(re.match(r"\| `--port` \| server \| `8000` \| 04 \|", row) for row in rows)
        assert any(re.match(r"\| `--device` \| server \| `auto` \| 04 \|", row) for row in rows)


# --- recordings ------------------------------------------------------------------------------------------------------


def recording(tmp_path: Path, command: str, **more: str) -> Path:
    lines = [f'{name} = "{value}"' for name, value in {"kind": "terminal", "title": "a <b>", **more}.items()]
    path = tmp_path / "rec.toml"
    path.write_text("\n".join([*lines, f"command = '''{command}'''"]) + "\n", encoding="utf-8")
    return path


def draw(path: Path) -> str:
    path.with_suffix(".svg").write_text(figures.render(path, ROOT), encoding="utf-8")
    return path.with_suffix(".svg").read_text(encoding="utf-8")


def test_a_recording_shows_what_was_printed_and_loads_nothing(tmp_path):
    text = draw(recording(tmp_path, r"printf '\033[32mgreen\033[0m & plain\n'"))
    assert "green" in text
    assert "&amp;" in text
    assert "<title>a &lt;b&gt;</title>" in text
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []


def test_a_recording_with_other_times_is_current_and_with_other_words_is_not(tmp_path):
    said = tmp_path / "said"
    path = recording(tmp_path, f"cat '{said}'")
    for words, same in (
        ("12.5 ms for 3 tokens", True),
        ("7.1 ms for 3 tokens", True),
        ("7.1 ms for 4 tokens", False),
    ):
        said.write_text(words)
        if not path.with_suffix(".svg").exists():
            draw(path)
        assert figures.is_current(path, ROOT, run=True) is same
        assert figures.is_current(path, ROOT)  # without running, its description decides
    recording(tmp_path, f"cat '{said}' ")
    assert not figures.is_current(path, ROOT)


def test_a_recording_of_a_failing_command_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"rec\.toml: command `echo no; exit 3` ended with 3: no"):
        figures.render(recording(tmp_path, "echo no; exit 3"), ROOT)
    with pytest.raises(UserError, match="a recording has no 'wide'"):
        figures.render(recording(tmp_path, "true", wide="1"), ROOT)


def test_lines_of_a_recording_can_be_chosen(tmp_path):
    text = draw(recording(tmp_path, "seq 1 9", lines="2-3"))
    shown = re.findall(r">([\d.]+)</text>", text)
    assert shown == ["...", "2", "3", "..."]
    assert record.WIDTH == commands.WIDTH  # pictures and quoted output are equally wide
