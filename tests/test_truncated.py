"""Truncated normals against mpmath, on both sides of every method's limits: what docs/stream.md, section 7, promises."""

import functools
import math
import random
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import reference
from conftest import DTYPES
from fastinit import _kernels

BITS = {"float32": 32, "float64": 53}
NEARER = [0.0, 1e-12, 1e-6, 1e-3, 0.25, 0.999999, 1.0, 2.0, 2.9999, 3.0, 3.0001, 10.0, 100.0, 500.0, 990.0, 999.9999, 1000.0,
          1000.0001, 1200.0, 1e5, 1e8, 1e15, 1e30]  # fmt: skip
WIDTHS = [0.0, 1e-12, 1e-9, 1e-6, 1e-5, 5e-4, 9.99e-4, 1.1e-3, 0.01, 0.1, 1.0, 50.0, math.inf]
TWO_SIGNS = [(-5e-4, 4e-4), (-1e-9, 9e-4), (-4.9e-4, 4.9e-4), (-1e-4, 1e-300), (-5e-4, 5.1e-4), (-1e-3, 1e-3), (-1e-12, 1e-12),
             (-2.0, 2.0), (-2.0001, 1.0), (-1.0, 40.0), (-40.0, 40.0), (-3.0001, -1e-5), (-math.inf, math.inf)]  # fmt: skip


def cuts():
    for a in NEARER:
        seam = 1e-3 / max(a, 1)  # where narrow ends
        for width in [*WIDTHS, math.ulp(a), 3 * math.ulp(a), 0.999 * seam, 1.001 * seam]:
            if a + width > a or width == 0:
                yield a, a + width
                yield -a - width, -a
    yield from TWO_SIGNS
    rng = random.Random(7)
    for _ in range(150):
        a = rng.choice([-1, 1]) * 10 ** rng.uniform(-4, 6)
        yield a, a + 10 ** rng.uniform(-9, 1)


@functools.cache
def cases():
    """dtype, cuts, integers, and the exact z of each."""
    rng, made = random.Random(1), []
    for lower, upper in cuts():
        for dtype, bits in BITS.items():
            everything = 2**bits
            ks = [0, 1, everything // 1000, everything // 2, everything - 2, everything - 1]
            ks += [rng.randrange(everything) for _ in range(2)]
            exact = [reference.exact_truncated(Fraction(2 * k + 1, 2 * everything), lower, upper) for k in ks]
            made.append((dtype, lower, upper, ks, exact))
    return made


def converted(dtype, lower, upper, ks):
    values = _kernels.Values("truncated_normal", dtype, (0.0, 1.0, lower, upper), 0, 0)
    words = ks if dtype == "float32" else [w for k in ks for w in (k >> 26 << 5, (k & 0x3FFFFFF) << 6)]
    out = np.empty(len(ks), DTYPES[dtype])
    _kernels.convert(values, np.array(words, np.uint32), out)
    return out


def promised(dtype, lower, upper, z):
    """How far from z a value may be: every promise that applies."""
    one_sign = lower >= 0 or upper <= 0
    near, nearest = min(abs(lower), abs(upper)), lower if lower >= 0 else upper
    narrow = upper - lower < 1e-3
    ulps = 2 * float(np.spacing(DTYPES[dtype].type(abs(float(z)))))
    if narrow:
        yield ulps + 1e-16 if dtype == "float32" else max(1e-6 * (upper - lower), ulps)
    if one_sign and near > 1000:
        yield max(1e-6 * abs(z - nearest), ulps)
    if one_sign and near > 3 and dtype == "float32":
        yield ulps + 1e-5 / near
    if dtype == "float32":
        yield 2e-6 if abs(z) <= 3 else 1e-6 * abs(z)
    elif not narrow and (not one_sign or near <= 1000):
        yield 1e-14 if abs(z) <= 10 else 4e-15 * abs(z)


def test_promises(isa):
    for dtype, lower, upper, ks, exact in cases():
        for k, got, z in zip(ks, converted(dtype, lower, upper, ks), exact):
            assert lower <= got <= upper or dtype == "float32", (lower, upper, k)
            bound = min(promised(dtype, lower, upper, z))
            assert abs(mpmath.mpf(float(got)) - z) <= bound, (dtype, lower, upper, k, float(got), mpmath.nstr(z, 20))


@pytest.mark.parametrize(
    ("lower", "upper"), [(990.0, 990.000999), (-500.000999, -500.0), (1200.0, 1200.01), (0.5, 0.5009)]
)
def test_kolmogorov_distance(isa, lower, upper):
    """Of evenly spaced words, against the distribution function: at [990, 990.000999] it was 0.12."""
    count = 2000
    words = (np.arange(count) * (2**32 // count)).astype(np.uint32)
    values = _kernels.Values("truncated_normal", "float64", (0.0, 1.0, lower, upper), 0, 0)
    z = np.empty(count)
    _kernels.convert(values, np.repeat(words, 2), z)
    z = z if lower > 0 else -z[::-1]
    near, far = (lower, upper) if lower > 0 else (-upper, -lower)

    def below(x):
        return -np.expm1(-(near * (x - near) + (x - near) ** 2 / 2 + np.log(x / near)))  # Q(x) is about phi(x) / x

    share = below(z) / below(far) if near > 3 else (z - near) / (far - near)
    assert np.abs(share - (np.arange(count) + 0.5) / count).max() < (2e-3 if near > 3 else 1e-3)
