"""The steps of orthogonal matrices on CUDA devices, compiled for this CPU, against the C core's, bit for bit: the same
calls on both executors."""

import ctypes
import gc
import mmap
import os

import numpy as np
import pytest
from host.stand_in import StandIn

from conftest import DTYPES, bits
from fastinit.cuda import driver
from fastinit.cuda.memory import Memory
from fastinit.cuda.queue import Queue
from fastinit.kinds.host import HostWork
from fastinit.kinds.work import Offsets

REALS = ["float32", "float64"]


@pytest.fixture(scope="module", autouse=True)
def device(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        driver.use(StandIn())
        driver.installed().multiprocessors = 6
        with driver.installed().on(0):
            yield driver.installed()
        gc.collect()
        assert not driver.installed().allocated, "memory of the device was not given back"
        driver.use(None)


@pytest.fixture
def work(device):
    queue = Queue(device, device.devices()[0], 0)
    return Memory.at(queue, 4096, (1, 1), (4, 4), np.dtype(np.float32), None).work(lambda share: None)


def there(work, array):
    """An array of the host's as the device's memory: the stand-in's is the same."""
    return Memory.at(
        work._queue, array.__array_interface__["data"][0], array.shape, array.strides, array.dtype, array
    )  # fmt: skip


def laid_out(array, layout):
    """The same elements: as they are, transposed in memory, or with gaps."""
    if layout == "columns":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "gaps":
        held = np.full((*array.shape[:-1], 2 * array.shape[-1] + 3), 7, array.dtype)
        held[..., 1 : 1 + array.shape[-1]] = array
        return held[..., 1 : 1 + array.shape[-1]]
    return np.ascontiguousarray(array)


def on_host(step, *given, **named):
    """What the CPU's executor does in that step."""
    here = HostWork(1, lambda share: None)
    getattr(here, step)(*given, **named)
    here.run()


SHAPES = [
    (1, 1, 1), (128, 128, 128), (64, 64, 16), (129, 127, 15), (130, 3, 17), (5, 260, 256), (1, 300, 257), (70, 65, 512),
    (128, 128, 1300), (33, 1, 700), (3, 5, 0),
]  # fmt: skip


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("update", ["set", "add", "subtract"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(device, work, real, update, shape):
    """Whole tiles and parts of them, runs of terms side by side or not, operands along rows and along columns."""
    rows, columns, depth = shape
    random = np.random.default_rng(rows + columns + depth)
    a, b, c = (random.standard_normal(s).astype(real) for s in ((rows, depth), (depth, columns), (rows, columns)))
    for k, layouts in enumerate([("rows",) * 3, ("columns", "rows", "columns"), ("gaps", "columns", "gaps")]):
        left, right, expected = (laid_out(array, layout) for array, layout in zip((a, b, c), layouts))
        made = laid_out(c, layouts[2])
        on_host("multiply", expected, left, right, update)
        device.log.clear()
        work.multiply(there(work, made), there(work, left), there(work, right), update)
        work.run()
        assert (bits(made) == bits(expected)).all(), k


def before_a_wall(array):
    """A copy that ends where memory ends that may be touched: whatever reads beyond it ends the process."""
    size = mmap.PAGESIZE
    pages = mmap.mmap(-1, (-(-array.nbytes // size) + 1) * size)
    held = np.frombuffer(pages, np.uint8)
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(held.ctypes.data + len(held) - size), size, 0) == 0
    end = held[: len(held) - size]
    copy = end[len(end) - array.nbytes :].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("real", REALS)
def test_nothing_beyond_the_operands_is_read(work, real):
    """Where tiles and slices reach beyond them. In a process of its own, which may end by it."""
    random = np.random.default_rng(0)
    a, b, c, v = (random.standard_normal(shape).astype(real) for shape in ((130, 300), (300, 70), (130, 70), (300, 40)))
    warm = np.zeros_like(c)
    work.multiply(there(work, warm), there(work, a), there(work, b))  # the kernels are compiled here
    work.run()
    child = os.fork()
    if not child:
        code = 1
        try:
            for turned in (False, True):
                left, right = (before_a_wall(x.T.copy()).T if turned else before_a_wall(x) for x in (a, b))
                made = before_a_wall(c)
                work.multiply(there(work, made), there(work, left), there(work, right), "add")
                work.reflectors(there(work, before_a_wall(v)), there(work, before_a_wall(np.zeros(40))))
                work.run()
                assert np.allclose(made, c + a @ b, atol=1e-3)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("real", REALS)
def test_the_sums_are_in_runs_of_256(work, real):
    """Not what one sum gives, and not what the sum of everything before the old value gives."""
    random = np.random.default_rng(0)
    a, b, c = (random.standard_normal(s).astype(real) for s in ((2, 2000), (2000, 2), (2, 2)))
    expected = c.copy()
    on_host("multiply", expected, a, b, "add")
    at_once, made = c.copy(), c.copy()
    for low in range(0, 2000, 200):
        on_host("multiply", at_once, a[:, low : low + 200], b[low : low + 200], "add")
    work.multiply(there(work, made), there(work, a), there(work, b), "add")
    work.run()
    assert (bits(made) == bits(expected)).all()
    assert not (bits(at_once) == bits(expected)).all()


def test_few_tiles_have_their_runs_made_side_by_side(device, work):
    a, b, c = np.ones((20, 2000), np.float32), np.ones((2000, 20), np.float32), np.zeros((20, 20), np.float32)
    device.log.clear()
    work.multiply(there(work, c), there(work, a), there(work, b))
    work.run()
    assert [entry[:2] for entry in device.log if entry[0] not in ("compile", "load")] == [
        ("allocate", 2 * 4 * 20 * 20 * 4), *[("launch", "stage")] * 4, ("free", 0)
    ]  # fmt: skip
    assert (c == 2000).all()


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("depth", [40, 1024])
def test_batches_of_products(work, real, batch, depth):
    random = np.random.default_rng(batch)
    a, b = (random.standard_normal(s).astype(real) for s in ((batch, depth, 150), (batch, depth, 90)))
    made, expected = np.zeros((2, batch, 150, 90), real)
    for c, x, y in zip(expected, a, b):
        on_host("multiply", c, x.T, y, "set")
    work.multiply(there(work, made), there(work, a.swapaxes(1, 2)), there(work, b))
    work.run()
    assert (bits(made) == bits(expected)).all()


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("columns", ["rows", "columns"])
@pytest.mark.parametrize("start", [0, 128, 256, 600])
def test_triangular_operands(device, work, real, columns, start):
    """Terms that are zero are left out: what is there instead is never read."""
    random = np.random.default_rng(start)
    depth, n = start + 128, 128
    a, b = (random.standard_normal(s).astype(real) for s in ((200, depth), (depth, n)))
    b *= np.arange(depth)[:, None] <= np.arange(n) + start
    expected = np.zeros((200, n), real)
    on_host("multiply", expected, a, b, "set")
    held = laid_out(np.full((200, n), np.nan, real), columns)
    work.multiply(there(work, held), there(work, a), there(work, b), upper="b", diagonal=start)
    work.run()
    assert (bits(held) == bits(expected)).all()


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("n", [40, 300])
@pytest.mark.parametrize("depth", [100, 1500])
def test_upper_triangles(work, real, n, depth):
    random = np.random.default_rng(n)
    a = random.standard_normal((depth, n)).astype(real)
    expected, made = np.zeros((n, n), real), np.full((n, n), np.nan, real)
    on_host("multiply", expected, a.T, a, "set")
    work.multiply(there(work, made), there(work, a.T), there(work, a), upper="c")
    work.run()
    upper = np.triu_indices(n)
    assert (bits(made)[upper] == bits(expected)[upper]).all()
    if n > 128:
        assert np.isnan(made[-1, 0]), "a tile that nobody wants was made"


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 64), (128, 128), (129, 128), (700, 100), (2, 2)], ids=str)
def test_reflectors(work, real, shape):
    random = np.random.default_rng(shape[0])
    v = random.standard_normal((shape[0], shape[1] + 5)).astype(real)[:, : shape[1]]
    v[:, shape[1] // 2] = 0
    expected, signs = v.copy(), np.empty(shape[1])
    on_host("reflectors", expected, signs)
    made = np.full(shape[1], np.nan)
    work.reflectors(there(work, v), there(work, made))
    work.run()
    assert (bits(v) == bits(expected)).all()
    assert (bits(made) == bits(signs)).all()


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("n", [1, 2, 17, 128])
def test_triangular_factors(work, real, n):
    random = np.random.default_rng(n)
    v = random.standard_normal((n + 3, n)).astype(real)
    v[:, n // 2] = 0  # a column without a reflection
    gram = v.T @ v
    expected, held = gram.copy(), laid_out(gram, "gaps")
    on_host("triangular_factor", expected)
    work.triangular_factor(there(work, held))
    work.run()
    assert (bits(held) == bits(expected)).all()


@pytest.mark.parametrize("n", [1, 2, 17, 128, 300])
def test_cholesky_and_inverses(work, n):
    random = np.random.default_rng(n)
    g = random.standard_normal((2 * n, n))
    made, expected = laid_out(g.T @ g, "gaps"), g.T @ g
    inverse, expected_inverse = np.full((2, n, n), np.nan)
    on_host("cholesky", expected, expected_inverse)
    work.cholesky(there(work, made), there(work, inverse))
    work.run()
    assert (bits(made) == bits(expected)).all()
    assert (bits(inverse) == bits(expected_inverse)).all()


def test_a_pivot_that_is_not_positive_leaves_nan(work):
    a, inverse = np.array([[4.0, 2, 2], [0, 1, 1], [0, 0, 5]]), np.zeros((3, 3))
    work.cholesky(there(work, a), there(work, inverse))
    work.run()
    assert (a[0] == [2, 1, 1]).all()
    assert np.isnan(a[1:, 1:][np.triu_indices(2)]).all()
    assert np.isnan(inverse[0, 1:]).all()


@pytest.mark.parametrize("real", REALS)
def test_sums_in_float64(work, real):
    random = np.random.default_rng(0)
    total, addends = random.standard_normal((70, 60))[:, :50], random.standard_normal((4, 70, 50)).astype(real)
    expected = total.copy()
    on_host("accumulate", expected, addends)
    work.accumulate(there(work, total), there(work, addends))
    work.run()
    assert (bits(total) == bits(expected)).all()


@pytest.mark.parametrize(("source", "to"), [("float32", d) for d in ("float32", "float16", "bfloat16")]
                         + [("float64", "float64"), ("float64", "float32")])  # fmt: skip
@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_putting(work, source, to, gathered, turned):
    """Any rows and columns to any others, rounded once: ties, denormals, what overflows, signed zeros."""
    random = np.random.default_rng(1)
    q = random.standard_normal((90, 70)).astype(source)
    q[::2] *= 1e-7
    q[3, :4] = [0, -0.0, 1 + 2.0**-9, 65530]
    out, expected = np.zeros((2, 200, 150), DTYPES[to])
    if turned:
        out, expected = out.T, expected.T
    down, across = out.strides
    rows, columns = Offsets(30, 3 * q.strides[0], q.strides[0]), Offsets(40, q.itemsize, 8 * q.itemsize)
    out_rows, out_columns = Offsets(30, 2 * down, 5 * down), Offsets(40, across, 2 * across)
    if gathered:
        rows = Offsets(30, table=random.integers(0, 90, 30) * q.strides[0])
        out_columns = Offsets(40, table=random.permutation(150)[:40] * across)
    on_host("put", to, 0.7, q, rows, columns, expected, out_rows, out_columns)
    work.put(to, 0.7, there(work, q), rows, columns, there(work, out), out_rows, out_columns)
    work.run()
    assert bits(out).any()
    assert (bits(out) == bits(expected)).all()


def test_steps_of_a_stage_go_in_few_launches(device, work):
    """More than one launch carries go in several; memory lives until they are sent."""
    gram = np.eye(3, dtype=np.float32)
    for _ in range(2):  # the second time with kernels that are loaded
        device.log.clear()
        for _ in range(20):
            work.multiply(there(work, np.zeros((3, 3), np.float32)), there(work, gram), there(work, gram))
        work.triangular_factor(there(work, gram.copy()))
        work.accumulate(there(work, np.zeros((3, 3))), there(work, np.zeros((1, 3, 3))))
        gc.collect()
        assert not any(entry[0] == "launch" for entry in device.log)
        work.next_stage()
    assert [entry[0] for entry in device.log] == ["allocate", *["launch"] * 3, "free"]
