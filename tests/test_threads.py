"""How many threads: settings, environment, affinity, quota, OpenMP's own limits; and how many are made."""

import math
import os
import subprocess
import sys
import textwrap

import pytest

import fastinit as fi
from conftest import preloaded
from fastinit import _kernels, threads

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
needs_openmp = pytest.mark.skipif(not _kernels.openmp_version(), reason="built without OpenMP")
needs_two_cpus = pytest.mark.skipif(CPUS < 2 or not _kernels.openmp_version(), reason="one CPU, or no OpenMP")


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


def python(code, **environment):
    """What a fresh interpreter prints; of the variables that matter here it has those given alone."""
    names = (
        "FASTINIT_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OMP_THREAD_LIMIT",
        "OMP_PROC_BIND",
        "OMP_PLACES",
        "GOMP_CPU_AFFINITY",
    )
    kept = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    run = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@needs_two_cpus
def test_affinity_counts_and_may_change():
    code = """
        import os
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[:1])
        import fastinit as fi
        print(fi.get_num_threads())
        os.sched_setaffinity(0, cpus)
        print(fi.get_num_threads())
        os.sched_setaffinity(0, cpus[:1])
        print(fi.get_num_threads())
        """
    assert python(code) == ["1", str(threads.default_threads()), "1"]


@needs_two_cpus
@pytest.mark.parametrize(
    ("variable", "value"),
    [("OMP_PROC_BIND", "true"), ("OMP_PROC_BIND", "close"), ("OMP_PLACES", "threads"),
     ("GOMP_CPU_AFFINITY", " ".join(map(str, sorted(os.sched_getaffinity(0)))))],
)  # fmt: skip
def test_bound_threads_leave_all_cpus(variable, value):
    """The runtime binds the main thread to one CPU while it is being loaded (OpenBLAS#4653): it has the others still."""
    code = """
        import os, fastinit as fi
        before = len(os.listdir("/proc/self/task"))
        made = fi.normal(1 << 20, seed=0)
        print(fi.get_num_threads(), len(os.listdir("/proc/self/task")) - before)
        print((made == fi.normal(1 << 20, seed=0, threads=1)).all())
        """
    count = str(threads.default_threads())
    assert python(code, **{variable: value}) == [count, str(int(count) - 1), "True"]


@needs_two_cpus
def test_openmps_limit_at_run_time():
    """omp_set_num_threads, which threadpool_limits calls: of the calling thread, for what is not asked of us."""
    code = """
        import ctypes, os, threading, fastinit as fi
        omp_set_num_threads = ctypes.CDLL(fi._kernels.__file__).omp_set_num_threads  # of the library it is linked with
        def made(**threads):
            before = len(os.listdir("/proc/self/task"))
            fi.normal(1 << 20, seed=0, **threads)
            return len(os.listdir("/proc/self/task")) - before
        before = fi.get_num_threads()
        omp_set_num_threads(1)
        print(fi.get_num_threads(), made())
        fi.set_num_threads(2)
        print(fi.get_num_threads())
        fi.set_num_threads(None)
        print(made(threads=2))
        omp_set_num_threads(100)
        print(fi.get_num_threads() == before)
        """
    assert python(code) == ["1", "0", "2", "1", "True"]


@needs_openmp
def test_openmps_limit_for_the_whole_process():
    assert python("import fastinit as fi; print(fi.get_num_threads())", OMP_THREAD_LIMIT="1") == ["1"]


@needs_openmp
def test_fastinits_own_variable_is_not_limited_by_openmp():
    code = "import fastinit as fi; print(fi.get_num_threads())"
    assert python(code, FASTINIT_NUM_THREADS="5", OMP_NUM_THREADS="1", OMP_PROC_BIND="true") == ["5"]
    assert python(code, OMP_NUM_THREADS="1") == ["1"]


COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
int threads_made;
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    __atomic_add_fetch(&threads_made, 1, __ATOMIC_RELAXED);
    return real(thread, how, start, argument);
}
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """LD_PRELOAD with a library that counts the threads made."""
    return preloaded(tmp_path_factory.mktemp("counter"), COUNTER, "-ldl")


