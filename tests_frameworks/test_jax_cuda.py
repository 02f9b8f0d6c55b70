"""JAX's arrays on CUDA devices, with a driver in the place of CUDA's: JAX's CPU devices say that they are some."""

import gc
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import fastinit as fi
import fastinit.cuda
import fastinit.jax
from conftest import same
from fastinit.cuda import driver, exporting

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cuda"))
from host.stand_in import StandIn

#: Where `array` is: the one file whose names are replaced.
WHERE = sys.modules[fastinit.jax.array.__module__]


@pytest.fixture
def gpus(monkeypatch, tmp_path_factory):
    """Four of the eight devices of tests_frameworks/conftest.py."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    made = StandIn()
    made.capabilities = (90,) * 8
    driver.use(made)
    fastinit.cuda.why_unavailable.cache_clear()
    monkeypatch.setattr(WHERE, "_is_cuda", lambda device: device.id < 4)
    monkeypatch.setattr(exporting, "CUDA", 1)  # what JAX on the CPU takes
    yield made
    gc.collect()
    assert not made.allocated, "memory was not given back"
    assert not exporting._lent
    driver.use(None)
    fastinit.cuda.why_unavailable.cache_clear()


def shard_of(array, device):
    return next(np.asarray(shard.data) for shard in array.addressable_shards if shard.device == device)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("spec", [("x", "y"), (None, "x"), (), (("x", "y"),)])
def test_shards_are_made_where_they_live(gpus, dtype, spec):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
    recipe = fi.recipe("normal", (16, 24), dtype=dtype, seed=0, name="w")
    made = fastinit.jax.array(recipe, NamedSharding(mesh, PartitionSpec(*spec)))
    assert same(made, recipe[...])
    on_gpus = [entry for entry in gpus.log if entry[0] == "allocate_now"]
    assert len(on_gpus) == 4
    assert {entry[2] for entry in gpus.log if entry[0] == "launch"} == {0, 1, 2, 3}
    del made


def test_one_device_composed_and_of_no_axes(gpus):
    parts = [fi.recipe("uniform", (3, 5), seed=0, name=name) for name in "ab"]
    for recipe in (fi.stack(parts), fi.literal(np.arange(6.0, dtype=np.float32)), fi.recipe("normal", (), seed=0)):
        made = fastinit.jax.array(recipe, SingleDeviceSharding(jax.devices()[1]))
        assert same(made, recipe[...])
        assert made.devices() == {jax.devices()[1]}
        assert same(made * 2, recipe[...] * 2)
        del made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_orthogonal_shards(gpus, dtype):
    """R^-1 of a tall one is made once for each device."""
    mesh = Mesh(np.array(jax.devices()[:4]), ("x",))
    for shape in ((40, 24), (160, 8)):
        recipe = fi.recipe("orthogonal", shape, dtype=dtype, seed=0, name="q")
        made = fastinit.jax.array(recipe, NamedSharding(mesh, PartitionSpec("x")))
        assert same(made, recipe[...])
        assert {entry[2] for entry in gpus.log if entry[0] == "launch"} == {0, 1, 2, 3}
        del made


def test_what_is_not_made_there(gpus):
    sharding = SingleDeviceSharding(jax.devices()[0])
    recipe = fi.recipe("normal", (0, 4), seed=0)
    assert same(fastinit.jax.array(recipe, sharding), recipe[...])
    away = SingleDeviceSharding(jax.devices()[5])
    recipe = fi.recipe("normal", (6, 6), seed=0, name="q")
    assert same(fastinit.jax.array(recipe, away), recipe[...])
    assert gpus.log == []


def test_a_failure_gives_the_memory_back(gpus, monkeypatch):
    def launch(*_):
        raise MemoryError("the CUDA device is out of memory")

    monkeypatch.setattr(gpus, "launch", launch)
    with pytest.raises(MemoryError):
        fastinit.jax.array(fi.recipe("normal", (6, 6), seed=0), SingleDeviceSharding(jax.devices()[0]))
    assert gpus.log[-1] == ("free_now",)


def test_an_array_of_jax_is_no_output(gpus):
    array = jax.numpy.zeros((4,))
    with pytest.raises(TypeError, match=r"a jax\.Array cannot be changed"):
        fi.cuda.fill(array, fi.recipe("normal", (4,), seed=0))
