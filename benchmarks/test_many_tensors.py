"""Tens of thousands of tiny tensors: what each of them costs besides its values, against the same by hand."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastinit as fi

COUNT, SHARDS = 50_000, 2000

pytestmark = pytest.mark.timeout(3000)


def tiny(count):
    return {f"t{i}": fi.recipe("normal", (16,), std=0.02, seed=0, name=f"t{i}") for i in range(count)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "m.safetensors"
    fi.checkpoint.save(path, tiny(COUNT))
    return path


def by_hand(path, recipes):
    """Read all of a file and compare each tensor with its recipe."""
    held = load_file(path)
    return all(np.array_equal(held[name], recipe[...]) for name, recipe in recipes.items())


def test_verify(measure, file):
    measure("verify 50,000 tensors", "fastinit", lambda: fi.checkpoint.verify(file), elements=COUNT, rounds=3)


def test_verify_by_hand(measure, file):
    def run():
        assert by_hand(file, tiny(COUNT))

    measure("verify 50,000 tensors", "load_file, compare", run, elements=COUNT, rounds=3)


def test_shards(measure, tmp_path):
    recipes, count = tiny(SHARDS), iter(range(100))

    def run():
        fi.checkpoint.save(tmp_path / str(next(count)), recipes, max_shard_size=64)

    measure("write 2,000 shards", "fastinit", run, elements=SHARDS, rounds=3)


def test_shards_by_hand(measure, tmp_path):
    """One file after the other, each synced and renamed."""
    recipes, count = tiny(SHARDS), iter(range(100))

    def run():
        folder = tmp_path / str(next(count))
        folder.mkdir()
        for name, recipe in recipes.items():
            save_file({name: recipe[...]}, folder / "partial")
            fd = os.open(folder / "partial", os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            os.rename(folder / "partial", folder / name)

    measure("write 2,000 shards", "save_file, synced", run, elements=SHARDS, rounds=3)
