"""Values against the slow reference: equal bits where the definition is exact, within its bounds elsewhere."""

from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import pytest
from scipy import stats

import fastinit as fi
import reference
from conftest import DTYPES, bits
from fastinit import _kernels

SEED, NAME = 20261122, "reference"
UNIFORMS = [(0.0, 1.0), (-0.3, 0.3), (1e-20, 0.9), (-3e38, 3e38), (1.0, 1.0 + 2**-22), (-1.0, 0.0), (5.0, 5.0)]


def equal(array, expected, dtype):
    return (bits(array) == bits(np.array(expected, np.float64).astype(DTYPES[dtype]))).all()


@pytest.mark.parametrize(("low", "high"), UNIFORMS)
def test_uniform_is_exact(isa, dtype, low, high):
    if dtype == "float16" and low < -65504:  # the formula would give -inf
        with pytest.raises(ValueError, match="low must be finite in the dtype"):
            fi.uniform(301, low, high, seed=SEED, name=NAME, dtype=dtype)
        return
    got = fi.uniform(301, low, high, seed=SEED, name=NAME, dtype=dtype)
    expected = [reference.uniform(SEED, NAME, i, low, high, dtype) for i in range(301)]
    assert equal(got, expected, dtype)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.03), (-2.5, 1e-3)])
def test_normal_is_near_the_formula(isa, mean, std):
    for dtype, error in (("float32", 2e-6), ("float64", 1e-14)):
        got = fi.normal(601, mean=mean, std=std, seed=SEED, name=NAME, dtype=dtype).astype(np.longdouble)
        z = np.array([reference.z_normal(SEED, NAME, i, dtype) for i in range(601)], np.longdouble)
        m, s = DTYPES[dtype].type(mean), DTYPES[dtype].type(std)
        rounding = np.spacing(np.abs(got).astype(DTYPES[dtype])) / 2
        assert (np.abs(got - (z * s + m)) <= error * s + rounding).all()


def test_normal_scales_with_one_rounding(isa):
    """v = fma(z, std, mean) in float32: z is exact where mean = 0 and std = 1."""
    z = fi.normal(1000, seed=SEED, name=NAME)
    v = fi.normal(1000, mean=1.0, std=0.03, seed=SEED, name=NAME)
    m, s = float(np.float32(1.0)), float(np.float32(0.03))
    expected = [reference.round_to(Fraction(float(x)) * Fraction(s) + Fraction(m), "float32") for x in z]
    assert equal(v, expected, "float32")


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_narrow_normals_are_the_float32_ones_rounded_once(isa, narrow):
    wide = fi.normal((50, 77), std=0.02, seed=SEED, name=NAME)
    got = fi.normal((50, 77), std=0.02, seed=SEED, name=NAME, dtype=narrow)
    assert (bits(got) == bits(wide.astype(DTYPES[narrow]))).all()


CUTS = [(-2, 2), (-2, 1.5), (0, 2), (0.5, 1), (-1, 1.0625), (-3, 3), (-np.inf, np.inf), (-1, 8), (0, np.inf), (-np.inf, 1),
        (2.5, 3.5), (-5, -1), (3.5, np.inf), (-np.inf, -6), (4, 5), (30, 31), (-200, -100), (37, np.inf)]  # fmt: skip


@pytest.mark.parametrize(("lower", "upper"), CUTS)
def test_truncated_is_near_the_formula(isa, lower, upper):
    for dtype, absolute, relative in (("float32", 2e-6, 1e-6), ("float64", 1e-14, 4e-15)):
        got = fi.truncated_normal(401, lower=lower, upper=upper, seed=SEED, name=NAME, dtype=dtype).astype(
            np.longdouble
        )
        z = np.array(
            [reference.z_truncated(reference.truncated_t(SEED, NAME, i, dtype), lower, upper) for i in range(401)],
            np.longdouble,
        )
        error = np.abs(got - z)
        bound = np.where(np.abs(z) <= (3 if dtype == "float32" else 10), absolute, relative * np.abs(z))
        # the reference itself: SciPy's log_ndtr and ndtri_exp, in float64
        bound = bound + 4e-15 * np.maximum(np.abs(z), 1) * (1 if dtype == "float64" else 0)
        nearer = min(abs(lower), abs(upper))
        if dtype == "float32" and lower * upper > 0 and nearer > 3:
            bound = 2 * np.spacing(np.abs(z).astype(np.float32)) + 1e-5 / nearer
        assert (error <= bound).all(), (dtype, float((error / bound).max()))


