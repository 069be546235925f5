"""Creates the virtual environment and installs what pyproject.toml asks for, in the versions of constraints.txt.

Runs on the user's own interpreter before anything is installed, so it uses the standard library only.
It may be interrupted and started again: pip keeps what it has, and the stamp that tells the Makefile
"ready" is written last.

    python common/tutorial/learner/install.py .venv .venv/.vitrine-ready [INDEX_FOR_TORCH]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class Progress:
    """One line that is rewritten on a terminal; in a log, one line for each new phase."""

    def __init__(self) -> None:
        self.tty = sys.stdout.isatty()
        self.started = time.monotonic()
        self.phase = ""
        self.drawn = 0.0

    def show(self, phase: str, detail: str = "") -> None:
        now = time.monotonic()
        if not self.tty:
            if phase != self.phase:
                print(f"  {now - self.started:4.0f} s  {phase}", flush=True)
        elif phase != self.phase or now - self.drawn > 0.1:
            line = f"  {now - self.started:4.0f} s  {phase} {detail}"
            print(f"\r{line[:78]:<78}", end="", flush=True)
            self.drawn = now
        self.phase = phase

    def done(self, text: str) -> None:
        end = "\r" if self.tty else ""
        print(f"{end}  {time.monotonic() - self.started:4.0f} s  {text:<68}", flush=True)


def requirements() -> list[str]:
    """What the project and its tests need, with torch first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    wanted += project["optional-dependencies"]["docs"]
    return sorted(wanted, key=lambda line: not line.startswith("torch>"))


def pip(python: Path, arguments: list[str], progress: Progress, phase: str, log: Path) -> None:
    """One run of pip under the constraints. Ends the program with pip's own error when it fails."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "raw", "-c", "constraints.txt", *arguments]
    progress.show(phase)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
        errors = []
        for line in read(process):
            if line.startswith("ERROR"):
                errors.append(line)
            if not line.startswith("Progress "):
                file.write(line + "\n")
            progress.show(phase, detail(line))
        if process.wait() != 0:
            reason = errors[0] if errors else f"pip ended with status {process.returncode}"
            progress.done("failed")
            sys.exit(f"error: {phase}: {reason}\n(the whole log: {log}; run the same command again to go on)")


def read(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.rstrip()


def detail(line: str) -> str:
    """What one line of pip's output says about how far it is, or nothing."""
    if match := re.fullmatch(r"Progress (\d+) of (\d+)", line):
        done, total = int(match[1]), int(match[2])
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total > 10e6 else ""
    if line.startswith(("Collecting ", "Installing ")):
        return line.split(" (")[0].split(";")[0]
    return ""


def create(folder: Path) -> Path:
    """A working interpreter in `folder`; one that an interrupted run or a removed Python left broken is rebuilt."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    probe = [str(python), "-c", "import pip"]
    if not python.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        try:
            venv.create(folder, with_pip=True, clear=folder.exists())
        except (subprocess.CalledProcessError, OSError) as error:
            sys.exit(
                f"error: {folder} cannot be created ({error}); on Debian and Ubuntu: apt install python3-venv"
            )
    return python


def main() -> None:
    folder, stamp = Path(sys.argv[1]), Path(sys.argv[2])
    index = sys.argv[3] if len(sys.argv) > 3 else ""
    version = ".".join(map(str, sys.version_info[:3]))
    if any(folder.glob(".vitrine-*")):
        print(f"Bringing {folder} up to date: pyproject.toml or constraints.txt has changed.", flush=True)
    else:
        print(f"Setting up {folder} with Python {version}: once, some minutes, mostly torch.", flush=True)
    progress = Progress()
    progress.show("creating the environment")
    python = create(folder)
    log = folder / "install.log"
    wanted = requirements()
    # An old pip knows no raw progress bar.
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--upgrade", "pip"],
                   capture_output=True, check=False)  # fmt: skip
    pip(python, [*(["--index-url", index] if index else []), wanted[0]], progress, "installing torch", log)
    pip(python, wanted, progress, f"installing {len(wanted) - 1} more packages", log)
    for old in folder.glob(".vitrine-*"):
        old.unlink()
    stamp.touch()
    progress.done("ready")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
