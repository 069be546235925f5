"""Setting up: the environment is made once, broken ones are repaired, failures are one line, CI reports them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.tutorial.chain import ROOT
from common.tutorial.learner import install

FROM_MAKE = ("MAKE", "VENV", "PYTHON", "TORCH_INDEX")  # `make test VENV=none` hands these to its tests
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def shell(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FROM_MAKE)}
    return subprocess.run([str(part) for part in command], cwd=cwd, env={**clean, **environment},
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip


@needs_make
def test_the_first_target_sets_up_and_the_second_start_does_not(tmp_path):
    venv = tmp_path / "an environment"
    python = executable(tmp_path / "a python", '#!/bin/sh\n[ "$1" = -c ] || echo "$2|$3|$4"\n')
    executable(venv / "bin" / "python", '#!/bin/sh\necho "runs $*"\n')
    first = shell("make", "doctor", f"VENV={venv}", f"PYTHON={python}", "TORCH_INDEX=http://there")
    asked, stamp, index = first.stdout.splitlines()[0].split("|")
    assert (asked, index) == (str(venv), "http://there")
    assert Path(stamp).parent == venv
    Path(stamp).touch()
    second = shell("make", "doctor", f"VENV={venv}", f"PYTHON={python}")
    assert second.stdout == "runs -m common.tutorial --from-make doctor\n"


@needs_make
def test_other_requirements_mean_another_stamp(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = executable(tmp_path / "python", '#!/bin/sh\n[ "$1" = -c ] || echo "$3"\n')
    stamps = set()
    for text in ("a", "b", "a"):
        (tmp_path / "pyproject.toml").write_text(text)
        (tmp_path / "constraints.txt").write_text("")
        stamps.add(shell("make", "setup", f"PYTHON={python}", cwd=tmp_path).stdout)
    assert len(stamps) == 2


@needs_make
def test_an_old_python_is_refused_in_a_clear_line(tmp_path):
    old = executable(tmp_path / "python3", "#!/bin/sh\nexit 1\n")
    done = shell("make", "doctor", f"VENV={tmp_path}/venv", f"PYTHON={old}")
    assert done.returncode == 2
    assert re.match(r"error: .*python3 is missing or older than Python 3\.11; .*PYTHON=", done.stderr)
    assert "install.py" not in done.stdout + done.stderr


def test_torch_comes_first_so_that_nothing_else_chooses_its_version():
    wanted = install.requirements()
    assert wanted[0].startswith("torch>=")
    assert {re.split(r"[<>=]", line)[0] for line in wanted} >= {"transformers", "pytest", "ruff", "rich"}


def test_every_requirement_has_a_tested_version():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in
              (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}  # fmt: skip
    names = {re.split(r"[<>=;]", line)[0].lower().replace("_", "-") for line in install.requirements()}
    assert names <= pinned


def test_torch_is_pinned_so_that_cpu_and_cuda_builds_fit():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in lines
    assert "triton==3.7.1" in lines  # what torch 2.13.0's CUDA build requires, exactly


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Progress 5000000 of 200000000", "5 of 200 MB"),
        ("Progress 500 of 2000", ""),
        ("Collecting torch==2.13.0 (from -c constraints.txt)", "Collecting torch==2.13.0"),
        ("Requirement already satisfied: rich", ""),
    ],
)
def test_progress_is_read_from_pip(line, text):
    assert install.detail(line) == text


def test_a_failing_pip_ends_in_its_own_reason_and_a_log(tmp_path):
    fake = executable(
        tmp_path / "python", "#!/bin/sh\necho Collecting x\necho 'ERROR: No matching distribution'\nexit 1\n"
    )
    log = tmp_path / "install.log"
    with pytest.raises(SystemExit) as end:
        install.pip(fake, ["x"], install.Progress(), "installing torch", log)
    assert str(end.value).startswith("error: installing torch: ERROR: No matching distribution\n")
    assert "Collecting x" in log.read_text()


def test_a_broken_environment_is_made_anew_and_a_sound_one_kept(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(install.venv, "create", lambda folder, **options: made.append(options["clear"]))
    python = executable(tmp_path / "venv" / "bin" / "python", "#!/bin/sh\nexit 1\n")
    install.create(tmp_path / "venv")
    assert made == [True]
    executable(python, "#!/bin/sh\nexit 0\n")
    install.create(tmp_path / "venv")
    assert made == [True]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """.ci/run beside a `make` that fails at the targets named in FAIL."""
    folder = tmp_path / "a check out"
    executable(folder / ".ci" / "run", (ROOT / ".ci" / "run").read_text())
    executable(
        folder / "bin" / "make", '#!/bin/sh\necho "made $*"\ncase " $FAIL " in *" $1 "*) exit 3;; esac\n'
    )
    return folder


def ci(checkout: Path, fail: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return shell(checkout / ".ci" / "run", "VENV=none", cwd=checkout.parent, FAIL=fail,
                 PATH=f"{checkout}/bin:{os.environ['PATH']}", **environment)  # fmt: skip


STEPS = ["setup", "lint", "types", "verify", "articles", "figures", "test"]


def test_ci_runs_every_step_and_passes_and_pytest_has_the_last_word(checkout):
    done = ci(checkout, "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^made (\S+) VENV=none", done.stdout, re.M) == STEPS
    assert done.stdout.endswith("\n== test\nmade test VENV=none\n")


@pytest.mark.parametrize("target", STEPS[1:])
def test_ci_fails_when_a_step_fails_and_still_runs_the_others(checkout, target):
    done = ci(checkout, target)
    assert done.returncode != 0
    assert done.stdout.count("made ") == len(STEPS)
    if target != "test":
        assert f"== {target}: FAILED with status 3" in done.stdout
        assert f"== failed so far: {target} (" in done.stdout
    assert done.stdout.endswith("\nmade test VENV=none\n")


def test_ci_compares_with_what_the_change_is_based_on_where_it_is_known(checkout):
    assert (
        "made verify VENV=none ARGS=--since origin/main\n"
        in ci(checkout, "", VITRINE_SINCE="origin/main").stdout
    )
    assert "--since" not in ci(checkout, "").stdout


def test_ci_stops_where_nothing_can_be_set_up(checkout):
    done = ci(checkout, "setup")
    assert done.returncode != 0
    assert done.stdout.count("made ") == 1


def test_the_installer_needs_only_the_standard_library():
    code = "import runpy, sys; sys.argv = ['x']; runpy.run_path('common/tutorial/learner/install.py', run_name='imported')"
    done = shell(sys.executable, "-S", "-c", code)
    assert done.returncode == 0, done.stderr