@needs_openmp
def test_threads_are_made_once(counter):
    """Fills of all sizes, one after the other: seven threads by hand, to see that they can be made, and OpenMP's seven."""
    code = """
        import ctypes, numpy as np, fastinit as fi
        made = ctypes.c_int.in_dll(ctypes.CDLL(None), "threads_made")
        fi.set_num_threads(8)
        out = np.empty(1 << 20, np.float32)
        def fills():
            for size in [1 << 20, 70_000, 500, 200_000, 1 << 20, 66_000, 16, 100_000, 400_000]:
                fi.normal(out[:size], seed=0)
            fi.orthogonal((300, 200), seed=0)
            fi.orthogonal((9000, 150), seed=0)
            fi.eye((1024, 1024))
        start = made.value
        fi.normal(out[:500], seed=0)
        print(made.value - start)   # none for a small fill
        fills()
        print(made.value - start)
        fills()
        print(made.value - start)
        for size in range(65_536, 131_072, 8_192):
            fi.normal(out[:size], seed=0)
        print(made.value - start)
        """
    assert python(code, LD_PRELOAD=counter) == ["0", "14", "14", "14"]


@needs_openmp
def test_a_team_has_the_size_that_was_asked_for(counter):
    """However few the tiles: OpenMP would end the threads that a smaller team does not need, and make them again."""
    code = """
        import ctypes, numpy as np, fastinit as fi
        made = ctypes.c_int.in_dll(ctypes.CDLL(None), "threads_made")
        fi.set_num_threads(8)
        start = made.value
        for _ in range(3):
            fi.normal(3 * 32_768, seed=0)   # six tiles
        print(made.value - start)
        fi.normal(1 << 20, seed=0)
        print(made.value - start)
        fi.orthogonal((300, 200), seed=0)
        fi.normal(3 * 32_768, seed=0)
        print(made.value - start)
        """
    assert python(code, LD_PRELOAD=counter) == ["14", "14", "14"]


@needs_openmp
@pytest.mark.limits_memory
def test_a_team_that_shrank_grows_only_as_far_as_it_can():
    """OpenMP has ended the threads that a smaller team did not need, and ends the process where it cannot make them."""
    code = """
        import resource, numpy as np, fastinit as fi
        out, expected = np.zeros(2_000_000, np.float32), fi.normal(2_000_000, seed=0, threads=1)
        fi.normal(out, seed=0, threads=64)
        fi.normal(out, seed=0, threads=2)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, used + 40_000_000))
        out[...] = 0
        fi.normal(out, seed=0, threads=64)
        print((out == expected).all())
        """
    assert python(code) == ["True"]


@needs_openmp
@pytest.mark.limits_memory
def test_a_fill_in_a_signal_handler_makes_no_threads(counter):
    """It runs within the team that it interrupted: on one thread, and later teams do not count on what it asked for."""
    code = """
        import ctypes, resource, signal, numpy as np, fastinit as fi
        made = ctypes.c_int.in_dll(ctypes.CDLL(None), "threads_made")
        out, inner, counts = np.zeros(20_000_000), np.zeros(2_000_000, np.float32), []
        def handler(_, frame):
            if not counts and frame.f_code.co_qualname == "Drawn.fill":
                signal.setitimer(signal.ITIMER_REAL, 0)
                before = made.value
                fi.normal(inner, seed=0, threads=64)
                counts.append(made.value - before)
        signal.signal(signal.SIGALRM, handler)
        r = fi.recipe("truncated_normal", out.shape, dtype="float64", seed=0, lower=-3, upper=3)
        fi.normal(inner, seed=0, threads=2)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        while not counts:
            r.fill(out, threads=2)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, used + 40_000_000))
        expected = inner.copy()
        fi.normal(inner, seed=0, threads=64)
        print(*counts, (inner == expected).all())
        """
    assert python(code, LD_PRELOAD=counter, FASTINIT_ISA="base") == ["0", "True"]
