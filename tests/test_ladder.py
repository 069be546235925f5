"""The ladder: whose tokens are wrong gets no time, what was measured is kept, and tables say what the results say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.run as command
from benchmarks.ladder import contest, machine, options, screen, state
from benchmarks.ladder.check import Scores, check
from benchmarks.ladder.contest import Contestant
from benchmarks.ladder.meter import Estimate, spoken
from benchmarks.ladder.numbers import of_run, unit_of
from benchmarks.ladder.pool import Pool
from benchmarks.ladder.race import LONG, Race, Unit
from benchmarks.ladder.record import result_of
from benchmarks.ladder.state import State
from benchmarks.ladder.study import Study, make_study
from benchmarks.ladder.task import Job, Room, Setup, draw_prompts
from benchmarks.ladder.worker import Bench
from benchmarks.sides import Served
from common.bench.results import load_result
from common.equality import Tally
from common.errors import UserError
from common.loader import CHECKPOINTS
from common.terminal.command_line import run
from common.tutorial import ROOT
from common.tutorial.texts import ladder, readme

DRAFT = CHECKPOINTS / "storyteller-draft"
PROMPTS = draw_prompts([6, 6, 6], 4096, [0], 1)
JOBS = [Job("alone", PROMPTS[:1], [5], None, 2), Job("crowd", PROMPTS[1:], [5, 5], None, 2)]
SETUP = Setup(str(DRAFT), "cpu", "float32", 1, Room(2, 2, 11, 64))
MACHINE = {"bandwidth": 1e10, "rate": 1e11, "threads": 1}


class Fake:
    """A side that counts up from each prompt's last token, a token every tenth of a second."""

    version, mixed, together = "fake 1.0", True, True

    def __init__(self, spoil: int | None = None, wait: float = 0.0):
        self.spoil, self.wait = spoil, wait

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        tokens = [[(p[-1] + 1 + i) % 4096 for i in range(n)] for p, n in zip(prompts, limits, strict=True)]
        if self.spoil is not None and len(tokens[-1]) > self.spoil:
            tokens[-1][self.spoil] = (tokens[-1][self.spoil] + 7) % 4096
        stamps = [[0.1 * (i + 1) for i in range(n)] for n in limits]
        return Served(tokens, max(own[-1] for own in stamps) + self.wait, stamps)

    def close(self) -> None:
        pass


def expected(jobs: Sequence[Job] = JOBS) -> dict[str, list[list[int]]]:
    return {job.name: Fake().run(job.prompts, job.limits).tokens for job in jobs}


def task(side: str, jobs: Sequence[Job] = JOBS, do: str = "measure", **more: Any) -> dict[str, Any]:
    dumped = [job.dump() for job in jobs]
    return {
        "do": do,
        "side": side,
        "setup": asdict(SETUP),
        "jobs": dumped,
        "expected": expected(jobs),
        **more,
    }


# --- one side --------------------------------------------------------------------------------------------------------


def test_a_worker_measures_a_stage_on_the_shipped_weights():
    with Pool(keep=True, threads=1) as pool:
        known = pool.ask(task("", do="expect", stage=2))["expected"]
        answers = {side: pool.ask(task(side) | {"expected": known}) for side in ("s01", "s03", "s04", "s08")}
    for side, answer in answers.items():
        assert "failed" not in answer
        assert "wrong" not in answer
        assert answer["numbers"]["ttft_ms"] > 0
        assert answer["compared"] == (1 if side == "s01" else 15)
        assert answer["numbers"]["peak_bytes"] > 1e6
    assert answers["s01"]["skipped"] == {"crowd": "computes one token only"}
    assert "decode_tokens_per_s" not in answers["s01"]["numbers"]
    assert answers["s08"]["numbers"]["crowd_tokens_per_s"] > 0


def test_a_process_that_dies_is_an_answer_and_the_next_task_has_another():
    with Pool(keep=True) as pool:
        answer = pool.ask({"do": "measure"})  # no setup: its reader raises
        assert "ended with status" in answer["failed"]
        assert "KeyError" in answer["failed"]
        assert pool.ask(task("nobody"))["failed"].startswith("peer: 'nobody' is not one of ")


