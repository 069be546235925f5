"""What each directive produces: the lines below it, or the text between it and its twin.

Each function is pure over files and recorded results, but for `run`, whose output is handed in. The
syntax, with options after ` | `:

    code PATH [SYMBOL ...] | fold NAMES | nodoc | lines 1-20     code 03 engine/kv_cache.py KVCache.append
    diff NN NN FILE [SYMBOL] | context 2                         diff 02 03 engine/generate.py
    run COMMAND | lines 1-20 | exit 2 | mask REGEX | timeout 60  run make stage-02
    result NAME MACHINE table KEY ... | heads A, B | format .1f  result s03 cpu table speedup_{tokens}
                              | rows static=static batches, ...  what readers call the rows, in their order
    stages | ladder | flags                                      README's generated tables
    commands | needs WHY                                         a hand-written sh block, run by a test
    illustrative                                                 hand-written, at most two in an article
    r NAME MACHINE EXPRESSION [FORMAT]                           r s03 cpu speedup_512 .1f
    minus NAME MACHINE KEY KEY [FORMAT]                          the first less the second
    ratio NAME MACHINE KEY KEY [FORMAT]                          the first over the second
    percent NAME MACHINE KEY KEY [FORMAT]                        by how many percent the first is over the second
    same NAME MACHINE KEY KEY                                    hand-written words about two numbers that their samples
                                                                 do not tell apart; the other three refuse such a pair
    calc EXPRESSION [FORMAT]                                     calc 2*6*6*64*4/1e3 .1f
    given SOURCE                                                 given H200 data sheet
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from common.bench.results import load_result
from common.errors import UserError
from common.tutorial.chain.claims import Lookup
from common.tutorial.chain.spread import Samples, no_difference

from . import commands, differences, source, values
from .options import Call, pick, split
from .parser import Directive
from .tables import result_table

OPTIONS: dict[str, tuple[str, ...]] = {
    "code": ("fold", "nodoc", "lines"),
    "diff": ("context",),
    "run": ("lines", "exit", "mask", "timeout"),
    "result": ("heads", "format", "rows"),
    "stages": (),
    "ladder": (),
    "flags": (),
    "commands": ("needs",),
    "illustrative": (),
}


Maker = Callable[[], list[str]]


@dataclass(slots=True)
class Context:
    """Where things are: the project, the document's folder, recorded results, finished runs."""

    root: Path
    folder: Path
    lookup: Lookup  # (name, machine, key) -> recorded value
    samples: Samples  # (name, machine, key) -> recorded samples
    outputs: dict[commands.Run, commands.Output] = field(default_factory=dict)
    tables: dict[str, Maker] = field(default_factory=dict)  # "stages", "flags": README's own tables

    def link(self, path: Path) -> str:
        """Relative link from the document, with forward slashes."""
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def locate(self, path: Path, *more: str) -> str:
        """The location line above a block."""
        shown = path.relative_to(self.root).as_posix()
        return " · ".join([f"[`{shown}`]({self.link(path)})", *more])


def block(directive: Directive, context: Context) -> list[str] | None:
    """The lines a block directive owns; None where a person writes them or the run was not made."""
    makers = {"code": _code, "diff": _diff, "run": _run, "result": _result}
    call = split(directive, OPTIONS[directive.name])
    if directive.name in context.tables:
        return context.tables[directive.name]()
    return makers[directive.name](call, context) if directive.name in makers else None


def inline(directive: Directive, context: Context) -> str | None:
    """The text an inline directive owns; None for `given` and `same`, whose text a person writes."""
    words = directive.text.split()
    if directive.name == "given":
        if not words:
            raise UserError("`given` needs a source: <!-- given H200 data sheet -->")
        return None
    if directive.name == "calc":
        if len(words) not in (1, 2):
            raise UserError("write calc EXPRESSION [FORMAT], the expression without blanks")
        return values.show(values.calculated(words[0], context.lookup), *words[1:])
    if directive.name in COMPARISONS:
        return _comparison(directive.name, words, context)
    if len(words) not in (3, 4):
        raise UserError("write r NAME MACHINE EXPRESSION [FORMAT], the expression without blanks")
    name, machine, expression, *spec = words
    return values.show(values.of_result(name, machine, expression, context.lookup), *spec)


COMPARISONS: dict[str, Callable[[float, float], float]] = {
    "minus": lambda a, b: a - b,
    "ratio": lambda a, b: a / b,
    "percent": lambda a, b: 100 * (a - b) / b,
    "same": lambda a, b: 0.0,
}


