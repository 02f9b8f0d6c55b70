"""The kernels of CUDA devices, compiled for this CPU: the golden hashes, and the law, bit for bit."""

import ctypes
import gc
import itertools

import numpy as np
import pytest
from host.stand_in import OnDevice, StandIn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastinit as fi
import fastinit.cuda
from conftest import DTYPES, Guarded, bits
from fastinit.cuda import driver
from make_golden import GOLDEN, GOLDEN_ORTHOGONAL, GOLDEN_SPARSE, NAMES, hashed
from test_composed import tensors as composed_tensors
from test_law import INITIALIZERS, basic_indices, layouts, tensors

#: Besides those of the law: every way in which truncated normals are made.
MORE = [
    fi.init("truncated_normal", lower=1.0, upper=1.0005),
    fi.init("truncated_normal", lower=2000.0, upper=float("inf")),
    fi.init("truncated_normal", lower=-9.0, upper=-3.5),
    fi.init("uniform", low=1e-20, high=0.9),
]


@pytest.fixture(scope="module", autouse=True)
def device(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        driver.use(StandIn())
        yield driver.installed()
        gc.collect()
        assert not driver.installed().allocated, "memory of the device was not given back"
        driver.use(None)


def on_device(recipe, index=...):
    """What the device makes of a region."""
    array = np.empty(recipe.part(index).shape, recipe.dtype)
    assert isinstance(fi.cuda.fill(OnDevice(array), recipe, index=index), OnDevice)
    return array


def lines_of(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", lines_of(GOLDEN), ids=lambda line: " ".join(line.split()[:3]))
def test_golden(line):
    kind, dtype, parameters, seed, name, _, _, first, count, expected = line.split(" ")
    named = dict(zip(NAMES[kind], map(float.fromhex, parameters.split(","))))
    recipe = fi.recipe(kind, 2**40, dtype=dtype, seed=int(seed), name=name, **named)
    assert hashed(on_device(recipe, np.s_[int(first) : int(first) + int(count)])) == expected


@pytest.mark.parametrize("line", lines_of(GOLDEN_SPARSE), ids=lambda line: " ".join(line.split()[:3]))
def test_golden_sparse(line):
    rows, columns, dtype, sparsity, std, seed, name, *_, expected = line.split(" ")
    given = {"sparsity": float.fromhex(sparsity), "std": float.fromhex(std)}
    recipe = fi.recipe("sparse", (int(rows), int(columns)), dtype=dtype, seed=int(seed), name=name, **given)
    assert hashed(on_device(recipe)) == expected


@pytest.mark.parametrize("line", lines_of(GOLDEN_ORTHOGONAL), ids=lambda line: " ".join(line.split()[:3]))
def test_golden_orthogonal(line):
    rows, columns, dtype, gain, seed, name, *_, expected = line.split(" ")
    given = {"dtype": dtype, "gain": float.fromhex(gain), "seed": int(seed), "name": name}
    matrix = fi.recipe("orthogonal", (int(rows), int(columns)), **given)
    assert hashed(on_device(matrix)) == expected
    if int(rows) <= int(columns):
        delta = fi.recipe("delta_orthogonal", (3, int(rows), 2, int(columns)), in_axis=1, out_axis=3, **given)
        made = on_device(delta)
        assert hashed(np.ascontiguousarray(made[1, :, 0])) == expected
        made[1, :, 0] = 0
        assert not bits(made).any()


@given(
    data=st.data(),
    shape=tensors(),
    dtype=st.sampled_from(list(DTYPES)),
    initializer=st.sampled_from(INITIALIZERS + MORE),
)
@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_region_in_any_layout(data, shape, dtype, initializer):
    recipe = fi.recipe(initializer, shape, dtype=dtype, seed=3, name="law")
    index = data.draw(basic_indices(shape), "index")
    region = recipe[index]
    layout = data.draw(layouts(region.shape), "layout")
    layout["offset"] -= layout["offset"] % DTYPES[dtype].itemsize
    place = Guarded(region.shape, dtype, **layout)
    fi.cuda.fill(OnDevice(place.array), recipe, index=index)
    assert (bits(place.array) == bits(region)).all()
    assert place.untouched()


@given(data=st.data(), dtype=st.sampled_from(list(DTYPES)), shape=tensors(3, 6, 40), depth=st.integers(0, 3))
@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_composed_tensors_in_any_layout(data, dtype, shape, depth):
    recipe, expected = composed_tensors(data.draw, shape, dtype, depth)
    index = data.draw(basic_indices(shape), "index")
    region = np.asarray(expected[index])
    layout = data.draw(layouts(region.shape), "layout")
    layout["offset"] -= layout["offset"] % DTYPES[dtype].itemsize
    place = Guarded(region.shape, dtype, **layout)
    fi.cuda.fill(OnDevice(place.array), recipe, index=index)
    assert (bits(place.array) == bits(region)).all()
    assert place.untouched()


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("first", [0, 1, 2**32 - 3, 2**34 + 5, 2**62 - 70_007])
def test_far_and_long(dtype, first):
    """Where the counter's lower word wraps, within a run and at its start; more units than threads."""
    for initializer in INITIALIZERS[:3]:
        recipe = fi.recipe(initializer, 2**62 - 1, dtype=dtype, seed=1, name="far")
        index = np.s_[first : first + 70_001]
        assert (bits(on_device(recipe, index)) == bits(recipe[index])).all()


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_transposed_with_rows_of_any_length(dtype):
    for rows, columns in itertools.product([1, 2, 3, 5, 8, 33], [1, 3, 4, 6, 7, 64, 65]):
        recipe = fi.recipe("normal", (rows, columns), dtype=dtype, seed=2, name="t")
        place = np.empty((columns, rows), DTYPES[dtype])
        fi.cuda.fill(OnDevice(place.T), recipe)
        assert (bits(place.T) == bits(recipe[...])).all()
        fi.cuda.fill(OnDevice(place[::-1].T), recipe)
        assert (bits(place[::-1].T) == bits(recipe[...])).all()


@pytest.mark.parametrize("left", [0, 5, 2**32 - 1, 2**32, 2**40 + 12345, 2**64 - 1])
@pytest.mark.parametrize("n", [1, 3, 2**31, 2**32 - 1, 2**32 + 7, 2**63])
def test_division_of_large_numbers(device, left, n):
    on_device(fi.recipe("normal", (3, 4), seed=0))
    divided = next(library.divided for library in device.libraries if hasattr(library, "divided"))
    rest = ctypes.c_uint64()
    divided.restype, divided.argtypes = ctypes.c_uint64, [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p]
    assert (divided(left, n, ctypes.addressof(rest)), rest.value) == divmod(left, n)


def test_one_launch_for_a_plain_fill(device):
    recipe = fi.recipe("normal", (300, 40), seed=0, name="plain")
    on_device(recipe)
    device.log.clear()
    on_device(recipe)
    on_device(recipe, np.s_[3:200, 1:39])
    assert [entry[:2] for entry in device.log] == [("launch", "fill_run"), ("launch", "fill_plan")]
