"""Orthogonal matrices: that they are, and that every sum is in its written order; test_haar.py has chance."""

import functools
import itertools
import math

import numpy as np
import pytest

import fastinit as fi
import reference
from conftest import DTYPES, bits
from fastinit import _kernels
from fastinit.arrays import scratch_for

PROMISED = {"float32": 3e-5, "float64": 1e-12}
REAL = ["float32", "float64"]


def drawn(shape, dtype="float32", seed=0, **parameters):
    return fi.orthogonal(shape, seed=seed, name="o", dtype=dtype, **parameters)


def gaussian(shape, dtype="float32", seed=0):
    return fi.normal(shape, seed=seed, name="o", dtype=dtype)


def departure(q):
    """max |Q'Q - I|, QQ' where wide, in float64."""
    q = q.astype(np.float64)
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    return np.abs(gram - np.eye(len(gram))).max(initial=0.0)


# ---- orthogonal --------------------------------------------------------------------------------------------

#: around tiles (4, 8 rows; 6, 12, 24, 48 columns), blocks (128 reflectors), runs of terms (256) and Gram rows (1024)
SQUARE = [
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    12,
    13,
    23,
    24,
    25,
    47,
    48,
    49,
    63,
    64,
    65,
    97,
    127,
    128,
    129,
    200,
    255,
    256,
    257,
    385,
]
OBLONG = [(2, 1), (7, 1), (8, 1), (9, 1), (300, 1), (15, 2), (16, 2), (17, 2), (130, 128), (200, 130), (257, 129), (300, 257),
          (1023, 127), (1024, 128), (1025, 128), (1031, 129), (1032, 129), (1033, 129), (2049, 40), (3000, 300), (5000, 7)]  # fmt: skip
EMPTY = [(0, 5), (5, 0), (0, 0)]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(n, n) for n in SQUARE] + OBLONG + [s[::-1] for s in OBLONG] + EMPTY)
def test_orthonormal(shape, dtype):
    q = drawn(shape, dtype)
    assert q.shape == shape
    assert departure(q) < PROMISED[dtype]


@pytest.mark.parametrize("shape", [(1, 1), (9, 6), (6, 9), (30, 30), (24, 3), (3, 24), (9, 1), (1, 5)])
@pytest.mark.parametrize("dtype", REAL)
def test_small_ones_on_every_isa(isa, shape, dtype):
    assert departure(drawn(shape, dtype)) < PROMISED[dtype]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
@pytest.mark.parametrize("shape", [(300, 200), (1100, 130), (130, 1100)])
def test_narrow_dtypes_are_float32_rounded_once(shape, dtype, tolerance):
    q = drawn(shape, dtype, gain=1.7)
    assert (bits(q) == bits(drawn(shape, gain=1.7).astype(DTYPES[dtype]))).all()
    assert departure(q.astype(np.float64) / 1.7) < 4 * tolerance


def test_gain_multiplies_last(isa):
    for dtype in REAL:
        for shape in [(40, 30), (40, 4)]:
            for gain in (0.1, -3.0, 0.0, math.sqrt(2)):
                expected = drawn(shape, dtype) * DTYPES[dtype].type(gain)
                assert (drawn(shape, dtype, gain=gain) == expected).all()


def test_std_and_bounds():
    for shape in [(60, 40), (40, 60), (500, 10), (3, 4, 5, 6)]:
        r = fi.recipe("orthogonal", shape, seed=0, gain=-2.0)
        assert r.std == pytest.approx(2 / math.sqrt(max(math.prod(shape[:-1]), shape[-1])))
        assert np.sqrt((r[...].astype(np.float64) ** 2).mean()) == pytest.approx(r.std, rel=1e-5)
    for dtype in DTYPES:
        r = fi.recipe("orthogonal", (2, 1), seed=0, dtype=dtype, gain=3.0)
        assert r.bounds[0] == -r.bounds[1]
        assert 3 <= r.bounds[1] < 3.1
        values = np.concatenate([drawn((2, 1), dtype, seed=seed, gain=3.0) for seed in range(300)])
        assert (np.abs(values.astype(np.float64)) <= r.bounds[1]).all()


