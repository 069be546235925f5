"""What a run says when it is done: two narrow tables instead of a wide one, and why who has no numbers has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.terminal.console import facts, note, show, table, warn
from common.tutorial.texts.ladder import Row, gains, number, rows_of, times

__all__ = ["own", "show_result"]

Result = Mapping[str, Any]  # as its file holds it
Cell = Callable[[Row], str]


def show_result(result: Result) -> None:
    rows = rows_of(result)
    {"ladder": show_ladder, "batch": show_batch, "memory": show_memory, "reference": show_reference}[
        result["workload"]["study"]
    ](result, rows)
    show_problems(result, rows)
    note(f"Checked: {result['checked']}.")


def show_rows(
    title: str, rows: Sequence[Row], columns: Mapping[str, Cell | str], last: Sequence[str] = ()
) -> None:
    """A row for each side. columns: heading -> a value's name, or a function. last: one more row."""
    lines = [
        [named(row), *(number(row.values.get(cell)) if isinstance(cell, str) else cell(row) for cell in columns.values())]
        for row in rows
    ]  # fmt: skip
    lines += [list(last)] if last else []
    # Numbers are set right also in columns where some are missing.
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns) + 1)]
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    table(title, ["", *(head.rjust(n) for head, n in zip(columns, widths[1:], strict=True))], lines)


def show_ladder(result: Result, rows: Sequence[Row]) -> None:
    w, values = result["workload"], result["values"]
    one, many = (gains(rows, name) for name in ("decode_tokens_per_s", "crowd_tokens_per_s"))
    show_rows(
        f"One request: {w['prompt_tokens']} tokens in, {w['new_tokens']} out, {w['model']} in {w['dtype']}", rows,
        {"prefill tok/s": "prefill_tokens_per_s", "decode tok/s": "decode_tokens_per_s", "x before": lambda r: times(one.get(r.key)),
         "% bound": "bound_share", "TTFT ms": "ttft_ms", "ITL P50 ms": "itl_p50_ms"},
    )  # fmt: skip
    show_rows(
        f"{w['crowd']} requests at once", rows,
        {"tokens/s": "crowd_tokens_per_s", "x before": lambda r: times(many.get(r.key)), "TTFT P50 ms": "crowd_ttft_p50_ms",
         "ITL P99 ms": "crowd_itl_p99_ms", "peak MB": peak, "load s": "load_s"},
    )  # fmt: skip
    show(
        "x before: against the stage before it; = is within 5 % of it. % bound: of the "
        f"{number(values['decode_bound_tokens_per_s']['value'])} tokens/s that reading allows "
        f"({number(values['read_bandwidth']['value'])} GB/s). Peak and load: of "
        + ("tensors, and a whole process." if w["device"].startswith("cuda") else "a whole process.")
    )


def show_batch(result: Result, rows: Sequence[Row]) -> None:
    sizes, values = result["workload"]["batches"], result["values"]
    roof = [
        min(values[f"bound_batch_{n}_tokens_per_s"]["value"], values["arithmetic_tokens_per_s"]["value"])
        for n in sizes
    ]
    for title, name in (("Tokens/s by requests at once", "tokens_per_s"), ("TTFT P50, ms", "ttft_p50_ms"),
                        ("ITL P50, ms", "itl_p50_ms")):  # fmt: skip
        bound = ["bound", *map(number, roof)] if name == "tokens_per_s" else []
        show_rows(title, rows, {str(n): f"batch_{n}_{name}" for n in sizes}, bound)


def show_memory(result: Result, rows: Sequence[Row]) -> None:
    w, values = result["workload"], result["values"]
    computed = [megabytes(values[f"computed_context_{n}_bytes"]["value"]) for n in w["contexts"]]
    columns = {str(n): lambda row, n=n: megabytes(own(row, n)) for n in w["contexts"]}
    show_rows(
        f"MB, {w['crowd']} requests by tokens of each", rows, columns, ["weights + K/V, computed", *computed]
    )


def own(row: Row, context: int) -> float | None:
    """Bytes at the peak, less what the process had before there were weights."""
    peak = row.values.get(f"context_{context}_peak_bytes")
    return None if peak is None else peak - row.values.get(f"context_{context}_base_bytes", 0.0)


def show_reference(result: Result, rows: Sequence[Row]) -> None:
    w = result["workload"]
    title = f"{w['requests']} requests at once, {w['prompt_tokens']} tokens in, {w['output_tokens']} out"
    show_rows(title, rows, {"output tokens/s": "reference_tokens_per_s", "peak MB": peak})


def named(row: Row) -> str:
    return f"{row.label} {row.title}".strip()


def peak(row: Row) -> str:
    return megabytes(row.values.get("peak_bytes"))


def megabytes(count: float | None) -> str:
    return number(count / 1e6 if count else None)


def show_problems(result: Result, rows: Sequence[Row]) -> None:
    for row in rows:
        if row.problem:
            warn(f"{named(row)}: {row.problem}")
    missing = {
        f"{side['label']} {side['title']}".strip(): "; ".join(
            f"{job}: {why}" for job, why in side["skipped"].items()
        )
        for side in result["workload"]["sides"]
        if side.get("skipped")
    }
    missing |= {name: why.removeprefix(f"{name}: ") for name, why in result["workload"]["left_out"].items()}
    if missing:
        facts(missing)
