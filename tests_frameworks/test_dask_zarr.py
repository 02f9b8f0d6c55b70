"""fastinit.dask, and recipes as data of zarr: every chunking, real workers, one of them killed."""

import os
import time

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

import fastinit as fi
from conftest import same
from fastinit.dask import array


@pytest.mark.parametrize("chunks", ["auto", 100, (333, -1), (1, 700), ((1, 999), (350, 350)), {0: 7}, "1MiB"])
@pytest.mark.parametrize("kind", [fi.init("he_normal"), fi.init("orthogonal"), fi.init("sparse", sparsity=0.3)])
def test_every_chunking_gives_the_same_values(chunks, kind):
    shape = (1000, 700) if kind.name == "he_normal" else (100, 70)
    recipe = fi.recipe(kind, shape, seed=3, name="w")
    if isinstance(chunks, tuple) and kind.name != "he_normal":
        chunks = 33
    lazy = array(recipe, chunks)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype, type(lazy._meta)) == (shape, np.dtype(np.float32), np.ndarray)
    assert same(lazy.compute(), recipe[...])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_dtypes(dtype):
    recipe = fi.recipe("normal", (50, 6), seed=3, dtype=dtype)
    value = array(recipe, 20).compute()
    assert value.dtype == recipe.dtype
    assert same(value, recipe[...])


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (5,)])
def test_few_elements(shape):
    recipe = fi.recipe("uniform", shape, seed=3)
    assert same(np.asarray(array(recipe).compute()), recipe[...])


def test_names_are_the_recipes():
    """Equal recipes are one graph; others are not confused with them."""
    first, again, other = (array(fi.recipe("normal", (50, 6), seed=seed), 20) for seed in (3, 3, 4))
    assert first.name == again.name != other.name
    assert first.name != array(fi.recipe("normal", (50, 6), seed=3), 25).name
    assert first.name == array(fi.recipe("normal", (50, 6), seed=3), ((20, 20, 10), -1)).name
    large = fi.recipe("normal", (1000, 1000), seed=3)
    whole = array(large)
    with dask.config.set({"array.chunk-size": "1MiB"}):
        cut = array(large)
    assert whole.name != cut.name  # "auto" is not the same chunks
    assert same(da.concatenate([whole, cut]).compute()[1000:], large[...])
    assert dask.base.tokenize(fi.recipe("normal", 5, seed=3).part(np.s_[1:])) != dask.base.tokenize(
        fi.recipe("normal", 5, seed=3).part(np.s_[2:])
    )


def test_slices_make_only_what_they_need(monkeypatch):
    table = fi.recipe("normal", (50_000_000, 64), seed=3)
    lazy = array(table, (1_000_000, -1))
    made = []
    original = fi.Recipe.__getitem__
    monkeypatch.setattr(fi.Recipe, "__getitem__", lambda r, index: made.append(v := original(r, index)) or v)
    with dask.config.set(scheduler="synchronous"):
        assert same(lazy[49_999_990:, ::2].compute(), original(table, np.s_[49_999_990:, ::2]))
        assert same(lazy[7].compute(), original(table, 7))
    assert sum(value.size for value in made) < 1000
    assert same(
        array(fi.recipe("normal", (90, 6), seed=3), 20)[[5, 80, 5]].compute(), fi.normal((90, 6), seed=3)[[5, 80, 5]]
    )


def test_parts_and_arithmetic():
    part = fi.recipe("normal", (100, 6), seed=3).part(np.s_[10:40, ::-1])
    assert same(array(part, 7).compute(), part[...])
    assert (array(part, 7) * 2 + 1).mean().compute() == pytest.approx((part[...] * 2 + 1).mean(), rel=1e-5)
    with pytest.raises(TypeError, match="Recipe"):
        array(np.zeros(3))


# ---- zarr ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """The sizes of what is made of recipes."""
    sizes = []
    original = fi.Recipe.__getitem__

    def getitem(recipe, index):
        value = original(recipe, index)
        sizes.append(value.size)
        return value

    def whole(recipe, dtype=None, copy=None):
        raise AssertionError("the whole recipe was made at once")

    monkeypatch.setattr(fi.Recipe, "__getitem__", getitem)
    monkeypatch.setattr(fi.Recipe, "__array__", whole)
    return sizes


def test_zarr_reads_recipes_chunk_by_chunk(tmp_path, asked):
    recipe = fi.recipe("truncated_normal", (1000, 300), seed=3)
    stores = [zarr.create_array(tmp_path / "a", shape=recipe.shape, chunks=(70, 130), dtype="float32")]
    stores[0][...] = recipe
    stores.append(zarr.create_array(tmp_path / "b", data=recipe, chunks=(70, 130)))
    stores.append(zarr.create_array(tmp_path / "c", data=recipe, chunks=(35, 130), shards=(70, 130)))
    assert max(asked) <= 70 * 130
    stores.append(zarr.create_array(tmp_path / "d", shape=(500, 300), chunks=(70, 130), dtype="float32"))
    stores[3][100:200, :] = recipe.part(np.s_[300:400])
    del asked[:]
    expected = recipe.fill(np.empty(recipe.shape, np.float32))
    for store in stores[:3]:
        assert same(store[...], expected)
    assert same(stores[3][100:200], expected[300:400])


# ---- across processes ------------------------------------------------------------------------------------------


@pytest.mark.timeout(280)
def test_a_table_larger_than_the_workers_memory_though_one_is_killed(tmp_path):
    """Two worker processes with 300 MB each write 400 MB; one dies on the way, and its chunks are made again."""
    from distributed import Client, LocalCluster

    table = fi.recipe("normal", (100_000, 1024), std=0.02, seed=5, name="emb")
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="300MB", host="127.0.0.1", dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        assert table.nbytes > 300e6
        pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        target = zarr.create_array(
            tmp_path / "table.zarr", shape=table.shape, chunks=(1000, 1024), dtype="float32", compressors=None
        )
        writing = client.compute(array(table, (1000, 1024)).store(target, lock=False, compute=False))
        chunks = tmp_path / "table.zarr" / "c"
        while len(list(chunks.glob("*"))) < 10:
            assert not writing.done(), "all was written before a worker could be killed"
            time.sleep(0.01)
        os.kill(next(iter(pids.values())), 9)
        writing.result(timeout=200)
    written = zarr.open_array(tmp_path / "table.zarr", mode="r")
    for low in range(0, len(table), 10_000):
        assert same(written[low : low + 10_000], table[low : low + 10_000])


def test_to_zarr(tmp_path):
    table = fi.recipe("normal", (1000, 64), seed=5)
    array(table, (100, 64)).to_zarr(str(tmp_path / "t.zarr"))
    assert same(zarr.open_array(tmp_path / "t.zarr", mode="r")[...], table[...])
