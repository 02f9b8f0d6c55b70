"""Composed tensors as arrays of JAX, Dask and Zarr: in shards and in chunks, equal to the parts."""

import dask
import jax
import numpy as np
import pytest
import zarr

import fastinit as fi
import fastinit.dask
import fastinit.jax
from conftest import same
from fused_tensors import drawn, fused


@pytest.mark.parametrize("which", fused())
@pytest.mark.parametrize("spec", [("x",), (None, "x"), ("x", "y"), ()])
def test_jax_arrays(which, spec):
    recipe, wanted = fused()[which]
    sizes = {"x": 2, "y": 4}
    spec = [axis if axis and n % sizes[axis] == 0 else None for axis, n in zip(spec, recipe.shape)]
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 4), ("x", "y"))
    made = fi.jax.array(recipe, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec)))
    assert same(np.asarray(made), wanted)
    assert all(same(np.asarray(shard.data), wanted[shard.index]) for shard in made.addressable_shards)


@pytest.mark.parametrize("which", fused())
@pytest.mark.parametrize("chunks", ["auto", 3, 7])
def test_dask_arrays(which, chunks):
    recipe, wanted = fused()[which]
    lazy = fi.dask.array(recipe, chunks)
    assert same(lazy.compute(), wanted)
    assert same(lazy[2:, 1:4].compute(), wanted[2:, 1:4])
    assert lazy.name == fi.dask.array(fused()[which][0], chunks).name


def test_dask_tokens_tell_composed_tensors_apart():
    a, b = drawn("a", 4, 6), drawn("b", 4, 6)
    one, other = (fi.literal(np.array([1, n], np.float32)) for n in (2, 3))
    recipes = [
        a, a.T, a.reshape(6, 4), a.part(np.s_[:2]), a.part(np.s_[2:]), fi.concatenate([a, b]), fi.concatenate([b, a]),
        fi.concatenate([a, b], groups=2), fi.concatenate([a, b], axis=1), fi.stack([a, b]), fi.stack([a, b], axis=1),
        fi.paste(a, 0, b.part(0)), fi.paste(a, 1, b.part(0)), one, other,
    ]  # fmt: skip
    assert len({dask.base.tokenize(recipe) for recipe in recipes}) == len(recipes)


def test_dask_chunks_go_to_zarr_and_to_other_processes(tmp_path):
    recipe, wanted = fused()["qkv"]
    fi.dask.array(recipe, 5).to_zarr(str(tmp_path / "qkv.zarr"))
    assert same(zarr.open_array(tmp_path / "qkv.zarr")[...], wanted)
    assert same(fi.dask.array(recipe, 5).compute(scheduler="processes", num_workers=2), wanted)
