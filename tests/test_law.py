"""The law: a value is a function of (seed, name, shape, initializer, flat index), of nothing else."""

import ml_dtypes  # noqa: F401  (gives NumPy the dtype)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels

INITIALIZERS = [
    fi.init("uniform", low=-0.3, high=0.7),
    fi.init("normal", mean=0.25, std=1.5),
    fi.init("truncated_normal"),
    fi.init("truncated_normal", lower=-1, upper=3.5),
    fi.init("truncated_normal", lower=4, upper=float("inf")),
    fi.init("constant", value=0.1),
]


@st.composite
def tensors(draw, max_axes=4, max_length=9, long=3000):
    """A shape: short axes, and now and then one that is long enough for whole buffers and tiles."""
    shape = draw(st.lists(st.integers(1, max_length), max_size=max_axes))
    if shape and draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(1, long))
    if np.prod(shape) > 60_000:
        shape = shape[:2]
    return tuple(shape)


@st.composite
def basic_indices(draw, shape):
    """NumPy basic indexing: integers, slices of either direction, None, Ellipsis."""
    items = []
    for n in shape:
        kind = draw(st.sampled_from(["all", "slice", "slice", "integer"]))
        if kind == "integer" and n > 0:
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            ends = st.none() | st.integers(-n - 2, n + 2)
            items.append(slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, 2, 3, 7, -1, -2]))))
        else:
            items.append(slice(None))
    cut = draw(st.integers(0, len(items)))
    if draw(st.booleans()) and all(item == slice(None) for item in items[cut:]):
        items = items[:cut] + [...]
    for _ in range(draw(st.integers(0, 1))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


@st.composite
def layouts(draw, shape):
    n = len(shape)
    return {
        "order": tuple(draw(st.permutations(range(n)))),
        "gaps": tuple(draw(st.sampled_from([0, 0, 0, 1, 2])) for _ in range(n)),
        "backward": tuple(draw(st.booleans()) for _ in range(n)),
        "offset": draw(st.sampled_from([0, 0, 4, 2, 1, 3, 60])),
    }


@given(data=st.data(), shape=tensors(), dtype=st.sampled_from(list(DTYPES)), initializer=st.sampled_from(INITIALIZERS))
@settings(max_examples=5000, deadline=None, derandomize=True)
def test_any_region_in_any_layout_by_any_threads_and_isa(data, shape, dtype, initializer):
    _kernels.use_isa("base")
    recipe = fi.recipe(initializer, shape, dtype=dtype, seed=3, name="law")
    expected = recipe[...]
    index = data.draw(basic_indices(shape), "index")
    region = expected[index]
    place = Guarded(region.shape, dtype, **data.draw(layouts(region.shape), "layout"))
    _kernels.use_isa(data.draw(st.sampled_from(_kernels.usable_isas()), "isa"))
    recipe.fill(place.array, index, threads=data.draw(st.sampled_from([1, 2, 3, 7]), "threads"))
    assert (bits(place.array) == bits(region)).all()
    assert place.untouched()
    assert (bits(recipe[index]) == bits(region)).all()


@given(data=st.data(), shape=tensors().filter(bool), dtype=st.sampled_from(list(DTYPES)))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_part_of_part_and_take(data, shape, dtype):
    recipe = fi.recipe("normal", shape, dtype=dtype, seed=4, name="parts")
    whole = recipe[...]
    first = data.draw(basic_indices(shape), "first")
    part, expected = recipe.part(first), whole[first]
    assert part.shape == expected.shape
    second = data.draw(basic_indices(part.shape), "second")
    part, expected = part.part(second), expected[second]
    assert part.shape == expected.shape
    assert (bits(part[...]) == bits(expected)).all()
    if part.ndim and part.shape[0]:
        n = part.shape[0]
        rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=40), "rows"), np.int64)
        assert (bits(part.take(rows)) == bits(expected[rows])).all()
        wanted = (len(rows), *part.shape[1:])
        place = Guarded(wanted, dtype, **data.draw(layouts(wanted), "layout"))
        part.take(rows, out=place.array, threads=data.draw(st.sampled_from([1, 2, 5]), "threads"))
        assert (bits(place.array) == bits(expected[rows])).all()
        assert place.untouched()


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("initializer", INITIALIZERS[:4])
def test_large_enough_for_many_tiles(isa, dtype, initializer, threads):
    size = 200_003 if isa != "base" else 70_001
    recipe = fi.recipe(initializer, size, dtype=dtype, seed=0, name="tiles")
    out = np.empty(size, DTYPES[dtype])
    recipe.fill(out, threads=threads)
    for start in (0, 1, 16_383, 16_384, 65_537, size - 999):
        end = min(start + 777, size)
        assert (bits(out[start:end]) == bits(recipe.fill(np.empty(end - start, out.dtype), np.s_[start:end]))).all()


