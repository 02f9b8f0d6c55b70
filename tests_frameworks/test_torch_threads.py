"""How many threads next to torch: one OpenMP library in the process, loaded by torch first."""

import os
import subprocess
import sys
import textwrap

import pytest

NAMES = ("FASTINIT_NUM_THREADS", "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")


def python(code, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
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
