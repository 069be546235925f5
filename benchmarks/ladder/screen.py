"""What a run says when it is done: two narrow tables instead of a wide one, and why who has no numbers has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.terminal.console import facts, note, show, warn
from common.terminal.console import table as console_table
from common.tutorial.texts.ladder import Row, gains, number, rows_of, times

__all__ = ["show_result"]


def show_result(result: Mapping[str, Any]) -> None:
    """A result, as its file holds it."""
    show_study = {
        "ladder": show_ladder,
        "batch": show_batch,
        "memory": show_memory,
        "reference": show_reference,
    }
    rows = rows_of(result)
    show_study[result["workload"]["study"]](result, rows)
    show_problems(result, rows)
    note(f"Checked: {result['checked']}.")


def table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Numbers set right, also in columns where some are missing."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    padded = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in lines
    ]
    console_table(title, [head.rjust(width) for head, width in zip(heads, widths, strict=True)], padded)


def show_ladder(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    w, values = result["workload"], result["values"]
    gained = {name: gains(rows, name) for name in ("decode_tokens_per_s", "crowd_tokens_per_s")}

    def line(row: Row, names: Sequence[str], gain: str) -> list[str]:
        cells = [number(row.values.get(name)) for name in names]
        cells.insert(names.index(gain) + 1, times(gained[gain].get(row.key)))
        return [named(row), *cells]

    alone = ("prefill_tokens_per_s", "decode_tokens_per_s", "bound_share", "ttft_ms", "itl_p50_ms")
    table(
        f"One request: {w['prompt_tokens']} tokens in, {w['new_tokens']} out, {w['model']} in {w['dtype']}",
        ["", "prefill tok/s", "decode tok/s", "x before", "% bound", "TTFT ms", "ITL P50 ms"],
        [line(row, alone, "decode_tokens_per_s") for row in rows],
    )
    many = ("crowd_tokens_per_s", "crowd_ttft_p50_ms", "crowd_itl_p99_ms")
    table(
        f"{w['crowd']} requests at once",
        ["", "tokens/s", "x before", "TTFT P50 ms", "ITL P99 ms", "peak MB", "load s"],
        [[*line(row, many, "crowd_tokens_per_s"), megabytes(row.values.get("peak_bytes")), number(row.values.get("load_s"))]
         for row in rows],
    )  # fmt: skip
    show(
        "x before: against the stage before it; = is within 5 % of it. % bound: of the "
        f"{number(values['decode_bound_tokens_per_s']['value'])} tokens/s that reading allows "
        f"({number(values['read_bandwidth']['value'])} GB/s). Peak and load: of "
        + ("tensors, in one process for all." if w["device"].startswith("cuda") else "a whole process.")
    )


def show_batch(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    sizes, values = result["workload"]["batches"], result["values"]
    heads = ["", *map(str, sizes)]
    for title, name in (("Tokens/s by requests at once", "tokens_per_s"), ("TTFT P50, ms", "ttft_p50_ms"),
                        ("ITL P50, ms", "itl_p50_ms")):  # fmt: skip
        lines = [[named(row), *(number(row.values.get(f"batch_{n}_{name}")) for n in sizes)] for row in rows]
        if name == "tokens_per_s":
            roof = [min(values[f"bound_batch_{n}_tokens_per_s"]["value"], values["arithmetic_tokens_per_s"]["value"])
                    for n in sizes]  # fmt: skip
            lines.append(["bound", *map(number, roof)])
        table(title, heads, lines)


def show_memory(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    w, values = result["workload"], result["values"]
    lines = [
        [
            "weights + K/V, computed",
            *(megabytes(values[f"computed_context_{n}_bytes"]["value"]) for n in w["contexts"]),
        ]
    ]
    lines += [[f"{named(row)}, measured", *(megabytes(own(row, n)) for n in w["contexts"])] for row in rows]
    table(f"MB, {w['crowd']} requests by tokens of each", ["", *map(str, w["contexts"])], lines)


def own(row: Row, context: int) -> float | None:
    """Bytes at the peak, less what the process had before there were weights."""
    peak = row.values.get(f"context_{context}_peak_bytes")
    return None if peak is None else peak - row.values.get(f"context_{context}_base_bytes", 0.0)


def show_reference(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    w = result["workload"]
    lines = [[named(row), number(row.values.get("reference_tokens_per_s")), megabytes(row.values.get("peak_bytes"))]
             for row in rows]  # fmt: skip
    title = f"{w['requests']} requests at once, {w['prompt_tokens']} tokens in, {w['output_tokens']} out"
    table(title, ["", "output tokens/s", "peak MB"], lines)


def named(row: Row) -> str:
    return f"{row.label} {row.title}".strip()


def megabytes(count: float | None) -> str:
    return number(count / 1e6 if count else None)


def show_problems(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    for row in rows:
        if row.problem:
            warn(f"{named(row)}: {row.problem}")
    skipped = {
        f"{side['label']} {side['title']}".strip(): "; ".join(
            f"{job}: {why}" for job, why in side["skipped"].items()
        )
        for side in result["workload"]["sides"]
        if side.get("skipped")
    }
    out = {name: why.removeprefix(f"{name}: ") for name, why in result["workload"]["left_out"].items()}
    if skipped or out:
        facts(skipped | out)
