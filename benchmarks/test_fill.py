"""Fills of 1 GiB of float32 (2^28 elements), warm: the pages are there, the caches are not.

Each peer runs as its users would run it at its best: Randompack and NumPy with one generator a thread and two
threads, torch as it is (one core under a lock). Slow peers fill less memory; speeds are per element.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from quick import size

import fastinit as fi

N = size(1 << 28, 1 << 22)
THREADS = 2


@pytest.fixture(scope="module")
def memory():
    return fi.zeros(N)


@pytest.fixture(scope="module", autouse=True)
def _two_threads():
    fi.set_num_threads(THREADS)
    yield
    fi.set_num_threads(None)


def halves(function):
    """`function(i)` for each half, in two Python threads that are there before."""
    pool = ThreadPoolExecutor(THREADS)
    list(pool.map(int, range(THREADS)))
    return lambda: list(pool.map(function, range(THREADS)))


def half(memory, i, n=N):
    return memory[i * n // THREADS : (i + 1) * n // THREADS]


def randompack_filler(memory, method):
    randompack = pytest.importorskip("randompack")
    generators = [randompack.Rng("x256++simd") for _ in range(THREADS)]
    for i, generator in enumerate(generators):
        generator.seed(1, spawn_key=[i])
    return halves(lambda i: getattr(generators[i], method)(out=half(memory, i)))


def numpy_filler(memory, method, n):
    generators = [np.random.Generator(np.random.SFC64(i)) for i in range(THREADS)]
    return halves(lambda i: getattr(generators[i], method)(out=half(memory, i, n), dtype=np.float32))


def torch_view(memory, n):
    torch = pytest.importorskip("torch")
    return torch, torch.from_numpy(memory[:n])


# ---- uniform --------------------------------------------------------------------------------------------


def test_uniform(measure, memory):
    recipe = fi.recipe("uniform", N, seed=0, low=-0.05, high=0.05)
    measure("uniform", "fastinit", lambda: recipe.fill(memory), N, rounds=15)


def test_uniform_constant(measure, memory):
    measure("uniform", "constant fill", lambda: fi.constant(memory, 0.5), N, rounds=15)


def test_uniform_constant_numpy(measure, memory):
    """The same ceiling by NumPy's own fill, a half in each of two threads."""
    measure("uniform", "constant, numpy", halves(lambda i: half(memory, i).fill(0.5)), N, rounds=15)


def test_uniform_randompack(measure, memory):
    measure("uniform", "randompack", randompack_filler(memory, "unif"), N)