@pytest.mark.parametrize("shape", [(700, 300), (130, 1000), (1000, 33), (3, 200, 150), (5000, 31), (40, 40, 40)])
def test_fortran_order_and_transposes(isa, dtype, shape):
    recipe = fi.recipe("normal", shape, dtype=dtype, seed=1, name="order")
    expected = bits(recipe[...])
    fortran = np.empty(shape, DTYPES[dtype], order="F")
    assert (bits(recipe.fill(fortran, threads=3)) == expected).all()
    swapped = np.empty((*shape[:-2], shape[-1], shape[-2]), DTYPES[dtype]).swapaxes(-1, -2)
    assert (bits(recipe.fill(swapped, threads=2)) == expected).all()


@pytest.mark.parametrize("power", [31, 32, 34, 40, 61])
def test_flat_indices_straddling_powers_of_two(isa, dtype, power):
    """The counter's low word wraps at flat index 2^34 (2^33 in float64): tested by slices of a tensor too large to make."""
    edges = {power, 33} if power == 34 else {power}
    for edge in edges:
        at = 1 << edge
        recipe = fi.recipe("normal", (1 << 61) + 12_345, dtype=dtype, seed=7, name="far")
        around = recipe[at - 3000 : at + 3000]
        # every other way to the same elements: one by one, strided, gathered
        for i in (0, 1, 2995, 2999, 3000, 3001, 3007, 5999):
            assert bits(recipe[at - 3000 + i])[()] == bits(around)[i]
        assert (bits(recipe[at - 3000 : at + 3000 : 7]) == bits(around[::7])).all()
        assert (bits(recipe.take(np.arange(at - 50, at + 50))) == bits(around[2950:3050])).all()
        assert len(np.unique(around.astype(np.float64))) > 500


@pytest.mark.parametrize("power", [33, 34])
def test_a_row_in_which_the_counters_low_word_wraps(isa, dtype, power):
    """In one call of a kernel: a single run is cut at multiples of its tile, rows of 1000 are not."""
    width, row = 1000, (1 << power) // 1000
    table = fi.recipe("normal", (1 << 30, width), dtype=dtype, seed=7, name="far")
    flat = fi.recipe("normal", (1 << 30) * width, dtype=dtype, seed=7, name="far")
    one_by_one = flat.take(np.arange(row * width, (row + 1) * width))
    assert (bits(table[row]) == bits(one_by_one)).all()
    fortran = table.fill(np.empty((40, width), DTYPES[dtype], order="F"), np.s_[row - 20 : row + 20])
    assert (bits(fortran[20]) == bits(one_by_one)).all()


def test_far_elements_are_the_reference_ones():
    import reference

    for i in (2**31 + 1, 2**32 - 1, 2**34 - 1, 2**34, 2**40 + 3, 2**61):
        recipe = fi.recipe("uniform", 2**61 + 9, seed=8, name="far")
        assert recipe[i] == reference.uniform(8, "far", i, 0.0, 1.0, "float32")
        wide = fi.recipe("uniform", 2**60 + 9, seed=8, name="far", dtype="float64")
        j = i // 2
        assert wide[j] == reference.uniform(8, "far", j, 0.0, 1.0, "float64")


@pytest.mark.parametrize("initializer", INITIALIZERS[:4])
def test_more_rows_keep_the_old_ones(dtype, initializer):
    small = fi.recipe(initializer, (100, 24), dtype=dtype, seed=0, name="table")[...]
    large = fi.recipe(initializer, (150, 24), dtype=dtype, seed=0, name="table")[:100]
    assert (bits(small) == bits(large)).all()


def test_the_last_values_do_not_depend_on_the_size():
    """pytorch#80202."""
    sizes = [15, 16, 17, 31, 33, 1000, 1001]
    whole = fi.normal(2000, seed=0, name="n")
    for size in sizes:
        assert (fi.normal(size, seed=0, name="n") == whole[:size]).all()


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_shards_gather_to_the_whole(world):
    """Any number of processes: fans from the global shape, values from the global index (Megatron-Bridge#5840)."""
    whole = fi.he_normal((96, 40), seed=0, name="w")
    rows = [np.s_[96 * i // world : 96 * (i + 1) // world] for i in range(world)]
    shards = [fi.he_normal((96 // world, 40), shape=(96, 40), index=r, seed=0, name="w") for r in rows]
    assert (np.concatenate(shards) == whole).all()
    assert all((a != b).all() for a, b in zip(shards, shards[1:]))
    columns = [np.empty((96, 40 // world), np.float32) for _ in range(world)]
    for i, c in enumerate(columns):
        fi.he_normal(c, shape=(96, 40), index=np.s_[:, 40 * i // world : 40 * (i + 1) // world], seed=0, name="w")
    assert (np.concatenate(columns, axis=1) == whole).all()


def test_concurrent_fills_from_python_threads():
    from concurrent.futures import ThreadPoolExecutor

    expected = fi.normal(150_000, seed=0, name="c")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: fi.normal(150_000, seed=0, name="c", threads=3), range(12)))
    assert all((m == expected).all() for m in made)
