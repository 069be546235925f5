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
from benchmarks.ladder import contest, options, race, screen
from benchmarks.ladder.check import check
from benchmarks.ladder.contest import Contestant
from benchmarks.ladder.measure import answer, before_weights, memory, rule_of
from benchmarks.ladder.numbers import of_run, unit_of
from benchmarks.ladder.race import LONG, Answers, Race
from benchmarks.ladder.record import result_of
from benchmarks.ladder.study import Study, make_study
from benchmarks.ladder.task import Job, Room, Setup, Unit, draw_prompts
from benchmarks.sides import Served
from common.bench.results import RESULTS, load_result
from common.equality import Tally, near_tie_rule
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


def task(side: str, tokens: dict[str, list[list[int]]] | None = None) -> dict[str, Any]:
    return Unit(side, side, side, SETUP, JOBS).task(JOBS, tokens or expected())


# --- one side --------------------------------------------------------------------------------------------------------


def test_a_stage_is_measured_in_a_process_of_its_own_on_the_shipped_weights(tmp_path):
    asked = {"do": "expect", "side": "s02", "setup": asdict(SETUP), "jobs": list(map(asdict, JOBS))}
    known = race.ask(asked, tmp_path / "expected.json")
    assert json.loads((tmp_path / "expected.json").read_text()) == known
    for side in ("s01", "s03", "s04", "s08"):
        found = race.ask(task(side, known), tmp_path / f"1-{side}.json")
        assert not {"failed", "wrong"} & set(found), found
        assert found["compared"] == (1 if side == "s01" else 15)
        assert found["numbers"]["ttft_ms"] > 0
        assert found["numbers"]["peak_bytes"] >= found["numbers"]["base_bytes"] > 1e6
        if side == "s01":
            assert found["skipped"] == {"crowd": "computes one token only"}
            assert "decode_tokens_per_s" not in found["numbers"]
        else:
            assert found["numbers"]["crowd_tokens_per_s"] > 0


def test_a_process_that_dies_is_an_answer(tmp_path):
    found = race.ask({"do": "measure", "setup": {"threads": None}}, tmp_path / "a.json")  # its reader raises
    assert "ended with status 1" in found["failed"]
    assert "KeyError" in found["failed"]
    assert race.ask(task("nobody"), tmp_path / "b.json")["failed"].startswith("peer: 'nobody' is not one of ")


@pytest.mark.parametrize("spoil", [0, 3])
def test_wrong_tokens_get_no_time(spoil):
    right = answer(task("fake"), lambda name, setup: Fake())
    assert right["numbers"]["decode_tokens_per_s"] == pytest.approx(10)
    wrong = answer(task("fake"), lambda name, setup: Fake(spoil))
    assert "numbers" not in wrong
    assert wrong["wrong"].startswith(f"alone, prompt 0, token {spoil}: ")


def test_what_raises_is_one_line():
    class Raises(Fake):
        def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
            raise RuntimeError("no luck\nand more lines")

    assert answer(task("fake"), lambda name, setup: Raises()) == {"failed": "RuntimeError: no luck"}

    def refuse(name: str, setup: Setup) -> Any:
        raise UserError("cannot be had")

    assert answer(task("fake"), refuse) == {"failed": "cannot be had"}


def test_requests_that_would_take_too_long_one_after_another_are_left_out():
    class Slow(Fake):
        together = False

    found = answer(task("fake"), lambda name, setup: Slow(wait=200.0))
    assert found["skipped"] == {"crowd": "one after another would take 7 minutes"}
    assert "crowd_tokens_per_s" not in found["numbers"]
    assert "crowd_tokens_per_s" in answer(task("fake"), lambda name, setup: Fake(wait=200.0))["numbers"]


def test_each_timed_run_follows_an_untimed_one_with_other_tokens_on_an_empty_engine():
    class Remembers(Fake):
        done: tuple[Any, ...] = ()

        def reset(self) -> None:
            self.done += ("reset",)

        def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
            self.done += ((list(prompts), list(limits)),)
            return super().run(prompts, limits)

    made = Remembers()
    answer(task("fake"), lambda name, setup: made)
    assert made.done == (
        "reset", ([PROMPTS[0][::-1]], [2]), ([PROMPTS[0]], [5]),
        "reset", ([p[::-1] for p in PROMPTS[1:]], [2, 2]), (PROMPTS[1:], [5, 5]),
    )  # fmt: skip


def test_on_a_gpu_memory_is_what_torch_counts_or_nothing(monkeypatch):
    on_gpu = replace(SETUP, device="cuda:0")
    # Less than the weights: a library that has memory of its own.
    monkeypatch.setattr("common.memory.peak_memory", lambda device: 10)
    assert memory(on_gpu, base=0) == {}
    assert memory(SETUP, base=5) == {"peak_bytes": 10, "base_bytes": 5}
    assert before_weights("s08", on_gpu) == before_weights("transformers", SETUP) == 0