def test_uniform_torch(measure, memory):
    _, tensor = torch_view(memory, N // 8)
    measure("uniform", "torch", lambda: tensor.uniform_(-0.05, 0.05), N // 8, rounds=5)


def test_uniform_numpy(measure, memory):
    measure("uniform", "numpy sfc64", numpy_filler(memory, "random", N // 4), N // 4, rounds=5)


# ---- normal ---------------------------------------------------------------------------------------------


def test_normal(measure, memory):
    recipe = fi.recipe("normal", N, seed=0, std=0.02)
    measure("normal", "fastinit", lambda: recipe.fill(memory), N, rounds=15)


def test_normal_constant(measure, memory):
    measure("normal", "constant fill", lambda: fi.constant(memory, 0.5), N, rounds=15)


def test_normal_randompack(measure, memory):
    measure("normal", "randompack", randompack_filler(memory, "normal"), N)


def test_normal_torch(measure, memory):
    _, tensor = torch_view(memory, N // 8)
    measure("normal", "torch", lambda: tensor.normal_(0, 0.02), N // 8, rounds=5)


def test_normal_numpy(measure, memory):
    measure("normal", "numpy sfc64", numpy_filler(memory, "standard_normal", N // 8), N // 8, rounds=5)


# ---- truncated ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "lower", "upper"), [("truncated +-2", -2, 2), ("truncated +-3", -3, 3), ("truncated beyond 4", 4, 6)]
)
def test_truncated(measure, memory, job, lower, upper):
    recipe = fi.recipe("truncated_normal", N, seed=0, lower=lower, upper=upper)
    measure(job, "fastinit", lambda: recipe.fill(memory), N)


@pytest.mark.parametrize(
    ("job", "lower", "upper"), [("truncated +-2", -2, 2), ("truncated +-3", -3, 3), ("truncated beyond 4", 4, 6)]
)
def test_truncated_torch(measure, memory, job, lower, upper):
    n = N if lower < 0 else N // 64  # beyond 4 torch takes minutes for each 1 GiB
    torch, tensor = torch_view(memory, n)
    measure(job, "torch", lambda: torch.nn.init.trunc_normal_(tensor, a=lower, b=upper), n, rounds=3)


# ---- other dtypes ---------------------------------------------------------------------------------------


def test_bfloat16(measure, memory):
    out = memory.view(np.uint16)
    recipe = fi.recipe("normal", 2 * N, seed=0, std=0.02, dtype="bfloat16")
    measure("bfloat16 normal", "fastinit", lambda: recipe.fill(out), 2 * N)


def test_bfloat16_torch(measure, memory):
    torch, tensor = torch_view(memory, N // 16)
    tensor = tensor.view(torch.bfloat16)
    measure("bfloat16 normal", "torch", lambda: tensor.normal_(0, 0.02), N // 8, rounds=5)


def test_float64(measure, memory):
    out = memory.view(np.float64)
    recipe = fi.recipe("normal", N // 2, seed=0, std=0.02, dtype="float64")
    measure("float64 normal", "fastinit", lambda: recipe.fill(out), N // 2)


def test_float64_torch(measure, memory):
    torch, tensor = torch_view(memory, N // 8)
    tensor = tensor.view(torch.float64)
    measure("float64 normal", "torch", lambda: tensor.normal_(0, 0.02), N // 16, rounds=5)


# ---- threads and layouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "uniform"])
@pytest.mark.parametrize("threads", [2, 1])
def test_scaling(measure, memory, name, threads):
    recipe = fi.recipe(name, N, seed=0)
    who = "fastinit" if threads == 2 else "1 thread"
    measure(f"{name}, 2 threads", who, lambda: recipe.fill(memory, threads=threads), N, rounds=9)


@pytest.mark.parametrize("threads", [2, 1])
def test_scaling_of_memory(measure, memory, threads):
    """How much a second core gets out of this machine's memory: the ceiling of the two above."""
    recipe = fi.recipe("constant", N, seed=0, value=0.5)
    who = "fastinit" if threads == 2 else "1 thread"
    measure("constant, 2 threads", who, lambda: recipe.fill(memory, threads=threads), N, rounds=9)


@pytest.mark.parametrize("name", ["normal", "uniform"])
@pytest.mark.parametrize("threads", [2, 1])
def test_scaling_in_cache(measure, memory, name, threads):
    """The same where memory does not limit: 4 MiB, over and over."""
    recipe = fi.recipe(name, 1 << 20, seed=0)
    out = memory[: 1 << 20]
    who = "fastinit" if threads == 2 else "1 thread"

    def run():
        for _ in range(64):
            recipe.fill(out, threads=threads)

    measure(f"{name}, 2 threads, in cache", who, run, 64 << 20, rounds=9)


LAYOUTS = {
    "Fortran order": lambda m: m[: N // 4].reshape(N >> 15, -1).T,
    "every second column": lambda m: m[: N // 4].reshape(N >> 15, -1)[:, ::2],
    "backwards": lambda m: m[: N // 4][::-1],
    "rows of 100": lambda m: m[: N // 4].reshape(-1, 128)[:, :100],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("who", ["fastinit", "contiguous"])
def test_layouts(measure, memory, layout, who):
    view = LAYOUTS[layout](memory)
    out = view if who == "fastinit" else memory[: view.size]
    recipe = fi.recipe("normal", out.shape, seed=0)
    measure(f"normal, {layout}", who, lambda: recipe.fill(out), view.size)


@pytest.mark.parametrize("who", ["fastinit", "contiguous"])
def test_take(measure, memory, who):
    """Rows of an embedding table of 10^9 rows, gathered at random."""
    rows, width = size(200_000, 2_000), 128
    out = memory[: rows * width].reshape(rows, width)
    table = fi.recipe("uniform", (10**9, width), seed=0)
    ids = np.random.default_rng(0).integers(0, 10**9, rows)
    fill = (lambda: table.take(ids, out=out)) if who == "fastinit" else (lambda: table.fill(out, np.s_[:rows]))
    measure("take of 200,000 rows of 128", who, fill, rows * width)


# ---- cold memory ----------------------------------------------------------------------------------------


def test_cold(measure):
    """Fresh pages each time: the page faults are the cost."""
    recipe = fi.recipe("normal", N, seed=0)
    measure("normal, cold", "fastinit", lambda: recipe[...], N, rounds=3)


def test_cold_constant(measure):
    measure("normal, cold", "constant fill", lambda: fi.constant(N, 0.5), N, rounds=3)


def test_cold_torch(measure):
    torch = pytest.importorskip("torch")
    measure("normal, cold", "torch", lambda: torch.empty(N // 8).normal_(), N // 8, rounds=3)
