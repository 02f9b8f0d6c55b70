"""round.h's own fma, which CPUs without the instruction use, against exact integers."""

import ctypes
import os
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SOURCE = """
#define FI_OWN_FMA
#include "round.h"
#define OVER(name, type, fma)                                                        \\
    void name(const type *a, const type *b, const type *c, type *out, long count) { \\
        for (long i = 0; i < count; i++)                                             \\
            out[i] = fma(a[i], b[i], c[i]);                                          \\
    }
OVER(fma32, float, fi_fma32)
OVER(fma64, double, fi_fma64)
OVER(fma64_by_integers, double, fi_fma64_by_integers)
"""
FLAGS = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]


# ---- what is right: a number is an integer times a power of two -------------------------------------------


def number_format(width, fraction):
    """Bits in all and behind the point, what the exponent field of 1 is, the power of two that the last bit of a
    denormal stands for, and infinity."""
    bias = 2 ** (width - fraction - 2) - 1
    infinity = (2 ** (width - 1 - fraction) - 1) << fraction
    return SimpleNamespace(
        width=width, fraction=fraction, bias=bias, least=1 - bias - fraction, infinity=infinity, sign=1 << width - 1,
        bits=np.dtype(f"u{width // 8}"), real=np.dtype(f"f{width // 8}"),
    )  # fmt: skip


FLOAT32, FLOAT64 = number_format(32, 23), number_format(64, 52)
FUNCTIONS = {"fma32": FLOAT32, "fma64": FLOAT64, "fma64_by_integers": FLOAT64}


def exact(u, f):
    """The finite number with these bits: integer, power of two."""
    field, fraction = u >> f.fraction & (1 << f.width - 1 - f.fraction) - 1, u & (1 << f.fraction) - 1
    integer = fraction | (field > 0) << f.fraction
    return -integer if u & f.sign else integer, f.least + max(field - 1, 0)


def rounded(integer, power, f):
    """The bits of integer * 2**power, not zero, to nearest even."""
    sign, integer = (f.sign if integer < 0 else 0), abs(integer)
    cut = max(integer.bit_length() - f.fraction - 1, f.least - power)
    if cut > 0:
        half, rest = 1 << cut - 1, integer & (1 << cut) - 1
        integer >>= cut
        integer += rest > half or (rest == half and integer & 1)
    else:
        integer <<= -cut
    bits = (power + cut - f.least << f.fraction) + integer  # 2**fraction, where not denormal, is 1 of the exponent
    return sign | min(bits, f.infinity)


def right(a, b, c, f):
    """The bits of a * b + c, None for NaN."""
    magnitudes = [u & ~f.sign for u in (a, b, c)]
    sign = (a ^ b) & f.sign
    if max(magnitudes) > f.infinity:
        return None
    if f.infinity in magnitudes[:2]:
        return None if 0 in magnitudes[:2] or c == (sign ^ f.sign | f.infinity) else sign | f.infinity
    if magnitudes[2] == f.infinity:
        return c
    (m, p), (n, q), (k, r) = (exact(u, f) for u in (a, b, c))
    power = min(p + q, r)
    integer = (m * n << p + q - power) + (k << r - power)
    return rounded(integer, power, f) if integer else sign & c


@given(st.integers(1, 2**120), st.integers(-1200, 1000))
def test_the_reference_rounds_as_python_does(integer, power):
    try:
        expected = float(Fraction(integer) * Fraction(2) ** power)
    except OverflowError:
        expected = float("inf")
    assert rounded(-integer, power, FLOAT64) == int(np.float64(-expected).view(np.uint64))


# ---- ours ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["-O0", "-O3"], scope="module")
def library(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fma")
    (folder / "fma.c").write_text(SOURCE)
    core = Path(__file__).parents[1] / "src" / "fastinit" / "csrc"
    compiler = os.environ.get("CC", "cc").split()
    command = [*compiler, *FLAGS, request.param, f"-I{core}", "-o", folder / "fma.so", folder / "fma.c"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "fma.so"))


def check(library, name, a, b, c):
    """Triples of bits, one function."""
    f = FUNCTIONS[name]
    inputs = [np.ascontiguousarray(x, f.bits) for x in (a, b, c)]
    out = np.empty_like(inputs[0])
    getattr(library, name)(*(ctypes.c_void_p(x.ctypes.data) for x in (*inputs, out)), ctypes.c_long(out.size))
    for *case, got in zip(*(x.tolist() for x in inputs), out.tolist()):
        expected = right(*case, f)
        is_right = got & ~f.sign > f.infinity if expected is None else got == expected
        assert is_right, f"{name}: {[hex(u) for u in case]} gives {got:#x}, not {expected and hex(expected)}"