def test_in_sixteen_bits_a_text_after_a_tie_is_followed_to_its_end(monkeypatch):
    # Scores after a text of n tokens. 4.0 and 3.97: two neighbouring bfloat16 numbers; 4.0 and 1.0 are no tie.
    rows = {1: [4.0, 3.97, 0.0], 2: [0.0, 4.0, 1.0], 3: [0.0, 4.0, 1.0], 4: [4.0, 0.0, 0.0]}
    scores = lambda model, tokens, at: torch.tensor([rows[n] for n in range(1, len(tokens) + 1)])[at]  # noqa: E731
    monkeypatch.setattr("benchmarks.ladder.check.plain_scores", scores)

    def follow(mine: list[int], theirs: list[int], tally: Tally) -> None:
        rule = near_tie_rule("bfloat16")
        check(None, Job("alone", [[2]], [4]), Served([mine], 1.0), [theirs], lambda: None, rule, tally, True)

    tally = Tally()
    follow([1, 1, 1, 0], [0, 2, 2, 2], tally)
    assert (tally.compared, tally.forgiven) == (4, 1)
    with pytest.raises(AssertionError, match="alone, prompt 0, token 2: 2 instead of 1"):
        follow([1, 1, 2, 0], [0, 2, 2, 2], Tally())
    with pytest.raises(AssertionError, match="token 0: 2 instead of 0"):
        follow([2, 1, 1, 0], [0, 1, 1, 0], Tally())


def test_a_peer_that_rounds_coarser_is_held_to_its_own_rule_and_the_result_says_so(tmp_path):
    assert rule_of("s08", SETUP) == rule_of("transformers", SETUP) == {"tolerance": 1e-4, "one_in": 500}
    assert rule_of("llama.cpp", SETUP)["tolerance"] > 1e-3
    assert rule_of("llama.cpp", replace(SETUP, dtype="bfloat16"))["one_in"] == 4
    found = answer(task("llama.cpp"), lambda name, setup: Fake())
    assert found["rule"].startswith("near ties are 0.02 wide")
    result = recorded(tmp_path, study_of(), Instant(**{"llama.cpp": found}))
    assert "; for llama.cpp near ties are 0.02 wide and one in 50" in result["checked"]
    assert answer(task("s08"), lambda name, setup: Fake())["rule"] == ""


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


class Instant:
    """Answers at once in place of a process, and stops at a given call as Ctrl-C would."""

    def __init__(self, stop_at: int | None = None, **bad: dict[str, Any]):
        self.asked: list[str] = []
        self.jobs: list[list[str]] = []
        self.stop_at, self.bad = stop_at, bad

    def __call__(self, task: dict[str, Any], into: Path) -> dict[str, Any]:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(task["side"])
        self.jobs.append([job["name"] for job in task["jobs"]])
        found = self.answer(task)
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(json.dumps(found))
        return found

    def answer(self, task: dict[str, Any]) -> dict[str, Any]:
        return self.bad.get(task["side"]) or {
            "numbers": {"decode_tokens_per_s": 10.0 + len(self.asked), "crowd_tokens_per_s": 20.0, "ttft_ms": 5.0,
                        "peak_bytes": 3e8, "load_s": 1.0},
            "skipped": {}, "compared": 15, "forgiven": 0, "version": "", "seconds": {"alone": 0.5, "crowd": 0.5},
        }  # fmt: skip


