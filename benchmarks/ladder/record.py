"""From answers to result files: every sample, who took part, who was left out, and what was found correct."""

from __future__ import annotations

from typing import Any

from common.bench.results import Result

from .contest import Contestant
from .machine import Shapes
from .numbers import unit_of
from .race import Race, Unit
from .study import Study

__all__ = ["checked", "result_of"]


def result_of(study: Study, race: Race, machine: dict[str, Any]) -> Result | None:
    """What is known so far; None while no side has a number."""
    about = {
        **study.about,
        "threads": machine["threads"],
        "rounds": rounds_done(race),
        "rounds_asked": race.rounds,
    }
    about["sides"] = [side_of(one, race) for one in study.contestants]
    about |= {"left_out": study.left_out, "code": study.code}
    result = Result(
        study.result, None, study.command, about, study.seed, checked(study, race), study.setup.device
    )
    for unit in race.units:
        samples: dict[str, list[float]] = {}
        for answer in race.state.of(unit.key):
            for name, value in answer.get("numbers", {}).items():
                samples.setdefault(name, []).append(value)
        if race.out(unit):
            continue
        for name, values in samples.items():
            result.add(f"{study.prefix(unit)}_{name}", unit=unit_of(name), samples=values)
    if not result.values:
        return None
    bounds(study, result, machine)
    return result


def rounds_done(race: Race) -> int:
    """Rounds that every side has been through."""
    done = 0
    for turn in range(1, race.rounds + 1):
        if not all(through(race, turn, unit) for unit in race.units):
            break
        done = turn
    return done


def through(race: Race, turn: int, unit: Unit) -> bool:
    """Whether a unit is done with a round, or has no part in it."""
    if race.state.get(turn, unit.key) is not None or race.out(unit):
        return True
    return turn > 1 and not race.due(unit)


def side_of(one: Contestant, race: Race) -> dict[str, Any]:
    units = [unit for unit in race.units if unit.side == one.side]
    made: dict[str, Any] = {"key": one.key, "label": one.label, "title": one.title}
    answers = [answer for unit in units for answer in race.state.of(unit.key)]
    if version := next((a["version"] for a in answers if a.get("version")), ""):
        made["version"] = version
    skipped = {job: why for answer in answers for job, why in answer.get("skipped", {}).items()}
    if skipped:
        made["skipped"] = skipped
    if problem := next(filter(None, map(race.out, units)), ""):
        made["problem"] = problem
    return made | ({"dtype": units[0].setup.dtype} if units else {})


def checked(study: Study, race: Race) -> str:
    """What was found correct, in words."""
    answers = [answer for unit in race.units for answer in race.state.of(unit.key)]
    compared, forgiven = (sum(answer.get(name, 0) for answer in answers) for name in ("compared", "forgiven"))
    text = f"{compared:,} tokens of the timed runs are those of stage {study.truth:02d}'s loop"
    if forgiven:
        text += f", {forgiven:,} of them near ties"
    if study.setup.dtype != "float32":
        text += " (16 bits: behind a first tie a text is followed, each token within 8 bfloat16 steps of the best)"
    if study.sampled:
        text += f"; {study.sampled}"
    looser = {
        unit.label: answer["rule"]
        for unit in race.units
        for answer in race.state.of(unit.key)
        if answer.get("rule")
    }
    text += "".join(f"; for {label} {rule}" for label, rule in looser.items())
    wrong = [unit.label for unit in race.units if race.out(unit).startswith("wrong")]
    return text + (f"; wrong, and without a time: {', '.join(wrong)}" if wrong else "")


def bounds(study: Study, result: Result, machine: dict[str, Any]) -> None:
    """What reading and arithmetic allow here, and each side's share of it."""
    shapes: Shapes = study.shapes
    result.add("read_bandwidth", machine["bandwidth"] / 1e9, "GB/s", note="measured in this run")
    result.add("matmul_rate", machine["rate"] / 1e12, "TFLOP/s", note="measured in this run")
    result.add("weights_bytes", shapes.total_bytes, "bytes")
    if study.kind == "ladder":
        bound = shapes.memory_bound(study.context, machine["bandwidth"])
        result.add("decode_bound_tokens_per_s", bound, "tokens/s", note=f"at {study.context} tokens of text")
        for one in study.contestants:
            key = f"{one.key}_decode_tokens_per_s"
            if key in result.values:
                shares = [100 * rate / bound for rate in result.values[key]["samples"]]
                result.add(f"{one.key}_bound_share", unit="%", samples=shares)
    for batch in study.batches:
        bound = shapes.memory_bound(study.context, machine["bandwidth"], batch)
        result.add(f"bound_batch_{batch}_tokens_per_s", bound, "tokens/s")
    if study.batches:
        result.add(
            "arithmetic_tokens_per_s", shapes.arithmetic_bound(study.context, machine["rate"]), "tokens/s"
        )
    for context in study.contexts:
        rows = study.setup.room.rows
        result.add(
            f"computed_context_{context}_bytes",
            shapes.total_bytes + rows * shapes.row_bytes(context),
            "bytes",
        )
