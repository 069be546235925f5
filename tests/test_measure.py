"""Promises of `common.bench.measure`: fair turns, true statistics, bytes that match their formulas, results that hold."""

from __future__ import annotations

import gc
import json
import statistics
from types import SimpleNamespace

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.bench import bandwidth, measure
from common.bench import machine as machine_module
from common.errors import UserError
from common.models.layers import Embedding

finite = st.floats(-1e9, 1e9)


def test_functions_take_turns_so_that_noise_hits_all_sides():
    order = []
    seconds = measure.interleave(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warmup=1
    )
    assert order == ["a", "b"] * 4
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3}
    assert all(taken >= 0 for both in seconds.values() for taken in both)


def test_turns_begin_with_another_name_each_time_and_the_first_round_warms_up():
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    found = measure.in_turns(("a", "b"), 2, run)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [4, 5], "b": [3, 6]}
    assert gc.isenabled()


def test_garbage_collector_rests_while_timing_and_works_again_after_a_failure():
    states = []
    measure.interleave({"a": lambda: states.append(gc.isenabled())}, repeats=2, warmup=0)
    assert states == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure.interleave({"a": lambda: 1 / 0}, warmup=0)
    assert gc.isenabled()


def test_a_cuda_timer_waits_for_the_device_before_both_readings(monkeypatch):
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    with measure.Timer("cuda:1") as timer:
        assert waited == ["cuda:1"]
    assert waited == ["cuda:1", "cuda:1"]
    assert timer.seconds >= 0
    with measure.Timer("cpu"):
        pass
    assert len(waited) == 2


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=50))
def test_percentiles_equal_numpys(samples):
    found = measure.percentiles(samples)
    for percent in (50, 95, 99):
        assert found[f"p{percent}"] == pytest.approx(numpy.percentile(samples, percent), rel=1e-9, abs=1e-6)
    assert found["mean"] == pytest.approx(statistics.fmean(samples), rel=1e-9, abs=1e-6)
    assert measure.median(samples) == found["p50"]


def test_percentiles_of_nothing_are_refused():
    with pytest.raises(UserError, match="at least one is needed"):
        measure.percentiles([])


# ---- the bandwidth bound


def test_read_bandwidth_is_plausible_and_measured_once(monkeypatch):
    monkeypatch.setitem(bandwidth._BUFFER_BYTES, "cpu", 2**26)
    bandwidth._measured.cache_clear()
    first = measure.read_bandwidth("cpu")
    assert 1e8 < first < 1e13
    assert measure.read_bandwidth(torch.device("cpu")) == first
    bandwidth._measured.cache_clear()