# ---- to the bit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (4, 6, 3), (9, 50, 257), (13, 25, 300), (70, 100, 600)])
@pytest.mark.parametrize("dtype", REAL)
def test_product_sums_in_the_written_order(isa, shape, dtype):
    m, n, depth = shape if len(shape) == 3 else (2, 3, 1)
    random = np.random.default_rng(0)
    a, b, c = (random.standard_normal(s).astype(dtype) for s in [(m, depth), (depth, n), (m, n)])
    for update, sign, start in [("set", 1, None), ("add", 1, c), ("subtract", -1, c)]:
        expected = reference.matrix_product(a, b, start, sign)
        for orders, threads in zip(itertools.product("CF", repeat=3), itertools.cycle([1, 2, 3])):
            operands = [np.array(x, order=order) for x, order in zip((c, a, b), orders)]
            _kernels.multiply(*operands, update, scratch_for(threads), threads)
            assert (bits(operands[0]) == bits(expected)).all()


@pytest.mark.parametrize("dtype", REAL)
def test_leaving_out_zeros_changes_nothing(isa, dtype):
    random = np.random.default_rng(1)
    n = 300
    a = random.standard_normal((90, n)).astype(dtype)
    b = np.triu(random.standard_normal((n, n))).astype(dtype)
    scratch = scratch_for(1)
    for start in (0, n // 3):
        stop = n - 5
        for order in "CF":
            plain, short = (np.empty((90, stop - start), dtype, order=order) for _ in range(2))
            _kernels.multiply(plain, a[:, :stop], b[:stop, start:stop], "set", scratch, 1)
            _kernels.multiply(short, a[:, :stop], b[:stop, start:stop], "set", scratch, 1, "b", start)
            assert (bits(plain) == bits(short)).all()
        plain, short = (np.full((stop, stop - start), 7, dtype) for _ in range(2))
        _kernels.multiply(plain, a[:, :stop].T, a[:, start:stop], "set", scratch, 1)
        _kernels.multiply(short, a[:, :stop].T, a[:, start:stop], "set", scratch, 1, "c", start)
        wanted = np.arange(stop)[:, None] <= np.arange(start, stop)
        assert (plain[wanted] == short[wanted]).all()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 6), (6, 9), (140, 133), (133, 140), (420, 140), (300, 129), (1, 9), (16, 2), (3, 24),
                                   (1100, 5), (1040, 130)])  # fmt: skip
def test_values_are_the_documents(isa, shape, dtype):
    """docs/stream.md, section 6, written a second time."""
    assert (bits(drawn(shape, dtype)) == bits(reference_of(shape, dtype))).all()


@functools.cache
def reference_of(shape, dtype):
    return reference.orthogonal_of(gaussian(shape, dtype))


@pytest.mark.parametrize("shape", [(64, 8), (900, 100), (100, 900), (3000, 260), (12, 1)])
def test_tall_ones_are_the_q_of_numpys_qr(shape):
    g = gaussian(shape, "float64")
    q, r = np.linalg.qr(g if shape[0] > shape[1] else g.T)
    q = q * np.sign(np.diag(r))
    assert np.abs(drawn(shape, "float64") - (q if shape[0] > shape[1] else q.T)).max() < 1e-13


@pytest.mark.parametrize("shape", [(30, 30), (200, 150), (150, 200), (300, 60)])
def test_general_ones_are_products_of_the_drawn_reflectors(shape):
    g = gaussian(shape, "float64")
    g = g if shape[0] >= shape[1] else g.T
    m, n = g.shape
    q = np.eye(m, n)
    signs = np.ones(n)
    for k in reversed(range(n)):
        x = g[k:, k].copy()
        signs[k] = 1 if x[0] >= 0 else -1
        v = x + signs[k] * np.linalg.norm(x) * np.eye(m - k)[0]
        q[k:] -= np.outer(2 * v / (v @ v), v @ q[k:])
    expected = q * -signs
    assert np.abs(drawn(shape, "float64") - (expected if shape[0] >= shape[1] else expected.T)).max() < 1e-13


def apply(step, *arrays):
    """One step alone."""
    steps = _kernels.Steps()
    getattr(steps, step)(*arrays)
    steps.run(scratch_for(1), 1, None)


