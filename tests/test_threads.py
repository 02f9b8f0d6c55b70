"""How many threads: settings, environment, affinity, quota."""

import math
import os
import subprocess
import sys

import pytest

import fastinit as fi
from fastinit import threads


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    for name in ("FASTINIT_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield
    fi.set_num_threads(None)


def test_set_and_reset():
    default = fi.get_num_threads()
    fi.set_num_threads(3)
    assert fi.get_num_threads() == 3
    fi.set_num_threads(None)
    assert fi.get_num_threads() == default


def test_default_is_at_most_the_affinity():
    assert 1 <= threads.default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("value", "limit"), [("1", 1), ("1,4", 1), ("", math.inf), ("junk", math.inf), ("0", math.inf)]
)
def test_openmps_limit(monkeypatch, value, limit):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.default_threads() <= limit


def test_our_own_setting_wins(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FASTINIT_NUM_THREADS", "5")
    assert threads.default_threads() == 5


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", math.inf), ("150000 100000", 2), ("50000 100000", 1), ("400000 100000", 4)]
)
def test_cgroup_version_2(tmp_path, quota, expected):
    group = tmp_path / "fs" / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    (group.parent / "cpu.max").write_text(quota + "\n")  # a limit above the process's own group counts
    (group / "cpu.max").write_text("max 100000\n")
    assert threads._cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == expected


def test_cgroup_version_1(tmp_path):
    group = tmp_path / "fs" / "cpu" / "docker"
    group.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/docker\n3:memory:/docker\n")
    (group / "cpu.cfs_quota_us").write_text("250000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert threads._cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == 3


def test_no_cgroup(tmp_path):
    assert threads._cgroup_quota(tmp_path / "none", tmp_path) == math.inf


def test_affinity_of_the_process_counts():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import fastinit; print(fastinit.get_num_threads())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
