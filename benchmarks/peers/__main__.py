"""Which peers can be used here, and whether they write the same tokens as we do."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.checkpoints import checkpoint
from common.loader import DTYPES, resolve_device, resolve_dtype
from common.terminal.command_line import add_model_flags, add_seed, choice, number, run, stage_parser

from . import PEERS, missing

DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python"}  # where a package's name is not its module's


def main(argv: Sequence[str] | None = None) -> int:
    examples = ["", "check", "check --model storyteller-llama --batch 8 --new 64", "check --only llama.cpp"]
    parser = stage_parser("python -m benchmarks.peers", "Other engines at the same work.", examples)
    parser.add_argument("action", nargs="?", type=choice("list", "check"), default="list", help="list, check")
    add_model_flags(parser)
    parser.add_argument("--batch", type=number(int, 1), default=4, metavar="N", help="prompts (%(default)s)")
    parser.add_argument("--prompt-len", type=number(int, 1), default=24, metavar="N", help="tokens of each")
    parser.add_argument(
        "--new", type=number(int, 1), default=32, metavar="N", help="new tokens (%(default)s)"
    )
    parser.add_argument("--only", type=choice(*PEERS), action="append", metavar="PEER", help="repeatable")
    add_seed(parser)
    args = parser.parse_args(argv)
    names = args.only or list(PEERS)
    if args.action == "list":
        for name in names:
            print(f"{name:24}{PEERS[name].about:42}{state(name)}")
        return 0
    from .checking import Reference, check_peer

    device = resolve_device(args.device)
    dtype = str(resolve_dtype(args.dtype, device)).removeprefix("torch.")
    folder: Path = checkpoint(args.model, dtype if dtype in DTYPES else "float32")
    reference = Reference(str(folder), str(device), dtype)
    prompts = reference.prompts(args.batch, args.prompt_len, args.seed)
    limits = [args.new] * args.batch
    mine = reference.complete(prompts, limits)
    lines = []
    for name in names:
        lines.append(check_peer(name, reference, folder, prompts, limits, mine))
        print(lines[-1], flush=True)
    reference.close()
    return int(any(line.startswith("differs") for line in lines))


def state(name: str) -> str:
    """A version, or what is missing."""
    if lacks := missing(name):
        return lacks
    package = PEERS[name].needs[0]
    try:
        return version(DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return "there"


if __name__ == "__main__":
    raise SystemExit(run(main))
