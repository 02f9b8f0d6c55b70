"""Orthogonal matrices and the law: any region, layout, threads, process or order of calls gives the same bits."""

import functools
import math
import multiprocessing
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
import reference
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels
from fastinit.kinds import tall
from fastinit.kinds.tall import Tall
from test_law import basic_indices, layouts
from test_orthogonal import REAL, departure, drawn, gaussian


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", [(300, 257), (257, 300), (1500, 150), (150, 1500)])
def test_threads(shape, dtype):
    expected = bits(fi.orthogonal(shape, seed=0, dtype=dtype, threads=1))
    for threads in (2, 3, 7):
        assert (bits(fi.orthogonal(shape, seed=0, dtype=dtype, threads=threads)) == expected).all()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(60, 50), (50, 60), (150, 140), (250, 30), (30, 250), (1050, 9)])
def test_isas(shape, dtype):
    made = []
    for isa in _kernels.usable_isas():
        _kernels.use_isa(isa)
        made.append(bits(drawn(shape, dtype)))
    assert all((other == made[0]).all() for other in made)


SHAPES = [(7, 5), (5, 7), (12, 12), (140, 130), (16, 2), (2, 16), (200, 20), (3, 150), (3, 4, 5), (2, 3, 4, 6), (3, 2, 50), (50, 2, 2),
          (1, 6), (6, 1), (1, 1), (2, 1, 3, 2), (1, 5, 1, 4), (9, 1, 1), (3, 1, 30, 1)]  # fmt: skip


@st.composite
def recipes(draw):
    shape = draw(st.sampled_from(SHAPES))
    axes = draw(st.permutations(range(len(shape))))
    out_axis = tuple(axes[: draw(st.integers(1, len(shape) - 1))])
    dtype = draw(st.sampled_from(list(DTYPES)))
    gain = draw(st.sampled_from([1.0, 0.3]))
    if len(shape) > 2 and draw(st.booleans()):
        inside, outside = axes[0], axes[1]
        if shape[inside] > shape[outside]:
            inside, outside = outside, inside
        return fi.recipe(
            "delta_orthogonal", shape, gain=gain, in_axis=inside, out_axis=outside, seed=5, name="law", dtype=dtype
        )
    return fi.recipe("orthogonal", shape, out_axis=out_axis, gain=gain, seed=5, name="law", dtype=dtype)


@functools.cache
def whole_of(recipe):
    _kernels.use_isa(_kernels.usable_isas()[0])
    return recipe[...]


@given(data=st.data(), recipe=recipes())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_region_in_any_layout_by_any_threads_and_isa(data, recipe):
    expected = whole_of(recipe)
    index = data.draw(basic_indices(recipe.shape), "index")
    region = expected[index]
    place = Guarded(region.shape, recipe.to_dict()["dtype"], **data.draw(layouts(region.shape), "layout"))
    _kernels.use_isa(data.draw(st.sampled_from(_kernels.usable_isas()), "isa"))
    recipe.fill(place.array, index, threads=data.draw(st.sampled_from([1, 2, 3]), "threads"))
    assert (bits(place.array) == bits(region)).all()
    assert place.untouched()


@given(data=st.data(), recipe=recipes())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_take(data, recipe):
    part, expected = recipe, whole_of(recipe)
    if data.draw(st.booleans(), "of a part"):
        index = data.draw(basic_indices(recipe.shape), "index")
        part, expected = recipe.part(index), expected[index]
    if part.ndim and part.shape[0]:
        n = part.shape[0]
        rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=12), "rows"), np.int64)
        if data.draw(st.booleans(), "two axes"):
            rows = np.stack([rows, rows[::-1]])
        assert (bits(part.take(rows)) == bits(expected[rows])).all()
        plain = np.uint16 if expected.dtype == DTYPES["bfloat16"] else expected.dtype
        out = np.empty((*rows.shape, *expected.shape[1:]), plain)
        part.take(rows, out=out)
        assert (bits(out) == bits(expected[rows])).all()


@pytest.mark.parametrize("shape", [(2100, 130), (130, 2100), (300, 280)])
def test_what_is_held_in_memory_changes_nothing(monkeypatch, shape):
    """Rows of the Gaussian and of the result are made a few at a time, halves and quarters of a Gram block too."""
    expected = {dtype: bits(drawn(shape, dtype)) for dtype in ("float32", "bfloat16")}
    for rows in (1, 100, 300, 600, 1000, 1024, 1500, 5000):
        monkeypatch.setattr(tall, "rows_at_once", lambda *_: rows)  # noqa: B023
        for dtype, whole in expected.items():
            assert (bits(drawn(shape, dtype)) == whole).all()


def test_the_view_is_others_by_out_axes():
    for shape, out_axis in [((3, 4, 5), 1), ((3, 4, 5), (2, 0)), ((2, 3, 4, 5), (1, 2)), ((30, 2, 2), 0)]:
        q = drawn(shape, "float64", out_axis=out_axis)
        columns = out_axis if isinstance(out_axis, tuple) else (out_axis,)
        others = [axis for axis in range(len(shape)) if axis not in columns]
        n = math.prod(shape[axis] for axis in columns)
        matrix = q.transpose(*others, *columns).reshape(-1, n)
        assert departure(matrix) < 1e-12
        g = gaussian(shape, "float64").transpose(*others, *columns).reshape(-1, n)
        assert np.abs(matrix - reference.orthogonal_of(g)).max() < 1e-13


