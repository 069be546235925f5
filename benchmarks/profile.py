"""Where a step spends its time: kernel by kernel, for any stage and any model, with a trace to look at.

The same steps run twice: without the profiler, for what they take, and under it, for what they consist of. The parts are
in `benchmarks.profiling`.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from common.bench.measure import Result, decode_bytes, now, read_bandwidth
from common.terminal.command_line import add_model_flags, add_seed, number, run, split_options, stage_parser
from common.terminal.console import heading, note, write

from .profiling.drive import Crowd, Loaded, check, load, prompts_of, start
from .profiling.kernels import read_trace
from .profiling.report import Profile, record_values, show

PROG = "python -m benchmarks.profile"
DESCRIPTION = """Profile the steps of a stage: how many kernels, how long each, and how long none runs.

Writes a trace for Perfetto or chrome://tracing, and prints a table and a summary. What follows -- goes to the engine."""
EXAMPLES = [
    "--stage 08",
    "--stage 03 --prefill --prompt-tokens 512",
    "--stage 08 --model gpt2-xl --device cuda --batch 16 --steps 20 --out traces",
    "--stage 08 --threads 1 --record -- --batching-mode static",
]
FOLDER = Path(__file__).parent / "traces"
WARM = 4  # steps before anything is timed; their tokens are checked


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, options = split_options(argv)
    parser = stage_parser(PROG, DESCRIPTION, EXAMPLES)
    whole = number(int, 1)
    parser.add_argument("--stage", default="08", metavar="NN", help="02 or later (%(default)s)")
    add_model_flags(parser)
    parser.add_argument("--batch", type=whole, default=16, metavar="N", help="prompts at once (%(default)s)")
    parser.add_argument(
        "--prompt-tokens", type=whole, default=64, metavar="N", help="of each prompt (%(default)s)"
    )
    parser.add_argument(
        "--steps", type=whole, default=20, metavar="N", help="that are profiled (%(default)s)"
    )
    parser.add_argument("--prefill", action="store_true", help="profile reading the prompts, not decoding")
    parser.add_argument("--threads", type=whole, metavar="N", help="of torch (as torch finds best)")
    parser.add_argument("--top", type=whole, default=15, metavar="N", help="kernels to list (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=FOLDER, metavar="FOLDER", help="where the trace goes (benchmarks/traces)"
    )
    parser.add_argument("--record", action="store_true", help="write a result file to benchmarks/results")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="write a result file to this folder")
    add_seed(parser, 42)
    return parser.parse_args(own), options