@pytest.mark.parametrize(
    ("lower", "upper"), [(36.6, 36.65), (36.7, 37), (38.5, np.inf), (300, np.inf), (990, 990.5), (-np.inf, -999)]
)
def test_truncated_where_the_tail_underflows(isa, lower, upper):
    """Against 40 digits: Newton's method on ln Q, which SciPy has only to 1e-12 there."""
    near, far = (lower, upper) if lower > 0 else (-upper, -lower)
    with mpmath.workdps(40):
        log_near = mpmath.log(mpmath.ncdf(-near))
        share = mpmath.exp(mpmath.log(mpmath.ncdf(-far)) - log_near) if far < np.inf else mpmath.mpf(0)
        for dtype, tolerance in (("float32", None), ("float64", 4e-15)):
            got = fi.truncated_normal(12, lower=lower, upper=upper, seed=SEED, name=NAME, dtype=dtype)
            for i, value in enumerate(got):
                t = reference.truncated_t(SEED, NAME, i, dtype)
                inner = 1 - t if lower > 0 else t
                y = log_near + mpmath.log(share + (1 - share) * mpmath.mpf(inner.numerator) / inner.denominator)
                z = mpmath.mpf(near)
                for _ in range(8):
                    z += (mpmath.log(mpmath.ncdf(-z)) - y) / (z + 1 / z)
                error = abs(abs(float(value)) - z)
                bound = 2 * np.spacing(np.float32(z)) + 1e-5 / near if tolerance is None else tolerance * z
                assert error <= bound, (dtype, i)


def test_truncated_tail_does_not_pile_up(isa):
    """Beyond 5 sigma a twentieth of a sigma holds a fifth of the mass, not all of it (pytorch#145498)."""
    v = fi.truncated_normal(100_000, lower=5.0, upper=np.inf, seed=1, name="tail")
    assert v.min() >= 5
    assert (v == 5).mean() < 1e-4
    assert abs((v < 5.05).mean() - (1 - stats.norm.sf(5.05) / stats.norm.sf(5))) < 0.01


@pytest.mark.parametrize(
    ("lower", "upper"), [(0.5, 0.5009), (-1e-4, 2e-4), (1000.5, np.inf), (2000, 2001), (-1e6, -5e5), (1e20, np.inf)]
)
def test_beyond_the_promised_accuracy_truncated_is_monotone(isa, lower, upper):
    words = np.sort(np.random.default_rng(3).integers(0, 2**32, 4 * 5000, dtype=np.uint32))
    words[:2], words[-2:] = (0, 1), (2**32 - 2, 2**32 - 1)
    values = _kernels.Values("truncated_normal", "float32", (0.0, 1.0, float(lower), float(upper)), 0, 0)
    out = np.empty(words.size, np.float32)
    _kernels.convert(values, words, out)
    assert (np.diff(out) >= 0).all()
    assert np.isfinite(out).all()
    assert lower - 1e-6 * abs(lower) <= out[0]
    assert out[-1] <= upper + 1e-6 * abs(upper)


def test_fma_witnesses(isa):
    """Inputs where (float)((double)a * b + c) rounds twice (DESIGN, section 3)."""
    k = 12582912
    values = _kernels.Values("uniform", "float32", (1e-20, 0.9), 0, 0)
    out = np.empty(4, np.float32)
    _kernels.convert(values, np.full(4, k << 8, np.uint32), out)
    assert (out == np.float32(float.fromhex("0x1.59999ap-1"))).all()


def test_u_of_one_gives_zero(isa):
    values = _kernels.Values("normal", "float32", (0.0, 1.0), 0, 0)
    out = np.empty(4, np.float32)
    _kernels.convert(values, np.array([2**32 - 1, 123, 2**32 - 1, 2**31], np.uint32), out)
    assert (out == 0).all()


def test_largest_normal(isa):
    """The smallest u, 2^-32, has a logarithm: 6.6604 is as far as float32 goes."""
    values = _kernels.Values("normal", "float32", (0.0, 1.0), 0, 0)
    out = np.empty(4, np.float32)
    _kernels.convert(values, np.array([0, 0, 0, 2**31], np.uint32), out)
    assert out[0] == -out[2] == np.float32(float.fromhex("0x1.aa449ap+2"))
    assert values.bounds == (-float(out[0]), float(out[0]))


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_word_pairs_do_not_depend_on_their_place(isa, dtype, kind):
    """The transform of a block is the same in every lane."""
    parameters = {"uniform": (-0.1, 0.2), "normal": (0.5, 2.0), "truncated_normal": (0.0, 1.0, -3.0, 2.5)}[kind]
    values = _kernels.Values(kind, dtype, parameters, 0, 0)
    block = np.random.default_rng(9).integers(0, 2**32, 4, dtype=np.uint32)
    per_block = 2 if dtype == "float64" else 4
    out = np.empty(64 * per_block, DTYPES[dtype])
    _kernels.convert(values, np.tile(block, 64), out)
    assert len({tuple(row) for row in bits(out).reshape(64, per_block).tolist()}) == 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-0.003, 0.007), (0.1, 0.3), (100.0, 100.5)])
