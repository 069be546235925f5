"""`python -m benchmarks.ladder.measure TASK ANSWER`: does one task in a process of its own, and writes the answer.

TASK and ANSWER are JSON files. A process for each measurement, so that peak memory and load time are that side's own.
What is measured is checked here, where the side is. Without an ANSWER something ended the process; the parent says so.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .task import Job, Setup, read_jobs

__all__ = ["answer", "rule_of"]

BEGIN = time.perf_counter()
PATIENCE = 300.0  # seconds that several requests, served one after another, may take
Make = Callable[[str, Setup], Any]  # opens a side


def make_side(name: str, setup: Setup) -> Any:
    """ "s08" is a stage, anything else a peer. Raises UserError."""
    if is_stage(name):
        from . import sides

        return sides.make(int(name[1:]), sides.load(setup.folder, setup.device, setup.dtype), setup.room)
    from benchmarks import peers

    return peers.make(name, Path(setup.folder), setup.device, setup.dtype)


def is_stage(name: str) -> bool:
    return name[:1] == "s" and name[1:].isdigit()


def answer(task: dict[str, Any], make: Make = make_side) -> dict[str, Any]:
    """What a task gave. Never raises for what a side did: `failed` or `wrong` says it in a line."""
    from common.errors import UserError

    setup = Setup.read(task["setup"])
    if setup.threads:
        import torch

        torch.set_num_threads(setup.threads)
    try:
        return {"machine": machine, "expect": expect, "measure": measure}[task["do"]](task, setup, make)
    except MemoryError as error:
        return {"failed": f"out of memory {error}".strip()}
    except UserError as error:
        return {"failed": str(error)}
    except AssertionError as error:
        return {"wrong": str(error)}
    except Exception as error:  # of whatever library: this side is out, the others are not
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]}


def machine(task: dict[str, Any], setup: Setup, make: Make) -> dict[str, Any]:
    """What this machine can do at best: bytes/s, operations/s, threads."""
    import torch

    from common.bench.bandwidth import matmul_rate, read_bandwidth

    bandwidth, rate = read_bandwidth(setup.device), matmul_rate(setup.device, getattr(torch, setup.dtype))
    return {"bandwidth": bandwidth, "rate": rate, "threads": torch.get_num_threads()}


def expect(task: dict[str, Any], setup: Setup, make: Make) -> dict[str, Any]:
    """The tokens that all sides must write, by the loop of an early stage."""
    side, jobs = make(task["side"], setup), read_jobs(task["jobs"])
    return {job.name: side.run(job.prompts[: job.checked], job.limits[: job.checked]).tokens for job in jobs}


def measure(task: dict[str, Any], setup: Setup, make: Make) -> dict[str, Any]:
    """Numbers of each job. Raises AssertionError for wrong tokens."""
    from common.equality import Tally

    from . import sides
    from .check import check
    from .numbers import of_run

    name, numbers, skipped = task["side"], dict[str, float](), dict[str, str]()
    base = before_weights(name, setup)
    side = make(name, setup)
    load, took, runs = time.perf_counter() - BEGIN, 0.0, []
    for job in read_jobs(task["jobs"]):
        job = job.at_most(getattr(side, "most", None))
        if why := left_out(side, job, took):
            skipped[job.name] = why
            continue
        warm_up(side, job)
        served = side.run(job.prompts, job.limits)
        took = served.total / len(job.prompts)
        numbers |= of_run(job, served)
        runs.append((job, served))
    numbers |= {"load_s": load} | memory(setup, base)
    tally, rule = Tally(), rule_of(name, setup)
    follow = setup.dtype != "float32"
    load_model = lambda: sides.load(setup.folder, setup.device, setup.dtype).model  # noqa: E731  only for a tie
    for job, served in runs:
        check(side, job, served, task["expected"][job.name], load_model, rule, tally, follow)
    wider = rule if not follow and rule != rule_of("", setup) else None
    return {
        "numbers": numbers, "skipped": skipped, "compared": tally.compared, "forgiven": tally.forgiven,
        "rule": f"near ties are {wider['tolerance']:g} wide and one in {wider['one_in']}" if wider else "",
        "version": side.version, "seconds": {job.name: served.total for job, served in runs},
    }  # fmt: skip


def left_out(side: Any, job: Job, took: float) -> str:
    """Why a job is not for this side; "": it is. took: seconds that one request took."""
    many = len(job.prompts)
    if many > 1 and getattr(side, "most", None):
        return "computes one token only"
    if not getattr(side, "together", True) and took * many > PATIENCE:
        return f"one after another would take {took * many / 60:.0f} minutes"
    return ""


def warm_up(side: Any, job: Job) -> None:
    """An untimed run of the same shapes, with other tokens, on an engine that remembers nothing."""
    if reset := getattr(side, "reset", None):
        reset()
    rows = len(job.prompts) if getattr(side, "together", True) else 1
    limits = [min(job.warm or limit, limit) for limit in job.limits]
    side.run(job.warm_prompts[:rows], limits[:rows])
    gc.collect()


def rule_of(name: str, setup: Setup) -> dict[str, Any]:
    """What is a near tie for this side, as arguments of `assert_same_tokens`."""
    from benchmarks import peers
    from common.equality import near_tie_rule
    from common.loader import load_config

    if name in peers.PEERS:
        return peers.rule(name, load_config(Path(setup.folder)), setup.dtype)
    return near_tie_rule(setup.dtype)


def before_weights(name: str, setup: Setup) -> int:
    """Imports what a stage needs -> bytes of the process by then; 0 for a peer, and on a GPU."""
    if not is_stage(name) or setup.device != "cpu":
        return 0
    from common.memory import peak_memory
    from common.tutorial.chain import load_stage

    load_stage(int(name[1:]))
    return peak_memory("cpu")


def memory(setup: Setup, base: int) -> dict[str, float]:
    """Bytes at the peak; on a GPU only where torch counts them, which for a library of its own it does not."""
    from common.memory import peak_memory

    from .machine import Shapes

    peak = float(peak_memory(setup.device))
    if setup.device.startswith("cuda"):
        return {"peak_bytes": peak} if peak >= Shapes.of(Path(setup.folder), setup.dtype).total_bytes else {}
    return {"peak_bytes": peak} | ({"base_bytes": float(base)} if base else {})


def main(task: str, into: str) -> None:
    text = json.dumps(answer(json.loads(Path(task).read_text(encoding="utf-8"))))
    part = Path(into).with_suffix(".part")  # an interrupted write must not look like an answer
    part.write_text(text, encoding="utf-8")
    os.replace(part, into)


if __name__ == "__main__":
    main(*sys.argv[1:])
