"""Memory that is not one run: sizes at which each way of the kernels to put elements in their places begins and ends."""

import functools

import numpy as np
import pytest

import fastinit as fi
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels

INITIALIZERS = {"normal": {}, "constant": {"value": 0.7}}


@functools.cache
def whole(kind, shape, dtype):
    """A recipe and its elements, made in one run by the base kernels."""
    recipe = fi.recipe(kind, shape, dtype=dtype, seed=3, name="layouts", **INITIALIZERS[kind])
    before = _kernels.isa()
    _kernels.use_isa("base")
    elements = bits(recipe[...])
    _kernels.use_isa(before)
    return recipe, elements


@pytest.fixture(params=INITIALIZERS)
def kind(request):
    return request.param


def check(recipe, expected, place, *region):
    recipe.fill(place.array, *region, threads=2)
    assert (bits(place.array) == expected).all()
    assert place.untouched()


@pytest.mark.parametrize(("gap", "backward"), [(0, True), (1, False), (1, True), (2, False), (17, True), (70, False)])
def test_one_axis_in_steps(isa, dtype, kind, gap, backward):
    recipe, elements = whole(kind, (20_020,), dtype)
    for count in (2, 17, 31, 33, 1030, 20_011):
        place = Guarded((count,), dtype, gaps=(gap,), backward=(backward,), offset=DTYPES[dtype].itemsize)
        check(recipe, elements[3 : 3 + count], place, np.s_[3 : 3 + count])


@pytest.mark.parametrize("columns", [2, 3, 4, 8, 31, 100, 256, 500, 767, 768, 769, 1500])
def test_rows_with_gaps(isa, dtype, kind, columns):
    """All of a tensor's rows, which follow each other in flat index."""
    rows = 40_000 // columns
    recipe, elements = whole(kind, (rows, columns), dtype)
    check(recipe, elements[1:rows], Guarded((rows - 1, columns), dtype, gaps=(1, 0)), np.s_[1:rows])
    check(recipe, elements[:9], Guarded((9, columns), dtype, gaps=(40, 0)), np.s_[:9])


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 31, 32, 100, 128, 129, 700])
def test_rows_of_a_shard_and_gathered_ones(isa, dtype, columns):
    """Whole blocks of the stream or parts, into one run of memory or several; 19 rows are no multiple of 8."""
    for width, skipped in ((740, 0), (740, 1), (740, 4), (741, 0)):
        for gaps in ((0, 0), (1, 0), (0, 1), (0, 30)):
            shard_and_gathered(dtype, width, columns, skipped, gaps)


def shard_and_gathered(dtype, width, columns, skipped, gaps):
    recipe, elements = whole("normal", (300, width), dtype)
    part = np.s_[:, skipped : skipped + columns]
    place = Guarded((300, columns), dtype, gaps=gaps)
    check(recipe, elements[part], place, part)
    for rows in (19, 400):
        ids = np.arange(rows) % 300
        place = Guarded((rows, columns), dtype, gaps=gaps)
        recipe.part(part).take(ids, out=place.array, threads=2)
        assert (bits(place.array) == elements[ids][part]).all()
        assert place.untouched()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(2, 5), (3, 4000), (4000, 3), (8, 999), (64, 257), (257, 129), (129, 1024), (500, 331), (777, 40)],
)
def test_columns(isa, dtype, kind, rows, columns):
    """Fortran order: the flat index runs across memory. Rows begin with a block of the stream, or within one."""
    recipe, elements = whole(kind, (rows, columns + 3), dtype)
    for gaps in ((0, 0), (0, 1), (1, 0), (20, 0)):
        for backward in ((False, False), (True, False), (False, True)):
            place = Guarded((rows, columns), dtype, order=(1, 0), gaps=gaps, backward=backward, offset=8)
            check(recipe, elements[:, 2 : 2 + columns], place, np.s_[:, 2 : 2 + columns])


@pytest.mark.parametrize(("rows", "lead", "first"), [(1536, 0, 0), (1536, 48, 1), (1537, 0, 4)])
def test_columns_past_the_caches(isa, dtype, rows, lead, first):
    """Enough bytes for that, and lines that begin with a column or within it, or elsewhere in each."""
    recipe, elements = whole("normal", (rows, 1400), dtype)
    memory = np.zeros(rows * 1400 + 64, DTYPES[dtype])
    at = (-memory.ctypes.data % 64 + lead) // memory.itemsize
    out = memory[at : at + rows * (1400 - first)].reshape(1400 - first, rows).T
    recipe.fill(out, np.s_[:, first:], threads=2)
    assert (bits(out) == elements[:, first:]).all()
    assert not bits(memory[:at]).any()
    assert not bits(memory[at + out.size :]).any()


def test_gathered_columns(isa, dtype):
    """Rows of a table at any positions, where the memory of neighbouring rows is close."""
    recipe, elements = whole("normal", (300, 740), dtype)
    ids = np.random.default_rng(5).integers(0, 300, 130)
    place = Guarded((130, 740), dtype, order=(1, 0))
    recipe.take(ids, out=place.array, threads=2)
    assert (bits(place.array) == elements[ids]).all()
    assert place.untouched()
