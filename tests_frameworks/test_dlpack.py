"""Recipes as arrays of other libraries, by DLPack: made at once, where each element used to be asked for."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fastinit as fi
import fastinit.torch as ft
from conftest import DTYPES, same

TAKERS = [torch.as_tensor, torch.asarray, torch.tensor, torch.from_dlpack, np.from_dlpack, jnp.from_dlpack]


def described(dtype="float32", shape=(20, 6)):
    return fi.recipe("normal", shape, dtype=dtype, seed=0, name="e")


@pytest.fixture
def reads(monkeypatch):
    """How often values are made."""
    made = []
    fill = fi.Recipe._fill
    monkeypatch.setattr(fi.Recipe, "_fill", lambda self, *args, **kwargs: (made.append(1), fill(self, *args, **kwargs)))
    return made


@pytest.mark.parametrize("take", TAKERS)
@pytest.mark.parametrize("shape", [(20, 6), (7,), (), (0, 3)])
def test_values_are_made_once(take, shape, reads):
    recipe = described(shape=shape)
    taken = take(recipe)
    assert len(reads) == 1
    assert same(np.asarray(taken), recipe[...])


@pytest.mark.parametrize("take", TAKERS)
def test_parts(take):
    part = described().part(np.s_[3:17:2, ::-1])
    assert same(np.asarray(take(part)), part[...])


def test_dtypes(dtype):
    recipe = described(DTYPES[dtype])
    if dtype is not torch.bfloat16:
        assert torch.as_tensor(recipe).dtype is dtype
        assert same(torch.from_dlpack(recipe), recipe[...])
        assert torch.as_tensor(recipe, dtype=torch.float64).dtype is torch.float64
        return
    for take in TAKERS:
        with pytest.raises(BufferError, match=r"^NumPy exports no bfloat16 by DLPack: fastinit\.torch\.tensor .*$"):
            take(recipe)
    assert same(ft.tensor(recipe), recipe[...])


def test_what_is_taken_is_the_takers_own():
    recipe = described()
    for tensor in (torch.as_tensor(recipe), torch.from_numpy(np.from_dlpack(recipe))):
        tensor.zero_()
    assert np.from_dlpack(recipe).flags.writeable
    assert same(torch.as_tensor(recipe), recipe[...])


def test_keywords(reads):
    recipe = described()
    assert recipe.__dlpack_device__() == (1, 0)
    for options in (
        {},
        {"copy": True},
        {"copy": None},
        {"dl_device": (1, 0)},
        {"max_version": (1, 0)},
        {"stream": None},
    ):
        assert "dltensor" in repr(recipe.__dlpack__(**options))
    reads.clear()
    for options, why in (({"copy": False}, "copy=False"), ({"dl_device": (2, 0)}, "CPU"), ({"stream": 1}, "CPU")):
        with pytest.raises(BufferError, match=why):
            recipe.__dlpack__(**options)
    assert not reads
    with pytest.raises(BufferError, match="copy=False"):
        np.from_dlpack(recipe, copy=False)


def test_recipes_are_no_memory():
    """Nothing that writes to memory takes a recipe for it."""
    recipe = described()
    with pytest.raises(TypeError, match="bytes-like"):
        memoryview(recipe)
    for write in (
        lambda: fi.normal(recipe, seed=0),
        lambda: recipe.fill(recipe),
        lambda: recipe.take([1], out=recipe.part(np.s_[:1])),
        lambda: fi.philox4x32(recipe, 0),
    ):
        with pytest.raises(TypeError, match="array"):
            write()
    with pytest.raises(TypeError, match="a tensor is needed, not Recipe"):
        ft.fill_(recipe, recipe)
