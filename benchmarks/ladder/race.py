"""Rounds over all sides: A B C, A B C, ... so that a noisy minute hits all of them alike.

A unit is one side with one set of jobs. Whoever failed or wrote wrong tokens is not asked again, and what took long is
measured once. Workers do the work, the state remembers it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .meter import Meter, meter
from .pool import Workers
from .state import State
from .task import Job, Setup

__all__ = ["LONG", "Race", "Unit"]

LONG = 60.0  # seconds: a job that takes longer runs in the first round only


@dataclass(frozen=True, slots=True)
class Unit:
    """Measured in each round."""

    key: str  # "s08", "transformers", "s08@512"
    side: str  # "s08", "transformers"
    label: str  # for people
    setup: Setup
    jobs: list[Job]


@dataclass(slots=True)
class Race:
    units: Sequence[Unit]
    rounds: int
    workers: Workers
    state: State
    expected: dict[str, list[list[int]]]
    stay: bool = True  # a side may stay open between rounds where the worker does

    def run(self, after: Callable[[], None] = lambda: None) -> None:
        """Does what is not done yet. after: called behind each answer."""
        turns = [(turn, unit) for turn in range(1, self.rounds + 1) for unit in self.units]
        with meter([unit.key for _, unit in turns]) as shown:
            for turn, unit in turns:
                self._one(turn, unit, shown, after)

    def _one(self, turn: int, unit: Unit, shown: Meter, after: Callable[[], None]) -> None:
        jobs = self.due(unit)
        if self.state.get(turn, unit.key) is not None or self.out(unit) or not jobs:
            shown.done(unit.key, ran=False)
            return
        shown.start(f"round {turn} of {self.rounds}, {unit.label}")
        self.state.put(turn, unit.key, self.workers.ask(self.task(unit, jobs)))
        shown.done(unit.key)
        after()

    def task(self, unit: Unit, jobs: Sequence[Job]) -> dict[str, Any]:
        return {
            "do": "measure", "side": unit.side, "setup": asdict(unit.setup), "jobs": [job.dump() for job in jobs],
            "expected": {job.name: self.expected[job.name] for job in jobs}, "stay": self.stay,
        }  # fmt: skip

    def due(self, unit: Unit) -> list[Job]:
        """The jobs that another round has."""
        return [job for job in unit.jobs if not self._long(unit, job)]

    def out(self, unit: Unit) -> str:
        """Why a unit is not asked any more; "": it is."""
        for answer in self.state.of(unit.key):
            if "wrong" in answer:
                return f"wrong tokens: {answer['wrong']}"
            if "failed" in answer:
                return str(answer["failed"])
        return ""

    def _long(self, unit: Unit, job: Job) -> bool:
        """Whether it took long in an earlier round, or was left out there because it would have."""
        return any(
            answer.get("seconds", {}).get(job.name, 0.0) > LONG or job.name in answer.get("skipped", {})
            for answer in self.state.of(unit.key)
        )
