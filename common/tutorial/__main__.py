"""`python -m common.tutorial COMMAND`: finds the command and leaves the work to its module.

A command is one line in COMMANDS. Its module has `main(argv) -> int | None` and is imported only when
it is asked for, so that `--help` and the light commands start without torch.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import MutableMapping

COMMANDS = {  # command: (module, one line of help)
    "run": ("common.tutorial.learner.run", "NN: the stage's demo, its number, and what comes next"),
    "test": (
        "common.tutorial.learner.testing",
        "[NN | all]: tests of a stage, of every change, or everything",
    ),
    "bench": (
        "common.tutorial.learner.launch",
        "all stages and peers side by side; NN: a stage's before/after; all: each of those",
    ),
    "serve": ("common.tutorial.learner.launch", "NN: the HTTP server of a stage"),
    "chat": ("common.tutorial.learner.launch", "the newest stage that has a chat client"),
    "diff": (
        "common.tutorial.learner.diff",
        "NN: the lesson as a diff in reading order; --html, --from, --mine, --trace",
    ),
    "try": (
        "common.tutorial.learner.trycheck",
        "NN: set up your own attempt at a stage in work/; --hint, --reset",
    ),
    "check": ("common.tutorial.learner.check", "NN: run the stage's promises on your attempt; --only"),
    "trace": (
        "common.tutorial.learner.trace",
        "NN: the worked example, step by step; --write records all of them again",
    ),
    "article": ("common.tutorial.texts.articles.render", "NN: the article in the terminal; --page"),
    "articles": ("common.tutorial.texts.fill", "fill every block and number; --check, --fast"),
    "readme": (
        "common.tutorial.texts.readme",
        "fill README's tables; --commands lists what it tells to type",
    ),
    "figures": ("common.tutorial.texts.figures", "draw articles/figures/*.toml as SVG; --check"),
    "predict": ("common.tutorial.learner.predict", "NN: the stage's questions, asked and scored"),
    "doctor": (
        "common.tutorial.learner.doctor",
        "this machine: versions, bandwidth, GPU, a kernel, checkpoints",
    ),
    "sanity": ("common.tutorial.learner.sanity", "load each shipped model, compare eight greedy tokens"),
    "verify": ("common.tutorial.chain.verify", "maintainers: check the whole chain in a few seconds"),
    "relock": ("common.tutorial.chain.locks", "maintainers: --stage NN: accept that lesson's new diff"),
    "propagate": (
        "common.tutorial.chain.propagate",
        "maintainers: --from NN: carry a fix forward through the chain",
    ),
    "mutate": (
        "common.tutorial.chain.mutate",
        "maintainers: NN: plant small faults, count those that the stage's tests notice",
    ),
    "new-stage": (
        "common.tutorial.chain.newstage",
        "maintainers: SLUG: the next stage as a copy of the last",
    ),
    "history": ("common.tutorial.chain.history", "the chain as a linear git repository with tags"),
}
SHARED_MODULES = {"common.tutorial.learner.launch"}  # these get the command's name as their first argument

# make VARIABLE= -> flag; the Makefile hands them over as FROM_MAKE_<name>.
VALUES = ("MODEL", "DEVICE", "DTYPE", "FROM", "BASE", "STAGE", "TESTS", "FILE", "RELOCK", "ONLY")
SWITCHES = ("HTML", "TRACE", "MINE", "HINT", "RESET", "CONTINUE", "QUICK")


def flags_from_make(environ: MutableMapping[str, str]) -> list[str]:
    """The flags that `make ... MODEL=x ARGS='...'` stands for, taken out of `environ`.

    Raises ValueError, with ARGS in its text, for a quote in ARGS that is not closed.
    """
    given = {name: environ.pop(f"FROM_MAKE_{name}", "") for name in (*VALUES, *SWITCHES, "ARGS")}
    flags: list[str] = []
    for name in VALUES:
        if given[name]:
            flags += [f"--{name.lower()}", given[name]]
    flags += [f"--{name.lower()}" for name in SWITCHES if given[name] not in ("", "0")]
    try:
        return flags + shlex.split(given["ARGS"])
    except ValueError as error:
        raise ValueError(f"ARGS={given['ARGS']}: {error}") from None


def usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m common.tutorial COMMAND [...]", "", *lines])


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] == "--from-make":
        try:
            argv = argv[1:] + flags_from_make(os.environ)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        print(f"error: unknown command {command!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    name = COMMANDS[command][0]
    try:
        module = importlib.import_module(name)
        run = importlib.import_module("common.terminal.command_line").run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("common", "stages"):
            raise
        how = "make setup creates .venv; or pip install -c constraints.txt -e '.[test]'"
        print(f"error: package {error.name!r} is missing from {sys.executable}: {how}", file=sys.stderr)
        return 2
    return run(module.main, [command, *rest] if name in SHARED_MODULES else rest)


if __name__ == "__main__":
    sys.exit(main())
