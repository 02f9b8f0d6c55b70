"""The steps of orthogonal matrices on teams of threads: how often these come together, and that nothing hangs.

Nothing here measures time: benchmarks/test_orthogonal.py does.
"""

import functools
import gc
import os
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest

import fastinit as fi
from conftest import bits, preloaded
from fastinit import _kernels

needs_openmp = pytest.mark.skipif(not _kernels.openmp_version(), reason="built without OpenMP")

CPUS = """
#define _GNU_SOURCE
#include <sched.h>
int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
    CPU_ZERO_S(size, set);
    for (int i = 0; i < 17; i++)
        CPU_SET_S(i, size, set);
    return 0;
}
"""


@pytest.fixture(scope="module")
def many_cpus(tmp_path_factory):
    """LD_PRELOAD with a library that tells of 17 CPUs: threads beyond the CPUs there are would be left out."""
    return preloaded(tmp_path_factory.mktemp("cpus"), CPUS)


def python(code, **environment):
    """What a fresh interpreter prints; it has come to its end within two minutes."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, (run.returncode, run.stdout, run.stderr)
    return run.stdout


# ---- counts ----------------------------------------------------------------------------------------------------


def counted(fill):
    """Teams, ends of stages and bytes of B that were copied in a call."""
    before = _kernels.counts()
    fill()
    return [after - earlier for after, earlier in zip(_kernels.counts(), before)]


GENERAL = [
    ((700, 600), np.s_[...]),
    ((300, 290), np.s_[...]),
    ((400, 1300), np.s_[...]),
    ((700, 600), np.s_[3:500, ::2]),
]
TALL = [(3000, 100), (100, 3000), (20_000, 300), (400_000, 20), (1_600_000, 5), (9000, 700)]


@needs_openmp
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "index"), GENERAL)
def test_joins_of_general_shapes(shape, index, dtype):
    """One team makes a matrix: three at most for each block of 128 columns were asked for."""
    recipe = fi.recipe("orthogonal", shape, seed=0, dtype=dtype)
    teams, _, _ = counted(lambda: recipe.fill(np.empty_like(recipe[index]), index, threads=2))
    assert teams == 2  # the first one made the array to fill


@needs_openmp
@pytest.mark.parametrize("shape", [(700, 600), (2050, 1300)])
def test_stages_of_general_shapes(shape):
    """Three for each block, once the first one's reflectors are there: what makes the next ones' is beside them."""
    blocks = -(-min(shape) // 128)
    assert counted(lambda: fi.orthogonal(shape, seed=0, threads=2))[1] <= 3 * blocks + 3


@needs_openmp
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", TALL)
def test_joins_of_tall_matrices(shape, dtype):
    """Three teams, however many rows: for the Gram matrix, for its inverse root, and for what that multiplies."""
    assert counted(lambda: fi.orthogonal(shape, seed=0, dtype=dtype, threads=2))[0] <= 3


@needs_openmp
def test_stages_of_tall_matrices():
    """They grow with the elements by 2^18 at least, and a run of rows of the Gram matrix ends two of them at most."""
    for rows, columns in [(400_000, 20), (30_000, 300), (9000, 700)]:
        blocks, waves = -(-columns // 128), -(-rows // max(256, (1 << 18) // columns // 256 * 256))
        stages = counted(functools.partial(fi.orthogonal, (rows, columns), seed=0, threads=2))[1]
        assert stages <= 3 * waves + 7 * blocks + 6, (rows, columns, stages)


@needs_openmp
def test_one_thread_makes_no_team():
    assert counted(lambda: fi.orthogonal((700, 600), seed=0, threads=1))[:2] == [0, 0]
    assert counted(lambda: fi.orthogonal((20, 16), seed=0, threads=2))[:2] == [0, 0]


def copied_at_least(m, n):
    """Bytes of B, if each product copied all of it once: V for V'V, Q for V'Q, W for TW and X for VX."""
    total = 0
    for first in range(0, n, 128):
        b, columns = min(128, n - first), n - first
        total += (m - first) * b + b * b + (m - first - b) * (columns - b) + 2 * b * columns
    return 4 * total


@needs_openmp
@pytest.mark.parametrize(("threads", "most"), [(1, 1.2), (2, 1.45), (4, 2.3), (8, 2.7), (16, 3)])
def test_bytes_of_b(many_cpus, threads, most):
    """Threads divide B's columns as long as there are many; where they divide C's rows, each copies B for itself."""
    code = f"""
        import fastinit as fi
        from fastinit import _kernels
        for shape in [(1024, 1024), (1500, 1100), (2048, 2048)]:
            before = _kernels.counts()[2]
            fi.orthogonal(shape, seed=0, threads={threads})
            print(_kernels.counts()[2] - before)
        """
    found = [int(line) for line in python(code, LD_PRELOAD=many_cpus).split()]
    for shape, copied in zip([(1024, 1024), (1500, 1100), (2048, 2048)], found):
        assert 1 <= copied / copied_at_least(*shape) <= most, shape


# ---- any number of threads -----------------------------------------------------------------------------------


@needs_openmp
def test_any_number_of_threads(many_cpus):
    """Of 1 to 17, all of which take part, from two Python threads at once."""
    code = """
        import threading, numpy as np, fastinit as fi
        shapes = [(300, 260), (3000, 140), (40, 5000)]
        expected = [fi.orthogonal(shape, seed=0, threads=1).tobytes() for shape in shapes]
        wrong = []
        def fill(threads):
            for shape, right in zip(shapes, expected):
                if fi.orthogonal(shape, seed=0, threads=threads).tobytes() != right:
                    wrong.append((shape, threads))
        for threads in range(1, 18):
            both = [threading.Thread(target=fill, args=(n,)) for n in (threads, 18 - threads)]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
        print(wrong)
        """
    assert python(code, LD_PRELOAD=many_cpus) == "[]\n"


# ---- what stops a list of steps --------------------------------------------------------------------------------


@needs_openmp
@pytest.mark.parametrize("shape", [(700, 600), (9000, 200)])
@pytest.mark.parametrize(("threads", "child"), [(5, "RuntimeError"), (1, "filled")])
def test_a_handler_that_forks(many_cpus, shape, threads, child):
    """The child has none of the threads it worked with: it must neither wait for them nor pass for filled."""
    code = f"""
        import os, signal, time, numpy as np, fastinit as fi
        expected = fi.orthogonal({shape}, seed=0, threads=1).tobytes()
        children, inside = [], False
        def handler(_, frame):
            if inside and not children:
                signal.setitimer(signal.ITIMER_REAL, 0)
                children.append(os.fork())
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        while not children:
            inside = True
            try:
                made = fi.orthogonal({shape}, seed=0, threads={threads}).tobytes()
                inside, ended = False, "filled"
            except RuntimeError as error:
                inside, ended = False, type(error).__name__
                assert "fork" in str(error)
        if children == [0]:
            right = fi.orthogonal({shape}, seed=0, threads={threads}).tobytes() == expected
            os.write(1, f"child {{ended}} {{right}}\\n".encode())
            os._exit(0)
        deadline = time.monotonic() + 60
        while os.waitpid(children[0], os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(children[0], signal.SIGKILL)
            time.sleep(0.01)
        print("parent", ended, made == expected)
        """
    made = python(code, LD_PRELOAD=many_cpus, FASTINIT_ISA="base")
    assert made == f"child {child} True\nparent filled True\n"


@needs_openmp
@pytest.mark.parametrize("shape", [(700, 600), (5000, 200)])
def test_control_c_within_a_list(many_cpus, shape):
    """However often it stops one, the next is right, with the threads that there were."""
    code = f"""
        import os, signal, numpy as np, fastinit as fi
        expected = fi.orthogonal({shape}, seed=0, threads=1).tobytes()
        fi.orthogonal({shape}, seed=0, threads=6)
        tasks, stopped = len(os.listdir("/proc/self/task")), 0
        while stopped < 10:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.003 * stopped)
                fi.orthogonal({shape}, seed=0, threads=6)
            except KeyboardInterrupt:
                stopped += 1
        right = fi.orthogonal({shape}, seed=0, threads=6).tobytes() == expected
        print(right, len(os.listdir("/proc/self/task")) - tasks)
        """
    handler = "import signal; signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
    assert python(handler + textwrap.dedent(code), LD_PRELOAD=many_cpus, FASTINIT_ISA="base") == "True 0\n"


class Enough(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(500, 420), (5000, 300), (1, 9)])
def test_a_callback_that_raises(shape, threads):
    """Its exception comes out as it is, wherever it was raised; nothing of the list is kept, and nothing waits."""
    expected = bits(fi.orthogonal(shape, seed=0))
    calls = []
    fi.orthogonal(shape, seed=0, threads=threads, progress=lambda *_: calls.append(1))
    assert calls

    def stop_at(number):
        left = [number]

        def report(done, total):
            left[0] -= 1
            if left[0] == 0:
                raise Enough(done)

        with pytest.raises(Enough) as caught:
            fi.orthogonal(shape, seed=0, threads=threads, progress=report)
        assert any("incomplete" in note for note in caught.value.__notes__)

    for number in range(1, len(calls) + 1):
        stop_at(number)
    assert (bits(fi.orthogonal(shape, seed=0, threads=threads)) == expected).all()
    tracemalloc.start()
    try:
        stop_at(1)
        gc.collect()  # an exception and the frames that it has seen keep each other
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            stop_at(1)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


def test_a_callback_in_another_thread_than_the_main_one():
    import threading

    seen, failed = [], []

    def fill():
        try:
            fi.orthogonal(
                (500, 420), seed=0, threads=2, progress=lambda done, total: seen.append(done) or 1 / (len(seen) < 3)
            )
        except ZeroDivisionError as error:
            failed.append(error)

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    assert len(seen) == 3
    assert len(failed) == 1
