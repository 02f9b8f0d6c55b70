"""What goes wrong elsewhere (PEERS): environments, processes, memory of other kinds."""

import array
import ctypes
import mmap
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastinit as fi
from conftest import DTYPES, bits
from fastinit import _kernels
from fastinit.checkpoint.formula import Formula, Tensor

FORMULAS = [
    "0.02 / sqrt(2 * 22)",
    "0.1",
    "0.1 + 0.2",
    "-0.1 - 0.2",
    "1e-310 / 3",
    "3e-310",
    "1.1 ** 13",
    "max(0.3, 1 / 3)",
]


def run_python(code, **environment):
    """A fresh interpreter: its output; its error text and exit status if it failed."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


# ---- memory of every kind --------------------------------------------------------------------------------


def expected(n, dtype="float32"):
    return fi.normal(n, seed=0, name="m", dtype=dtype)


@pytest.mark.parametrize(
    "make",
    [
        lambda: array.array("f", bytes(400)),
        lambda: memoryview(bytearray(400)).cast("f"),
        lambda: np.frombuffer(mmap.mmap(-1, 400), np.float32),
        lambda: np.zeros(100, np.float32).view(np.recarray),
        lambda: np.ma.zeros(100, np.float32),
        lambda: (ctypes.c_float * 100)(),
    ],
)
def test_anything_numpy_sees_without_copying(make):
    out = make()
    assert fi.normal(out, seed=0, name="m") is out
    assert (np.asarray(out) == expected(100)).all()


def test_memmap(tmp_path):
    out = np.memmap(tmp_path / "w", np.float32, "w+", shape=(100,))
    assert fi.normal(out, seed=0, name="m") is out
    out.flush()
    assert (np.fromfile(tmp_path / "w", np.float32) == expected(100)).all()


def test_array_interface():
    class Wrapped:
        def __init__(self, held):
            self.held, self.__array_interface__ = held, held.__array_interface__

    held = np.zeros(100, np.float32)
    fi.normal(Wrapped(held), seed=0, name="m")
    assert (held == expected(100)).all()


def test_zero_dimensions_and_zero_sizes():
    scalar = np.zeros((), np.float32)
    fi.normal(scalar, seed=0, name="m")
    assert scalar == expected(1)[0]
    for shape in [(0,), (0, 5), (5, 0, 3)]:
        assert fi.normal(shape, seed=0).shape == shape
        empty = np.empty(shape, np.float64)
        assert fi.uniform(empty, seed=0) is empty
        assert fi.glorot_uniform(np.empty((0, 4), np.float32), seed=0).size == 0


def test_ones_is_not_a_shape_of_booleans():
    with pytest.raises(TypeError):
        fi.ones(True)


def test_sixty_four_axes():
    shape = (1,) * 62 + (3, 5)
    assert (fi.normal(shape, seed=0, name="m").ravel() == expected(15)).all()


# ---- the floating-point environment of the caller -----------------------------------------------------------


@pytest.fixture
def environment(tmp_path_factory):
    """A C library that sets the control word of the calling thread."""
    if platform.machine() != "x86_64":
        pytest.skip("the control word here is x86's")
    folder = tmp_path_factory.mktemp("fpenv")
    (folder / "env.c").write_text(
        "#include <xmmintrin.h>\nunsigned get(void) { return _mm_getcsr(); }\nvoid set(unsigned x) { _mm_setcsr(x); }\n"
    )
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", folder / "env.so", folder / "env.c"], check=True)
    return ctypes.CDLL(str(folder / "env.so"))


@pytest.mark.parametrize("bits", [0x8040, 0x2000, 0x4000, 0x6000], ids=["flush to zero", "down", "up", "chop"])
def test_callers_environment_changes_nothing_and_is_kept(isa, environment, bits):
    calls = [
        lambda: fi.he_normal((30, 77), seed=1, name=str(bits), negative_slope=0.3),
        lambda: fi.normal(500, std=3e-39, seed=1),
        lambda: fi.uniform(500, -0.1, 0.7, seed=1, dtype="bfloat16"),
        lambda: fi.normal(500, std=1e-6, seed=1, dtype="float16"),
        lambda: fi.truncated_normal(500, std=1e-39, lower=-1, upper=5, seed=1),
        lambda: fi.truncated_normal(500, lower=4, upper=6, seed=1, dtype="float64"),
        lambda: fi.glorot_uniform((7, 11), gain=1.1, seed=1, dtype="float64"),
        lambda: fi.orthogonal((40, 30), gain=0.7, seed=1),
        lambda: fi.orthogonal((40, 3), seed=1, dtype="bfloat16"),
        lambda: fi.orthogonal((1, 20), gain=1e-39, seed=1),
        lambda: fi.orthogonal((20, 20), gain=1e-310, seed=1, dtype="float64"),
        lambda: fi.orthogonal((30, 30), gain=1e-5, seed=1, dtype="float16"),
        lambda: np.array([Formula("std", text, ()).value(Tensor((), {})) for text in FORMULAS]),
    ]
    plain = environment.get()
    got = []
    environment.set(plain | bits)
    try:
        for call in calls:
            _clear_caches()
            got.append(call())
        kept = environment.get() & 0xFFC0
    finally:
        environment.set(plain)
    assert kept == (plain | bits) & 0xFFC0
    for call, array_ in zip(calls, got):
        _clear_caches()
        assert (call().view("u1") == array_.view("u1")).all()


def _clear_caches():
    from fastinit.initializers import names
    from fastinit.kinds import diagonal, drawn, orthogonal

    kinds = (drawn.distribution, drawn._prepared, diagonal.eye_std, orthogonal.orthogonal_std, orthogonal.delta_std)
    for cached in (*kinds, names._cached):
        cached.cache_clear()


# ---- processes and threads -----------------------------------------------------------------------------------


def _child(queue):
    queue.put(fi.normal(300_000, seed=0, name="fork", threads=4).tobytes())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_after_a_parallel_fill():
    """libgomp's threads do not survive a fork: the child must not wait for them (LightGBM#4751, faiss#5206)."""
    ours = fi.normal(300_000, seed=0, name="fork", threads=4).tobytes()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == ours
    finally:
        child.join(10)
        child.kill()
    assert fi.normal(300_000, seed=0, name="fork", threads=4).tobytes() == ours


