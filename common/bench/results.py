"""Result files: the schema of a measurement, written by benchmarks, read by claims, articles and figures.

A result says what was run, on which machine and code, that the output was checked before the clock ran, and every
sample. Figures in the text come from here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.bench.machine import ROOT, commit, machine, machine_folder
from common.bench.timing import percentiles
from common.errors import UserError

__all__ = ["RESULTS", "UNITS", "Result", "code_hash", "load_result", "r", "refuse_quick", "validate"]

SCHEMA = 1
RESULTS = ROOT / "benchmarks" / "results"
# "" is for what has no unit: a count of layers, a difference of logits.
UNITS = (
    *("", "x", "%", "s", "ms", "us", "bytes", "kB", "MB", "GB", "kB/token", "GB/s", "tokens", "tokens/s", "requests"),
    *("requests/s", "tokens/step", "blocks", "steps", "GFLOP", "TFLOP/s", "W", "J/token", "$", "$/M tokens", "nats"),
)  # fmt: skip
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema": int, "name": str, "stage": (int, type(None)), "command": str, "commit": str, "code_hash": str,
    "machine": dict, "workload": dict, "seed": (int, type(None)), "checked": str, "recorded": str, "values": dict,
}  # fmt: skip


@dataclass(slots=True)
class Result:
    """One run of a benchmark. Fill with `add`, then `save`.

    name: the file's name, "s03" or "s03_window". command: what repeats it. workload: model, dtype, lengths, ...
    checked: what was found correct before timing, in words. device: where it ran (default: the GPU if there is one).
    quick: a short run, which is never kept in benchmarks/results.
    """

    name: str
    stage: int | None
    command: str
    workload: Mapping[str, object]
    seed: int | None
    checked: str
    device: str | None = None
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    quick: bool = False

    def __getitem__(self, key: str) -> float:
        """A recorded number: result["ttft_ms"], or with a statistic result["ttft_ms.p95"]."""
        key, _, statistic = key.partition(".")
        return float(self.values[key][statistic or "value"])

    def add(
        self,
        key: str,
        value: float | None = None,
        unit: str = "",
        samples: Sequence[float] | None = None,
        note: str | None = None,
    ) -> None:
        """Record a number, as a value or as samples whose median is the value.

        Raises UserError for a key used twice, an unknown unit, or numbers that are not finite.
        """
        if key in self.values:
            raise UserError(f"result {self.name}: key {key!r} is recorded twice")
        entry: dict[str, Any] = {"unit": unit}
        if samples is not None:
            numbers = [float(sample) for sample in samples]
            entry |= {name: _rounded(number) for name, number in percentiles(numbers).items()}
            entry["samples"] = [_rounded(number) for number in numbers]
            value = entry["p50"] if value is None else value
        if value is None:
            raise UserError(f"result {self.name}: {key!r} needs a value or samples")
        entry = {"value": _rounded(float(value)), **entry}
        if note is not None:
            entry["note"] = note
        _check_entry(f"result {self.name}", key, entry)
        self.values[key] = entry

    def add_times(
        self,
        key: str,
        seconds: Sequence[float],
        unit: str,
        value: float | None = None,
        note: str | None = None,
    ) -> None:
        """Record times that were measured in seconds, in "s", "ms" or "us". value: in seconds, in place of the median."""
        scale = _PER_SECOND[unit]
        self.add(key, None if value is None else scale * value, unit, [scale * s for s in seconds], note)

    def add_ratio(self, key: str, above: str, below: str, note: str | None = None) -> None:
        """Record one recorded value over another, in "x"."""
        self.add(key, self[above] / self[below], "x", note=note)

    def save(self, folder: str | Path | None = None) -> Path:
        """Write <folder>/<name>.json (default: this machine's folder in benchmarks/results) and return its path.

        Raises UserError for a short run in benchmarks/results.
        """
        folder = RESULTS / machine_folder(self.device) if folder is None else Path(folder)
        if self.quick:
            refuse_quick(folder)
        content = {
            "schema": SCHEMA,
            "name": self.name,
            "stage": self.stage,
            "command": self.command,
            "commit": commit(),
            "code_hash": code_hash(_stage_folder(self.stage)) if self.stage is not None else "",
            "machine": machine(self.device),
            "workload": dict(self.workload),
            "seed": self.seed,
            "checked": self.checked,
            "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
            "values": self.values,
        }
        validate(content, f"result {self.name}")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        part = path.with_suffix(".part")  # an interrupted run must not leave half a result
        part.write_text(_json(content), encoding="utf-8")
        os.replace(part, path)
        return path


def refuse_quick(folder: Path) -> None:
    """Raise UserError for a folder in benchmarks/results: articles quote what is there, and a short run is too noisy."""
    if folder.resolve().is_relative_to(RESULTS.resolve()):
        raise UserError(
            f"--results {str(folder)!r}: a --quick run cannot go to benchmarks/results; name another folder"
        )


def _rounded(number: float) -> float:
    """Six digits: more than any timing has, and a diff of two results stays readable."""
    return float(f"{number:.6g}") if math.isfinite(number) else number


def _json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # Samples on one line. A string holds no real line break, so nothing but the layout changes.
    short = re.sub(r"\[\n([^\[\]{}]*?)\n\s*\]", lambda found: f"[{_unwrapped(found[1])}]", text)
    return short + "\n"


def _unwrapped(lines: str) -> str:
    return " ".join(line.strip(" ") for line in lines.split("\n"))


def validate(content: Mapping[str, Any], where: str) -> None:
    """Raise UserError, naming `where`, the field and what it should be, unless `content` fits the schema."""
    if content.get("schema") != SCHEMA:
        raise UserError(f"{where}: schema {content.get('schema')!r}; this program reads {SCHEMA}")
    for name, kind in _FIELDS.items():
        if name not in content or not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise UserError(f"{where}: {name} is {content.get(name)!r}, or missing")
    if extra := set(content) - set(_FIELDS):
        raise UserError(f"{where}: unknown field {sorted(extra)[0]!r}; known are {', '.join(_FIELDS)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", content["name"]):
        raise UserError(f"{where}: name {content['name']!r} must be lower case letters, digits, _ and -")
    if not content["checked"].strip():
        raise UserError(f"{where}: checked is empty; say what was found correct before timing")
    if not content["command"].strip():
        raise UserError(f"{where}: command is empty; say what repeats this run")
    if not content["values"]:
        raise UserError(f"{where}: no values were recorded")
    for key, entry in content["values"].items():
        _check_entry(where, key, entry)


def _check_entry(where: str, key: str, entry: Mapping[str, Any]) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", key):
        raise UserError(f"{where}: key {key!r} must be lower case letters, digits and _")
    if entry.get("unit") not in UNITS:
        known = ", ".join(filter(None, UNITS))
        raise UserError(f"{where}: {key} has unit {entry.get('unit')!r}; known are none, {known}")
    numbers = [entry.get("value"), *entry.get("samples", [])]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise UserError(f"{where}: {key} holds {number!r}, not a finite number")


def load_result(name: str, machine: str = "cpu", folder: str | Path | None = None) -> dict[str, Any]:
    """A validated result file. folder: in place of benchmarks/results/<machine>."""
    place = RESULTS / machine if folder is None else Path(folder)
    path = place / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in place.glob("*.json"))) or "none"
        raise UserError(f"no result {name!r} for machine {machine!r}; recorded are {there}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path.name}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path.name}: must hold an object")
    validate(content, path.name)
    return content


def r(name: str, machine: str, key: str, folder: str | Path | None = None) -> float:
    """One recorded number: r("s03", "cpu", "speedup_512"), or with a statistic: r("s04", "cpu", "ttft.p95")."""
    values = load_result(name, machine, folder)["values"]
    key, _, statistic = key.partition(".")
    if key not in values:
        raise UserError(f"result {name} ({machine}) has no key {key!r}; it has {', '.join(values)}")
    number = values[key].get(statistic or "value")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise UserError(
            f"result {name} ({machine}): {key} has no {statistic!r}; choose from p50, p95, p99, mean"
        )
    return float(number)


def code_hash(stage_folder: str | Path) -> str:
    """SHA-256 over what a stage's numbers depend on: every file in engine/ and lesson/, and bench.py, by path and content.

    lesson/ holds what the benchmark is made of: how it drives the sides, and what it counts.
    """
    folder = Path(stage_folder)
    paths = [path for part in ("engine/**/*", "lesson/**/*", "bench.py") for path in folder.glob(part)]
    paths = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")  # the same code, however git checked it out
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _stage_folder(stage: int) -> Path:
    found = sorted(ROOT.glob(f"stages/s{stage:02}_*"))
    if len(found) != 1:
        raise UserError(f"stage: there is no stage {stage}")
    return found[0]
