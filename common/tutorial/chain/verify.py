"""`make verify`: the whole chain checked in a few seconds, with messages that say what to do.

This is the command. The checks themselves are beside it: `checks_chain` (what differs from stage to
stage), `checks_names` (what the code imports and defines) and `checks_files` (what is where, claims
and results). That the promises' tests really fail before their stage is proved by running them, in CI.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.tutorial.chain import ROOT, checks_chain, checks_files, checks_names
from common.tutorial.chain.checks_base import Chain, Finding, read_chain
from common.tutorial.chain.locks import current_locks, moved, parse_locks
from common.tutorial.chain.source import counted

__all__ = ["HELP", "locks_since", "main", "verify"]

HELP = "check the whole chain: declared diffs, locks, drift, names, budgets, claims, files"


def verify(root: Path = ROOT) -> list[Finding]:
    """Everything that is wrong with the chain below `root`, errors and warnings, stage by stage."""
    chain, findings = read_chain(root)
    if findings:  # a chain with a hole in it would only produce follow-up errors
        return findings
    for checks in (checks_chain, checks_names, checks_files):
        for check in checks.CHECKS:
            findings += check(chain)
    return sorted(findings, key=lambda finding: (finding.warning, finding.stage))


def locks_since(root: Path, ref: str) -> list[str]:
    """Stages whose lock differs from the one at the merge base of HEAD and `ref`."""
    base = _git(root, "merge-base", "HEAD", ref).strip()
    prefix = _git(root, "rev-parse", "--show-prefix").strip()
    shown = subprocess.run(
        ["git", "-C", str(root), "show", f"{base}:{prefix}stages/chain.lock"],
        capture_output=True,
        text=True,
        check=False,
    )
    return moved(parse_locks(shown.stdout) if shown.returncode == 0 else {}, current_locks(root))


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UserError(f"git {' '.join(args)}: {said[-1] if said else 'failed'}")
    return done.stdout


def budget_table(chain: Chain) -> list[str]:
    """One line per stage: lines added and removed, files, and the waiver where there is one."""
    lines = []
    for before, stage in chain.pairs():
        added, removed, files = counted(chain.engine(before), chain.engine(stage))
        waiver = f"   waiver: {stage.manifest.waiver}" if stage.manifest.waiver else ""
        lines.append(f"{stage.folder.name:<28} +{added:<4} -{removed:<4} {files} files{waiver}")
    return lines


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial verify", description=HELP)
    parser.add_argument(
        "--since", metavar="REF", help="also print the locks that changed since the merge base"
    )
    parser.add_argument("--table", action="store_true", help="also print the size of each stage's diff")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    start = time.perf_counter()
    findings = verify(args.root)
    for finding in findings:
        print(finding)
    errors = sum(not finding.warning for finding in findings)
    if args.table and not errors:
        print("\n".join(budget_table(read_chain(args.root)[0])))
    if args.since:
        print(
            "locks changed since "
            + args.since
            + ": "
            + (", ".join(locks_since(args.root, args.since)) or "none")
        )
    count = len(list((args.root / "stages").glob("s[0-9][0-9]_*")))
    print(
        f"{count} stages: {errors} errors, {len(findings) - errors} warnings "
        f"({time.perf_counter() - start:.1f} s)"
    )
    return 1 if errors else 0
