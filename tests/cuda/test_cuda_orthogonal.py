"""Orthogonal matrices on CUDA devices, by a driver in their place: the law, what is kept, streams, graphs, memory."""

import gc

import numpy as np
import pytest
from host.stand_in import OnDevice, StandIn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastinit as fi
import fastinit.cuda
from conftest import DTYPES, Guarded, bits
from fastinit.cuda import driver
from fastinit.cuda.memory import Memory
from fastinit.cuda.queue import Queue
from fastinit.questions import region_of, write_region
from test_law import basic_indices, layouts
from test_orthogonal_law import recipes, whole_of


@pytest.fixture(autouse=True)
def device(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    driver.use(StandIn())
    driver.installed().multiprocessors = 5
    yield driver.installed()
    gc.collect()
    assert not driver.installed().allocated, "memory of the device was not given back"
    driver.use(None)


def on_device(recipe, index=..., **given):
    array = np.empty(recipe.part(index).shape, recipe.dtype)
    fi.cuda.fill(OnDevice(array), recipe, index=index, **given)
    return array


def copied(recipe):
    """One that goes at the end of a test, and takes with it what it keeps on the device."""
    return fi.Recipe.from_dict(recipe.to_dict())


@given(data=st.data(), recipe=recipes())
@settings(
    max_examples=250, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_any_region_in_any_layout(data, recipe):
    index = data.draw(basic_indices(recipe.shape), "index")
    region, recipe = whole_of(recipe)[index], copied(recipe)
    layout = data.draw(layouts(region.shape), "layout")
    layout["offset"] -= layout["offset"] % recipe.dtype.itemsize
    place = Guarded(region.shape, recipe.to_dict()["dtype"], **layout)
    fi.cuda.fill(OnDevice(place.array), recipe, index=index)
    assert (bits(place.array) == bits(region)).all()
    assert place.untouched()


@given(data=st.data(), recipe=recipes())
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_gathered_rows(data, recipe):
    expected, recipe, device = whole_of(recipe), copied(recipe), driver.installed()
    n = recipe.shape[0]
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=12), "rows"), np.int64)
    made = np.empty((len(rows), *recipe.shape[1:]), recipe.dtype)
    with device.on(0):
        queue = Queue(device, device.devices()[0], 0)
        address = made.__array_interface__["data"][0]
        write_region(
            recipe, region_of(recipe), Memory.at(queue, address, made.shape, made.strides, made.dtype, None), rows
        )
    assert (bits(made) == bits(expected[rows])).all()


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(
    "shape", [(300, 280), (280, 300), (1100, 130), (130, 1100), (2100, 200), (700, 513), (9000, 3)]
)
def test_many_blocks(dtype, shape):
    """Several blocks of reflectors, panels and Gram blocks; runs of sums that are made side by side."""
    recipe = fi.recipe("orthogonal", shape, gain=0.7, dtype=dtype, seed=1, name="blocks")
    assert (bits(on_device(recipe)) == bits(recipe[...])).all()
    index = np.s_[5:-3:2, ::-3]
    assert (bits(on_device(recipe, index)) == bits(recipe[index])).all()


def test_composed_of_orthogonal_pieces():
    parts = [fi.recipe("orthogonal", (24, 24), seed=0, name=str(k)) for k in range(4)]
    recipe = fi.paste(fi.concatenate(parts[:3], groups=4), np.s_[::3, 1:], parts[3].part(np.s_[:, 1:]))
    stacked = fi.stack([recipe, fi.literal(recipe[...])], axis=1).transpose((2, 0, 1)).reshape(12, -1)
    for made in (recipe, stacked, stacked.part(np.s_[1:11:3, ::-1])):
        assert (bits(on_device(made)) == bits(made[...])).all()


# ---- what is kept --------------------------------------------------------------------------------------------


def launches(device):
    return sum(entry[0] == "launch" for entry in device.log)


def test_r_is_made_once_for_a_device(device):
    """And is waited for by other streams; other devices have their own; memory goes when the recipe goes."""
    recipe = fi.recipe("orthogonal", (2000, 200), seed=0, name="tall")
    arrays = [np.empty((2000, 200), np.float32) for _ in range(4)]
    device.kinds[arrays[3].__array_interface__["data"][0]] = ("device", 1)
    counts, events = [], []
    for array, stream in zip(arrays, (0, 0, 7, 9)):
        device.log.clear()
        fi.cuda.fill(OnDevice(array), recipe, stream=stream)
        assert (array == recipe[...]).all()
        counts.append(launches(device))
        events.append([entry for entry in device.log if entry[0] in ("record", "wait")])
    own = 1000
    used = [("record", 0), ("wait", own, 0)]  # each use is waited for before the memory is given back
    assert counts[1] * 3 < counts[0] == counts[3]
    assert counts[1] == counts[2]
    assert events[0] == used + used
    assert events[1] == [("wait", 0, 0), *used]
    assert events[2] == [("wait", 7, 0), ("record", 7), ("wait", own, 7)]
    assert events[3] == [("record", 9), ("wait", own + 1, 9)] * 2
    assert device.own_streams == [(own, 0), (own + 1, 1)]
    assert len(device.allocated) == 2 * 2  # blocks of columns
    device.log.clear()
    del recipe
    gc.collect()
    assert sorted(device.log) == [("forget", 0), ("forget", 9), *[("free", own)] * 2, *[("free", own + 1)] * 2]