# ---- a column is never lost --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL)
def test_reflectors_of_zeros(dtype):
    """sign(0) is not 0; a column of zeros is no reflection, and leaves its column of Q alone."""
    v = np.ones((5, 3), dtype)
    v[0, 0] = -0.0  # x_0 = 0, |x| > 0
    v[1:, 1] = 0  # x = 0
    v[2, 2] = -1.0
    signs = np.empty(3)
    apply("reflectors", v, signs)
    assert signs.tolist() == [-1, 1, 1]
    assert v[:, 0].tolist() == [2, 1, 1, 1, 1]
    assert v[:, 1].tolist() == [0] * 5
    assert v[:2, 2].tolist() == [0, 0]
    gram = v.T @ v
    apply("triangular_factor", gram)
    h = np.eye(5) - v.astype(np.float64) @ gram.astype(np.float64) @ v.T.astype(np.float64)
    assert np.abs(h.T @ h - np.eye(5)).max() < 1e-6
    assert np.abs(h[:, 0] * signs[0] - np.array([0, 1, 1, 1, 1]) / 2).max() < 1e-6  # column 0 is x / |x|


def test_a_last_column_of_one_element_is_a_sign():
    assert {float(drawn((1, 1), seed=seed)[0, 0]) for seed in range(40)} == {-1.0, 1.0}
    for seed in range(20):
        assert drawn((1, 1), seed=seed)[0, 0] == (1 if gaussian((1, 1), seed=seed)[0, 0] >= 0 else -1)


def test_dependent_rows_are_an_error_not_nan(monkeypatch):
    recipe = fi.recipe("orthogonal", (64, 2), seed=0)
    monkeypatch.setattr(recipe._kind.matrix, "draw", lambda work, out, *_: work.constant(0.0, out))
    with pytest.raises(ArithmeticError, match="not independent"):
        recipe[...]


# ---- delta ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (4, 5, 9), (3, 3, 4, 6), (2, 4, 5, 3, 7), (5, 1, 1, 1, 2, 9)])
def test_delta_is_the_orthogonal_matrix_at_the_centre(shape, dtype):
    w = fi.delta_orthogonal(shape, gain=1.5, seed=3, name="d", dtype=dtype)
    centre = tuple((k - 1) // 2 for k in shape[:-2])
    assert (w[centre] == fi.orthogonal(shape[-2:], gain=1.5, seed=3, name="d", dtype=dtype)).all()
    rest = w.astype(np.float64)
    rest[centre] = 0
    assert not rest.any()
    r = fi.recipe("delta_orthogonal", shape, seed=3, gain=1.5)
    assert r.std == pytest.approx(1.5 * math.sqrt(shape[-2] / math.prod(shape)))


def test_delta_convolution_keeps_norms():
    w = fi.delta_orthogonal((3, 3, 4, 7), seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((10, 10, 4))
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    y = sum(padded[i : i + 10, j : j + 10] @ w[i, j] for i in range(3) for j in range(3))
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x), rel=1e-12)


def test_delta_with_torchs_axes():
    w = fi.delta_orthogonal((7, 4, 3, 3), in_axis=1, out_axis=0, seed=0, name="t")
    assert (w[:, :, 1, 1] == fi.orthogonal((4, 7), seed=0, name="t").T).all()
    assert fi.delta_orthogonal((0, 4, 4), seed=0).size == 0
    assert fi.delta_orthogonal((3, 0, 4), seed=0).size == 0


# ---- errors, progress, memory ----------------------------------------------------------------------------------

