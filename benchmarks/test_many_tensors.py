"""Tens of thousands of tiny tensors: what each of them costs besides its values, against the same by hand."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastinit as fi
from scale import laps, size

COUNT, SHARDS = size((50_000, 2000), (5000, 200), (100, 10))

pytestmark = pytest.mark.timeout(3000)


def tiny(count):
    return {f"t{i}": fi.recipe("normal", (16,), std=0.02, seed=0, name=f"t{i}") for i in range(count)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "m.safetensors"
    fi.checkpoint.save(path, tiny(COUNT))
    return path


def by_hand(path):
    """Read all of a file and compare each tensor with its recipe."""
    held = load_file(path)
    assert all(np.array_equal(held[name], recipe[...]) for name, recipe in tiny(COUNT).items())


@pytest.mark.parametrize("contestant", ["fastinit", "load_file, compare"])
@pytest.mark.parametrize("lap", range(laps(3, 3)))
def test_verify(measure, file, lap, contestant):
    runs = {"fastinit": lambda: fi.checkpoint.verify(file), "load_file, compare": lambda: by_hand(file)}
    measure(f"verify {COUNT:,} tensors", contestant, runs[contestant], COUNT, "tensors", rounds=1, warm=False)


def one_by_one(folder, recipes):
    """One file after the other, each synced and renamed."""
    folder.mkdir()
    for name, recipe in recipes.items():
        save_file({name: recipe[...]}, folder / "partial")
        fd = os.open(folder / "partial", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        os.rename(folder / "partial", folder / name)


@pytest.mark.parametrize("contestant", ["fastinit", "save_file, synced"])
@pytest.mark.parametrize("lap", range(laps(3, 3)))
def test_shards(measure, tmp_path, lap, contestant):
    recipes, folder = tiny(SHARDS), tmp_path / "shards"
    runs = {
        "fastinit": lambda: fi.checkpoint.save(folder, recipes, max_shard_size=64),
        "save_file, synced": lambda: one_by_one(folder, recipes),
    }
    measure(f"write {SHARDS:,} shards", contestant, runs[contestant], SHARDS, "files", rounds=1, warm=False)
