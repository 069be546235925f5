"""Commands as they are typed: broken into lines that fit a narrow terminal and still paste into a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["command_lines", "curl_lines", "json_body"]

WIDTH, CONTINUED = 80, " \\\n  "


def command_lines(words: Sequence[str]) -> str:
    """A command with its flags, broken before a flag that would not fit on the line with its value."""
    lines = [""]
    for word, after in zip(words, [*words[1:], ""], strict=True):
        value = "" if after.startswith("--") else after
        if word.startswith("--") and len(lines[-1]) + len(word) + len(value) + 6 > WIDTH:
            lines.append("")
        lines[-1] += f" {shlex.quote(word)}" if lines[-1] else shlex.quote(word)
    return CONTINUED.join(lines)


def curl_lines(words: Sequence[str]) -> str:
    """A curl command: each header and the body on its own line, and so is a URL that is too long to follow."""
    starts = [0, *(i for i, word in enumerate(words) if word in ("-H", "-d")), len(words)]
    parts = [shlex.join(words[a:b]) for a, b in pairwise(starts)]
    if len(parts[0]) + len("$  \\") > WIDTH:
        before, url, after = parts[0].partition(" http")
        parts[:1] = [before, f"http{after}"] if url else parts[:1]
    return CONTINUED.join(parts)


def json_body(body: Mapping[str, Any]) -> str:
    """JSON with a line break before a field that would not fit on the line of a typed command."""
    indent = len("  -d '{")
    lines = [""]
    for name, value in body.items():
        field = f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        if lines[-1] and indent + len(lines[-1]) + len(field) + 3 > WIDTH:
            lines.append("")
        lines[-1] += f", {field}" if lines[-1] else field
    return "{" + f",\n{' ' * indent}".join(lines) + "}"
