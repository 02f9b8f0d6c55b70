"""Embedding tables: a process's share of the rows, and a table larger than half of the memory, written by Dask's workers."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
from scale import FULL, laps, size

ROWS, WIDTH = size(2_000_000, 2_000_000, 8_000), 128


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_share(measure, memory, lap, parts):
    """The rows of one of 1, 2, 4 processes: a half should take half the time, so be as fast per byte."""
    table = fi.recipe("normal", (ROWS, WIDTH), std=0.02, seed=0, name="emb")
    shard = table.part(np.s_[ROWS - ROWS // parts :])
    out = memory[: shard.size].reshape(shard.shape)
    contestant = "fastinit" if parts == 1 else f"the last 1/{parts} of the rows"
    measure("rows of a table", contestant, lambda: shard.fill(out), out.nbytes)


@pytest.mark.timeout(3000)
@pytest.mark.skipif(not FULL, reason="takes half of the memory: make bench-full")
def test_out_of_core(measure, tmp_path):
    """Two worker processes, one of them killed on the way: the values are those of the recipe all the same."""
    zarr, distributed = pytest.importorskip("zarr"), pytest.importorskip("distributed")
    from fastinit.dask import array

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    recipe = fi.recipe("normal", (int(0.55 * memory) // 4096, 1024), std=0.02, seed=0, name="emb")
    path = tmp_path / "t.zarr"
    target = zarr.create_array(path, shape=recipe.shape, chunks=(1 << 13, 1024), dtype="float32", compressors=None)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)

    def write():
        writing = client.compute(array(recipe, target.chunks).store(target, lock=False, compute=False))
        wait_for_files(path / "c", target.nchunks // 3)
        os.kill(next(iter(client.run(os.getpid).values())), 9)
        writing.result()

    with cluster, distributed.Client(cluster) as client:
        measure(
            f"{recipe.nbytes / memory:.2f} of the memory to zarr, a worker killed",
            "fastinit",
            write,
            recipe.nbytes,
            rounds=1,
            warm=False,
        )
    for low in range(0, len(recipe), 1 << 16):
        assert np.array_equal(target[low : low + (1 << 16)], recipe[low : low + (1 << 16)])


def wait_for_files(folder: Path, count):
    while len(list(folder.glob("*"))) < count:
        time.sleep(0.05)