@pytest.mark.parametrize("spoil", [0, 3])
def test_wrong_tokens_get_no_time(spoil):
    right, wrong = Bench(lambda name, setup: Fake()), Bench(lambda name, setup: Fake(spoil))
    assert right.do(task("fake"))["numbers"]["decode_tokens_per_s"] == pytest.approx(10)
    answer = wrong.do(task("fake"))
    assert "numbers" not in answer
    assert answer["wrong"].startswith(f"alone, prompt 0, token {spoil}: ")


def test_too_few_tokens_are_wrong_tokens_and_what_raises_is_one_line():
    class Raises(Fake):
        def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
            raise RuntimeError("no luck\nand more lines")

    assert Bench(lambda name, setup: Raises()).do(task("fake")) == {"failed": "RuntimeError: no luck"}

    def refuse(name: str, setup: Setup) -> Any:
        raise UserError("cannot be had")

    assert Bench(refuse).do(task("fake")) == {"failed": "cannot be had"}


def test_a_crowd_that_would_take_too_long_one_after_another_is_left_out():
    class Slow(Fake):
        together = False

    answer = Bench(lambda name, setup: Slow(wait=200.0)).do(task("fake"))
    assert answer["skipped"] == {"crowd": "one after another would take 7 minutes"}
    assert "crowd_tokens_per_s" not in answer["numbers"]
    assert "crowd_tokens_per_s" in Bench(lambda name, setup: Fake(wait=200.0)).do(task("fake"))["numbers"]


def test_a_side_that_stays_open_tells_its_footprint_once_and_forgets_its_prompts():
    class Staying(Bench):
        def _may_stay(self, setup: Setup) -> bool:
            return True

    class Remembers(Fake):
        resets, runs = 0, 0

        def reset(self) -> None:
            self.resets += 1

        def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
            self.runs += 1
            return super().run(prompts, limits)

    made: list[Remembers] = []

    def make(name: str, setup: Setup) -> Remembers:
        made.append(Remembers())
        return made[-1]

    bench = Staying(make)
    first, second = bench.do(task("fake")), bench.do(task("fake"))
    assert {"peak_bytes", "load_s"} <= set(first["numbers"])
    assert not {"peak_bytes", "load_s"} & set(second["numbers"])
    assert second["numbers"]["decode_tokens_per_s"] == first["numbers"]["decode_tokens_per_s"]
    assert len(made) == 1
    assert (made[0].resets, made[0].runs) == (
        4,
        8,
    )  # before each job, and an untimed run before each timed one
    bench.do(task("fake", stay=False))
    bench.do(task("fake"))
    assert len(made) == 2


def table_of_scores(rows: dict[int, list[float]]) -> Scores:
    """scores after a text of n tokens, by n."""

    class Table(Scores):
        def __call__(self, tokens: Sequence[int], at: slice = slice(-1, None)) -> torch.Tensor:
            return torch.stack([torch.tensor(rows[n]) for n in range(1, len(tokens) + 1)])[at]

    return Table(lambda: None)


def test_in_sixteen_bits_a_text_behind_a_tie_is_followed_to_its_end():
    # 4.0 and 3.97: two neighbouring bfloat16 numbers; 4.0 and 1.0 are no tie.
    rows = {1: [4.0, 3.97, 0.0], 2: [0.0, 4.0, 1.0], 3: [0.0, 4.0, 1.0], 4: [4.0, 0.0, 0.0]}
    scores, tally = table_of_scores(rows), Tally()
    check(None, [[2]], Served([[1, 1, 1, 0]], 1.0), [[0, 2, 2, 2]], scores, {}, tally)
    assert (tally.compared, tally.forgiven) == (4, 1)
    with pytest.raises(AssertionError, match="prompt 0, token 2: 2 instead of 1"):
        check(None, [[2]], Served([[1, 1, 2, 0]], 1.0), [[0, 2, 2, 2]], scores, {}, Tally())
    with pytest.raises(AssertionError, match="token 0: 2 instead of 0"):
        check(None, [[2]], Served([[2, 1, 1, 0]], 1.0), [[0, 1, 1, 0]], scores, {}, Tally())


