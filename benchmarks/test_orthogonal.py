"""Orthogonal matrices in float32 with two threads, in memory that is there already; and the product by itself.

`elements` are floating-point operations where a job compares rates of work: 2mn^2 - 2n^3/3 are what Q needs.
"""

import numpy as np
import pytest
from quick import size

import fastinit as fi
from fastinit import _kernels
from fastinit.orthogonal import scratch_for

THREADS = 2
SHAPES = size([(1024, 1024), (2048, 2048), (4096, 4096), (65536, 512)], [(128, 128), (2048, 64)])
ROWS, COLUMNS = size((65536, 4096), (8192, 256))


@pytest.fixture(autouse=True)
def _two_threads():
    fi.set_num_threads(THREADS)
    yield
    fi.set_num_threads(None)


def needed(m, n):
    return 2 * m * n * n - 2 * n**3 / 3


def job(shape):
    return f"orthogonal {shape[0]} x {shape[1]}"


def rounds(shape):
    return 9 if shape[0] <= 2048 else 5


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal(measure, shape):
    out = fi.zeros(shape)
    fresh = iter(range(100))  # another recipe each time: a tall one would keep its R
    measure(job(shape), "fastinit", lambda: fi.orthogonal(out, seed=next(fresh)), needed(*shape), rounds(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_torch(measure, shape):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(THREADS)
    out = torch.zeros(shape)
    measure(job(shape), "torch", lambda: torch.nn.init.orthogonal_(out), needed(*shape), rounds(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_numpy(measure, shape):
    generator = np.random.default_rng(0)

    def run():
        q, r = np.linalg.qr(generator.standard_normal(shape, np.float32))
        return q * np.sign(np.diag(r))

    measure(job(shape), "numpy", run, needed(*shape), 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_jax(measure, shape):
    jax = pytest.importorskip("jax")
    initializer, key = jax.nn.initializers.orthogonal(), jax.random.key(0)
    measure(job(shape), "jax", lambda: initializer(key, shape).block_until_ready(), needed(*shape), 3)


def test_orthogonal_scipy(measure):
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    run = lambda: stats.ortho_group.rvs(1024, random_state=generator)  # noqa: E731
    measure(job((1024, 1024)), "scipy ortho_group", run, needed(1024, 1024), 3)


VARIANTS = {
    "in place": lambda out: fi.orthogonal(out, seed=0),
    "out_axis=0": lambda out: fi.orthogonal(out, seed=0, out_axis=0),
    "bfloat16": lambda out: fi.orthogonal(out.view(np.uint16)[:, :2048], seed=0, dtype="bfloat16"),
    "every second column": lambda out: fi.orthogonal(out[:, ::2], seed=0),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(measure, variant):
    """What a torch weight, a copy in bfloat16 and strided memory cost beside float32 in place."""
    out = fi.zeros((2048, 4096 if variant == "every second column" else 2048))
    who = "fastinit" if variant == "in place" else variant
    measure("orthogonal 2048 x 2048, in place", who, lambda: VARIANTS[variant](out), 1, 5)


# ---- the product ------------------------------------------------------------------------------------------


def product(n):
    random = np.random.default_rng(0)
    a, b = (random.random((n, n), np.float32) for _ in range(2))
    c, scratch = np.zeros((n, n), np.float32), scratch_for(THREADS)
    return lambda: _kernels.multiply(c, a, b, "set", scratch, THREADS)


def test_product(measure):
    measure("product 4096^3", "fastinit", product(4096), 2 * 4096**3, 7)


def test_product_scipy(measure):
    blas = pytest.importorskip("scipy.linalg.blas")
    random = np.random.default_rng(0)
    a, b = (np.asfortranarray(random.random((4096, 4096), np.float32)) for _ in range(2))
    measure("product 4096^3", "scipy sgemm", lambda: blas.sgemm(1.0, a, b), 2 * 4096**3, 7)


def test_fraction(measure):
    out = fi.zeros((4096, 4096))
    measure("orthogonal 4096, flops", "fastinit", lambda: fi.orthogonal(out, seed=0), needed(4096, 4096), 5)


def test_fraction_product(measure):
    measure("orthogonal 4096, flops", "our product", product(4096), 2 * 4096**3, 5)


# ---- slices of a tall one -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tall():
    """65536 x 4096, whose R has been made."""
    recipe = fi.recipe("orthogonal", (ROWS, COLUMNS), seed=0)
    recipe[:1]
    return recipe


def test_rows(measure, tall):
    out = fi.zeros((100, COLUMNS))
    measure("100 rows of 65536 x 4096", "fastinit", lambda: tall.fill(out, np.s_[5000:5100]), 100, 9)


def test_rows_product(measure, tall):
    """The product that they need, by SciPy's sgemm with the whole square matrix."""
    blas = pytest.importorskip("scipy.linalg.blas")
    random = np.random.default_rng(0)
    g = np.asfortranarray(random.random((100, COLUMNS), np.float32))
    r = np.asfortranarray(random.random((COLUMNS, COLUMNS), np.float32))
    measure("100 rows of 65536 x 4096", "scipy sgemm", lambda: blas.sgemm(1.0, g, r), 100, 7)