def race_of(folder: Path, ask: Instant, *keys: str, rounds: int = 2, code: int = 1) -> Race:
    units = [Unit(key, key, key, SETUP, JOBS) for key in keys]
    return Race(units, rounds, Answers("ladder", {"code": code}, folder), expected(), ask)


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path):
    stopped = Instant(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        race_of(tmp_path, stopped, "s02", "s03", "s08").run()
    assert stopped.asked == ["s02", "s03", "s08", "s02"]
    again = Instant()
    race_of(tmp_path, again, "s02", "s03", "s08").run()
    assert again.asked == ["s03", "s08"]
    other = Instant()
    race_of(tmp_path, other, "s02", rounds=1, code=2).run()
    assert other.asked == ["s02"]  # other code, other arguments: another run


def test_a_side_that_fails_is_asked_once_and_takes_no_other_along(tmp_path):
    bad = {"s03": {"failed": "no room"}, "s07": {"wrong": "alone, prompt 0, token 3: 1 instead of 2"}}
    ask = Instant(**bad)
    made = race_of(tmp_path, ask, "s02", "s03", "s07", "s08", rounds=3)
    made.run()
    assert ask.asked == ["s02", "s03", "s07", "s08", "s02", "s08", "s02", "s08"]
    assert [made.out(unit) for unit in made.units] == [
        "", "no room", "wrong tokens: alone, prompt 0, token 3: 1 instead of 2", "",
    ]  # fmt: skip


def test_what_takes_long_is_measured_once(tmp_path):
    slow = Instant().answer(task("s02")) | {"seconds": {"alone": 1.0, "crowd": LONG + 1}}
    ask = Instant(s02=slow)
    race_of(tmp_path, ask, "s02", "s03").run()
    assert ask.asked == ["s02", "s03", "s02", "s03"]
    assert ask.jobs == [["alone", "crowd"], ["alone", "crowd"], ["alone"], ["alone", "crowd"]]


def test_a_damaged_answer_is_measured_again(tmp_path):
    made = race_of(tmp_path, Instant(), "s02", rounds=1)
    made.run()
    next(made.answers.folder.glob("1-s02.json")).write_text('{"numbers": ')
    ask = Instant()
    race_of(tmp_path, ask, "s02", rounds=1).run()
    assert ask.asked == ["s02"]
    made.answers.forget()
    assert len(made.answers) == 0


# --- results and tables ----------------------------------------------------------------------------------------------


def study_of(
    text: str = "--model storyteller-draft --stages 2,3,7,8", out: dict[str, str] | None = None
) -> Study:
    args = options.parse(text.split())
    who = [*map(Contestant.stage, contest.choose_stages(args.stages)), Contestant.peer("llama.cpp")]
    return make_study(args, DRAFT, "cpu", "float32", who, out or {"vllm": "vllm: not installed"})


def recorded(tmp_path: Path, study: Study, ask: Instant, name: str | None = None) -> dict[str, Any]:
    made = Race(study.units(), 2, Answers("x", {}, tmp_path / "runs"), expected(), ask)
    made.run()
    result = result_of(study, made, MACHINE)
    assert result is not None
    result.name = name or result.name
    result.save(tmp_path)
    return load_result(result.name, folder=tmp_path)


def test_a_result_holds_every_sample_and_says_who_has_none(tmp_path):
    ask = Instant(s07={"wrong": "crowd, prompt 1, token 2: 5 instead of 6"})
    result = recorded(tmp_path, study_of(), ask)
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
    class Once(Instant):
        def answer(self, task: dict[str, Any]) -> dict[str, Any]:
            again = self.asked.count("s03") > 1 and task["side"] == "s03"
            return {"wrong": "alone"} if again else super().answer(task)

    result = recorded(tmp_path, study_of(), Once())
    assert not [key for key in result["values"] if key.startswith("s03_")]
    assert "s02_ttft_ms" in result["values"]


def test_rounds_that_were_cut_are_not_counted(tmp_path):
    study = study_of()
    made = Race(study.units(), 3, Answers("x", {}, tmp_path), expected(), Instant(stop_at=7))
    with pytest.raises(KeyboardInterrupt):
        made.run()
    result = result_of(study, made, MACHINE)
    assert result is not None
    assert (result.workload["rounds"], result.workload["rounds_asked"]) == (1, 3)
    empty = Race(study.units(), 3, Answers("y", {}, tmp_path), expected(), Instant())
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
    recorded(folder, study, Instant(s07={"failed": "no room"}), "ladder")
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
    screen.show_result(recorded(tmp_path, study_of(), Instant(s03={"failed": "no room"})))
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
    recorded(tmp_path, study_of(), Instant(), "ladder")
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
        ("--dtype float8", "dtype 'float8': choose from"),
        ("--prompt-tokens 2000", "prompt and new tokens make 2128, but storyteller's window is 1024"),
        ("--batch 1,x", "write whole numbers from 1 on"),
        ("--batch 2 --reference", "--batch and --reference: one at a time"),
        ("--commit main", "write 7 to 40 hexadecimal digits"),
        ("--quik", "did you mean '--quick'"),
        (f"--quick --results {RESULTS}/cpu", "a --quick run cannot go to benchmarks/results"),
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


def test_stages_are_chosen_by_number_and_for_batches_by_what_they_can():
    assert contest.choose_stages("3,7-8,2") == [2, 3, 7, 8]
    assert contest.choose_stages("all")[:8] == list(range(1, 9))
    assert contest.for_batches(list(range(1, 9)), explicit=False, continuous=False) == [6, 7, 8]
    assert contest.for_batches(list(range(1, 9)), explicit=False, continuous=True) == [8]
    assert contest.for_batches([2, 3], explicit=True, continuous=True) == [2, 3]


def test_the_command_of_a_result_repeats_it():
    args = options.parse("--quick --crowd 4 --batch 1,2 --results x --commit abcdef0 --fresh".split())
    assert args.command == "python -m benchmarks.run --quick --crowd 4 --batch 1,2"
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
    before = race.code_of_sides(tmp_path)
    (tmp_path / "common" / "a.py").write_text("x = 2\n")
    assert race.code_of_sides(tmp_path) != before
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
