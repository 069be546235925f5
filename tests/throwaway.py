"""A throw-away chain of four tiny stages in a git repository, for the tests of the chain's tools.

Stage 01 has `attention.py` and `generate.py`; 02 adds `cache.py` and changes `generate.py`; 03 adds `sampler.py`
and changes `cache.py`; 04 changes `generate.py` again. Everything else is carried.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.bench.results import code_hash
from common.tutorial.chain import stages
from common.tutorial.chain.locks import current_locks, write_locks
from common.tutorial.chain.verify import verify

ATTENTION = '''"""Who looks at whom."""

SCALE = 0.125


def attend(query, keys):
    """Scores of one query against all keys, each key a number."""
    scores = [query * key * SCALE for key in keys]
    return scores


def best(scores):
    """Index of the largest score, the first of equals."""
    top = max(scores)
    return scores.index(top)
'''

GENERATE = '''"""The loop."""

from .attention import attend, best


def generate(tokens, count):
    """`count` new tokens after `tokens`."""
    for _ in range(count):
        tokens = [*tokens, best(attend(tokens[-1], tokens))]
    return tokens


def stop(tokens):
    """Whether the text has ended."""
    return tokens[-1] == 0
'''

CACHE = '''"""What is kept."""


class Cache:
    """Keys seen so far."""

    def __init__(self):
        self.keys = []

    def append(self, key):
        """Keep one more key."""
        self.keys.append(key)

    def size(self):
        """How many keys there are."""
        return len(self.keys)
'''

SAMPLER = '''"""Choosing."""


def sample(scores, greedy=True):
    """One index of `scores`."""
    return scores.index(max(scores))
'''

GENERATE_02 = GENERATE.replace(
    "from .attention import attend, best\n", "from .attention import attend, best\nfrom .cache import Cache\n"
).replace(
    "    for _ in range(count):\n",
    "    cache = Cache()\n    for _ in range(count):\n        cache.append(tokens[-1])\n",
)
CACHE_03 = (
    CACHE
    + '''
    def truncate(self, length):
        """Forget all but the first `length` keys."""
        del self.keys[length:]
'''
)
GENERATE_04 = GENERATE_02.replace(
    '    """`count` new tokens after `tokens`."""\n',
    '    """`count` new tokens after `tokens`; `count` may be 0."""\n    if count == 0:\n        return tokens\n',
)

INIT = '"""A tiny engine."""\n'
ENGINES = {
    "s01_forward": {"__init__.py": INIT, "attention.py": ATTENTION, "generate.py": GENERATE},
    "s02_cache": {"__init__.py": INIT, "attention.py": ATTENTION, "cache.py": CACHE, "generate.py": GENERATE_02},
    "s03_sampling": {
        "__init__.py": INIT, "attention.py": ATTENTION, "cache.py": CACHE_03, "generate.py": GENERATE_02,
        "sampler.py": SAMPLER,
    },
    "s04_limits": {
        "__init__.py": INIT, "attention.py": ATTENTION, "cache.py": CACHE_03, "generate.py": GENERATE_04,
        "sampler.py": SAMPLER,
    },
}  # fmt: skip
MANIFESTS = {
    "s01_forward": 'proves = ["test_best_finds_the_largest"]\nintroduces = ["attention.attend", "generate.generate"]\n'
    '[diff]\nadded = ["__init__.py", "attention.py", "generate.py"]\n',
    "s02_cache": 'proves = ["test_cache_keeps_keys"]\nintroduces = ["cache.Cache"]\nhints = ["Think of a list.", "Append."]\n'
    '[diff]\nadded = ["cache.py"]\nchanged = ["generate.py"]\nwhy = { "generate.py" = "fills the cache" }\n',
    "s03_sampling": 'proves = ["test_sample_is_greedy", "test_truncate_forgets"]\n'
    'introduces = ["sampler.sample", "cache.Cache.truncate"]\n'
    '[diff]\nadded = ["sampler.py"]\nchanged = ["cache.py"]\nwhy = { "cache.py" = "can be rolled back" }\n',
    "s04_limits": 'proves = ["test_zero_tokens"]\n'
    '[diff]\nchanged = ["generate.py"]\nwhy = { "generate.py" = "knows its limit" }\n',
}
TESTS = {
    "s01_forward": "from .engine.attention import best\n\n\ndef test_best_finds_the_largest():\n    assert best([1, 3, 2]) == 1\n",
    "s02_cache": "from .engine.cache import Cache\n\n\ndef test_cache_keeps_keys():\n    cache = Cache()\n    cache.append(1)\n"
    "    assert cache.size() == 1\n",
    "s03_sampling": "def test_sample_is_greedy():\n    from .engine.sampler import sample\n\n    assert sample([1, 2]) == 1\n\n\n"
    "def test_truncate_forgets():\n    from .engine.cache import Cache\n\n    cache = Cache()\n    cache.append(1)\n"
    "    cache.truncate(0)\n    assert cache.size() == 0\n",
    "s04_limits": "from .engine import generate\n\n\ndef test_zero_tokens():\n"
    "    assert generate.generate.__doc__.endswith('may be 0.')\n",
}


@dataclass
class Throwaway:
    """The repository at `root`, with what tests do to it."""

    root: Path

    def stage(self, number: int) -> Path:
        return next((self.root / "stages").glob(f"s{number:02d}_*"))

    def engine(self, number: int, path: str) -> Path:
        return self.stage(number) / "engine" / path

    def edit(self, number: int, path: str, old: str, new: str) -> None:
        """Replace `old`, which must be there, in one engine file."""
        file = self.engine(number, path)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def manifest(self, number: int, old: str, new: str) -> None:
        file = self.stage(number) / "stage.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        stages.cache_clear()

    def commit(self, message: str = "a change") -> None:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", message)

    def relock_all(self) -> None:
        stages.cache_clear()
        write_locks(self.root, current_locks(self.root))

    def locks(self) -> dict[str, str]:
        return current_locks(self.root)

    def errors(self) -> list[str]:
        stages.cache_clear()
        return [str(finding) for finding in verify(self.root) if not finding.warning]

    def warnings(self) -> list[str]:
        stages.cache_clear()
        return [str(finding) for finding in verify(self.root) if finding.warning]

    def result(self, name: str, values: dict[str, float], machine: str = "cpu", **fields: Any) -> Path:
        """A recorded result with the given values."""
        path = self.root / "benchmarks" / "results" / machine / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "schema": 1, "name": name, "stage": int(name[1:3]), "command": "make bench", "commit": "0" * 40,
            "code_hash": code_hash(self.stage(int(name[1:3]))) if int(name[1:3]) < 5 else "", "machine": {},
            "workload": {}, "seed": 0, "checked": "equal tokens", "recorded": "2000-01-01T00:00:00+00:00",
            "values": {key: {"value": value, "unit": "x"} for key, value in values.items()},
        } | fields  # fmt: skip
        path.write_text(json.dumps(result))
        return path


def git(root: Path, *args: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *args], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def build(root: Path) -> Throwaway:
    """Write, lock and commit the chain below `root`; `verify` finds nothing wrong with it."""
    for number, (folder, engine) in enumerate(ENGINES.items(), start=1):
        stage = root / "stages" / folder
        for path, text in engine.items():
            write(stage / "engine" / path, text)
        slug = folder[4:]
        head = (
            f'number = {number}\nslug = "{slug}"\ntitle = "Stage of {slug}"\nquestion = "Why {slug}?"\n'
            f'idea = "Do {slug}."\nminutes = 5\ncapabilities = []\n'
        )
        write(stage / "stage.toml", head + MANIFESTS[folder])
        write(stage / "test_stage.py", TESTS[folder])
        for name in ("__init__.py", "__main__.py", "bench.py"):
            write(stage / name, f'"""{slug}."""\n')
        write(stage / "README.md", f"# {slug}\n")
        for exercise in ("ex1_double", "ex2_triple"):
            factor = 2 if exercise == "ex1_double" else 3
            write(stage / "exercises" / f"{exercise}.py", "def answer(n):\n    raise NotImplementedError\n")
            write(
                stage / "exercises" / f"solution_{exercise}.py", f"def answer(n):\n    return {factor} * n\n"
            )
            write(stage / "exercises" / f"test_{exercise}.py", EXERCISE_TEST.format(factor=factor))
    write(root / ".gitignore", "__pycache__/\nwork/\n")
    git(root, "init", "-q", "-b", "main")
    chain = Throwaway(root)
    chain.relock_all()
    chain.commit("the chain")
    return chain


EXERCISE_TEST = """from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_it_multiplies():
    assert exercise.answer(5) == 5 * {factor}
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
