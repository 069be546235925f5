"""common/memory.py: what was used counts up, and what is free respects the limit that a container sets."""

import psutil
import pytest
import torch

from common.memory import _left_in_cgroups, free_memory, peak_memory


def test_peak_memory_counts_bytes_and_never_falls():
    before = peak_memory("cpu")
    block = bytearray(300 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert before > 2**24
    assert peak_memory("cpu") >= before
    assert peak_memory("cpu") >= 300 * 2**20


def test_free_memory_of_a_cpu_is_positive_and_below_what_the_machine_has():
    assert 0 < free_memory("cpu") < psutil.virtual_memory().total
    assert free_memory(torch.device("cpu")) > 0


def test_free_memory_stays_below_the_limit_of_a_container(tmp_path, monkeypatch):
    limit(tmp_path / "memory", most=3000, taken=1000, pages=500)
    monkeypatch.setattr(
        "common.memory._left_in_cgroups",
        lambda: _left_in_cgroups(tmp_path / "memory", said(tmp_path, "0::/")),
    )
    assert free_memory("cpu") == 2500


@pytest.mark.parametrize("path", ["/work/job", "/gone/on/the/host"])
def test_the_tightest_control_group_above_the_process_counts(tmp_path, path):
    limit(tmp_path, most=8000, taken=0)
    limit(tmp_path / "work", most="max", taken=10)
    limit(tmp_path / "work/job", most=5000, taken=1000)
    left = list(_left_in_cgroups(tmp_path, said(tmp_path, f"0::{path}")))
    assert sorted(left) == ([4000, 8000] if path == "/work/job" else [8000])


def test_version_1_of_control_groups_has_its_own_names(tmp_path):
    limit(
        tmp_path / "memory/job",
        most=700,
        taken=300,
        pages=50,
        names=("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
    )
    membership = said(tmp_path, "5:cpu,cpuacct:/other\n4:memory:/job")
    assert list(_left_in_cgroups(tmp_path, membership)) == [450]


def test_a_system_without_control_groups_has_no_limit(tmp_path):
    assert list(_left_in_cgroups(tmp_path, tmp_path / "missing")) == []


def limit(folder, most, taken, pages=0, names=("max", "current", "inactive_file")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{names[0]}").write_text(f"{most}\n")
    (folder / f"memory.{names[1]}").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 12\n{names[2]} {pages}\nactive_file 3\n")


def said(folder, text):
    file = folder / "cgroup"
    file.write_text(text + "\n")
    return file
