"""`make history`: the chain as a linear git repository, one commit and one tag per stage, for `git log -p`.

Only engine/ is exported: `git log -p`, `git diff stage-06 stage-07` and `git blame` then show the lessons and
nothing else. The export is a function of the stages alone: same engines, same hashes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.tutorial.chain import ROOT, Stage, stages
from common.tutorial.chain.gittree import git
from common.tutorial.chain.source import engine_files

__all__ = ["HELP", "export", "main"]

HELP = "export the chain as a linear git repository with a tag for each stage"
WHO = "Vitrine <vitrine@example.invalid>"
BIRTH = 1_700_000_000  # seconds since 1970; a stage is a minute, so that the order is plain and hashes repeat
MARK = "vitrine.export"  # a key in the export's git config: what we may replace


def message(stage: Stage) -> str:
    """Title, question, idea, and the reading order with its reasons."""
    manifest = stage.manifest
    lines = [f"{stage.nn} {stage.title}", "", manifest.question, manifest.idea, ""]
    for path in manifest.diff.files:
        why = manifest.diff.why.get(path)
        lines.append(f"{manifest.diff.kind(path)} engine/{path}" + (f": {why}" if why else ""))
    return "\n".join(lines) + "\n"


def stream(chain: tuple[Stage, ...]) -> bytes:
    """The whole history in the format of git fast-import."""
    out: list[bytes] = []

    def data(text: str) -> None:
        raw = text.encode()
        out.append(b"data %d\n%s\n" % (len(raw), raw))

    for mark, stage in enumerate(chain, start=1):
        when = f"{WHO} {BIRTH + 60 * stage.number} +0000"
        out.append(f"commit refs/heads/main\nmark :{mark}\nauthor {when}\ncommitter {when}\n".encode())
        data(message(stage))
        out.append(b"deleteall\n")
        for path, text in engine_files(stage.engine).items():
            out.append(f"M 100644 inline engine/{path}\n".encode())
            data(text)
        out.append(f"reset refs/tags/stage-{stage.nn}\nfrom :{mark}\n\n".encode())
    out.append(b"done\n")
    return b"".join(out)


def export(root: Path, target: Path) -> Path:
    """Write the repository to `target`. Raises UserError if something else is there already."""
    chain = stages(root)
    if not chain:
        raise UserError("there is no stage to export yet")
    if target.exists() and any(target.iterdir()):
        config = target / ".git" / "config"
        if not config.exists() or MARK.split(".")[0] not in config.read_text(encoding="utf-8"):
            raise UserError(
                f"--out {target}: not empty and not an export of this command; name another folder"
            )
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)
    git(target, "init", "-q", "-b", "main")
    git(target, "config", MARK, "true")
    subprocess.run(
        ["git", "-C", str(target), "fast-import", "--quiet", "--done"], input=stream(chain), check=True
    )
    git(target, "checkout", "-q", "-f", "main")
    return target


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial history", description=HELP, allow_abbrev=False)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to (work/history)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    target = export(args.root, args.out or args.root / "work" / "history")
    print(f"{len(stages(args.root))} stages exported. Read them with: git -C {target} log -p --reverse")
    print(f"or jump: git -C {target} diff stage-01 stage-02")
    return 0
