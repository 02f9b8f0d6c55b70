"""Composed tensors: the law against NumPy on whole arrays, the separate parts, far indices, dicts, errors."""

import base64
import copy
import json
import pickle
import tracemalloc

import ml_dtypes  # noqa: F401  (gives NumPy the dtype)
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels
from fastinit.kinds import composed, kind, reshaped
from test_law import basic_indices, layouts


@pytest.fixture(autouse=True)
def _restore_isa():
    before = _kernels.isa()
    yield
    _kernels.use_isa(before)


# ---- the law ---------------------------------------------------------------------------------------------------


def leaves(draw, shape, dtype):
    """A tensor of that shape that is not composed."""
    names = ["uniform", "normal", "normal", "constant", "literal"]
    if len(shape) == 2 and min(shape):
        names += ["eye", "sparse", "orthogonal"]
    if len(shape) > 2 and min(shape):
        names += ["dirac", "orthogonal"]
    name = draw(st.sampled_from(names))
    seed = draw(st.integers(0, 99))
    if name == "literal":
        values = fi.recipe("normal", shape, dtype=dtype, seed=seed, name="literal")[...]
        return fi.literal(values), values
    given = {"constant": {"value": 0.5}, "sparse": {"sparsity": 0.5}}.get(name, {})
    made = fi.recipe(name, shape, dtype=dtype, seed=seed, name=f"leaf{seed}", **given)
    return made, made[...]


def tensors(draw, shape, dtype, depth):
    """A tensor of that shape, composed to that depth or less, and all of its values by NumPy."""
    forms = ["leaf"]
    if depth:
        forms += ["transpose", "reshape", "part", "paste"] + ["concatenate", "stack"] * bool(shape)
    form = draw(st.sampled_from(forms))
    if form == "leaf":
        return leaves(draw, shape, dtype)
    if form == "transpose":
        axes = draw(st.permutations(range(len(shape))))
        before = [0] * len(shape)
        for to, axis in enumerate(axes):
            before[axis] = shape[to]
        made, values = tensors(draw, tuple(before), dtype, depth - 1)
        return made.transpose(*axes), values.transpose(axes)
    if form == "reshape":
        made, values = tensors(draw, draw(st.sampled_from(shapes_of(int(np.prod(shape))))), dtype, depth - 1)
        return made.reshape(shape), values.reshape(shape)
    if form == "part":
        larger, index = [], []
        for n in shape:
            step = draw(st.sampled_from([1, 1, 2, -1, -3]))
            start = draw(st.integers(0, 2))
            length = start + (n - 1) * abs(step) + 1 + draw(st.integers(0, 2)) if n else 0
            larger.append(length)
            last = start + (n - 1) * abs(step)
            index.append(slice(start, last + 1, step) if step > 0 else slice(last, start - 1 if start else None, step))
            if n == 0:
                index[-1] = slice(0, 0)
            if draw(st.integers(0, 4)) == 0:
                larger.append(3)
                index.append(draw(st.integers(0, 2)))
        if draw(st.integers(0, 4)) == 0 and 1 in shape:
            at = [k for k, item in enumerate(index) if isinstance(item, slice)][shape.index(1)]
            index[at] = None
            larger.pop(at)
        made, values = tensors(draw, tuple(larger), dtype, depth - 1)
        return made.part(tuple(index)), values[(*index, ...)]
    if form == "paste":
        made, values = tensors(draw, shape, dtype, depth - 1)
        index = tuple(item for item in draw(basic_indices(shape)) if item is not None)
        what, its = tensors(draw, values[index].shape, dtype, depth - 1)
        values = np.array(values)
        values[index] = its
        return fi.paste(made, index, what), values
    axis = draw(st.integers(0, len(shape) - 1))
    if form == "stack" and shape[axis]:
        inner = shape[:axis] + shape[axis + 1 :]
        parts = [tensors(draw, inner, dtype, depth - 1 if shape[axis] < 4 else 0) for _ in range(shape[axis])]
        return fi.stack([made for made, _ in parts], axis), np.stack([values for _, values in parts], axis)
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4, 5, 6) if shape[axis] % g == 0]))
    lengths, left = [], shape[axis] // groups
    for _ in range(draw(st.integers(0, 2))):
        lengths.append(draw(st.integers(0, left)))
        left -= lengths[-1]
    parts = [
        tensors(draw, (*shape[:axis], groups * n, *shape[axis + 1 :]), dtype, depth - 1) for n in [*lengths, left]
    ]
    cut = [np.split(values, groups, axis) for _, values in parts]
    values = np.concatenate([piece for pieces in zip(*cut) for piece in pieces], axis)
    return fi.concatenate([made for made, _ in parts], axis - len(shape), groups), values


def shapes_of(size):
    """Some shapes of that many elements."""
    found = [(size,), (1, size), (size, 1)]
    for n in range(2, 13):
        if size % n == 0:
            found += [(n, size // n), (size // n, n)]
            found += [(n, m, size // n // m) for m in (2, 3, 4) if size // n % m == 0 and size]
    return [shape for shape in found if max(shape) < 2000]


SHAPES = [(), (1,), (7,), (12,), (24, 6), (6, 24), (12, 12), (4, 6, 5), (2, 3, 4, 5), (0, 3), (36, 1, 3), (120,), (60, 16)]


@given(data=st.data(), dtype=st.sampled_from(list(DTYPES)), shape=st.sampled_from(SHAPES), depth=st.integers(1, 4))
@settings(max_examples=2000, deadline=None, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
def test_any_region_rows_layout_threads_and_isa(data, dtype, shape, depth):
    recipe, expected = tensors(data.draw, shape, dtype, depth)
    assert recipe.shape == expected.shape
    index = data.draw(basic_indices(shape), "index")
    region = expected[(*index, ...)] if ... not in index else expected[index]
    place = Guarded(region.shape, dtype, **data.draw(layouts(region.shape), "layout"))
    _kernels.use_isa(data.draw(st.sampled_from(_kernels.usable_isas()), "isa"))
    threads = data.draw(st.sampled_from([1, 2, 3, 7]), "threads")
    with pytest.MonkeyPatch.context() as patch:
        block = data.draw(st.sampled_from([1, 16, 100, 1 << 18]), "block")
        for module in (kind, composed, reshaped):
            patch.setattr(module, "BLOCK", block)
        patch.setattr(reshaped, "COVERED", data.draw(st.sampled_from([1, 4, 4096]), "covered"))
        done = []
        recipe.fill(place.array, index, threads=threads, progress=lambda now, total: done.append((now, total)))
        assert (bits(place.array) == bits(region)).all()
        assert place.untouched()
        assert not done or (done[-1][0] == done[-1][1] and [now for now, _ in done] == sorted(now for now, _ in done))
        if region.ndim and region.shape[0]:
            n = region.shape[0]
            rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=9), "rows"), np.int64)
            part = recipe.part(index)
            wanted = region[rows]
            place = Guarded(wanted.shape, dtype, **data.draw(layouts(wanted.shape), "layout of rows"))
            part.take(rows, out=place.array, threads=threads)
            assert (bits(place.array) == bits(wanted)).all()
            assert place.untouched()
            assert (bits(part.take(rows[:, None])) == bits(region[rows[:, None]])).all()
    described = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    again = fi.Recipe.from_dict(described)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.to_dict() == described
    assert (bits(again[...]) == bits(expected)).all()
    assert pickle.loads(pickle.dumps(recipe)) == recipe
