"""Orthogonal float32 matrices with all threads, in memory whose pages are there; and the product behind them.

Work is counted as the 2 m n^2 - 2 n^3 / 3 operations that Q needs (Householder; Golub and Van Loan, section 5.2).
"""

import numpy as np
import pytest

import fastinit as fi
from fastinit import _kernels
from fastinit.arrays import scratch_for
from scale import laps, size

SQUARE = size([256, 512, 1024, 2048, 4096], [256, 512, 1024, 2048, 4096], [128])
SHAPES = [(n, n) for n in SQUARE] + size([(65536, 512), (131072, 1024)], [(65536, 512)], [(2048, 64)])
SLOW_FROM = size(10_000, 2048, 10_000)  # NumPy's, JAX's and TensorFlow's larger ones are left to the full run
LARGE = size(4096, 4096, 128)
ROWS, COLUMNS = size((65536, 4096), (65536, 4096), (8192, 256))


def needed(m, n):
    m, n = max(m, n), min(m, n)
    return 2 * m * n * n - 2 * n**3 / 3


def turns(shape):
    return {"rounds": 3 if needed(*shape) < 1e10 else 1, "warm": needed(*shape) < 1e10}


@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal(measure, threads, shape, peer, lap):
    if peer.NAME not in ("fastinit", "torch") and max(shape) > SLOW_FROM:
        pytest.skip("left to make bench-full")
    run = peer.orthogonal(shape, threads)
    if run is None:
        pytest.skip("not offered")
    measure(f"{shape[0]} x {shape[1]}", peer.NAME, run, needed(*shape), "flop", **turns(shape))


def our_product(n, threads):
    random = np.random.default_rng(0)
    a, b = (random.random((n, n), np.float32) for _ in range(2))
    c, scratch = np.zeros((n, n), np.float32), scratch_for(threads)
    return lambda: _kernels.multiply(c, a, b, "set", scratch, threads)


def scipys_product(n):
    blas = pytest.importorskip("scipy.linalg.blas")
    random = np.random.default_rng(0)
    a, b = (np.asfortranarray(random.random((n, n), np.float32)) for _ in range(2))
    return lambda: blas.sgemm(1.0, a, b)


@pytest.mark.parametrize("contestant", ["fastinit", "SciPy sgemm"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("n", [n for n in SQUARE if n >= 1024 or n == LARGE])
def test_product(measure, threads, n, lap, contestant):
    """Smaller ones take less time than OpenBLAS's and OpenMP's waiting threads cost each other in one process."""
    run = our_product(n, threads) if contestant == "fastinit" else scipys_product(n)
    measure(f"product of {n} x {n}", contestant, run, 2 * n**3, "flop", **turns((n, n)))


@pytest.mark.parametrize("contestant", ["fastinit", "our product"])
@pytest.mark.parametrize("lap", range(laps(2, 5)))
def test_fraction_of_the_product(measure, threads, lap, contestant):
    out = fi.zeros((LARGE, LARGE))
    runs = {
        "fastinit": (lambda: fi.orthogonal(out, seed=lap), needed(LARGE, LARGE)),
        "our product": (our_product(LARGE, threads), 2 * LARGE**3),
    }
    run, work = runs[contestant]
    measure(f"{LARGE} x {LARGE} against products", contestant, run, work, "flop", rounds=1)


@pytest.mark.parametrize("contestant", ["more threads", "2 threads"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("count", size([3, 4, 6, 8, 16], [3, 4, 8], [3]))
@pytest.mark.parametrize(
    "shape", size([(1024, 1024), (4096, 4096), (65536, 512)], [(1024, 1024), (65536, 512)], [(128, 128)]), ids=str
)
def test_more_threads(measure, shape, count, lap, contestant):
    """Than there may be CPUs: they must not slow down those that two threads keep busy."""
    out = fi.zeros(shape)
    used = count if contestant == "more threads" else 2
    job = f"{shape[0]} x {shape[1]} by {count} threads"
    measure(job, contestant, lambda: fi.orthogonal(out, seed=lap, threads=used), needed(*shape), "flop", **turns(shape))


VARIANTS = {
    "fastinit": lambda out: fi.orthogonal(out, seed=0),
    "out_axis=0": lambda out: fi.orthogonal(out, seed=0, out_axis=0),
    "bfloat16": lambda out: fi.orthogonal(out.view(np.uint16)[:, : out.shape[1]], seed=0, dtype="bfloat16"),
    "every second column": lambda out: fi.orthogonal(out[:, ::2], seed=0),
}


@pytest.mark.parametrize("contestant", VARIANTS)
@pytest.mark.parametrize("lap", range(laps(2, 5)))
def test_variants(measure, lap, contestant):
    """What a torch weight, a copy in bfloat16 and strided memory cost beside float32 in place."""
    n = size(2048, 2048, 128)
    out = fi.zeros((n, 2 * n if contestant == "every second column" else n))
    measure(f"{n} x {n} in place", contestant, lambda: VARIANTS[contestant](out), needed(n, n), "flop", rounds=2)


@pytest.fixture(scope="module")
def tall():
    """A tall matrix whose triangle has been made."""
    recipe = fi.recipe("orthogonal", (ROWS, COLUMNS), seed=0)
    recipe[:1]
    return recipe


@pytest.mark.parametrize("contestant", ["fastinit", "SciPy sgemm"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_rows_of_a_tall_one(measure, tall, lap, contestant):
    """100 rows, against the product that they need with the whole square matrix."""
    out = fi.zeros((100, COLUMNS))
    if contestant == "fastinit":
        run = lambda: tall.fill(out, np.s_[5000:5100])  # noqa: E731
    else:
        blas = pytest.importorskip("scipy.linalg.blas")
        random = np.random.default_rng(0)
        g, r = (np.asfortranarray(random.random((m, COLUMNS), np.float32)) for m in (100, COLUMNS))
        run = lambda: blas.sgemm(1.0, g, r)  # noqa: E731
    measure(f"100 rows of {ROWS} x {COLUMNS}", contestant, run, 2 * 100 * COLUMNS**2, "flop")