def edges(f):
    one = f.bias << f.fraction
    magnitudes = [
        0, 1, 2, 3, (1 << f.fraction) - 1, 1 << f.fraction, (1 << f.fraction) + 1,  # denormal to normal
        one >> 1, one - 1, one, one + 1, one + (1 << f.fraction), one + (1 << f.fraction - 1),  # about 1
        f.infinity - (1 << f.fraction), f.infinity - 2, f.infinity - 1, f.infinity, f.infinity + 1,  # the largest
    ]  # fmt: skip
    return magnitudes + [u | f.sign for u in magnitudes]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_triple_of_edges(library, name):
    values = np.array(edges(FUNCTIONS[name]), FUNCTIONS[name].bits)
    check(library, name, *(x.ravel() for x in np.meshgrid(values, values, values)))


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_any_bits(library, name, data):
    f = FUNCTIONS[name]
    bits = st.integers(0, 2**f.width - 1) | st.sampled_from(edges(f))
    check(library, name, *([data.draw(bits)] for _ in range(3)))


COUNT = 4000


def numbers(rng, f, exponents):
    """Any sign and these exponent fields; many or few bits, long runs of ones, single ones, none."""
    bits = rng.integers(0, 2**f.fraction, COUNT)
    place = rng.integers(0, f.fraction, COUNT)
    ones = 2**f.fraction - 1
    bits = np.choose(rng.integers(0, 5, COUNT), [bits, bits >> place << place, ones - (bits >> place), 1 << place, 0])
    signs = rng.integers(0, 2, COUNT).astype(f.bits) << f.width - 1
    return signs | (np.clip(exponents, 0, 2 * f.bias) << f.fraction | bits).astype(f.bits)


def factors(rng, f, exponents):
    """Two numbers whose product has these exponent fields, which may be beyond the format's, or the next."""
    field = rng.integers(np.maximum(0, exponents - f.bias), np.minimum(2 * f.bias, exponents + f.bias), endpoint=True)
    return numbers(rng, f, field), numbers(rng, f, exponents + f.bias - field)


def anything(rng, f):
    return [rng.integers(0, 2**f.width, COUNT, f.bits) for _ in range(3)]


def of_like_size(rng, f):
    """The sum has bits of product and addend."""
    product = rng.integers(-2 * f.fraction, 2 * f.bias + 10, COUNT)
    addend = product + rng.integers(-f.fraction - 4, 2 * f.fraction + 8, COUNT)
    return *factors(rng, f, product), numbers(rng, f, addend)


def cancelling(rng, f):
    """The addend is the product rounded, or a few units away: what is left is what rounding took."""
    a, b = factors(rng, f, rng.integers(-f.fraction, 2 * f.bias, COUNT))
    with np.errstate(all="ignore"):
        addend = (a.view(f.real) * -b.view(f.real)).view(f.bits)
    return a, b, addend + rng.integers(-2, 3, COUNT).astype(f.bits)


def denormal(rng, f):
    """Results about the smallest normal number and below."""
    product, addend = rng.integers(-2 * f.fraction, 4, COUNT), rng.integers(-8, f.fraction, COUNT)
    return *factors(rng, f, product), numbers(rng, f, addend)


def overflowing(rng, f):
    product, addend = 2 * f.bias + rng.integers(-3, 3, COUNT), 2 * f.bias - rng.integers(-20, f.fraction, COUNT)
    return *factors(rng, f, product), numbers(rng, f, addend)


def ties(rng, f):
    """The product is one or three half units of the addend, exactly or nearly."""
    fields = np.append(rng.integers(0, 2 * f.bias, COUNT // 2), rng.choice([0, 1, 2 * f.bias], COUNT // 2))
    cases = []
    for addend in numbers(rng, f, fields).tolist():
        s = int(rng.integers(1, f.fraction + 1))
        above, below = 2**s + 1, 2**s - 1
        nearly = [(1, above, s), (1, below, s), (above, below, 2 * s), (above, above, 2 * s), (below, below, 2 * s)]
        m, n, cut = rng.choice([(1, 1, 0), (1, 3, 0), *nearly]).tolist()
        power = exact(addend, f)[1] - 1 - cut
        part = power // 2 + int(rng.integers(-f.bias // 6, f.bias // 6))
        cases.append((rounded(m, part, f), rounded(int(rng.choice([n, -n])), power - part, f), addend))
    return np.array(cases, f.bits).T


def about_the_bounds(rng, f):
    """Of what fi_fma64 leaves to error-free transformations: a product or an addend above 2**-900, no overflow."""
    product, addend = f.bias - 900 + rng.integers(-90, 10, COUNT), f.bias - 900 + rng.integers(-150, 10, COUNT)
    a, b = factors(rng, f, product)
    large = numbers(rng, f, f.bias + rng.integers(990, 1024, COUNT))
    return np.where(rng.integers(0, 2, COUNT), a, large), b, numbers(rng, f, addend)


FAMILIES = [anything, of_like_size, cancelling, denormal, overflowing, ties]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_cases_built_to_be_hard(library, name, family):
    check(library, name, *family(np.random.default_rng(0), FUNCTIONS[name]))


def test_about_the_bounds_of_the_fast_way(library):
    check(library, "fma64", *about_the_bounds(np.random.default_rng(0), FLOAT64))
