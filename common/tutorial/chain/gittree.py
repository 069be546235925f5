"""The chain's engines as git has them: what a commit holds, and which commit was last in order.

Everything here only reads, through the git command line.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain.locks import compute_locks, parse_locks
from common.tutorial.chain.source import IGNORED_FOLDERS

__all__ = ["Engines", "consistent_base", "engines_at", "git", "resolve"]

Engines = dict[str, dict[str, str]]  # stage's folder -> path below engine/ -> text
LOOK_BACK = 300  # commits that touched the stages


def git(root: Path, *args: str) -> bytes:
    """What `git ARGS` prints, run in `root`. Raises UserError with git's last line."""
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed, but this command needs it") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {args[0]}: {said[-1] if said else 'failed'}")
    return done.stdout


def resolve(root: Path, ref: str) -> str:
    """The commit that `ref` names, as a full hash."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except UserError:
        raise UserError(f"BASE={ref}: no such commit here") from None


def engines_at(root: Path, commit: str) -> tuple[Engines, dict[str, str]]:
    """The engines and the locks of `commit`."""
    engines: Engines = {}
    locks: dict[str, str] = {}
    if not git(root, "ls-tree", commit, "stages/"):
        return engines, locks
    archive = git(root, "archive", "--format=tar", commit, "stages")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            parts = member.name.split("/")
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            text = file.read().decode("utf-8", errors="replace").replace("\r\n", "\n")
            if parts == ["stages", "chain.lock"]:
                locks = parse_locks(text)
            elif len(parts) > 3 and parts[2] == "engine" and not IGNORED_FOLDERS & set(parts):
                engines.setdefault(parts[1], {})["/".join(parts[3:])] = text
    return engines, locks


def consistent_base(root: Path, folders: Iterable[str]) -> str | None:
    """HEAD, or the last commit before it in which the locks of `folders` match their code; None without one.

    That is where to look for the state before a fix that was committed without being carried forward.
    """
    wanted = tuple(folders)
    head = resolve(root, "HEAD")
    touched = git(root, "rev-list", f"-n{LOOK_BACK}", "HEAD", "--", "stages").decode().split()
    for commit in dict.fromkeys([head, *touched]):
        engines, locks = engines_at(root, commit)
        actual = compute_locks(engines)
        if all(folder in actual and locks.get(folder) == actual[folder] for folder in wanted):
            return commit
    return None
