"""Splits a directive's text into its arguments and its ` | option value` parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError

from .parser import Directive


@dataclass(frozen=True, slots=True)
class Call:
    """`code 03 engine/kv_cache.py KVCache | fold append | nodoc`: head and options."""

    head: str
    options: dict[str, list[str]] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The last value given for an option."""
        return self.options[name][-1] if name in self.options else None

    def names(self, name: str) -> list[str]:
        """Values separated by commas or blanks, over every use of the option."""
        return " ".join(self.options.get(name, [])).replace(",", " ").split()

    def number(self, name: str, default: int) -> int:
        text = self.one(name)
        if text is None:
            return default
        if not text.isdigit():
            raise UserError(f"{name} {text!r} must be a whole number")
        return int(text)


def split(directive: Directive, known: tuple[str, ...]) -> Call:
    """Options are taken from the right, so that a command may hold pipes of its own."""
    parts = f" {directive.text}".split(" | ")
    options: dict[str, list[str]] = {}
    while len(parts) > 1:
        name, _, value = parts[-1].strip().partition(" ")
        if name not in known:
            if directive.name != "run":
                raise UserError(f"`{directive.name}` has no option {name!r}; there are {', '.join(known)}")
            break
        options.setdefault(name, []).insert(0, value.strip())
        parts.pop()
    return Call(" | ".join(parts).strip(), options)


def pick(lines: list[str], ranges: str | None) -> list[str]:
    """Lines by `1-20` or `1-3,8-`; what is left out between two ranges shows as `...`."""
    if ranges is None:
        return lines
    out: list[str] = []
    at = 0
    for text in ranges.replace(" ", "").split(","):
        first, dash, last = text.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise UserError(f"lines {ranges!r} must look like 1-20 or 1-3,8-")
        start, end = int(first), int(last) if last else (len(lines) if dash else int(first))
        if not 1 <= start <= end <= len(lines):
            raise UserError(f"lines {text} of {len(lines)} lines")
        if start > at + 1:
            out.append("...")
        out += lines[start - 1 : end]
        at = end
    return out + ["..."] * (at < len(lines))