def test_a_recipe_that_is_used_once_synchronizes_nothing(device):
    """Its R^-1 goes at once, in the order of streams: cuMemAlloc and cuMemFree would wait for the whole device."""
    on_device(fi.recipe("orthogonal", (2000, 20), seed=0, name="tall"))
    gc.collect()
    assert not device.allocated
    assert not {"allocate_now", "free_now"} & {entry[0] for entry in device.log}


def test_graphs_hold_all_that_they_need(device):
    """While one is captured nothing has been done yet, so nothing is kept; and what is kept may go before a replay."""
    recipe = fi.recipe("orthogonal", (2000, 20), seed=0, name="tall")
    device.capturing.add(3)
    for _ in range(2):
        device.log.clear()
        assert (on_device(recipe, stream=3) == recipe[...]).all()
        assert not {"record", "wait"} & {entry[0] for entry in device.log}
        assert not device.allocated
    captured = launches(device)
    on_device(recipe)
    device.log.clear()
    on_device(recipe, stream=3)
    assert launches(device) == captured
    assert not any(entry[0] == "wait" for entry in device.log)


def test_general_shapes_keep_nothing(device):
    recipe = fi.recipe("orthogonal", (300, 200), seed=0, name="square")
    on_device(recipe)
    assert not device.allocated
    assert not any(entry[0] == "record" for entry in device.log)


# ---- memory, launches, errors --------------------------------------------------------------------------------


class Counting(StandIn):
    """Nothing is done: what is asked for is counted."""

    def __init__(self):
        super().__init__()
        self.multiprocessors = 132
        self.used = self.most = self.launched = 0

    def compiler_version(self):
        return (0, 0)  # whose modules no other driver takes from the cache

    def compile(self, source, name, options, *, binary):
        return b"nothing"

    def load(self, binary, names):
        return {name: name for name in names}

    def launch(self, kernel, blocks, threads, arguments, stream):
        assert 0 < blocks < 1 << 31
        assert threads <= 1024
        assert sum(map(len, arguments)) <= 4096, "a launch carries no more"
        self.launched += 1

    def allocate(self, nbytes, stream):
        self.used += nbytes
        self.most = max(self.most, self.used)
        address = (
            max(self.allocated, default=1 << 40) + self.allocated.get(max(self.allocated, default=0), 0) + 511
        ) & ~255
        self.allocated[address] = nbytes
        return address

    def free(self, address, stream):
        self.used -= self.allocated.pop(address)

    def allocate_now(self, nbytes):
        return self.allocate(nbytes, 0)

    def free_now(self, address):
        self.free(address, 0)


@pytest.mark.parametrize(
    ("shape", "dtype", "share", "count"),
    [
        ((4096, 4096), "float32", 0.4, 300),
        ((4096, 4096), "float64", 0.4, 300),
        ((65536, 512), "float32", 0.4, 300),
        ((512, 65536), "float32", 0.4, 300),
        ((4096, 4096), "bfloat16", 0.4, 2500),
    ],
)
@pytest.mark.parametrize("multiprocessors", [40, 132, 188])
def test_memory_and_launches(shape, dtype, share, count, multiprocessors):
    """Memory beyond the output, as a share of it; a launch takes microseconds, and 4096^2 is to take milliseconds."""
    counting = Counting()
    counting.multiprocessors = multiprocessors
    driver.use(counting)
    recipe = fi.recipe("orthogonal", shape, dtype=dtype, seed=0, name="large")
    size = recipe.dtype.itemsize

    out = type("Out", (), {})()
    out.__cuda_array_interface__ = {
        "version": 3, "shape": shape, "strides": None, "data": (1 << 32, False),
        "typestr": {2: "<u2", 4: "<f4", 8: "<f8"}[size],
    }  # fmt: skip
    fi.cuda.fill(out, recipe)
    assert 0 < counting.most < share * size * shape[0] * shape[1]
    assert counting.launched < count
    del recipe
    gc.collect()
    assert counting.used == 0


def test_unaligned_memory_is_refused_before_a_byte_is_written(device):
    memory = np.zeros(6 * 6 * 4 + 1, np.uint8)
    array = memory[1:].view(np.float32).reshape(6, 6)
    with pytest.raises(ValueError, match="not aligned"):
        fi.cuda.fill(OnDevice(array), fi.recipe("orthogonal", (6, 6), seed=0))
    assert not memory.any()
    assert not launches(device)


def test_what_fails_on_the_way_gives_memory_back(device, monkeypatch):
    recipe = fi.recipe("orthogonal", (2000, 20), seed=0, name="tall")
    launch, left = device.launch, [5]

    def failing(*given):
        left[0] -= 1
        if not left[0]:
            raise MemoryError("the CUDA device is out of memory")
        launch(*given)

    monkeypatch.setattr(device, "launch", failing)
    with pytest.raises(MemoryError) as caught:
        on_device(recipe)
    assert caught.value.__notes__ == ["fastinit: stopped before the end; the buffer is incomplete"]
    del caught
    gc.collect()
    assert not device.allocated
    assert (on_device(recipe) == recipe[...]).all(), "a part of R^-1 was kept"