def test_a_peer_that_rounds_coarser_is_held_to_its_own_rule_and_the_result_says_so(tmp_path):
    from benchmarks.ladder.worker import rule_of

    assert rule_of("s08", SETUP) == rule_of("transformers", SETUP) == {"tolerance": 1e-4, "one_in": 500}
    assert rule_of("llama.cpp", SETUP)["tolerance"] > 1e-3
    assert rule_of("llama.cpp", replace(SETUP, dtype="bfloat16")) == {}
    answer = Bench(lambda name, setup: Fake()).do(task("llama.cpp"))
    assert answer["rule"].startswith("near ties are 0.02 wide")
    result = recorded(tmp_path, study_of(), Answers(**{"llama.cpp": answer}))
    assert "; for llama.cpp near ties are 0.02 wide and one in 50" in result["checked"]
    assert Bench(lambda name, setup: Fake()).do(task("s08"))["rule"] == ""


def test_numbers_of_a_run_and_their_units():
    served = Served([[1, 2, 3], [4, 5, 6]], 0.8, [[0.2, 0.3, 0.5], [0.4, 0.6, 0.8]])
    crowd = of_run(Job("crowd", [[1], [1]], [3, 3]), served)
    assert crowd["crowd_tokens_per_s"] == pytest.approx(6 / 0.8)
    assert crowd["crowd_ttft_p50_ms"] == pytest.approx(300)
    batch = of_run(Job("batch_2", [[1], [1]], [3, 3]), served)
    assert batch["batch_2_tokens_per_s"] == pytest.approx(3 / 0.4)  # behind the second one's first token
    assert of_run(Job("alone", [[1, 2]], [1]), Served([[1]], 0.5, [[0.5]])) == {
        "ttft_ms": 500, "prefill_tokens_per_s": 4,
    }  # fmt: skip
    units = {
        "ttft_ms": "ms",
        "load_s": "s",
        "crowd_tokens_per_s": "tokens/s",
        "peak_bytes": "bytes",
        "bound_share": "%",
    }
    assert {name: unit_of(name) for name in units} == units


# --- rounds ----------------------------------------------------------------------------------------------------------


class Answers:
    """Workers that answer at once, and stop at a given ask as Ctrl-C would."""

    def __init__(self, stop_at: int | None = None, **bad: dict[str, Any]):
        self.asked: list[str] = []
        self.jobs: list[list[str]] = []
        self.stop_at, self.bad = stop_at, bad

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(task["side"])
        self.jobs.append([job["name"] for job in task["jobs"]])
        return self.bad.get(task["side"]) or {
            "numbers": {"decode_tokens_per_s": 10.0 + len(self.asked), "crowd_tokens_per_s": 20.0, "ttft_ms": 5.0,
                        "peak_bytes": 3e8, "load_s": 1.0},
            "skipped": {}, "compared": 15, "forgiven": 0, "version": "", "seconds": {"alone": 0.5, "crowd": 0.5},
        }  # fmt: skip


def units(*keys: str) -> list[Unit]:
    return [Unit(key, key, key, SETUP, JOBS) for key in keys]


