"""The worked example: true to the engine it watches, blind to how a cache is laid out, and exact about deviations."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.tutorial import stages
from common.tutorial.learner.tracing import compare, drive, scenario, show
from common.tutorial.learner.tracing.ledger import Ledger
from common.tutorial.learner.tracing.places import Probe, reduce
from common.tutorial.learner.tracing.recorder import Part, Step

EXAMPLE = scenario.random_scenario()
L, T, HKV, D = 2, 12, 2, 8


# --- a small cached engine, with the mistakes people make ------------------------------------------------------------


@dataclass
class Out:
    id: int


class Cache:
    """[Hkv, T, D] per layer, as simple as can be."""

    def __init__(self, model: Any):
        self.k: list[Tensor] = [torch.zeros(i.num_kv_heads, 32, i.head_dim) for i in model.layers_info]
        self.v = [t.clone() for t in self.k]
        self.start = 0

    def __call__(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        end = self.start + len(k)
        self.k[layer.index][:, self.start : end] = k.transpose(0, 1)
        self.v[layer.index][:, self.start : end] = v.transpose(0, 1)
        keys, values = self.k[layer.index][:, :end], self.v[layer.index][:, :end]
        mask = torch.arange(end) <= torch.arange(self.start, end)[:, None]
        scores = (q.transpose(0, 1) @ keys.mT * layer.scale).masked_fill(~mask, -torch.inf)
        return (scores.softmax(-1) @ values).transpose(0, 1)


def engine(**bug: Any) -> ModuleType:
    """An engine like stage 03's. Bugs: position (added from the second step on), row, place, restart, crash_at."""

    def generate(model: Any, tokens: list[int], max_new_tokens: int, **_: Any) -> Iterator[Out]:
        text, cache = list(tokens), Cache(model)
        for step in range(max_new_tokens):
            fresh = text if step == 0 or bug.get("restart") else text[-1:]
            start = len(text) - len(fresh)
            if step == bug.get("crash_at"):
                raise RuntimeError("no room")
            cache.start = start + (bug.get("place", 0) if step else 0)
            positions = torch.arange(start, start + len(fresh)) + (bug.get("position", 0) if step else 0)
            hidden = model(torch.tensor(fresh), positions, cache)
            text.append(int(model.logits(hidden[bug.get("row", -1)][None])[0].argmax()))
            yield Out(text[-1])

    return cast(ModuleType, SimpleNamespace(generate=generate, __name__="engine"))


def deviation(**bug: Any) -> str | None:
    return compare.first_deviation(drive.run(engine(**bug), EXAMPLE), drive.run(engine(), EXAMPLE))


def test_equal_engines_have_equal_traces() -> None:
    assert deviation() is None


def test_wrong_position_is_named_with_step_and_request() -> None:
    assert deviation(position=1) == "step 2, request A: position 4, expected 3"


def test_restarted_text_is_named() -> None:
    expected = "step 2, request A: 4 tokens in (position 0-3), expected 1 (position 3)"
    assert deviation(restart=True) == expected


def test_logits_of_the_wrong_row_are_named() -> None:
    assert deviation(row=0) == "step 1, request A: logits of row 0, expected 2"


def test_kv_written_to_the_wrong_place_is_named() -> None:
    assert deviation(place=1) == "step 2, request A: K and V at place 4, expected 3"


def test_missing_and_superfluous_steps_are_named() -> None:
    steps = drive.run(engine(), EXAMPLE)
    missing = compare.first_deviation(steps[:-1], steps)
    assert missing == "step 12, request C: nothing ran, expected position 11"
    more = compare.first_deviation([*steps, steps[-1]], steps)
    assert more == "step 13, request C: ran position 11, expected no further step"


def test_swapped_requests_in_a_batch_are_named() -> None:
    def step(a: int, b: int) -> Step:
        return Step([Part("A", [a], [3], [(0, 3)], [0], [7]), Part("B", [b], [5], [(1, 5)], [1], [9])])

    assert compare.first_deviation([step(4, 6)], [step(6, 4)]) == "step 1, request A: token in 4, expected 6"
    lone = Step([step(4, 6).parts[0]])
    text = compare.first_deviation([lone], [step(4, 6)])
    assert text == "step 1, request B: did not run; A ran, expected A B"


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_recording_changes_nothing_and_leaves_nothing_behind() -> None:
    plain = [out.id for out in engine().generate(EXAMPLE.model, list(EXAMPLE.requests[2].tokens), 4)]
    steps = drive.run(engine(), EXAMPLE)
    assert [
        token for step in steps for part in step.parts if part.request == "C" for token in part.out
    ] == plain
    assert "logits" not in vars(EXAMPLE.model)
    assert not EXAMPLE.model._forward_hooks
    assert not EXAMPLE.model._forward_pre_hooks


