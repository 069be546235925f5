"""`make mutate-NN`: faults are small and really in the file, the tree stays as it is, survivors are shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.chain import mutate, stages
from common.tutorial.chain.mutants import mutants
from common.tutorial.chain.mutate import main
from tests.throwaway import Throwaway, build, write

SOURCE = '''"""Grüße."""

class Ring:
    """Two."""

    size: int | None = 3

    def push(self, item: int) -> bool:
        log.info("one more", 7)
        if self.full and not self.frozen:
            self.grow(min(item, 9))  # é
        self.items[item % self.size] = item
        self.count += 1
        local = f"{item:04d}"
        return 0 <= self.count < self.size
'''


def changes(source: str) -> list[tuple[str, str]]:
    return [one.lines(source.encode()) for one in mutants(source.encode())]


def test_each_fault_changes_one_thing_and_leaves_the_rest():
    assert changes(SOURCE) == [
        ("size: int | None = 3", "size: int | None = 4"),
        ("if self.full and not self.frozen:", "if self.full or not self.frozen:"),
        ("if self.full and not self.frozen:", "if self.full and self.frozen:"),
        ("self.grow(min(item, 9))  # é", "pass  # é"),
        ("self.grow(min(item, 9))  # é", "self.grow(max(item, 9))  # é"),
        ("self.grow(min(item, 9))  # é", "self.grow(min(item, 10))  # é"),
        ("self.items[item % self.size] = item", "pass"),
        ("self.items[item % self.size] = item", "self.items[item * self.size] = item"),
        ("self.count += 1", "pass"),
        ("self.count += 1", "self.count += 2"),
        ("return 0 <= self.count < self.size", "return 1 <= self.count < self.size"),
        ("return 0 <= self.count < self.size", "return 0 < self.count < self.size"),
        ("return 0 <= self.count < self.size", "return 0 <= self.count <= self.size"),
    ]


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("x = a if b else c", ["x = a if (not b) else c"]),
        ("x = (a) - (b)", ["x = (a) + (b)"]),
        ("x = a is not None", ["x = a is None"]),
        ("x = a not in b", ["x = a in b"]),
        ("x = True", ["x = False"]),
        ("x = a or b", ["x = a and b"]),
        ("x = y = z", []),
        ("x = a | b", []),
    ],
)
def test_faults_of_one_line(line: str, faults: list[str]):
    assert [after for _, after in changes(line + "\n")] == faults


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    made = build(tmp_path / "repository")
    stages.cache_clear()
    return made


def test_survivors_are_shown_the_tree_is_left_alone_and_a_hang_is_noticed(chain, capsys, monkeypatch):
    monkeypatch.setattr(mutate, "SPARE", 4)
    write(
        chain.engine(2, "cache.py"),
        '"""What is kept."""\n\nLIMIT = 5\n\n\ndef size(keys):\n    n = 0\n    while n < len(keys):\n        n += 1\n    return n\n',
    )
    write(
        chain.stage(2) / "test_stage.py",
        "from .engine.cache import size\n\n\ndef test_cache_keeps_keys():\n    assert size([7]) == 1\n",
    )
    chain.commit()
    before = chain.engine(2, "cache.py").read_bytes()
    assert main(["02", "--files", "cache.py", "--root", str(chain.root), "--bar", "90"]) == 1
    said = capsys.readouterr().out
    assert "5 of 5 possible faults" in said
    # Noticed: `n <= len(keys)`, `n += 2`, and `pass`, which never ends.
    assert "- LIMIT = 5\n       + LIMIT = 6" in said
    assert "- n = 0\n       + n = 1" in said
    assert "3 of 5 faults noticed: 60 %" in said
    assert chain.engine(2, "cache.py").read_bytes() == before


def test_a_fault_in_a_line_of_an_earlier_stage_is_left_to_its_tests(chain, capsys):
    """Stage 03 does not change the file and never calls it; nobody tests `best`."""
    write(chain.stage(3) / "test_stage.py", "def test_sample_is_greedy():\n    pass\n")
    write(
        chain.stage(1) / "test_stage.py",
        "from .engine.attention import attend\n\n\ndef test_scores():\n    assert attend(2, [4]) == [1.0]\n",
    )
    assert main(["03", "--files", "attention.py", "--root", str(chain.root)]) == 1
    said = capsys.readouterr().out
    assert said.count("noticed by stage 01, which has the line too") == 2
    assert "2 of 3 faults noticed: 67 %, 2 of them by the tests of an earlier stage" in said


def test_the_sample_is_drawn_by_seed_and_the_bar_decides(chain, capsys):
    arguments = ["02", "--root", str(chain.root), "--count", "2", "--list"]
    shown = []
    for seed in ("1", "1", "2"):
        assert main([*arguments, "--seed", seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]


def test_the_copy_is_kept_with_a_diff_for_each_survivor(chain, capsys):
    write(chain.stage(2) / "test_stage.py", "def test_cache_keeps_keys():\n    pass\n")
    assert main(["02", "--root", str(chain.root), "--count", "1", "--keep", "--bar", "0"]) == 0
    said = capsys.readouterr().out
    tree = Path(said.split("The copy:")[1].split()[0])
    (diff,) = tree.glob("survivor-*.diff")
    assert diff.read_text().startswith("--- a/stages/s02_cache/engine/")
    shutil.rmtree(tree.parent)


def test_what_cannot_be_done_is_one_line(chain):
    with pytest.raises(UserError, match=r"--files nothing\.py: the engine of stage 02 has __init__\.py"):
        main(["02", "--files", "nothing.py", "--root", str(chain.root)])
    write(chain.stage(2) / "test_stage.py", "def test_it():\n    assert False\n")
    with pytest.raises(UserError, match="fails without any fault"):
        main(["02", "--root", str(chain.root)])