BAD = [
    (lambda w: fi.orthogonal(w, gain=float("nan"), seed=0), ValueError, "gain must not be NaN"),
    (lambda w: fi.orthogonal(w, gain=float("inf"), seed=0), ValueError, "gain must be finite"),
    (lambda w: fi.orthogonal(w, gain=1e39, seed=0), ValueError, "overflows"),
    (lambda w: fi.orthogonal(w, gain=3.4028e38, seed=0), ValueError, "overflows"),
    (lambda w: fi.orthogonal(w.astype(np.float64), gain=1.7976e308, seed=0), ValueError, "overflows"),
    (lambda w: fi.orthogonal(w.astype(np.float16), gain=1e5, seed=0), ValueError, "overflows"),
    (lambda w: fi.orthogonal(w, gain=1e-60, seed=0), ValueError, "vanishes in float32"),
    (lambda w: fi.orthogonal(w, gain="2", seed=0), TypeError, "gain must be a number"),
    (lambda w: fi.orthogonal(w.astype(np.complex64), seed=0), TypeError, "complex64"),
    (lambda w: fi.orthogonal(w[0], seed=0), ValueError, "two axes"),
    (lambda w: fi.orthogonal(w[0, 0], seed=0), TypeError, "must be an array"),
    (lambda w: fi.orthogonal(w, out_axis=2, seed=0), ValueError, "out_axis=2"),
    (lambda w: fi.orthogonal(w, out_axis=(0, 1), seed=0), ValueError, "leaves no matrix"),
    (lambda w: fi.orthogonal(w, out_axis=(), seed=0), ValueError, "leaves no matrix"),
    (lambda w: fi.orthogonal(w, out_axis=None, seed=0), TypeError, "out_axis must be an integer"),
    (lambda w: fi.orthogonal(w, in_axis=1, seed=0), ValueError, "share an axis"),
    (lambda w: fi.orthogonal(w, in_axis=5, out_axis=0, seed=0), ValueError, "in_axis=5"),
    (lambda w: fi.orthogonal(w, shape=(60, 4), index=np.s_[:5], seed=0), ValueError, "region has shape (5, 4)"),
    (lambda w: fi.orthogonal(w, shape=(60, 4), index=np.s_[60], seed=0), IndexError, "out of bounds"),
    (lambda w: fi.orthogonal(w, shape=(60, 4), index=np.s_[:6]), ValueError, "need a seed"),
    (lambda w: fi.orthogonal(w, seed=0, progress=3), TypeError, "progress must be"),
    (lambda w: fi.orthogonal(np.broadcast_to(w, (2, 6, 4)), seed=0), ValueError, "read-only"),
    (lambda w: fi.delta_orthogonal(w, seed=0), ValueError, "spatial axes"),
    (lambda w: fi.delta_orthogonal(w[0], seed=0), ValueError, "in_axis=-2"),
    (lambda w: fi.delta_orthogonal(w.reshape(2, 4, 3), seed=0), ValueError, "in <= out"),
    (lambda w: fi.delta_orthogonal(w.reshape(2, 3, 4), out_axis=1, seed=0), ValueError, "share an axis"),
    (lambda w: fi.init("orthogonal", std=2.0), TypeError, "no parameter 'std'"),
    (lambda w: fi.init("orthogonl"), ValueError, "did you mean 'orthogonal'"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input(case):
    call, exception, words = BAD[case]
    w = np.full((6, 4), 7, np.float32)
    with pytest.raises(exception) as caught:
        call(w)
    assert words in str(caught.value)
    assert type(caught.value) is exception
    assert (w == 7).all()


@pytest.mark.parametrize("shape", [(300, 290), (290, 300), (3000, 200)])
def test_progress(shape):
    seen = []
    q = fi.orthogonal(shape, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert (q == fi.orthogonal(shape, seed=0)).all()
    assert len(seen) > 2
    done, totals = zip(*seen)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]
    for dtype, index in [("bfloat16", np.s_[...]), ("float32", np.s_[5:9]), ("float32", np.s_[:, ::70])]:
        r, seen = fi.recipe("orthogonal", shape, seed=0, dtype=dtype), []
        out = np.empty_like(r[index])
        r = fi.recipe("orthogonal", shape, seed=0, dtype=dtype)
        r.fill(out, index, progress=lambda done, total: seen.append((done, total)))  # noqa: B023
        assert seen[-1][0] == seen[-1][1]


def test_progress_of_other_fills_and_bars(capsys):
    seen = []
    r = fi.recipe("normal", (10, 3), seed=0)
    r.fill(np.empty((10, 3), np.float32), progress=lambda *done_total: seen.append(done_total))
    assert seen == [(30, 30)]
    seen.clear()
    delta = fi.recipe("delta_orthogonal", (3, 4, 4), seed=0)  # zeros alone, then the centre too
    delta.fill(np.empty((4, 4), np.float32), 0, progress=lambda *done_total: seen.append(done_total))
    assert seen == [(1, 1)]
    delta.fill(np.empty((3, 4, 4), np.float32), progress=lambda *done_total: seen.append(done_total))
    assert seen[-1][0] == seen[-1][1] > 1
    fi.orthogonal((30, 20), seed=0, name="weights", progress=True)
    assert "weights" in capsys.readouterr().err


def test_a_bar_without_tqdm(monkeypatch):
    import builtins

    real = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__",
        lambda name, *rest: (_ for _ in ()).throw(ImportError(name)) if name.startswith("tqdm") else real(name, *rest),
    )  # fmt: skip
    w = np.full((6, 4), 7, np.float32)
    with pytest.raises(ImportError, match="pip install tqdm"):
        fi.orthogonal(w, seed=0, progress=True)
    assert (w == 7).all()


def test_what_stops_a_fill_is_told_that_the_buffer_is_incomplete():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fi.orthogonal((300, 290), seed=0, progress=stop)
    assert any("incomplete" in note for note in caught.value.__notes__)