def _comparison(name: str, words: list[str], context: Context) -> str | None:
    """A number computed from two keys of one result, which are also what the page shows."""
    if len(words) not in (4, 5) or (name == "same" and len(words) == 5):
        form = "" if name == "same" else " [FORMAT]"
        raise UserError(f"write {name} NAME MACHINE KEY KEY{form}")
    result, machine, first, second, *spec = words
    expressions = [f"r({result!r}, {machine!r}, {key!r})" for key in (first, second)]
    equal = no_difference(expressions[0], expressions[1], context.lookup, context.samples)
    if equal and name != "same":
        raise UserError(
            f"{first} and {second} of {result} do not differ by more than their samples do: say so in words, "
            f"inside <!-- same {result} {machine} {first} {second} -->"
        )
    if name == "same":
        if not equal:
            raise UserError(f"{first} and {second} of {result} differ by more than their samples do")
        return None
    a, b = (context.lookup(result, machine, key) for key in (first, second))
    return values.show(COMPARISONS[name](a, b), *spec)


def wanted_run(directive: Directive) -> commands.Run:
    """The command of a `run` directive."""
    call = split(directive, OPTIONS["run"])
    if not call.head:
        raise UserError("write run COMMAND")
    return commands.Run(call.head, call.number("exit", 0), call.number("timeout", commands.TIME_LIMIT_S))


def _stage_path(context: Context, number: str, path: str) -> Path:
    folders = sorted((context.root / "stages").glob(f"s{number}_*"))
    if not folders:
        raise UserError(f"there is no stage {number}")
    return folders[0] / path


def _code(call: Call, context: Context) -> list[str]:
    words = call.head.split()
    if not words:
        raise UserError("write code PATH [SYMBOL ...]")
    if len(words) > 1 and len(words[0]) == 2 and words[0].isdigit():
        path, symbols = _stage_path(context, words[0], words[1]), words[2:]
    else:
        path, symbols = context.root / words[0], words[1:]
    if not path.is_file():
        raise UserError(f"there is no file {path.relative_to(context.root)}")
    lines = source.quote(path, symbols, call.names("fold"), "nodoc" in call.options)
    lines = pick(lines, call.one("lines"))
    shown = [f"`{', '.join(symbols)}`"] if symbols else []
    languages = {
        ".py": "python",
        ".toml": "toml",
        ".sh": "sh",
        ".json": "json",
        ".cu": "cuda",
        ".html": "html",
    }
    language = languages.get(path.suffix, "text")
    return [context.locate(path, *shown), "", *fenced(lines, language)]


def _diff(call: Call, context: Context) -> list[str]:
    words = call.head.split()
    if len(words) not in (3, 4):
        raise UserError("write diff NN NN FILE [SYMBOL]")
    old, new = (_stage_path(context, number, words[2]) for number in words[:2])
    if not old.exists() and not new.exists():
        raise UserError(f"neither stage {words[0]} nor {words[1]} has {words[2]}")
    before, after = (differences.side(path, words[3:]) for path in (old, new))
    if before == after:
        raise UserError(f"{' '.join(words[2:])} does not differ between {words[0]} and {words[1]}")
    lines = differences.unified(before, after, call.number("context", 3))
    shown = [f"`{words[3]}`"] if words[3:] else []
    where = context.locate(new if new.exists() else old, *shown, f"stage {words[0]} → {words[1]}")
    return [where, "", *fenced(lines, "diff")]


def _run(call: Call, context: Context) -> list[str] | None:
    exit_code, timeout = call.number("exit", 0), call.number("timeout", commands.TIME_LIMIT_S)
    output = context.outputs.get(commands.Run(call.head, exit_code, timeout))
    if output is None:
        return None
    if output.error:
        raise UserError(output.error)
    lines = commands.clean("\n".join(output.lines), context.root, tuple(call.options.get("mask", [])))
    return fenced([f"$ {call.head}", *pick(lines, call.one("lines"))], "console")


def _result(call: Call, context: Context) -> list[str]:
    words = call.head.split()
    if len(words) < 4 or words[2] != "table":
        raise UserError("write result NAME MACHINE table KEY ...")
    folder = context.root / "benchmarks" / "results" / words[1]
    result = load_result(words[0], words[1], folder)
    heads = [head.strip() for head in (call.one("heads") or "").split(",") if head.strip()]
    names = [part.split("=", 1) for part in (call.one("rows") or "").split(",") if part.strip()]
    if wrong := ["=".join(pair) for pair in names if len(pair) != 2]:
        raise UserError(f"rows {wrong[0].strip()!r} must look like key=what readers call it")
    rows = {key.strip(): name.strip() for key, name in names}
    lines = result_table(result, words[3:], heads, (call.one("format") or "").split(), rows)
    machine = result.get("machine", {})
    hardware = machine.get("gpu") or machine.get("cpu") or words[1]
    return [context.locate(folder / f"{words[0]}.json", str(hardware)), "", *lines]


def fenced(lines: list[str], language: str) -> list[str]:
    """A fence that the lines themselves cannot close."""
    ticks = "```"
    while any(line.lstrip().startswith(ticks) for line in lines):
        ticks += "`"
    return [f"{ticks}{language}", *lines, ticks]
