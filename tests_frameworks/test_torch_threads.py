"""How many threads next to torch: one OpenMP library in the process, loaded by torch first."""

import os
import subprocess
import sys
import textwrap

import pytest

NAMES = ("OMP_PROC_BIND", "OMP_PLACES", "OMP_THREAD_LIMIT", "GOMP_CPU_AFFINITY")


def python(code, **environment):
    # *_NUM_THREADS, too: distributed leaves MKL_NUM_THREADS=1 in this process, by which torch sets OpenMP's limit
    kept = {k: v for k, v in os.environ.items() if k not in NAMES and not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
@pytest.mark.parametrize("variable", ["OMP_PROC_BIND", "OMP_PLACES", "UNRELATED"])
def test_cpus_where_torch_was_there_first(variable):
    code = "import torch, fastinit as fi; print(fi.get_num_threads(), torch.get_num_threads())"
    ours, torchs = python(code, **{variable: "cores" if variable == "OMP_PLACES" else "true"})
    assert ours == torchs != "1"


@pytest.mark.parametrize("first", ["torch", "fastinit"])
def test_torchs_limit_is_obeyed(first):
    code = f"""
        import os, {first}
        import torch, fastinit as fi
        torch.set_num_threads(1)
        before = len(os.listdir("/proc/self/task"))
        fi.normal(1 << 20, seed=0)
        print(fi.get_num_threads(), len(os.listdir("/proc/self/task")) - before)
        """
    assert python(code) == ["1", "0"]
