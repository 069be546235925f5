"""From answers to result files: every sample, who took part, who was left out, and what was found correct."""

from __future__ import annotations

from typing import Any

from common.bench.results import Result

from .contest import Contestant
from .numbers import unit_of
from .race import Race
from .study import Study

__all__ = ["checked", "result_of"]


def result_of(study: Study, race: Race, machine: dict[str, Any]) -> Result | None:
    """What is known so far; None while no side has a number."""
    about = {
        **study.about, "threads": machine["threads"], "rounds": race.complete, "rounds_asked": race.rounds,
        "sides": [side_of(one, study, race) for one in study.contestants], "left_out": study.left_out,
        "code": study.code,
    }  # fmt: skip
    device = study.setup.device
    result = Result(
        study.result, None, study.command, about, study.seed, checked(study, race), device, quick=study.quick
    )
    for unit in race.units:
        samples: dict[str, list[float]] = {}
        for answer in race.answers.of(unit) if not race.out(unit) else ():
            for name, value in answer["numbers"].items():
                samples.setdefault(name, []).append(value)
        for name, values in samples.items():
            result.add(f"{study.prefix(unit)}_{name}", unit=unit_of(name), samples=values)
    if not result.values:
        return None
    bounds(study, result, machine)
    return result


def side_of(one: Contestant, study: Study, race: Race) -> dict[str, Any]:
    units = [unit for unit in race.units if unit.side == one.side]
    answers = [answer for unit in units for answer in race.answers.of(unit)]
    more = {
        "version": next((a["version"] for a in answers if a.get("version")), ""),
        "skipped": {job: why for answer in answers for job, why in answer.get("skipped", {}).items()},
        "problem": next(filter(None, map(race.out, units)), ""),
    }
    made = {"key": one.key, "label": one.label, "title": one.title, "dtype": study.setup.dtype}
    return made | {name: value for name, value in more.items() if value}


def checked(study: Study, race: Race) -> str:
    """What was found correct, in words."""
    answers = [(unit, answer) for unit in race.units for answer in race.answers.of(unit)]
    compared, forgiven = (sum(a.get(name, 0) for _, a in answers) for name in ("compared", "forgiven"))
    text = f"{compared:,} tokens of the timed runs are those of stage {study.truth:02d}'s loop"
    if forgiven:
        text += f", {forgiven:,} of them near ties"
    if study.setup.dtype != "float32":
        text += (
            " (16 bits: after a first tie a text is followed, each token within 8 bfloat16 steps of the best)"
        )
    looser = {unit.label: answer["rule"] for unit, answer in answers if answer.get("rule")}
    wrong = [unit.label for unit in race.units if race.out(unit).startswith("wrong")]
    more = [study.sampled, *(f"for {label} {rule}" for label, rule in looser.items()),
            f"wrong, and without a time: {', '.join(wrong)}" if wrong else ""]  # fmt: skip
    return "; ".join(filter(None, [text, *more]))


def bounds(study: Study, result: Result, machine: dict[str, Any]) -> None:
    """What reading and arithmetic allow here, and each side's share of it."""
    shapes, context = study.shapes, study.context
    result.add("read_bandwidth", machine["bandwidth"] / 1e9, "GB/s", note="measured in this run")
    result.add("matmul_rate", machine["rate"] / 1e12, "TFLOP/s", note="measured in this run")
    result.add("weights_bytes", shapes.total_bytes, "bytes")
    if study.kind == "ladder":
        bound = shapes.memory_bound(context, machine["bandwidth"])
        result.add("decode_bound_tokens_per_s", bound, "tokens/s", note=f"at {context} tokens of text")
        for one in study.contestants:
            key = f"{one.key}_decode_tokens_per_s"
            if key in result.values:
                shares = [100 * rate / bound for rate in result.values[key]["samples"]]
                result.add(f"{one.key}_bound_share", unit="%", samples=shares)
    for batch in study.batches:
        bound = shapes.memory_bound(context, machine["bandwidth"], batch)
        result.add(f"bound_batch_{batch}_tokens_per_s", bound, "tokens/s")
    if study.batches:
        bound = shapes.arithmetic_bound(context, machine["rate"])
        result.add("arithmetic_tokens_per_s", bound, "tokens/s")
    for length in study.contexts:
        total = shapes.total_bytes + study.setup.room.rows * shapes.row_bytes(length)
        result.add(f"computed_context_{length}_bytes", total, "bytes")