@pytest.mark.parametrize(("threads", "child"), [(4, "RuntimeError"), (1, "filled")])
def test_a_signal_handler_that_forks(threads, child):
    """The child of a fork during a fill has no team: it must neither wait for it nor pass for filled. Alone, it goes on."""
    run = run_python(
        f"""
        import os, signal, sys, time, numpy as np, fastinit as fi
        children = []
        def handler(_, frame):
            within = frame.f_code.co_qualname == "Drawn.fill" and 1000 < np.count_nonzero(out[::1000]) < 19_000
            if not children and within:
                children.append(os.fork())
        signal.signal(signal.SIGALRM, handler)
        fi.set_num_threads({threads})
        out = np.zeros(20_000_000)
        if {threads} > 1:
            fi.normal(out[:100_000], seed=0)
        r = fi.recipe("truncated_normal", out.shape, dtype="float64", seed=0, lower=-3, upper=3)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        try:
            r.fill(out)
            ended = "filled"
        except RuntimeError as error:
            ended = type(error).__name__
            assert "fork" in str(error) and "incomplete" in error.__notes__[0]
        signal.setitimer(signal.ITIMER_REAL, 0)
        if children == [0]:
            right = np.array_equal(r.fill(out)[::1000], r[::1000])
            os.write(1, f"child {{ended}} {{right}}\\n".encode())
            os._exit(0)
        deadline = time.monotonic() + 60
        while os.waitpid(children[0], os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(children[0], signal.SIGKILL)
            time.sleep(0.01)
        print("parent", ended, np.array_equal(out[::1000], r[::1000]))
        """,
        FASTINIT_ISA="base",
    )
    expected = f"child {child} True\nparent filled True\n"
    assert run.stdout == expected, (run.stdout, run.stderr)


@pytest.mark.limits_memory
def test_out_of_threads_uses_fewer():
    """libgomp ends the process where it cannot make a thread; we make do (a small address space has no stacks)."""
    run = run_python(
        """
        import resource, numpy as np, fastinit as fi
        out = np.zeros(2_000_000, np.float32)
        expected = fi.normal(2_000_000, seed=0, threads=1)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, used + 40_000_000))
        fi.normal(out, seed=0, threads=64)
        assert (out == expected).all()
        print("filled")
        """
    )
    assert run.stdout == "filled\n", run.stderr


def test_a_thread_with_a_small_stack():
    """64 KiB, the least that Python gives: what a fill needs besides must not lie there."""
    run = run_python(
        """
        import threading, numpy as np, fastinit as fi
        out = np.zeros(16, np.float32)
        threading.stack_size(65536)
        thread = threading.Thread(target=lambda: fi.normal(out, seed=0))
        thread.start()
        thread.join()
        print((out == fi.normal(16, seed=0)).all())
        """
    )
    assert run.stdout == "True\n", (run.returncode, run.stderr)


@pytest.mark.parametrize(
    "fill",
    [
        "fi.recipe('truncated_normal', 1 << 40, dtype='float64', seed=0, lower=-3, upper=3).fill(np.zeros(60_000_000), np.s_[:60_000_000])",
        "fi.orthogonal((3000, 3000), dtype='float64', seed=0)",
        "fi.orthogonal((20000, 1500), dtype='float64', seed=0)",
    ],
)
def test_control_c_stops_a_long_fill_and_says_so(fill):
    """Slow on purpose (base ISA, float64): seconds to minutes, if it were not for the signal."""
    run = run_python(
        f"""
        import os, signal, threading, time, numpy as np, fastinit as fi
        fi.normal(10, seed=0)
        def interrupt():
            time.sleep(0.3)
            global sent
            sent = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            {fill}
        except KeyboardInterrupt as error:
            print("stopped", time.monotonic() - sent < 5, *error.__notes__)
        """,
        FASTINIT_ISA="base",
    )
    assert run.stdout.startswith("stopped True fastinit"), run.stdout + run.stderr
    assert "incomplete" in run.stdout


