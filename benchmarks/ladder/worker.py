"""`python -m benchmarks.ladder.worker`: reads a task a line, does it, answers with a line of JSON.

On a CPU the parent starts one for each side, so that peak memory and load time are that side's own; on a GPU one does
all, keeps sides open between rounds and shares our model. What is measured is checked here, where the side is.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .task import Job, Setup, read_jobs

__all__ = ["Bench", "main"]

PATIENCE = 300.0  # seconds that a crowd served one after another may take
AGAIN = 4  # tokens of an untimed run in later rounds
KEPT_FREE = 0.5  # share of a GPU's memory that must be free for a side to stay open


@dataclass(slots=True)
class Opened:
    """A side that is ready."""

    side: Any
    load: float  # seconds
    before: int  # bytes that were not its own when it was made; -1: its footprint has been told
    base: int  # bytes of the process before there were weights; on a GPU 0
    warmed: set[str] = field(default_factory=set)  # jobs that need no untimed run any more


class Bench:
    """Does tasks. `make(name, setup)` opens a side; tests hand in their own."""

    def __init__(self, make: Callable[[str, Setup], Any] | None = None):
        self.make = make or make_side
        self.open: dict[str, Opened] = {}

    def do(self, task: dict[str, Any]) -> dict[str, Any]:
        """The answer to a task. Never raises for what a side did: `failed` or `wrong` says it in a line."""
        from common.errors import UserError

        setup = Setup.read(task["setup"])
        try:
            use_threads(setup.threads)
            if task["do"] == "machine":
                return machine(setup)
            if task["do"] == "expect":
                return self.expect(task["stage"], setup, read_jobs(task["jobs"]))
            return self.measure(task["side"], setup, read_jobs(task["jobs"]), task["expected"])
        except MemoryError as error:
            return {"failed": f"out of memory {error}".strip()}
        except UserError as error:
            return {"failed": str(error)}
        except Exception as error:  # of whatever library: this side is out, the others are not
            traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]}
        finally:
            if task["do"] == "measure" and not (task.get("stay", True) and self._may_stay(setup)):
                self.close(task["side"])

    def expect(self, stage: int, setup: Setup, jobs: Sequence[Job]) -> dict[str, Any]:
        """The tokens that all sides must meet, by the loop of an early stage."""
        side = self.make(f"s{stage:02d}", setup)
        found = {
            job.name: side.run(job.prompts[: job.checked], job.limits[: job.checked]).tokens for job in jobs
        }
        return {"expected": found}

    def measure(
        self, name: str, setup: Setup, jobs: Sequence[Job], expected: dict[str, Any]
    ) -> dict[str, Any]:
        from common.equality import Tally

        from .check import Scores, check
        from .numbers import of_run

        opened = self._opened(name, setup)
        side, took = opened.side, 0.0
        numbers: dict[str, float] = {}
        skipped: dict[str, str] = {}
        runs: list[tuple[Job, Any]] = []
        for job in jobs:
            if side_most := getattr(side, "most", None):
                job = job.cut(side_most)
            if why := self._left_out(side, job, took):
                skipped[job.name] = why
                continue
            self._warm(opened, job, setup)
            gc.collect()
            served = side.run(job.prompts, job.limits)
            took = served.total / len(job.prompts)
            numbers |= of_run(job, served)
            runs.append((job, served))
        numbers |= self._footprint(opened, setup)
        tally, rule = Tally(), rule_of(name, setup)
        scores = Scores(lambda: shared_model(setup))
        for job, served in runs:
            try:
                check(side, job.prompts, served, expected[job.name], scores, rule, tally)
            except AssertionError as error:
                return {"wrong": f"{job.name}, {error}"}
        return {
            "numbers": numbers,
            "skipped": skipped,
            "compared": tally.compared,
            "forgiven": tally.forgiven,
            "rule": f"near ties are {rule['tolerance']:g} wide and one in {rule['one_in']}"
            if rule != rule_of("", setup)
            else "",
            "version": side.version,
            "seconds": {job.name: served.total for job, served in runs},
        }

    def close(self, name: str) -> None:
        opened = self.open.pop(name, None)
        if opened:
            opened.side.close()
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.empty_cache()

    def _opened(self, name: str, setup: Setup) -> Opened:
        if name not in self.open:
            begin = time.perf_counter()
            shared = shared_seconds() if is_stage(name) else 0.0
            base = prepare(name, setup)
            before = _reset_peak(setup, own=shared > 0)
            side = self.make(name, setup)
            self.open[name] = Opened(side, time.perf_counter() - begin + shared, before, base)
        return self.open[name]

    def _left_out(self, side: Any, job: Job, took: float) -> str:
        """Why a job is not for this side; "": it is."""
        many = len(job.prompts)
        if many > 1 and getattr(side, "most", None):
            return "computes one token only"
        if not getattr(side, "together", True) and took * many > PATIENCE:
            return f"one after another would take {took * many / 60:.0f} minutes"
        return ""

    def _warm(self, opened: Opened, job: Job, setup: Setup) -> None:
        """An untimed run of the same shapes; of a few tokens where an earlier round has seen to the rest."""
        again, reset = job.name in opened.warmed, getattr(opened.side, "reset", None)
        if reset:
            reset()
        elif again:
            return
        most = AGAIN if again else job.warm
        limits = [min(most or limit, limit) for limit in job.limits]
        rows = len(job.prompts) if getattr(opened.side, "together", True) else 1
        opened.side.run(job.warm_prompts[:rows], limits[:rows])
        opened.warmed.add(job.name)

    def _footprint(self, opened: Opened, setup: Setup) -> dict[str, float]:
        """Load time and peak memory, once for each time that the side was opened."""
        from common.memory import peak_memory

        if opened.before < 0:
            return {}
        made = {"load_s": opened.load, "peak_bytes": float(peak_memory(setup.device) - opened.before)}
        if setup.device.startswith("cuda") and made["peak_bytes"] < setup_bytes(setup):
            del made["peak_bytes"]  # memory that torch does not count
        elif opened.base:
            made["base_bytes"] = float(opened.base)
        opened.before = -1
        return made

    def _may_stay(self, setup: Setup) -> bool:
        if not setup.device.startswith("cuda"):
            return False
        import torch

        free, total = torch.cuda.mem_get_info(setup.device)
        free += torch.cuda.memory_reserved(setup.device) - torch.cuda.memory_allocated(setup.device)
        return free > KEPT_FREE * total


def is_stage(name: str) -> bool:
    return name[:1] == "s" and name[1:].isdigit()


def make_side(name: str, setup: Setup) -> Any:
    """ "s08" is a stage, anything else a peer. Raises UserError."""
    from pathlib import Path

    if is_stage(name):
        from . import sides

        return sides.make(int(name[1:]), sides.load(setup.folder, setup.device, setup.dtype), setup.room)
    from benchmarks import peers

    return peers.make(name, Path(setup.folder), setup.device, setup.dtype)


def rule_of(name: str, setup: Setup) -> dict[str, Any]:
    """What is a near tie for this side, as arguments of `assert_same_tokens`; {}: weights in 16 bits, see `check`."""
    from pathlib import Path

    from benchmarks import peers
    from common.equality import NEAR_TIE, ONE_IN
    from common.loader import load_config

    if setup.dtype != "float32":
        return {}
    if name in peers.PEERS:
        return peers.rule(name, load_config(Path(setup.folder)), setup.dtype)
    return {"tolerance": NEAR_TIE, "one_in": ONE_IN}


def shared_model(setup: Setup) -> Any:
    from . import sides

    return sides.load(setup.folder, setup.device, setup.dtype).model


def setup_bytes(setup: Setup) -> int:
    from pathlib import Path

    from .machine import Shapes

    return Shapes.of(Path(setup.folder), setup.dtype).total_bytes


def use_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


def shared_seconds() -> float:
    """What it took to load our model, where this process has done so already."""
    sides = sys.modules.get("benchmarks.ladder.sides")
    return sides.loaded_seconds() if sides else 0.0


def prepare(name: str, setup: Setup) -> int:
    """Imports what a stage needs -> bytes of the process by then; 0 for a peer, and on a GPU."""
    if not is_stage(name) or setup.device != "cpu":
        return 0
    from common.memory import peak_memory
    from common.tutorial.chain import load_stage

    load_stage(int(name[1:]))
    return peak_memory("cpu")


def _reset_peak(setup: Setup, own: bool) -> int:
    """Bytes on the GPU that belong to others. own: our shared model is there and belongs to this side."""
    if not setup.device.startswith("cuda"):
        return 0
    import torch

    gc.collect()
    torch.cuda.init()  # of which there are no statistics before
    torch.cuda.reset_peak_memory_stats(setup.device)
    return torch.cuda.memory_allocated(setup.device) - (setup_bytes(setup) if own else 0)


def machine(setup: Setup) -> dict[str, Any]:
    """What this process can do at best: bytes/s, operations/s, threads."""
    import torch

    from common.bench.bandwidth import read_bandwidth

    from .machine import matmul_rate

    bandwidth, rate = read_bandwidth(setup.device), matmul_rate(setup.device, setup.dtype)
    gc.collect()
    if setup.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return {"bandwidth": bandwidth, "rate": rate, "threads": torch.get_num_threads()}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when it is over
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    bench = Bench()
    for line in sys.stdin:
        answers.write(json.dumps(bench.do(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
