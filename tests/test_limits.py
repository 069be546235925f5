"""A test that hangs fails, and shows where: whatever it hangs in, with workers or without, for learners too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.tutorial.chain import ROOT
from common.tutorial.learner.outcomes import run_tests

WAITS = """
import threading

def engine_loop(never):
    never.wait()

def test_that_waits_for_its_engine():
    never = threading.Event()
    threading.Thread(target=engine_loop, args=[never], name="engine", daemon=True).start()
    never.wait()

def test_that_comes_after():
    pass
"""
POOL = """
import threading
from concurrent.futures import ThreadPoolExecutor

def test_whose_pool_never_ends():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(threading.Event().wait).result()
"""
TEARDOWN = """
import threading
import pytest

@pytest.fixture
def engine():
    yield
    threading.Event().wait()

def test_that_fails_and_cannot_be_cleared_away(engine):
    assert False
"""
MANY = """
import threading
import pytest

@pytest.mark.parametrize("n", range(5))
def test_that_waits(n):
    threading.Event().wait()
"""


def pytest_on(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, each test limited to a second."""
    (folder / "test_it.py").write_text(text)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "common.tutorial.learner.limits",
        "--timeout=1",
        *options,
    ]
    return subprocess.run(
        [*command, "test_it.py"],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_test_that_waits_fails_with_all_stacks_and_the_run_goes_on(tmp_path: Path, workers: list[str]):
    done = pytest_on(tmp_path, WAITS, *workers)
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout (>1.0s)" in done.stdout
    shown = done.stdout + done.stderr
    assert "Stack of engine" in shown and "in engine_loop" in shown
    assert done.returncode == 1


@pytest.mark.parametrize("text", [POOL, TEARDOWN])
def test_what_cannot_be_interrupted_ends_the_process_with_all_stacks(tmp_path: Path, text: str):
    done = pytest_on(tmp_path, text)
    assert done.returncode == 1
    assert "Timeout (0:00:0" in done.stderr
    assert "test_it.py" in done.stderr


def test_a_worker_that_ends_so_is_replaced(tmp_path: Path):
    done = pytest_on(tmp_path, POOL + "\n\ndef test_that_comes_after():\n    pass\n", "-n", "1")
    assert "1 failed, 1 passed" in done.stdout
    assert "crashed while running 'test_it.py::test_whose_pool_never_ends'" in done.stdout


def test_after_three_the_run_stops(tmp_path: Path):
    done = pytest_on(tmp_path, MANY)
    assert "3 tests ran out of time" in done.stdout
    assert "3 failed" in done.stdout


def test_every_test_of_the_project_has_a_limit(pytestconfig: pytest.Config):
    assert float(pytestconfig.getini("timeout")) == 120
    assert pytestconfig.pluginmanager.has_plugin("common.tutorial.learner.limits")


def test_a_learner_reads_where_the_engine_waits(tmp_path: Path):
    path = tmp_path / "test_stage.py"
    path.write_text(WAITS)
    found = run_tests([path], cwd=tmp_path, limit=1)
    assert [(one.name, one.passed) for one in found] == [
        ("test_that_waits_for_its_engine", False),
        ("test_that_comes_after", True),
    ]
    assert found[0].message == ("Failed: Timeout (>1.0s) from pytest-timeout.\nIt waits at test_stage.py:10")


def test_a_learner_reads_which_test_ended_the_process(tmp_path: Path):
    path = tmp_path / "test_stage.py"
    path.write_text("def test_that_is_kept():\n    pass\n" + POOL)
    found = run_tests([path], cwd=tmp_path, limit=1)
    assert [(one.name, one.passed) for one in found] == [
        ("test_that_is_kept", True),
        ("test_whose_pool_never_ends", False),
    ]
    assert "hangs where nothing can interrupt it" in found[1].message