def main(argv: Sequence[str] | None = None) -> int:
    args, options = parse(sys.argv[1:] if argv is None else argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    # No request ends with the last step that is looked at: that one would have more to do.
    new = 1 if args.prefill else 1 + WARM + 2 * (args.steps + 1)
    loaded = load(
        args.stage, args.model, args.device, args.dtype, args.batch, args.prompt_tokens, new, options
    )
    name = name_of(args, loaded)
    unit = "prefill" if args.prefill else "decode step"
    heading(
        f"Stage {loaded.number:02d}, {args.model} on {loaded.device}: {args.steps} x a {unit} of {loaded.rows}"
    )
    if loaded.rows < args.batch:
        note(f"This stage runs {loaded.rows} at once, so that is the batch.")
    path = args.out / f"{name}.json.gz"
    args.out.mkdir(parents=True, exist_ok=True)
    checked, found = (measure_prefill if args.prefill else measure_decode)(args, loaded, new, path)
    show(found, args.top, unit)
    note(f"{checked}.")
    write(f"trace: {path}\n")
    note("Open it at https://ui.perfetto.dev (it stays in your browser), or in Chrome at chrome://tracing.")
    if args.record or args.results:
        write(f"saved {record(args, options, loaded, checked, found, name).save(args.results)}\n")
    return 0


def name_of(args: argparse.Namespace, loaded: Loaded) -> str:
    model = re.sub(r"[^a-z0-9]+", "-", Path(args.model).name.lower()).strip("-")
    return f"profile_s{loaded.number:02d}_{model}" + ("_prefill" if args.prefill else "")


def measure_decode(args: argparse.Namespace, loaded: Loaded, new: int, path: Path) -> tuple[str, Profile]:
    crowd = start(loaded, prompts_of(loaded, args.prompt_tokens, random.Random(args.seed)), new)
    crowd.prefill()
    for _ in range(WARM):
        crowd.step()
    checked = check(loaded, crowd)
    context = round(mean_length(crowd) + args.steps / 2)
    plain, tokens = timed(crowd.step, args.steps, loaded.device)
    profiled, more = traced(crowd.step, args.steps, loaded.device, path)
    size = decode_bytes(loaded.model, context, loaded.rows)
    bandwidth = read_bandwidth(loaded.device)
    layers = len(loaded.model.layers_info)
    return checked, Profile(
        read_trace(path), args.steps, layers, plain, profiled, tokens, more, size, bandwidth
    )


def mean_length(crowd: Crowd) -> float:
    lengths = [len(p) + len(t) for p, t in zip(crowd.prompts, crowd.tokens, strict=True)]
    return sum(lengths) / len(lengths)


def measure_prefill(args: argparse.Namespace, loaded: Loaded, new: int, path: Path) -> tuple[str, Profile]:
    draw = random.Random(args.seed)
    # Made before the clock runs: a warm-up, the steps, and one more under the profiler.
    waiting = [prompts_of(loaded, args.prompt_tokens, draw) for _ in range(2 * args.steps + 2)]

    def read() -> int:
        crowd = start(loaded, waiting.pop(), new)
        crowd.prefill()
        return sum(map(len, crowd.prompts))

    first = start(loaded, waiting.pop(), new)
    first.prefill()
    checked = check(loaded, first)
    plain, tokens = timed(read, args.steps, loaded.device)
    profiled, more = traced(read, args.steps, loaded.device, path)
    layers = len(loaded.model.layers_info)
    return checked, Profile(read_trace(path), args.steps, layers, plain, profiled, tokens, more)


def timed(work: Callable[[], int], steps: int, device: torch.device) -> tuple[float, int]:
    """Seconds and tokens of all steps. The clock waits for the device at both ends only: a step may run ahead."""
    begin = now(device)
    tokens = sum(work() for _ in range(steps))
    return now(device) - begin, tokens


def traced(work: Callable[[], int], steps: int, device: torch.device, path: Path) -> tuple[float, int]:
    """The same under the profiler, whose own start is hidden in one step more. Writes the trace."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    tokens = 0
    with (
        without_chatter(),
        profile(activities=activities, schedule=schedule(wait=0, warmup=1, active=steps)) as profiler,
    ):
        work()
        now(device)
        profiler.step()
        begin = now(device)
        for step in range(steps):
            tokens += work()
            if step + 1 < steps:
                profiler.step()
        seconds = now(device) - begin
    profiler.export_chrome_trace(str(path))
    return seconds, tokens


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps the profiler's own log lines, which come from C++, off the terminal; whatever else is said there stays."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines():
                if not line.startswith("USDT:"):
                    sys.stderr.write(line + "\n")


def record(
    args: argparse.Namespace, options: Sequence[str], loaded: Loaded, checked: str, found: Profile, name: str
) -> Result:
    flags = {"stage": f"{loaded.number:02d}", "model": args.model, "device": args.device, "dtype": args.dtype}
    flags |= {
        name: getattr(args, name.replace("-", "_")) for name in ("batch", "prompt-tokens", "steps", "seed")
    }
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    words += ["--prefill"] * args.prefill + (["--threads", str(args.threads)] if args.threads else [])
    words += ["--record", *(["--", *options] if options else [])]
    workload = {
        "model": Path(args.model).name, "dtype": str(loaded.dtype).removeprefix("torch."), "batch": loaded.rows,
        "prompt_tokens": args.prompt_tokens, "steps": args.steps, "what": "prefill" if args.prefill else "decode",
        "threads": torch.get_num_threads(), "options": shlex.join(options),
    }  # fmt: skip
    command = f"{PROG} {shlex.join(words)}"
    result = Result(name, loaded.number, command, workload, args.seed, checked, str(loaded.device))
    record_values(result, found)
    return result


if __name__ == "__main__":
    sys.exit(run(main))
