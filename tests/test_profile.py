"""Promises of `benchmarks.profile`: a trace that viewers read, a table that adds up, kernels told from what starts them."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pytest

from benchmarks.profile import main
from benchmarks.profiling.drive import check, load, prompts_of, start
from benchmarks.profiling.kernels import covered, self_times, short_name, summarise
from benchmarks.profiling.report import Profile, rows_of, slug
from common.bench.measure import load_result
from common.errors import UserError
from common.terminal.command_line import run

NATIVE = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>, "
    "std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul>)"
)


@pytest.fixture(autouse=True)
def bandwidth(monkeypatch):
    """Measuring it takes seconds, and is tested elsewhere."""
    monkeypatch.setattr("benchmarks.profile.read_bandwidth", lambda device: 1e10)


def profiled(folder: Path, *flags: str) -> int:
    words = "--model storyteller-draft --steps 2 --batch 3 --prompt-tokens 8 --out".split()
    return run(main, [*words, str(folder), *flags])


def event(cat: str, name: str, ts: float, dur: float, tid: int = 1) -> dict:
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "pid": 1, "tid": tid}


@pytest.mark.parametrize("flags", [["--stage", "08"], ["--stage", "02"], ["--stage", "04", "--prefill"]])
def test_the_trace_is_a_file_of_events_and_the_shares_add_up(flags, tmp_path, capfd):
    assert profiled(tmp_path, *flags) == 0
    printed = capfd.readouterr()
    assert "USDT" not in printed.err
    (path,) = tmp_path.glob("*.json.gz")
    assert str(path) in printed.out and "perfetto" in printed.out
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    ops = {e["name"] for e in events if e.get("cat") == "cpu_op"}
    assert {"aten::argmax", "aten::embedding"} <= ops
    assert sum(e["name"].startswith("ProfilerStep") for e in events if e.get("cat") == "user_annotation") == 2
    lines = [line for line in printed.out.splitlines() if line.rstrip().endswith(" %")]
    shares = [float(line.split()[-2]) for line in lines if re.match(r"\w+ ", line) and "────" not in line]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_a_result_file_has_the_keys_that_a_text_binds_to(tmp_path, capsys):
    assert profiled(tmp_path, "--stage", "08", "--results", str(tmp_path)) == 0
    capsys.readouterr()
    result = load_result("profile_s08_storyteller-draft", folder=tmp_path)
    values = {key: entry["value"] for key, entry in result["values"].items()}
    assert result["stage"] == 8 and result["workload"]["batch"] == 3
    assert str(tmp_path) not in json.dumps(result)
    assert "equal to plain attention" in result["checked"]
    assert values["kernels_per_step"] == pytest.approx(2 * values["kernels_per_layer"], rel=1e-4)
    assert values["kernel_ms"] + values["gap_ms"] == pytest.approx(values["profiled_step_ms"], rel=1e-3)
    calls = [value for key, value in values.items() if re.fullmatch(r"kernel_\w+_calls", key)]
    assert len(calls) == 12 and min(calls) >= 0.5 and sum(calls) < values["kernels_per_step"]
    assert values["bound_share"] == pytest.approx(
        100 * values["tokens_per_s"] / values["memory_bound"], rel=1e-3
    )
    assert sum(value for key, value in values.items() if re.fullmatch(r"kernel_\w+_share", key)) < 100.1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stage", "77"], "stage '77' does not exist"),
        (["--stage", "01"], "makes no steps"),
        (["--stage", "08", "--model", "no-such"], "no-such"),
        (["--stage", "08", "--prompt-tokens", "5000"], "the window is 1024 tokens"),
        (["--stage", "03", "--", "--max-num-seqs", "4"], "stage 03 has no engine"),
        (["--stage", "08", "--", "--max-num-seq", "4"], "did you mean '--max-num-seqs'?"),
        (["--steps", "0"], "'0' is not a whole number at least 1"),
    ],
)
def test_what_cannot_be_profiled_is_told_in_one_line(flags, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert profiled(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


def test_a_stage_that_serves_one_at_a_time_gets_a_crowd_of_one():
    batches = [
        load(stage, "storyteller-draft", "cpu", "float32", 4, 6, 8).rows for stage in ("03", "05", "06", "07")
    ]
    assert batches == [1, 1, 1, 4]


def test_a_request_that_ends_too_early_or_fails_is_no_profile(monkeypatch):
    loaded = load("08", "storyteller-draft", "cpu", "float32", 2, 6, 8)
    prompts = prompts_of(loaded, 6, random.Random(0))
    crowd = start(loaded, prompts, 2)
    assert crowd.step() == crowd.step() == 2
    with pytest.raises(UserError, match="ended before the last step"):
        crowd.step()
    crowd = start(loaded, prompts, 4)
    crowd.prefill()
    monkeypatch.setattr(loaded.engine.runner, "run", lambda batch: 1 / 0)
    with pytest.raises(RuntimeError, match="did not get its tokens: error"):
        crowd.step()


def test_wrong_tokens_are_found_before_the_clock_runs():
    loaded = load("08", "storyteller-draft", "cpu", "float32", 2, 6, 8)
    crowd = start(loaded, prompts_of(loaded, 6, random.Random(0)), 4)
    crowd.prefill()
    assert "2 greedy tokens equal" in check(loaded, crowd)
    crowd.tokens[1][0] = (crowd.tokens[1][0] + 1) % loaded.config.vocab_size
    with pytest.raises(AssertionError, match="request 1, token 0"):
        check(loaded, crowd)


def test_prompts_are_random_and_end_nothing():
    loaded = load("08", "storyteller-draft", "cpu", "float32", 4, 6, 8)
    first, second = (prompts_of(loaded, 6, random.Random(seed)) for seed in (1, 2))
    assert [len(p) for p in first] == [6] * 4 and first != second
    assert not set(loaded.config.eos_token_ids) & {token for prompt in first for token in prompt}


def test_on_a_gpu_only_what_the_device_ran_is_a_kernel():
    events = [
        event("user_annotation", "ProfilerStep#1", 0, 100),
        event("gpu_user_annotation", "ProfilerStep#1", 0, 100, tid=7),
        event("cpu_op", "aten::add", 0, 10),
        event("cuda_runtime", "cudaLaunchKernel", 2, 5),
        event("cuda_runtime", "cudaGraphLaunch", 20, 5),
        event("cuda_runtime", "cudaStreamSynchronize", 30, 60),
        event("kernel", NATIVE, 10, 4, tid=7),
        event("kernel", NATIVE, 20, 6, tid=7),
        event("kernel", "nvjet_tst_64x8_TNT", 24, 10, tid=8),  # another stream, at the same time for 2 us
        event("gpu_memcpy", "Memcpy DtoH (Device -> Pinned)", 40, 1, tid=7),
    ]
    trace = summarise(events)
    assert trace.gpu and trace.launches == 2 and trace.calls == 4
    assert trace.busy == pytest.approx(4 + 14 + 1)
    assert [(k.name, k.calls, k.microseconds) for k in trace.kernels] == [
        ("vectorized_elementwise_kernel<CUDAFunctor_add>", 2, 10.0),
        ("nvjet_tst_64x8_TNT", 1, 10.0),
        ("Memcpy DtoH", 1, 1.0),
    ]
    profile = Profile(trace, 1, 2, 50e-6, 100e-6, 4, 4)
    assert profile.gap_ms == pytest.approx(0.050 - 0.019)  # of a step without the profiler
    assert sum(row[-1] for row in rows_of(profile, 1)) == pytest.approx(100)


def test_an_ops_own_time_leaves_out_the_ops_that_it_called():
    ops = [
        event("cpu_op", "aten::linear", 0, 10),
        event("cpu_op", "aten::addmm", 2, 7),
        event("cpu_op", "aten::copy_", 3, 1),
        event("cpu_op", "aten::add", 10, 2),  # begins where linear ends: not called by it
        event("cpu_op", "aten::add", 4, 3, tid=2),  # another thread's
    ]
    assert self_times(ops) == [
        ("aten::linear", 3), ("aten::addmm", 6), ("aten::copy_", 1), ("aten::add", 2), ("aten::add", 3),
    ]  # fmt: skip


def test_kernels_that_run_at_the_same_time_count_once():
    assert covered([(0, 4), (2, 6), (10, 11), (3, 5)]) == 7


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("aten::addmm", "addmm"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
        ("_paged_attention_kernel", "_paged_attention_kernel"),
        (NATIVE, "vectorized_elementwise_kernel<CUDAFunctor_add>"),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_64x64_32x6_tn_align8>(Params)",
            "cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_64x64…",
        ),
        (
            "void (anonymous namespace)::softmax_warp_forward<float, float, 8, true>(float*, float const*, int)",
            "softmax_warp_forward",
        ),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>>>(int)",
            "reduce_kernel<ArgMaxOps>",
        ),
    ],
)
def test_a_kernels_name_is_short_and_says_what_it_does(name, short):
    assert short_name(name) == short


def test_keys_of_kernels_are_told_apart():
    used: set[str] = set()
    assert [slug(name, used) for name in ("add_", "add", "reduce<ArgMax>")] == [
        "kernel_add", "kernel_add_2", "kernel_reduce_argmax",
    ]  # fmt: skip
