"""The harness of every stage's bench.py: flags, the short run, the result file, its table and its figure.

A stage says what it measures and nothing else:

    BENCH = Bench(__package__, "Time per token with and without a cache.", repeats=5)

    def measure(run: Run) -> None:
        result = run.result("64 tokens equal", model.device, model.dtype, prompt_tokens=16)
        result.add_times("with_cache", seconds, "ms")
        run.save(result)

    def main(argv: Sequence[str] | None = None) -> int:
        return BENCH.main(measure, argv)

Outputs that differ are an AssertionError from `measure`: then nothing is recorded, and the status is 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.bench.machine import machine_folder
from common.bench.results import Result, refuse_quick
from common.terminal.command_line import (
    DEFAULT_MODEL,
    add_bench_flags,
    add_model_flags,
    add_seed,
    number,
    stage_parser,
)
from common.terminal.console import note, table, warn

if TYPE_CHECKING:
    import torch

__all__ = ["Bench", "Run", "show_table", "slug", "typed"]

# Flags that do not change what is measured, and whether a value follows.
_NOT_WORK = {"--results": True, "--commit": True, "--figure": False, "--fresh": False}


@dataclass(frozen=True, slots=True)
class Bench:
    """What a stage's benchmark is. package: the stage's `__package__`. about: what is measured, for --help."""

    package: str
    about: str
    repeats: int
    quick_repeats: int = 1
    model: str = DEFAULT_MODEL
    seed: int | None = None  # the default of --seed; None: there is no such flag

    @property
    def stage(self) -> int:
        found = re.search(r"\.s(\d\d)_\w+$", f".{self.package}")
        return int(found[1]) if found else 0

    @property
    def has_figure(self) -> bool:
        return importlib.util.find_spec(f"{self.package}.lesson.figure") is not None

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        examples = ["", "--quick", *(["--figure"] if self.has_figure else [])]
        parser = stage_parser(f"python -m {self.package}.bench", self.about, examples)
        add_model_flags(parser, self.model)
        add_bench_flags(parser, self.repeats)
        if self.seed is not None:
            add_seed(parser, self.seed)
        parser.add_argument("--threads", type=number(int, 1), metavar="N", help="of torch (as torch chooses)")
        parser.add_argument(
            "--quick", action="store_true", help="a short run, recorded only where --results says"
        )
        if self.has_figure:
            parser.add_argument(
                "--figure", action="store_true", help="measure nothing, draw the recorded result again"
            )
        return parser.parse_args(argv)

    def main(self, measure: Callable[[Run], None], argv: Sequence[str] | None = None) -> int:
        """Parse, measure, record; the exit status. Raises UserError for bad input, before anything is measured."""
        given = list(sys.argv[1:] if argv is None else argv)
        args = self.parse(given)
        run = Run(self, args, given)
        if getattr(args, "figure", False):
            run.draw(run.name)
            return 0
        if args.quick and args.results is not None:
            refuse_quick(args.results)
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)
        try:
            measure(run)
        except AssertionError as error:
            warn(f"the outputs differ, so nothing is recorded: {error}")
            return 1
        return 0


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a benchmark: its flags, and what follows from them."""

    bench: Bench
    args: argparse.Namespace
    argv: list[str]

    @property
    def quick(self) -> bool:
        return bool(self.args.quick)

    @property
    def repeats(self) -> int:
        return self.bench.quick_repeats if self.quick else int(self.args.repeats)

    @property
    def name(self) -> str:
        """Of the result file: "s03", or with another model than the default "s03-gpt2-124m"."""
        return self.name_for("" if self.args.model == self.bench.model else self.args.model)

    def name_for(self, model: str) -> str:
        short = f"s{self.bench.stage:02d}"
        return f"{short}-{slug(Path(model).name)}" if model else short

    @property
    def command(self) -> str:
        """What was typed, with every flag that decides what is measured."""
        return typed(f"python -m {self.bench.package}.bench", self.argv)

    def result(
        self,
        checked: str,
        device: str | torch.device,
        dtype: torch.dtype,
        *,
        name: str | None = None,
        seed: int | None = None,
        **workload: object,
    ) -> Result:
        """An empty result. checked: what was found equal before the clock ran. workload: what was measured."""
        import torch

        about = {"model": self.args.model, "dtype": str(dtype).removeprefix("torch."), **workload,
                 "repeats": self.repeats, "threads": torch.get_num_threads()}  # fmt: skip
        seed = getattr(self.args, "seed", None) if seed is None else seed
        name = name or self.name
        return Result(
            name, self.bench.stage, self.command, about, seed, checked, str(device), quick=self.quick
        )

    def save(self, result: Result) -> None:
        """Write the result and, on a CPU, the figure that shows it. A short run is written only where --results says."""
        folder = self.args.results
        if self.quick and folder is None:
            return
        note(f"recorded in {result.save(folder)}")
        if folder is None and self.bench.has_figure and machine_folder(result.device) == "cpu":
            self.draw(result.name)

    def draw(self, name: str) -> None:
        # A module of its own, imported late: it needs matplotlib, which a GPU box may lack.
        for path in importlib.import_module(f"{self.bench.package}.lesson.figure").draw(name):
            note(f"drawn in {path}")


def typed(program: str, argv: Sequence[str]) -> str:
    """The command that measures the same again: what was typed, less where the result goes."""
    flags, words = list[str](), iter(argv)
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag not in _NOT_WORK:
            flags.append(word)
        elif _NOT_WORK[flag] and not equals:
            next(words, None)
    return " ".join(filter(None, (program, shlex.join(flags))))


def slug(name: str) -> str:
    """ "Qwen/Qwen3-0.6B" -> "qwen-qwen3-0-6b", as in the names of result files."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def show_table(
    result: Result,
    first: str,
    rows: Mapping[str, str] | Iterable[object],
    columns: Mapping[str, tuple[str, str]],
) -> None:
    """A table of recorded values; "-" where one was not recorded.

    first: the heading of the rows' names. rows: the names, or a name -> what is shown for it.
    columns: heading -> (key with {} for the row's name, format of its value), such as ("step_ms_{}", "{:.1f} ms").
    """
    names = rows if isinstance(rows, Mapping) else {str(row): row for row in rows}
    cells = [
        [shown, *(_cell(result, key.format(name), form) for key, form in columns.values())]
        for name, shown in names.items()
    ]
    table(None, [first, *columns], cells)


def _cell(result: Result, key: str, form: str) -> str:
    return form.format(result[key]) if key.partition(".")[0] in result.values else "-"