def test_a_signal_handler_that_does_not_raise_does_not_stop():
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        array_ = fi.normal(4_000_000, seed=0, name="s", dtype="float64")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (array_ == fi.normal(4_000_000, seed=0, name="s", dtype="float64")).all()


@pytest.mark.limits_memory
def test_no_memory_proportional_to_the_output():
    """Peak resident memory above a mapped output, for plain, strided, gathered and Fortran-order fills."""
    run = run_python(
        """
        import resource, numpy as np, fastinit as fi
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        n = 4096
        out = np.ones((n, n), np.float32)          # 64 MiB, resident
        ids = np.arange(n)
        fi.normal(out[:64], seed=0)
        before = peak()
        r = fi.recipe("normal", (3 * n, 3 * n), seed=0)
        r.fill(out, np.s_[:n, :n]); r.fill(out.T, np.s_[5:5 + n, :n]); r.fill(out, np.s_[::3, ::3])
        r.fill(out[::-1, ::-1], np.s_[:n, 1:n + 1]); r.part(np.s_[:, :n]).take(ids, out=out)
        print(peak() - before)
        """
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 16 * 1024  # KiB


@pytest.mark.parametrize(
    ("shape", "dtype", "share"),
    [("(2050, 2049)", "float32", 0.4), ("(2900, 2900)", "bfloat16", 0.4), ("(7700, 1100)", "bfloat16", 0.4), ("(5800, 725)", "float32", 0.4), ("(725, 5800)", "float32", 0.4),
     ("(33000, 512)", "float32", 0.2)],
)  # fmt: skip
@pytest.mark.limits_memory
def test_memory_of_orthogonal_fills(shape, dtype, share):
    """Peak resident memory above the output, as a share of it, with two threads."""
    run = run_python(
        f"""
        import resource, numpy as np, fastinit as fi
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fi.orthogonal((300, 290), seed=0, threads=2); fi.orthogonal((300, 5), seed=0, threads=2)
        r = fi.recipe("orthogonal", {shape}, dtype={dtype!r}, seed=0)
        out = np.ones(r.shape, r.dtype)
        before = peak()
        r.fill(out, threads=2)
        print((peak() - before) * 1024 / out.nbytes)
        """
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < share


def test_first_touch_is_not_needed():
    """Fresh pages, as from the allocator: filled like any other."""
    out = np.empty(30_000_000, np.uint8).view(np.float32)
    assert (fi.normal(out, seed=0, name="m")[:100] == expected(100)).all()


# ---- builds ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mincore and madvise of Linux")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_pages_around_an_output_are_not_made(dtype, threads):
    """Fresh pages are made a tile at a time: those that the output lies in, and no others."""
    page = mmap.PAGESIZE
    region = mmap.mmap(-1, 16 << 20)
    address = np.frombuffer(region, np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)

    def made():
        there = (ctypes.c_ubyte * (len(region) // page))()
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(region)), there) == 0
        return np.frombuffer(there, np.uint8) & 1

    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        region.madvise(mmap.MADV_NOHUGEPAGE)
    assert not made().any()
    itemsize, first, last = DTYPES[dtype].itemsize, 3 * page + 24, (12 << 20) + 8
    out = np.frombuffer(region, DTYPES[dtype], (last - first) // itemsize, first)
    recipe = fi.recipe("normal", out.shape, dtype=dtype, seed=1)
    for _ in range(2):  # fresh, then not
        recipe.fill(out, threads=threads)
        pages = np.flatnonzero(made())
        assert pages[0] == first // page
        assert pages[-1] == (last - 1) // page
        assert len(pages) == pages[-1] - pages[0] + 1
        assert (bits(out) == bits(recipe[...])).all()
    assert not any(region[:first])
    assert not any(region[last:])


def test_no_symbol_of_a_newer_isa_leaks_into_base():
    """Every function of csrc headers is static: only the four tables and the API are linked by name."""
    path = _kernels.__file__
    try:
        listing = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nm is not installed")
    exported = [line.split()[-1] for line in listing.splitlines() if line.split()[-2:-1] == ["T"]]
    assert [name for name in exported if name.startswith(("fi_", "philox", "fill_"))] == []
    assert any("PyInit__kernels" in name for name in exported)


def test_show_config(capsys):
    fi.show_config()
    shown = capsys.readouterr().out
    for word in (fi.__version__, "stream", _kernels.isa(), "OpenMP", "threads", "base"):
        assert word in shown


def test_typed_and_documented():
    from importlib import resources

    assert resources.files("fastinit").joinpath("py.typed").is_file()
    for name in fi.__all__:
        thing = getattr(fi, name)
        assert callable(thing) is False or thing.__doc__, name
