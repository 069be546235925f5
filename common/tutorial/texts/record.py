"""Terminal recordings as SVG for README and articles: a command is run, and what it prints becomes a picture.

    kind = "terminal"                    in articles/figures/NAME.toml, drawn by `python -m common.tutorial figures`
    title = "what the picture shows, for those who cannot see it"
    command = "make stage-02"
    lines = "2-24"                       which lines of the output; all without
    width = 88                           columns

Times stay as they were when it was recorded. A later run that differs in nothing but what `commands.CHANGING`
names is the same picture, so recording again changes no file.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from common.errors import UserError
from common.tutorial.texts.articles import commands
from common.tutorial.texts.articles.options import pick

WIDTH, TIME_LIMIT_S = 88, 180
_KNOWN = {"kind", "title", "command", "lines", "width"}
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Readable on GitHub's light and dark pages; the contrast of every colour with the background is above 4.5.
THEME = TerminalTheme(
    (24, 28, 36), (214, 219, 228),
    [(40, 44, 52), (240, 128, 128), (143, 206, 127), (226, 192, 110), (110, 170, 245), (205, 146, 230), (86, 200, 210),
     (214, 219, 228)],
    [(139, 147, 161), (255, 150, 150), (170, 225, 150), (245, 215, 140), (140, 190, 255), (225, 170, 245),
     (120, 220, 228), (255, 255, 255)],
)  # fmt: skip

# rich's own template loads its font from a server; a picture in a repository must not.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>TITLE</title>
<style>
.{unique_id}-matrix, .{unique_id}-title {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(name: str, spec: dict[str, Any], root: Path) -> str:
    """Run the command and draw what it printed. Raises UserError naming the field, or the command that failed."""
    shown = _chosen(spec, _run(spec, root))
    width = int(spec.get("width", WIDTH))
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor",
                      legacy_windows=False, highlight=False)  # fmt: skip
    console.print(Text(f"$ {spec['command']}", style="bold"))
    for line in shown:
        console.print(Text.from_ansi(line))
    template = _SVG.replace("TITLE", html.escape(spec["title"]).replace("{", "{{").replace("}", "}}"))
    svg = console.export_svg(
        title=spec["command"], theme=THEME, code_format=template, unique_id=f"rec-{name}"
    )
    text = "\n".join(line.rstrip() for line in svg.rstrip("\n").split("\n"))
    return f"{text}\n<!-- recorded from {_hash(spec)} {_hash(_plain(shown, root))} -->\n"


def is_current(drawn: str, spec: dict[str, Any], root: Path, run: bool) -> bool:
    """Whether the picture belongs to `spec` and, with `run`, whether the command still prints that."""
    found = re.search(r"<!-- recorded from (\w+) (\w+) -->", drawn)
    if found is None or found[1] != _hash(spec):
        return False
    return not run or found[2] == _hash(_plain(_chosen(spec, _run(spec, root)), root))


def _run(spec: dict[str, Any], root: Path) -> list[str]:
    if unknown := set(spec) - _KNOWN:
        raise UserError(f"a recording has no {sorted(unknown)[0]!r}; it has {', '.join(sorted(_KNOWN))}")
    environment = {k: v for k, v in commands.environment().items() if k != "NO_COLOR"}
    environment |= {"COLUMNS": str(spec.get("width", WIDTH)), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    try:
        done = subprocess.run(["bash", "-c", spec["command"]], cwd=root, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIME_LIMIT_S)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"command `{spec['command']}` did not end within {TIME_LIMIT_S} s") from None
    lines = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    if done.returncode != 0:
        last = _ESCAPE.sub("", lines[-1])
        raise UserError(f"command `{spec['command']}` ended with {done.returncode}: {last}")
    return [line.split("\r")[-1] for line in lines if not re.match(r"make(\[\d+\])?: (Enter|Leav)ing", line)]


def _chosen(spec: dict[str, Any], lines: list[str]) -> list[str]:
    home = os.path.expanduser("~")
    return [line.replace(home, "~") for line in pick(lines, spec.get("lines"))]


def _plain(lines: list[str], root: Path) -> list[str]:
    """The words alone: no colours, nothing that changes from run to run, no spacing."""
    return commands.canonical(commands.clean("\n".join(lines), root))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