def test_torch_weights():
    """(out, in, *k): rows of memory are the columns."""
    q = drawn((6, 4, 3, 3), in_axis=1, out_axis=0)
    assert departure(q.reshape(6, 36)) < 3e-5
    assert (q == drawn((6, 4, 3, 3), out_axis=0)).all()
    r = fi.recipe("orthogonal", (6, 4, 3, 3), in_axis=1, out_axis=0, seed=0)
    assert r == fi.recipe("orthogonal", (6, 4, 3, 3), out_axis=-4, seed=0)
    assert r.to_dict()["in_axis"] == [1, 2, 3]
    assert fi.Recipe.from_dict(r.to_dict()) == r
    assert fi.recipe(r.initializer, r.shape, seed=0) == r


def test_slices_of_a_tall_one_make_r_once(monkeypatch):
    r = fi.recipe("orthogonal", (4000, 200), seed=0)
    whole = r[...]
    r = fi.recipe("orthogonal", (4000, 200), seed=0)
    calls = []
    original = Tall._gram
    monkeypatch.setattr(Tall, "_gram", lambda *a: calls.append(1) or original(*a))
    for low in range(0, 4000, 1000):
        assert (r[low : low + 1000] == whole[low : low + 1000]).all()
    part = r.part(np.s_[::-3, 5:150])
    assert (part[...] == whole[::-3, 5:150]).all()
    assert len(calls) == 1


def test_a_long_one_a_few_rows_at_a_time():
    r = fi.recipe("orthogonal", (1 << 21, 2), seed=0, name="far")
    ends = r.take([0, (1 << 21) - 1, 12345])
    assert (ends[1] == r[-1]).all()
    assert (ends[2] == r[12345]).all()
    sums = np.zeros((2, 2))
    for low in range(0, 1 << 21, 1 << 18):
        q = r[low : low + (1 << 18)].astype(np.float64)
        sums += q.T @ q
    assert np.abs(sums - np.eye(2)).max() < 3e-5


def test_several_python_threads():
    shapes = [(300, 200), (200, 300), (2000, 60), (140, 140)] * 2
    expected = [bits(drawn(shape)) for shape in shapes]
    shared = fi.recipe("orthogonal", (3000, 100), seed=1)
    whole = fi.recipe("orthogonal", (3000, 100), seed=1)[...]
    wrong = []

    def run(i):
        for _ in range(3):
            if not (bits(drawn(shapes[i])) == expected[i]).all():
                wrong.append(shapes[i])
            if not (shared[i * 300 : i * 300 + 300] == whole[i * 300 : i * 300 + 300]).all():
                wrong.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(shapes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork():
    """Also while another thread makes an R: the child must not wait for it."""
    expected = fi.orthogonal((300, 290), seed=0, threads=4).tobytes()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    shared = fi.recipe("orthogonal", (900, 100), seed=0)
    with shared._kind.matrix._lock:
        child = context.Process(target=_fork_child, args=(queue, shared))
        child.start()
    try:
        assert queue.get(timeout=60) == (expected, True)
    finally:
        child.join(10)
        child.kill()


def _fork_child(queue, shared):
    queue.put((fi.orthogonal((300, 290), seed=0, threads=4).tobytes(), departure(shared[...]) < 3e-5))


@pytest.mark.timeout(30)
def test_a_callback_may_use_recipes_that_are_being_made():
    """Progress and signal handlers run in the middle of a factorisation."""
    mine, other = (fi.recipe("orthogonal", (3000, 200), seed=seed) for seed in (0, 1))
    seen = []
    out = np.empty(mine.shape, np.float32)
    mine.fill(out, progress=lambda done, total: seen or seen.append((mine[5], other[6])))
    assert (seen[0][0] == out[5]).all()
    assert (seen[0][1] == fi.orthogonal((3000, 200), seed=1)[6]).all()


def test_first_readers_share_one_factor(monkeypatch):
    r = fi.recipe("orthogonal", (3000, 150), seed=0)
    calls, original = [], Tall._gram
    monkeypatch.setattr(Tall, "_gram", lambda *a: calls.append(1) or original(*a))
    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=lambda: barrier.wait() is None or r[7]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_a_few_rows_cost_a_few_numbers():
    """Nothing as long as the long side is listed: rows of a table of 2^40 are described, and zeros made, at once."""
    import tracemalloc

    r = fi.recipe("orthogonal", (1 << 20, 2), seed=0)
    whole, multi = r[...], fi.recipe("orthogonal", (1 << 16, 16, 2), seed=0, name="multi")
    multi[0]
    tracemalloc.start()
    try:
        assert (r.take([5, 1 << 19]) == whole[[5, 1 << 19]]).all()
        out = np.empty((1 << 16, 16, 2), np.float32)
        multi.fill(out[1:], np.s_[1:])
        delta = fi.recipe("delta_orthogonal", (1 << 40, 2, 2), seed=0)
        assert not delta.take([7, 1 << 39]).any()
        assert departure(delta[((1 << 40) - 1) // 2]) < 3e-5
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < out.nbytes + (40 << 20)