class Tiny(nn.Module):
    """An embedding, a layer, a head; a rotary table that no checkpoint holds; a stored buffer as quantisers use."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = Embedding(100, 8)
        self.layer = nn.Linear(8, 8, bias=False)
        self.head = nn.Linear(8, 100, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        self.register_buffer("cos", torch.zeros(1000, 8), persistent=False)
        self.register_buffer("packed", torch.zeros(16, dtype=torch.int8))
        self.layers_info = [
            SimpleNamespace(window=None, num_kv_heads=2, head_dim=4),
            SimpleNamespace(window=16, num_kv_heads=1, head_dim=4),
        ]


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_reads_weights_once_and_no_embedding_table_but_a_tied_one(tied):
    model = Tiny(tied)
    head, layer, table = 100 * 8 * 4, 8 * 8 * 4, 100 * 8 * 4
    assert measure.weight_bytes(model) == head + layer + 16
    assert measure.total_bytes(model) == head + layer + 16 + (0 if tied else table)


def test_cache_bytes_follow_heads_sizes_and_windows():
    layers = Tiny(True).layers_info
    assert measure.kv_bytes_per_token(layers, itemsize=2) == 2 * (2 * 4 + 1 * 4) * 2
    assert measure.kv_bytes(layers, 10, 2) == 10 * 2 * (2 * 4 + 1 * 4) * 2
    assert measure.kv_bytes(layers, 100, 2) == 2 * 2 * (100 * 2 * 4 + 16 * 1 * 4)


def test_bound_reads_weights_once_for_the_whole_batch():
    model = Tiny(True)
    weights, cache = measure.weight_bytes(model), measure.kv_bytes(model.layers_info, 50, 4)
    assert measure.decode_bytes(model, 50) == weights + cache
    assert measure.decode_bound(model, 50, 1e6) == pytest.approx(1e6 / (weights + cache))
    assert measure.decode_bound(model, 50, 1e6, batch=8) == pytest.approx(8e6 / (weights + 8 * cache))
    assert measure.decode_bytes(model, 50, itemsize=2) == weights + cache // 2
    assert measure.against_bound(265, 828.4) == "265 tokens/s, 32 % of the 828 that memory bandwidth allows"


# ---- the machine


def test_machine_is_described_without_naming_host_or_user():
    found = measure.machine("cpu")
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0
    assert found["cpu"]
    assert found["versions"]["torch"] == torch.__version__
    assert "gpu" not in found
    json.dumps(found)
    assert machine_module.platform.node() not in json.dumps(found).split('"')


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
        ("Tesla T4", "tesla-t4"),
    ],
)
def test_results_of_a_gpu_have_their_own_folder(name, folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert measure.machine_folder() == folder
    assert measure.machine_folder("cuda:1") == folder
    assert measure.machine_folder("cpu") == "cpu"


def test_without_a_gpu_the_folder_is_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measure.machine_folder() == "cpu"


def test_commit_says_when_the_code_differs_from_it(monkeypatch):
    monkeypatch.delenv("VITRINE_COMMIT", raising=False)
    said = {"rev-parse": "abc123", "status": " M common/terminal/command_line.py"}
    monkeypatch.setattr(machine_module, "_output", lambda *command: said[command[3]])
    assert measure.commit() == "abc123-dirty"
    said["status"] = ""
    assert measure.commit() == "abc123"
    said["rev-parse"] = ""
    assert measure.commit() == "unknown"


@pytest.mark.parametrize(
    ("told", "commit"),
    [("4cd8a55", "4cd8a55"), ("A" * 40, "a" * 40), ("", "unknown"), ("main", "unknown"), ("abc12", "unknown"),
     ("4cd8a55\n", "unknown"), ("g" * 40, "unknown"), ("a" * 65, "unknown")],
)  # fmt: skip
def test_outside_git_the_environment_may_name_the_commit(monkeypatch, told, commit):
    monkeypatch.setattr(machine_module, "_output", lambda *command: "")
    monkeypatch.setenv("VITRINE_COMMIT", told)
    assert measure.commit() == commit
    monkeypatch.setattr(
        machine_module, "_output", lambda *command: "abc123" if "rev-parse" in command else ""
    )
    assert measure.commit() == "abc123"  # git knows better


# ---- result files


@pytest.fixture
def result(monkeypatch) -> measure.Result:
    monkeypatch.setattr("common.bench.results.code_hash", lambda folder: "0" * 64)
    monkeypatch.setattr("common.bench.results._stage_folder", lambda stage: stage)
    made = measure.Result(
        "s03", 3, "make bench-03", {"model": "storyteller", "lengths": [64, 128]}, 0, "64 tokens equal", "cpu"
    )
    made.add("speedup_64", 2.5, "x", note="short")
    return made


def test_a_saved_result_reads_back_with_samples_and_percentiles(result, tmp_path):
    samples = [0.001 * i for i in range(1, 101)]
    result.add("ttft", unit="s", samples=samples)
    result.checked = 'lists [ 1,   2 ] and "quotes"\n kept'
    path = result.save(tmp_path / "new" / "folder")
    assert path.name == "s03.json"
    assert [found.name for found in path.parent.iterdir()] == ["s03.json"]
    content = measure.load_result("s03", folder=path.parent)
    assert content["schema"] == 1
    assert content["checked"] == result.checked
    assert content["workload"] == result.workload
    assert len(path.read_text().splitlines()) < 60  # samples on one line
    assert content["values"]["speedup_64"] == {"value": 2.5, "unit": "x", "note": "short"}
    assert content["values"]["ttft"]["samples"] == pytest.approx(samples)
    assert content["machine"]["versions"]["torch"] == torch.__version__
    assert measure.r("s03", "cpu", "speedup_64", path.parent) == 2.5
    assert measure.r("s03", "cpu", "ttft", path.parent) == pytest.approx(0.0505)
    assert measure.r("s03", "cpu", "ttft.p95", path.parent) == pytest.approx(numpy.percentile(samples, 95))


def test_results_of_this_machine_go_to_its_folder(result, tmp_path, monkeypatch):
    monkeypatch.setattr("common.bench.results.RESULTS", tmp_path)
    assert result.save() == tmp_path / "cpu" / "s03.json"
    assert measure.r("s03", "cpu", "speedup_64") == 2.5


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"key": "speedup_64", "value": 1.0}, "recorded twice"),
        ({"key": "Speed Up", "value": 1.0}, "must be lower case"),
        ({"key": "a", "value": 1.0, "unit": "furlongs"}, "unit 'furlongs'; known are none, x"),
        ({"key": "a", "value": float("nan")}, "nan, not a finite number"),
        ({"key": "a", "value": 1.0, "samples": [1.0, float("inf")]}, "inf, not a finite number"),
        ({"key": "a"}, "needs a value or samples"),
        ({"key": "a", "samples": []}, "at least one"),
    ],
)
def test_numbers_that_mean_nothing_are_not_recorded(result, arguments, part):
    with pytest.raises(UserError, match=part):
        result.add(**arguments)
    assert list(result.values) == ["speedup_64"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"schema": 2}, "schema 2; this program reads 1"),
        ({"checked": " "}, "checked is empty"),
        ({"command": ""}, "command is empty"),
        ({"values": {}}, "no values"),
        ({"stage": "three"}, "stage is 'three'"),
        ({"seed": True}, "seed is True"),
        ({"name": "../s03"}, "name '../s03'"),
        ({"comment": "x"}, "unknown field 'comment'"),
        ({"values": {"a": {"value": 1, "unit": "parsecs"}}}, "unit 'parsecs'"),
        ({"values": {"a": {"value": "1", "unit": "x"}}}, "'1', not a finite number"),
        ({"values": {"a": {"value": 1, "unit": "x", "samples": [None]}}}, "None, not a finite number"),
        ({"machine": None}, "machine is None, or missing"),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused_naming_the_field(result, tmp_path, changes, part):
    path = result.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=part):
        measure.load_result("s03", folder=tmp_path)


def test_an_unchecked_result_is_not_saved(result, tmp_path):
    result.checked = ""
    with pytest.raises(UserError, match="say what was found correct before timing"):
        result.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_not_recorded_is_answered_with_what_is(result, tmp_path):
    result.save(tmp_path)
    with pytest.raises(UserError, match="no result 's04' for machine 'cpu'; recorded are s03"):
        measure.load_result("s04", folder=tmp_path)
    with pytest.raises(UserError, match="no key 'speedup'; it has speedup_64"):
        measure.r("s03", "cpu", "speedup", tmp_path)
    with pytest.raises(UserError, match="speedup_64 has no 'p95'"):
        measure.r("s03", "cpu", "speedup_64.p95", tmp_path)
    (tmp_path / "s05.json").write_text("{")
    with pytest.raises(UserError, match=r"s05\.json: not JSON"):
        measure.load_result("s05", folder=tmp_path)


def test_code_hash_follows_engine_lesson_and_bench_and_nothing_else(tmp_path):
    (tmp_path / "engine" / "kernels" / "__pycache__").mkdir(parents=True)
    (tmp_path / "engine" / "a.py").write_bytes(b"one\n")
    (tmp_path / "engine" / "kernels" / "b.py").write_bytes(b"two\n")
    (tmp_path / "bench.py").write_bytes(b"three\n")
    (tmp_path / "lesson" / "__pycache__").mkdir(parents=True)
    (tmp_path / "lesson" / "sides.py").write_bytes(b"four\n")
    first = measure.code_hash(tmp_path)
    assert len(first) == 64
    for name in (
        "README.md",
        "test_stage.py",
        "engine/kernels/__pycache__/b.pyc",
        "lesson/__pycache__/c.pyc",
    ):
        (tmp_path / name).write_text("anything")
    assert measure.code_hash(tmp_path) == first
    (tmp_path / "engine" / "a.py").write_bytes(b"one\r\n")  # checked out on Windows
    assert measure.code_hash(tmp_path) == first
    for name in ("engine/a.py", "engine/kernels/b.py", "lesson/sides.py", "bench.py"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"#")
        assert measure.code_hash(tmp_path) != first
        (tmp_path / name).write_bytes(content)
    (tmp_path / "engine" / "kernels" / "b.py").rename(tmp_path / "engine" / "b.py")
    assert measure.code_hash(tmp_path) != first


def test_arithmetic_is_no_slower_in_16_bits_than_in_what_they_can_be_widened_to(monkeypatch):
    asked, product = [], torch.mm

    def spied(a, b):
        asked.append(a.dtype)
        return product(a[:8], b)

    monkeypatch.setattr(torch, "mm", spied)
    bandwidth.matmul_rate.cache_clear()
    assert bandwidth.matmul_rate("cpu", torch.bfloat16) > 0
    assert set(asked) == {torch.bfloat16, torch.float32}
    bandwidth.matmul_rate.cache_clear()
