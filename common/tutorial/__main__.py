"""`python -m common.tutorial COMMAND`: finds the command and leaves the work to its module.

A command is one line in COMMANDS. Its module has `main(argv) -> int | None` and is imported only when
it is asked for, so that `--help` and the light commands start without torch.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys

if sys.version_info < (3, 11):  # with VENV=none any interpreter may arrive here
    sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")

COMMANDS = {  # command: (module, one line of help)
    "run": ("common.tutorial.run", "NN: the stage's demo, its number, and what comes next"),
    "test": ("common.tutorial.testing", "[NN | all]: tests of a stage, of every change, or everything"),
    "bench": ("common.tutorial.launch", "[NN]: a stage's before/after measurement, or all of them"),
    "serve": ("common.tutorial.launch", "NN: the HTTP server of a stage"),
    "chat": ("common.tutorial.launch", "the newest stage that has a chat client"),
    "doctor": ("common.tutorial.doctor", "this machine: versions, bandwidth, GPU, a kernel, checkpoints"),
    "sanity": ("common.tutorial.sanity", "load each shipped model, compare eight greedy tokens"),
}
SHARED_MODULES = {"common.tutorial.launch"}  # these get the command's name as their first argument

# make VARIABLE= -> flag; the Makefile hands them over as VITRINE_<name>.
VALUES = ("MODEL", "DEVICE", "DTYPE", "FROM", "BASE", "STAGE", "TESTS")
SWITCHES = ("HTML", "TRACE")


def flags_from_make() -> list[str]:
    """The flags that `make ... MODEL=x ARGS='...'` stands for. Raises ValueError on open quotes in ARGS."""
    flags: list[str] = []
    for name in VALUES:
        if value := os.environ.get(f"VITRINE_{name}"):
            flags += [f"--{name.lower()}", value]
    for name in SWITCHES:
        if os.environ.get(f"VITRINE_{name}", "") not in ("", "0"):
            flags.append(f"--{name.lower()}")
    return flags + shlex.split(os.environ.get("VITRINE_ARGS", ""))


def usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m common.tutorial COMMAND [...]", "", *lines])


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] == "--from-make":
        try:
            argv = argv[1:] + flags_from_make()
        except ValueError as error:
            print(f"error: ARGS={os.environ['VITRINE_ARGS']}: {error}", file=sys.stderr)
            return 2
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        print(f"error: command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    name = COMMANDS[command][0]
    try:
        module = importlib.import_module(name)
        run = importlib.import_module("common.cli").run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("common", "stages"):
            raise
        print(f"error: package {error.name!r} is missing from {sys.executable}; "
              "pip install -c constraints.txt -e '.[test]'", file=sys.stderr)  # fmt: skip
        return 2
    return run(module.main, [command, *rest] if name in SHARED_MODULES else rest)


if __name__ == "__main__":
    sys.exit(main())