def race_of(folder: Path, workers: Any, *keys: str, rounds: int = 2) -> Race:
    return Race(units(*keys), rounds, workers, State("ladder", {"code": 1}, folder), expected())


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path):
    stopped = Answers(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        race_of(tmp_path, stopped, "s02", "s03", "s08").run()
    assert stopped.asked == ["s02", "s03", "s08", "s02"]
    again = Answers()
    race_of(tmp_path, again, "s02", "s03", "s08").run()
    assert again.asked == ["s03", "s08"]
    other = Answers()
    Race(units("s02"), 1, other, State("ladder", {"code": 2}, tmp_path), expected()).run()
    assert other.asked == ["s02"]  # other code, other arguments: another run


def test_a_side_that_fails_is_asked_once_and_takes_nobody_along(tmp_path):
    bad = {"s03": {"failed": "no room"}, "s07": {"wrong": "alone, prompt 0, token 3: 1 instead of 2"}}
    workers = Answers(**bad)
    race = race_of(tmp_path, workers, "s02", "s03", "s07", "s08", rounds=3)
    race.run()
    assert workers.asked == ["s02", "s03", "s07", "s08", "s02", "s08", "s02", "s08"]
    assert [race.out(unit) for unit in race.units] == [
        "", "no room", "wrong tokens: alone, prompt 0, token 3: 1 instead of 2", "",
    ]  # fmt: skip


def test_what_takes_long_is_measured_once(tmp_path):
    slow = Answers().ask(task("s02")) | {"seconds": {"alone": 1.0, "crowd": LONG + 1}}
    workers = Answers(s02=slow)
    race_of(tmp_path, workers, "s02", "s03").run()
    assert workers.asked == ["s02", "s03", "s02", "s03"]
    assert workers.jobs == [["alone", "crowd"], ["alone", "crowd"], ["alone"], ["alone", "crowd"]]


def test_a_damaged_state_is_no_state(tmp_path):
    one = State("ladder", {"code": 1}, tmp_path)
    one.put(1, "s02", {"numbers": {}})
    assert State("ladder", {"code": 1}, tmp_path).get(1, "s02") == {"numbers": {}}
    one.path.write_text('{"done": ', encoding="utf-8")
    assert State("ladder", {"code": 1}, tmp_path).answers == {}
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_the_estimate_is_never_negative_and_ends_at_nothing():
    estimate = Estimate(["a", "b", "a", "b"])
    assert estimate.left() is None
    assert spoken(None) == ""
    for unit, took, left in (("a", 4.0, 12.0), ("b", -1.0, 4.0), ("a", 8.0, 0.0), ("b", 2.0, 0.0)):
        estimate.done(unit, took)
        assert estimate.left() == left
        assert estimate.left(under_way=1e6) >= 0
        assert estimate.left(under_way=-5) >= 0
    assert [spoken(5.4), spoken(600)] == ["about 5 s left", "about 10 min left"]


# --- results and tables ----------------------------------------------------------------------------------------------


def study_of(
    text: str = "--model storyteller-draft --stages 2,3,7,8", out: dict[str, str] | None = None
) -> Study:
    args = options.parse(text.split())
    who = [*map(Contestant.stage, contest.choose_stages(args.stages)), Contestant.peer("llama.cpp")]
    return make_study(args, DRAFT, "cpu", "float32", who, out or {"vllm": "vllm: not installed"})


def recorded(tmp_path: Path, study: Study, workers: Answers, name: str | None = None) -> dict[str, Any]:
    race = Race(study.units(), 2, workers, State("x", {}, tmp_path / "state"), expected())
    race.run()
    result = result_of(study, race, MACHINE)
    assert result is not None
    result.name = name or result.name
    result.save(tmp_path)
    return load_result(result.name, folder=tmp_path)


def test_a_result_holds_every_sample_and_says_who_has_none(tmp_path):
    workers = Answers(s07={"wrong": "crowd, prompt 1, token 2: 5 instead of 6"})
    result = recorded(tmp_path, study_of(), workers)
    assert result["values"]["s02_decode_tokens_per_s"]["samples"] == [11, 16]
    assert result["values"]["s02_decode_tokens_per_s"]["unit"] == "tokens/s"
    assert result["values"]["llama_cpp_crowd_tokens_per_s"]["value"] == 20
    assert not [key for key in result["values"] if key.startswith("s07_")]
    assert result["checked"].endswith("stage 02's loop; wrong, and without a time: stage 07")
    bound = result["values"]["decode_bound_tokens_per_s"]["value"]
    assert result["values"]["s02_bound_share"]["value"] == pytest.approx(100 * 13.5 / bound, rel=1e-4)
    workload = result["workload"]
    assert (workload["rounds"], workload["rounds_asked"]) == (2, 2)
    assert workload["left_out"] == {"vllm": "vllm: not installed"}
    assert [side["key"] for side in workload["sides"]] == ["s02", "s03", "s07", "s08", "llama_cpp"]
    assert "stage 07" not in workload["sides"][2]["title"]
    assert workload["sides"][2]["problem"].startswith("wrong tokens: crowd")


def test_a_side_that_is_wrong_in_one_round_has_no_number_from_another(tmp_path):
    class Once(Answers):
        def ask(self, task: dict[str, Any]) -> dict[str, Any]:
            answer = super().ask(task)
            return {"wrong": "alone"} if self.asked[:-1].count("s03") and task["side"] == "s03" else answer

    result = recorded(tmp_path, study_of(), Once())
    assert not [key for key in result["values"] if key.startswith("s03_")]
    assert "s02_ttft_ms" in result["values"]


def test_rounds_that_were_cut_are_not_counted(tmp_path):
    study = study_of()
    race = Race(study.units(), 3, Answers(stop_at=7), State("x", {}, tmp_path), expected())
    with pytest.raises(KeyboardInterrupt):
        race.run()
    result = result_of(study, race, MACHINE)
    assert result is not None
    assert (result.workload["rounds"], result.workload["rounds_asked"]) == (1, 3)
    empty = Race(study.units(), 3, Answers(), State("y", {}, tmp_path), expected())
    assert result_of(study, empty, MACHINE) is None


def row(key: str, title: str, **values: float) -> ladder.Row:
    return ladder.Row(key, key[1:], title, values)


def test_a_gain_is_against_the_last_stage_that_has_the_number():
    rows = [row("s01", "Forward"), row("s02", "Loop", decode=10.0), row("s03", "No number"), row("s04", "Cache", decode=31.0),
            row("s05", "Same", decode=30.5), ladder.Row("llama_cpp", "llama.cpp", "", {"decode": 99.0})]  # fmt: skip
    found = ladder.gains(rows, "decode")
    assert set(found) == {"s04", "s05"}
    assert [ladder.times(found.get(one.key)) for one in rows] == ["", "", "", "3.1x", "=", ""]
    assert [ladder.number(n) for n in (None, 0.5, 12.34, 99.96, 12345.6)] == [
        "-",
        "0.50",
        "12.3",
        "100",
        "12,346",
    ]


def test_names_that_begin_alike_keep_their_numbers_apart():
    entry = {"value": 1.0}
    result = {
        "workload": {"sides": [{"key": key, "label": key, "title": ""} for key in ("transformers", "transformers_static")]},
        "values": {"transformers_ttft_ms": entry, "transformers_static_ttft_ms": entry, "read_bandwidth": entry},
    }  # fmt: skip
    assert [one.values for one in ladder.rows_of(result)] == [{"ttft_ms": 1.0}, {"ttft_ms": 1.0}]


def test_readmes_table_is_what_is_recorded(tmp_path):
    assert ladder.readme_table(tmp_path)[-1] == "| not recorded yet; `make bench` measures it |"
    folder = tmp_path / "benchmarks" / "results" / "cpu"
    study = study_of()
    recorded(folder, study, Answers(s07={"failed": "no room"}), "ladder")
    lines = ladder.readme_table(tmp_path)
    assert lines[0].startswith(
        "[`benchmarks/results/cpu/ladder.json`](benchmarks/results/cpu/ladder.json) · "
    )
    assert lines[2].startswith("|  |  | one request: tokens/s | stage before | 16 at once: tokens/s |")
    assert lines[4] == "| 02 | Greedy decoding | 13.5 |  | 20.0 |  | 5.00 | 300 |"
    assert lines[6] == "| 07 | Prefill batching (no room) | - |  | - |  | - | - |"
    assert lines[8].startswith("|  | llama.cpp | 17.0 |  | 20.0 |")
    assert readme.tables(tmp_path)["ladder"]() == lines


def test_the_screen_fits_a_hundred_columns_and_names_who_is_missing(tmp_path, capsys):
    screen.show_result(recorded(tmp_path, study_of(), Answers(s03={"failed": "no room"})))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    for words in (
        "02 Greedy decoding ",
        "llama.cpp ",
        "x before",
        "note: 03 KV cache: no room",
        "not installed",
        "tokens/s that",
    ):
        assert words in said, words
    assert "\x1b" not in said


def test_figures_come_from_results_alone(tmp_path):
    figures = pytest.importorskip("benchmarks.ladder.figures")
    recorded(tmp_path, study_of(), Answers(), "ladder")
    drawn = list(figures.draw_all(tmp_path, tmp_path / "drawn"))
    assert [path.name for path in drawn] == ["ladder.svg"]
    assert figures.file_name("batch", "batch-storyteller", "") == "batch-storyteller"
    assert (
        figures.file_name("latency-over-concurrency", "batch-gpt2-xl", "h200")
        == "latency-over-concurrency-gpt2-xl-h200"
    )
    assert figures.file_name("memory-over-context", "memory-storyteller", "") == "memory-over-context"
    with pytest.raises(UserError, match="nothing to draw"):
        list(figures.draw_all(tmp_path / "empty", tmp_path))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--stages 2,99", "stage '99' does not exist; there are 01 to"),
        ("--stages ,", "names no stage"),
        ("--peers nobody", "peer: 'nobody' is not one of transformers, "),
        ("--peers all,none", "all and none stand alone"),
        ("--device tpu", "device 'tpu': choose from"),
        ("--dtype float8", "dtype 'float8': possible are"),
        ("--prompt-tokens 2000", "prompt and new tokens make 2128, but storyteller's window is 1024"),
        ("--batch 1,x", "write whole numbers from 1 on"),
        ("--batch 2 --reference", "--batch and --reference: one at a time"),
        ("--resume --fresh", "not allowed with argument --resume"),
        ("--commit main", "write 7 to 40 hexadecimal digits"),
        ("--quik", "did you mean '--quick'"),
        ("--figure --results nowhere", "nothing to draw in nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_can(text, said, capsys):
    words = text.split() if "peers" in text or "nowhere" in text else [*text.split(), "--peers", "none"]
    assert run(command.main, words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_peer_that_is_missing_is_told_how_to_be_had(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.missing", lambda name: f"{name}: not installed; pip install it")
    able, out = contest.choose_peers("all", DRAFT, "cpu", "float32", only=("llama.cpp",))
    assert (able, out) == ([], {"llama.cpp": "llama.cpp: not installed; pip install it"})
    assert contest.choose_peers("none", DRAFT, "cpu", "float32") == ([], {})
    _, mixed = contest.choose_peers("transformers", DRAFT, "cpu", "float32", mixed=True)
    assert mixed == {"transformers": "transformers: takes prompts of one length only"}


def test_stages_are_chosen_by_number_and_for_a_crowd_by_what_they_can():
    assert contest.choose_stages("3,7-8,2") == [2, 3, 7, 8]
    assert contest.choose_stages("all")[:8] == list(range(1, 9))
    assert contest.for_crowds(list(range(1, 9)), explicit=False, continuous=False) == [6, 7, 8]
    assert contest.for_crowds(list(range(1, 9)), explicit=False, continuous=True) == [8]
    assert contest.for_crowds([2, 3], explicit=True, continuous=True) == [2, 3]


def test_the_command_of_a_result_repeats_it():
    args = options.parse("--quick --crowd 4 --batch 1,2 --results x --commit abcdef0 --fresh".split())
    assert args.command == "python -m benchmarks.run --crowd 4 --batch 1,2 --quick"
    assert (args.prompt_tokens, args.new_tokens, args.repeats, args.kind) == (32, 32, 1, "batch")
    assert options.parse([]).command == "python -m benchmarks.run"
    assert options.parse([]).result == "ladder"
    assert options.parse(["--model", "gpt2-124m", "--reference"]).result == "reference-gpt2-124m"
    unusual = ["--device", "cpu", "--dtype", "bfloat16"]
    assert options.parse(unusual).result == "ladder-storyteller-bfloat16"  # the usual one's stays
    assert (
        options.parse([*unusual, "--model", "gpt2-124m", "--batch", "1"]).result == "batch-gpt2-124m-bfloat16"
    )
    assert options.parse(["--device", "cpu", "--dtype", "float32"]).result == "ladder"


def test_a_project_result_is_drawn_where_the_articles_look_and_any_other_beside_itself(tmp_path):
    assert command.into_of(command.RESULTS / "nvidia-h100-80gb-hbm3") is None
    assert command.into_of(tmp_path) == tmp_path


def test_arithmetic_is_no_slower_in_16_bits_than_who_widens_them(monkeypatch):
    asked, product = [], torch.mm

    def spied(a, b):
        asked.append(a.dtype)
        return product(a[:8], b)

    monkeypatch.setattr(torch, "mm", spied)
    assert machine.matmul_rate("cpu", "bfloat16") > 0
    assert set(asked) == {torch.bfloat16, torch.float32}


def test_the_reference_workload_is_the_fields_and_scales_down():
    study = study_of("--model storyteller-draft --reference --requests 20")
    (job,) = study.jobs
    assert len(job.prompts) == 20
    assert all(100 <= len(p) <= 512 and 100 <= n <= 512 for p, n in zip(job.prompts, job.limits, strict=True))
    assert job.checked == 4
    assert study.jobs == study_of("--model storyteller-draft --reference --requests 20").jobs
    assert "the first 4 of 20 requests" in study.sampled


def test_batches_share_their_prompts_so_that_one_reference_run_is_enough():
    study = study_of("--model storyteller-draft --batch 1,2,4 --new-tokens 3")
    assert [job.name for job in study.asked] == ["batch_4"]
    known = [[1, 2, 3]] * 4
    assert {name: len(tokens) for name, tokens in study.spread({"batch_4": known}).items()} == {
        "batch_1": 1, "batch_2": 2, "batch_4": 4,
    }  # fmt: skip


def test_memory_is_measured_in_a_process_for_each_length():
    study = study_of("--model storyteller-draft --contexts 32,64 --crowd 2 --stages 8")
    keys = [unit.key for unit in study.units() if unit.side == "s08"]
    assert keys == ["s08@32", "s08@64"]
    assert [study.prefix(unit) for unit in study.units()][:2] == ["s08_context_32", "s08_context_64"]
    assert study.shapes.row_bytes(64) == 2 * study.shapes.row_bytes(32)


def test_code_of_the_sides_is_part_of_what_a_run_is(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "a.py").write_text("x = 1\n")
    before = state.code_of_sides(tmp_path)
    (tmp_path / "common" / "a.py").write_text("x = 2\n")
    assert state.code_of_sides(tmp_path) != before
    study = study_of()
    assert command.key_of(study) == command.key_of(replace(study, contestants=study.contestants[:1]))
    assert command.key_of(study) != command.key_of(replace(study, seed=5))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_quick_run_from_nothing_to_table_figure_and_result(tmp_path):
    words = "--quick --model storyteller-draft --peers none --threads 1 --results".split()
    begin = [sys.executable, "-m", "benchmarks.run", *words, str(tmp_path)]
    environ = os.environ | {"COLUMNS": "100"}
    first = subprocess.Popen(
        begin, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(12)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    done = subprocess.run(
        begin, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "08 Continuous batching" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "ladder-storyteller-draft.json",
        "ladder-storyteller-draft.svg",
    }
    values = json.loads((tmp_path / "ladder-storyteller-draft.json").read_text())["values"]
    assert values["s08_crowd_tokens_per_s"]["value"] > values["s03_crowd_tokens_per_s"]["value"]
