"""A comment at the end of a line never makes the formatter split it; what else has comments is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.tutorial.chain import ROOT
from common.tutorial.chain.comments import find, split_by_comments

SPLIT = [
    "ALIGN = (\n    16  # lengths are multiples of it\n)\n",
    "x = field(\n    default_factory=list\n)  # seconds of each token\n",
    "masks: dict[\n    int, Tensor\n] = {}  # window -> mask\n",
    "if (\n    'flash' in name\n):  # its kernel reads block tables\n    pass\n",
    "    y = f(\n        1, 2\n    )  # deeper\n".replace("    y", "if 1:\n    y", 1),
]
WANTED = [
    "x = 1  # short\n",
    "SIZES = [\n    1,  # small\n    2,  # large\n]\n",
    "x = (\n    # on a line of its own\n    1\n)\n",
    'x = """\n# not a comment\n"""  # one\n',
    "x = {\n    1: 2, 3: 4\n}  # fmt: skip\n",
    f"x = f(\n    '{'a' * 60}', '{'b' * 60}'\n)  # too long without it as well\n",
    "# above\nx = 1\n",
]


@pytest.mark.parametrize("source", SPLIT)
def test_a_line_that_only_its_comment_splits_is_found(source: str):
    assert len(list(split_by_comments(source))) == 1


@pytest.mark.parametrize("source", WANTED)
def test_other_comments_are_left_alone(source: str):
    assert list(split_by_comments(source)) == []


def test_the_project_has_none():
    assert list(find(ROOT)) == []


def test_a_file_that_has_none_any_more_leaves_the_list(tmp_path: Path):
    (tmp_path / "a.py").write_text(SPLIT[0])
    (tmp_path / "b.py").write_text("x = 1\n")
    assert list(find(tmp_path, frozenset({"a.py"}))) == []
    assert list(find(tmp_path, frozenset({"a.py", "b.py"}))) == [
        "b.py: is allowed in common/tutorial/chain/comments.py and need not be"
    ]
    assert list(find(tmp_path)) == [
        "a.py:1: the comment at the end makes the formatter split the line: put it above"
    ]