def test_trace_counts_the_weights_that_were_read() -> None:
    model = EXAMPLE.model
    embeddings = {"embed", "embed_positions"}
    whole = sum(p.nbytes for n, p in model.named_parameters() if n.split(".")[0] not in embeddings)
    rows = sum(getattr(model, name).weight[0].nbytes for name in embeddings)
    first, second = drive.run(engine(), EXAMPLE)[:2]
    assert first.weight_bytes == whole + 3 * rows
    assert second.weight_bytes == whole + rows


LAYOUTS: dict[str, Callable[[], Any]] = {
    "a list of [Hkv, T, D]": lambda: [torch.zeros(HKV, T, D) for _ in range(L)],
    "[L, T, Hkv, D]": lambda: torch.zeros(L, T, HKV, D),
    "[T, L, Hkv, D]": lambda: torch.zeros(T, L, HKV, D),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_contiguous_places_are_found_in_any_layout(layout: str) -> None:
    cells = LAYOUTS[layout]()

    def write(layer: int, at: int, vector: Tensor, _: Tensor) -> None:  # vector [Hkv, D]
        if isinstance(cells, list):
            cells[layer][:, at] = vector
        elif cells.shape[0] == L:
            cells[layer, at] = vector
        else:
            cells[at, layer] = vector

    assert watch(SimpleNamespace(cells=cells), write, [5, 6, 9]) == [(5,), (6,), (9,)]


def test_rows_and_blocks_are_found_as_pairs() -> None:
    blocks = torch.zeros(L, 2, 5, 4, HKV, D)  # layer, K or V, block, place, head

    def write(layer: int, at: int, key: Tensor, value: Tensor) -> None:
        blocks[layer, 0, at // 4, at % 4] = key
        blocks[layer, 1, at // 4, at % 4] = value

    found = watch(SimpleNamespace(deep={"pool": [blocks]}), write, [7, 8, 0])
    assert found == [(1, 3), (2, 0), (0, 0)]
    assert show.places(found) == "1[3] 2[0] 0[0]"


def test_overwritten_place_wins_over_an_old_one_with_the_same_numbers() -> None:
    cells, vector = torch.zeros(T, D), torch.randn(1, D)
    cells[2] = vector
    probe = Probe(SimpleNamespace(cells=cells))
    cells[7] = vector
    assert reduce(probe.find(vector), []) == [(7,)]


def test_attend_that_keeps_nothing_has_no_places() -> None:
    assert reduce(Probe(SimpleNamespace(start=3)).find(torch.randn(2, D)), []) is None


def watch(holder: Any, write: Any, slots: list[int]) -> Any:
    """Write random K (and V) at `slots` of two layers; the places that the probe finds."""
    k, v = torch.randn(2, L, len(slots), HKV, D)
    found = []
    for layer in range(L):
        probe = Probe(holder)
        for at, key, value in zip(slots, k[layer], v[layer], strict=True):
            write(layer, at, key, value)
        found.append(probe.find(k[layer][:, 0]))
        if layer == 0:
            found += [probe.find(k[layer][:, -1]), probe.find(v[layer][:, 0])]
    return reduce(found[0], found[1:])


# --- whose tokens, in a batch ----------------------------------------------------------------------------------------


def ledger(**texts: list[int]) -> Ledger:
    made = Ledger()
    for name, tokens in texts.items():
        made.add(name, tokens)
    return made


def test_shares_of_a_flat_batch_are_told_apart_by_their_text() -> None:
    book = ledger(A=[7, 8, 9], B=[7, 8, 5, 6])
    assert book.whose([7, 8, 9, 7, 8], [0, 1, 2, 0, 1]) == [("A", 0, 3), ("B", 3, 5)]
    book.extend("A", [4])
    assert book.whose([4, 5, 6], [3, 2, 3]) == [("A", 0, 1), ("B", 1, 3)]


def test_two_decodes_at_neighbouring_positions_stay_two() -> None:
    book = ledger(A=[1, 2], B=[3, 4, 5])
    book.whose([1, 2, 3, 4, 5], [0, 1, 0, 1, 2])
    book.extend("A", [9])
    book.extend("B", [9])
    assert book.whose([9, 9], [2, 3]) == [("A", 0, 1), ("B", 1, 2)]


def test_shared_prefix_may_be_skipped_and_a_preempted_text_restart() -> None:
    book = ledger(A=[1, 2, 3, 4, 5])
    assert book.whose([5], [4]) == [("A", 0, 1)]
    assert book.whose([1, 2, 3, 4, 5], [0, 1, 2, 3, 4]) == [("A", 0, 5)]


def test_padding_belongs_to_nobody_and_a_wrong_position_still_to_its_request() -> None:
    book = ledger(A=[1, 2], B=[3, 4, 5])
    shares = book.whose([1, 2, 96, 3, 4, 5], [0, 1, 2, 0, 1, 2])
    assert shares == [("A", 0, 2), ("pad", 2, 3), ("B", 3, 6)]
    book.extend("B", [8])
    assert book.whose([8], [4]) == [("B", 0, 1)]


def test_finished_request_is_not_taken_for_one_that_runs() -> None:
    book = ledger(A=[1], B=[5])
    book.whose([1, 5], [0, 0])
    book.extend("A", [3])
    book.extend("B", [3])
    book.remove("A")
    assert book.whose([3], [1]) == [("B", 0, 1)]


@dataclass
class Given:
    request_id: str
    tokens: list[int]
    finish_reason: str | None


def batched(stuck: bool = False) -> ModuleType:
    """An engine that runs all present requests in one flat forward pass, a row of a [rows, T] cache for each."""

    class Engine:
        def __init__(self, model: Any, tokenizer: Any, model_config: Any, config: Any):
            self.model, self.requests = model, dict[str, tuple[list[int], int]]()
            self.caches = [Cache(model) for _ in range(3)]

        def add(self, prompt: list[int], params: Any, request_id: str) -> None:
            self.requests[request_id] = (prompt, params.max_tokens)

        def step(self) -> list[Given]:
            fresh, positions, spans = list[int](), list[int](), []
            for row, (name, (text, left)) in enumerate(self.requests.items()):
                start = 0 if len(text) in (3, 5, 9) and left == 4 else len(text) - 1
                if left:
                    spans.append((name, self.caches[row], len(fresh), start))
                    fresh += text[start:]
                    positions += range(start, len(text))

            def attend(layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                ends = [*(at for _, _, at, _ in spans[1:]), len(q)]
                parts = []
                for (_, cache, at, start), end in zip(spans, ends, strict=True):
                    cache.start = start
                    parts.append(cache(layer, q[at:end], k[at:end], v[at:end]))
                return torch.cat(parts)

            if not spans or stuck:
                return []
            rows = [at - 1 for _, _, at, _ in spans[1:]] + [len(fresh) - 1]
            hidden = self.model(torch.tensor(fresh), torch.tensor(positions), attend)
            outs = []
            chosen = self.model.logits(hidden[torch.tensor(rows)]).argmax(-1).tolist()
            for (name, *_), token in zip(spans, chosen, strict=True):
                text, left = self.requests[name]
                self.requests[name] = ([*text, token], left - 1)
                outs.append(Given(name, [token], "length" if left == 1 else None))
            return outs

    config, params = (
        make_dataclass("EngineConfig", []),
        make_dataclass("SamplingParams", ["max_tokens", "ignore_eos"]),
    )
    named = SimpleNamespace(Engine=Engine, EngineConfig=config, SamplingParams=params, __name__="engine")
    return cast(ModuleType, named)


def test_batch_is_traced_with_its_late_arrival_and_equals_the_lone_runs() -> None:
    steps = drive.run(batched(), EXAMPLE)
    assert [[part.request for part in step.parts] for step in steps] == [
        *[["A", "B"]] * 3, ["A", "B", "C"], *[["C"]] * 3
    ]  # fmt: skip
    first = steps[0].parts
    assert (first[0].rows, first[1].rows, first[1].positions) == ([2], [7], [0, 1, 2, 3, 4])
    alone = drive.run(engine(), EXAMPLE)
    for name in "ABC":
        assert outs(steps, name) == outs(alone, name)
    assert sum(step.weight_bytes for step in steps) < sum(step.weight_bytes for step in alone)


def outs(steps: list[Step], name: str) -> list[int]:
    return [token for step in steps for part in step.parts if part.request == name for token in part.out]


def test_engine_that_never_finishes_is_stopped() -> None:
    with pytest.raises(UserError, match="requests A B C are not finished after 100 steps"):
        drive.run(batched(stuck=True), EXAMPLE)


# --- how it is shown -------------------------------------------------------------------------------------------------


def test_ids_positions_and_places_are_short() -> None:
    assert show.ids([1, 2, 3]) == "1 2 3"
    assert show.ids(list(range(9))) == "0 1 … 7 8 (9)"
    assert show.ranges([0, 1, 2, 5]) == "0-2,5"
    assert show.places([(0,), (1,)]) == "0-1"
    assert show.places([(3, 0), (3, 1), (5, 0)]) == "3[0-1] 5[0]"
    assert show.places(None) == "not kept"


def test_batch_takes_one_line_a_request_and_one_number_a_step() -> None:
    parts = [Part("A", [4], [3], [(0, 3)], [0], [7]), Part("B", [5, 6], [0, 1], [(1, 0), (1, 1)], [2], [9])]
    lines = show.trace_text("T", EXAMPLE, [Step(parts, 5_000_000)]).splitlines()
    rows = [line for line in lines if line[6:7] in "AB" and len(line) > 60]
    assert [row.split()[0] for row in rows] == ["1", "B"]
    assert [row.endswith("5.00 MB") for row in rows] == [True, False]
    assert lines[-1].startswith("1 step, 3 tokens through the model for 2 new ones")


def test_long_words_and_five_digit_ids_stay_within_the_width() -> None:
    class Wordy:
        def decode(self, ids: list[int], skip_special: bool = True) -> str:
            return " incomprehensibility" * len(ids)

    long = [replace(r, tokens=tuple(10_000 + t for t in r.tokens)) for r in EXAMPLE.requests]
    example = replace(EXAMPLE, requests=tuple(long), tokenizer=Wordy())
    parts = [Part("C", list(long[2].tokens), list(range(9)), [(12, i) for i in range(9)], [8], [10_001])]
    text = show.trace_text("T", example, [Step(parts, 1_234_567_890)])
    table = [line for line in text.splitlines() if not line.lstrip().startswith('"')]
    assert max(map(len, table)) <= show.WIDTH
    assert "10001 ·incomprehe…" in text
    assert "(after step 3; 4 tokens as in B)" in text


def test_padding_is_counted_as_waste() -> None:
    steps = [Step([Part("A", [4, 5], [0, 1], out=[7]), Part("pad", [0, 0, 0], [2, 3, 4])])]
    assert show.sums(steps).startswith(
        "1 step, 5 tokens through the model (3 of them padding) for 1 new ones"
    )


def test_two_traces_stand_side_by_side_within_the_width() -> None:
    steps = drive.run(engine(), EXAMPLE)
    shown = show.side_by_side(("stage 02", drive.run(engine(restart=True), EXAMPLE)), ("stage 03", steps))
    assert max(map(len, shown.splitlines())) <= show.PAIR_WIDTH
    assert shown.count("≠") == 9  # each step but the three prefills


# --- the stages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.nn)
def test_committed_trace_is_what_the_stage_does(stage: Any) -> None:
    from common.tutorial.learner import trace

    committed = (stage.folder / "trace.txt").read_text(encoding="utf-8")
    assert trace.text(stage.number) == committed, (
        f"make articles, or trace {stage.nn} --write, if the change is meant"
    )
    lines = committed.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= show.WIDTH


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.nn)
def test_stage_passes_its_own_trace_check(stage: Any) -> None:
    from common.tutorial.learner import trace

    own = importlib.import_module(f"{stage.package}.engine")
    assert trace.check_trace(stage.number, own, EXAMPLE) is None


def test_crash_is_reported_with_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from common.tutorial.learner import trace

    monkeypatch.setattr(trace, "find_stage", lambda number: None)
    monkeypatch.setattr(trace, "engine_of", lambda stage: engine())
    found = trace.check_trace(3, engine(crash_at=2), EXAMPLE)
    assert found is not None
    assert found.startswith("step 2, request A: RuntimeError: no room (test_trace.py:")
    assert (
        trace.check_trace(3, engine(position=1, crash_at=3), EXAMPLE)
        == "step 2, request A: position 4, expected 3"
    )


def test_engine_without_anything_to_drive_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to trace"):
        drive.run(cast(ModuleType, SimpleNamespace(__name__="empty")), EXAMPLE)


def test_learners_engine_is_imported_afresh_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.tutorial.learner import trace

    monkeypatch.setattr(trace, "check_trace", lambda number, engine: f"imported {engine.WORD}")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("from .word import WORD\n")
    for word in (
        "one",
        "three",
    ):  # of different lengths: Python trusts a .pyc whose source has its size and second
        (tmp_path / "engine" / "word.py").write_text(f"WORD = {word!r}\n")
        assert trace.check_attempt(3, tmp_path) == f"imported {word}"
    (tmp_path / "engine" / "word.py").write_text("import nothing_of_this_name\n")
    found = trace.check_attempt(3, tmp_path)
    assert found == "before the first step: ModuleNotFoundError: No module named 'nothing_of_this_name'"
