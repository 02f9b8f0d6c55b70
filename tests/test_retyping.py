"""Recipes of another dtype: drawn anew, literals rounded once."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES, bits
from fastinit.retyping import rounded, wide, with_dtype


def nearest(value, dtype):
    """By exact arithmetic among the neighbours of a first guess."""
    guess = np.array(value, np.float64).astype(np.float32).astype(dtype)
    whole = bits(guess).astype(np.int64).item()
    around = [k for k in (whole - 1, whole, whole + 1) if 0 <= k < 1 << 16]
    near = [np.array(k, np.uint16).view(dtype).item() for k in around]
    finite = [
        (abs(Fraction(float(x)) - Fraction(value)), k & 1, k) for x, k in zip(near, around) if np.isfinite(float(x))
    ]
    return min(finite)[2]


HALF = [0x3F80, 0x3F81, 0x0001, 0x8080, 0x4000]  # bfloat16


@given(st.sampled_from(HALF), st.integers(-3, 3), st.integers(0, 60))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_bfloat16_is_rounded_once_also_from_float64(half, off, shift):
    """About the middle between two bfloat16, where two roundings in a row go wrong."""
    low = np.array([half << 16], np.uint32).view(np.float32)[0].item()
    high = np.array([half + 1 << 16], np.uint32).view(np.float32)[0].item()
    middle = (low + high) / 2
    value = middle + off * abs(high - low) * 2.0**-shift
    got = rounded(np.array([value]), "bfloat16")
    assert int(bits(got)[0]) == nearest(value, ml_dtypes.bfloat16)


def test_the_witness_of_two_roundings():
    value = 1 + 2.0**-8 + 2.0**-30  # above the middle; float32 makes it the middle
    assert float(rounded(np.array([value]), "bfloat16")[0]) == 1 + 2.0**-7
    assert float(np.float32(value).astype(ml_dtypes.bfloat16)) == 1


@pytest.mark.parametrize("own", list(DTYPES))
@pytest.mark.parametrize("wanted", list(DTYPES))
def test_every_pair_of_dtypes(own, wanted):
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e300,
        -1e300,
        1e-300,
        65520.0,
        65519.0,
        1 / 3,
        3.4028235677973366e38,
    ]
    with np.errstate(all="ignore"):
        values = np.array(special).astype(DTYPES[own])
        expected = wide(values, own).astype(DTYPES[wanted])
    values = values.reshape(3, 4)
    pasted = fi.paste(fi.recipe("normal", (3, 4), dtype=own, seed=0, name="a"), np.s_[:2], fi.literal(values[:2]))
    for recipe in (fi.literal(values), fi.stack([fi.literal(values).T.T, pasted])):
        made = with_dtype(recipe, wanted)
        assert made.shape == recipe.shape
        got = made[...].ravel()[:12]
        assert (np.isnan(got.astype(float)) == np.isnan(expected.astype(float))).all()
        kept = ~np.isnan(expected.astype(float))
        assert (bits(got)[kept] == bits(expected)[kept]).all()
        assert with_dtype(recipe, own) is recipe
    drawn = fi.recipe("normal", (3, 4), dtype=wanted, seed=0, name="a")
    assert (bits(with_dtype(pasted, wanted)[2]) == bits(drawn[2])).all()


def test_without_the_package_that_has_bfloat16(monkeypatch):
    made = rounded(np.array([1.0, -2.5]), "bfloat16")
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    plain = rounded(np.array([1.0, -2.5]), "bfloat16")
    assert plain.dtype == np.uint16
    assert (plain == made.view(np.uint16)).all()


def test_what_the_dtype_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="normal"):
        with_dtype(fi.recipe("normal", 3, dtype="float64", std=1e-300, seed=0, name="a"), "float32")