def test_uniform_never_returns_high_for_any_word(isa, dtype, low, high):
    """All 2^24 of them in the 32- and 16-bit dtypes (pytorch#96947); the ends of the 2^53 in float64."""
    values = _kernels.Values("uniform", dtype, (low, high), 0, 0)
    if dtype == "float64":
        words = np.full(4096, 2**32 - 1, np.uint32)
        words[:2048] = 0
        out = np.empty(2048, np.float64)
    else:
        words = np.arange(2**24, dtype=np.uint32) << 8
        out = np.empty(2**24, DTYPES[dtype])
    _kernels.convert(values, words, out)
    lo, hi = reference.round_to(low, dtype), reference.round_to(high, dtype)
    found_low, found_high = float(out.min()), float(out.max())
    assert lo <= found_low
    assert found_high < hi or lo == hi == found_high
    assert values.bounds == (found_low, found_high)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("start", [1.0, -1.0, 0.1, 1024.0])
@pytest.mark.parametrize("ulps", [0, 1, 2, 3])
def test_uniform_over_a_few_ulps(isa, dtype, start, ulps):
    """[low, high) with high a few values above low: every value in it, and no other."""
    low = reference.round_to(start, dtype)
    high = low
    for _ in range(ulps):
        high = float(-np.float64(reference.largest_below(-high, dtype)))
    values = _kernels.Values("uniform", dtype, (low, high), 0, 0)
    out = np.empty(2**16, DTYPES[dtype])
    _kernels.convert(values, np.linspace(0, 2**32 - 1, 2**16).astype(np.uint32), out)
    found = set(out.astype(np.float64).tolist())
    allowed, v = {low}, low
    for _ in range(ulps - 1):
        v = float(-np.float64(reference.largest_below(-v, dtype)))
        allowed.add(v)
    assert found == allowed


def test_range_wider_than_float32_can_subtract(isa):
    v = fi.uniform(10_000, -3e38, 3e38, seed=0, name="wide")
    assert np.isfinite(v).all()
    assert v.min() < -2.9e38
    assert v.max() > 2.9e38


def test_bfloat16_has_all_its_tail(isa):
    """The bits of a word, not of the dtype, make the tails (JAX: 128 values)."""
    v = fi.normal(1_000_000, seed=0, name="bf16", dtype="bfloat16").astype(np.float32)
    assert np.abs(v).max() > 4.5
    assert len(np.unique(v)) > 2000


def test_float16_overflow_of_a_normal_is_infinite(isa):
    v = fi.normal(10_000, std=60_000.0, seed=0, name="h", dtype="float16")
    assert np.isinf(v).any()
    assert not np.isnan(v).any()


def test_denormal_results_are_kept(isa):
    v = fi.normal(1000, std=1e-40, seed=0, name="d")
    assert ((np.abs(v) > 0) & (np.abs(v) < np.finfo(np.float32).tiny)).any()
    b = fi.normal(1000, std=1e-39, seed=0, name="d", dtype="bfloat16")
    assert (b.astype(np.float32) != 0).mean() > 0.9


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, -3.0, 65504.0, np.inf, -np.inf, np.nan])
def test_constant_is_rounded_once(isa, dtype, value):
    got = fi.constant(100, value, dtype=dtype)
    expected = np.full(100, value, np.float64).astype(DTYPES[dtype])
    assert np.array_equal(got, expected, equal_nan=True)
    assert (np.signbit(got.astype(np.float64)) == np.signbit(expected.astype(np.float64))).all() or np.isnan(value)


def test_uniform_so_narrow_that_float32_has_one_value():
    assert (fi.uniform(3, 0.0, 1e-300, seed=0) == 0).all()


def test_constant_is_not_rounded_twice(isa):
    # halfway in float16 once rounded to float32, above half before
    value = 1 + 2**-11 + 2**-40
    assert fi.constant(1, value, dtype="float16")[0] == np.float16(1 + 2**-10)
    value = 1 + 2**-8 + 2**-40
    assert fi.constant(1, value, dtype="bfloat16")[0] == ml_dtypes.bfloat16(1 + 2**-7)


def test_std_zero_gives_the_mean(isa, dtype):
    assert (fi.normal(100, mean=0.375, std=0.0, seed=0, dtype=dtype) == 0.375).all()
    assert (fi.truncated_normal(100, mean=0.375, std=0.0, upper=np.inf, seed=0, dtype=dtype) == 0.375).all()


def test_float64_is_a_different_tensor():
    assert not np.allclose(fi.normal(100, seed=0), fi.normal(100, seed=0, dtype="float64"))
