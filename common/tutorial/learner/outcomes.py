"""Run tests in one pytest process and get their outcomes as data.

`check` shows them to a learner, the chain's proofs count them. This module is also the pytest plugin that
reports them, loaded into that process by name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.tutorial.learner.limits import OUT_OF_TIME

__all__ = ["Outcome", "run_tests"]

_BEGUN = "begun, and the process ended before it did: it hangs where nothing can interrupt it"
REPORT = "VITRINE_OUTCOMES"  # the file the plugin writes to
OPTIONS = (
    "-q", "--import-mode=importlib", "--continue-on-collection-errors", "-o", "addopts=", "-o", "norecursedirs=.*",
    "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "common.tutorial.learner.limits",
    "-p", "common.tutorial.learner.outcomes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test, or one file that could not be collected (then `name` is empty)."""

    path: str  # absolute
    name: str  # of the function, without parameters
    case: str  # with them
    passed: bool
    skipped: bool = False
    message: str = ""  # the error's last lines, for people


def run_tests(
    paths: Iterable[Path],
    *,
    cwd: Path,
    only: Mapping[Path, Iterable[str]] | None = None,
    env: Mapping[str, str] | None = None,
    collect_only: bool = False,
    limit: int = 120,
) -> list[Outcome]:
    """Outcomes of the tests in `paths`, in the order of collection.

    only: path -> names of test functions; other tests of that file are not run.
    env: added to the environment of the process.
    collect_only: run nothing; a test that can be collected counts as passed.
    limit: seconds after which a test has failed: an unfinished engine may wait for ever. See `limits`.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "outcomes.jsonl"
        report.touch()
        paths = list(paths)
        if not paths:
            return []
        wanted = {str(path.resolve()): list(names) for path, names in (only or {}).items()}
        settings = {
            REPORT: str(report),
            f"{REPORT}_ONLY": json.dumps(wanted),
        }
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *OPTIONS,
                f"--timeout={limit}",
                *(["--collect-only"] if collect_only else []),
                *map(str, paths),
            ],
            cwd=cwd,
            env=_environment() | settings | dict(env or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = report.read_text(encoding="utf-8").splitlines()
        outcomes = list(_ended(Outcome(**json.loads(line)) for line in lines))
    if done.returncode not in (0, 1, 2, 5) or (done.returncode in (1, 2) and not outcomes):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return outcomes


def _ended(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Without the notes of tests that began, except of one that never ended."""
    begun: Outcome | None = None
    for outcome in outcomes:
        if outcome.message == _BEGUN:
            begun = outcome
        else:
            begun = None
            yield outcome
    if begun:
        yield begun


def _environment() -> dict[str, str]:
    """Ours without what belongs to a pytest we may run in, one thread, and `common` importable from anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VITRINE_"))}
    path = os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[3]), kept.get("PYTHONPATH", "")])
    )
    return {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | kept | {"PYTHONPATH": path}


# The plugin: hooks that pytest calls in the process started above.


def _write(outcome: Outcome) -> None:
    with open(os.environ[REPORT], "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep only the tests asked for, in files where some are."""
    wanted = json.loads(os.environ.get(f"{REPORT}_ONLY", "{}"))
    kept = [item for item in items if _name(item) in wanted.get(str(item.path.resolve()), [_name(item)])]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _name(item: Any) -> str:
    if item.name == "runTest":  # a state machine of Hypothesis: its class has the name
        return "test" + re.sub(r"([A-Z])", r"_\1", item.parent.name.removeprefix("Test")).lower()
    return getattr(item, "originalname", None) or item.name


_PLACES: dict[str, tuple[str, str]] = {}  # node id -> (absolute path, name of the function)
_ROOT: list[Path] = []


def pytest_configure(config: Any) -> None:
    _ROOT[:] = [config.rootpath]


def pytest_collection_finish(session: Any) -> None:
    _PLACES.update({item.nodeid: (str(item.path.resolve()), _name(item)) for item in session.items})
    if session.config.option.collectonly:
        for path, name in _PLACES.values():
            _write(Outcome(path, name, name, passed=True))


def pytest_runtest_logstart(nodeid: str) -> None:
    """Stands until the test's own outcome comes: what is left of a test that ended the process."""
    _write(Outcome(*_PLACES[nodeid], nodeid.split("::")[-1], passed=False, message=_BEGUN))


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        path = str((_ROOT[0] / report.nodeid.split("::")[0]).resolve())
        _write(Outcome(path, "", "", passed=False, message=_last_lines(str(report.longrepr))))


def pytest_runtest_logreport(report: Any) -> None:
    """A failure in any phase is the test's; a pass is known when its call has ended."""
    if not (report.failed or report.when == "call" or report.skipped):
        return
    path, name = _PLACES[report.nodeid]
    message = _last_lines(_crash(report)) if report.failed else ""
    case = report.nodeid.split("::")[-1]
    _write(Outcome(path, name, case, report.passed, report.skipped, message))


def _crash(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr)
    if OUT_OF_TIME in crash.message:
        return f"{crash.message}\nIt waits at {_deepest(report)}"
    return str(crash.message)


def _deepest(report: Any) -> str:
    """The innermost line of the traceback that is not a library's."""
    places = [entry.reprfileloc for entry in report.longrepr.reprtraceback.reprentries if entry.reprfileloc]
    ours = [p for p in places if not Path(p.path).is_absolute()]
    place = (ours or places)[-1]
    return f"{place.path}:{place.lineno}"


def _last_lines(text: str, count: int = 12) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return "\n".join(errors[:count] or lines[:count])
