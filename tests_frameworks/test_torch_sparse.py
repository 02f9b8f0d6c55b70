"""sparse_ and dirac_: the zeros of one by an independent slow definition, the other as torch has it."""

import math

import numpy as np
import pytest
import torch

import fastinit as fi
import fastinit.torch as init
from conftest import DTYPES, same
from fastinit.kinds import sparse


def slowly(shape, sparsity, dtype, **key):
    """Normals, and in every column zeros where its uniforms are least, one column after the other."""
    rows, columns = shape
    made = fi.normal(shape, std=0.01, dtype=dtype, **key)
    order = fi.uniform((columns, rows), dtype="float64", seed=key["seed"], name=f"{key['name']}/zeros")
    for column in range(columns):
        for row in sorted(range(rows), key=lambda row: order[column, row])[: math.ceil(sparsity * rows)]:
            made[row, column] = 0
    return made


@pytest.mark.parametrize("sparsity", [-0.3, 0, 0.1, 0.9, 1, 1.5])
@pytest.mark.parametrize("shape", [(40, 30), (1, 5), (7, 1), (3, 200)])
@pytest.mark.parametrize("block", [1, 64, 1 << 19])
def test_zeros_are_where_uniforms_are_least(shape, sparsity, block, monkeypatch):
    monkeypatch.setattr(sparse, "BLOCK", block)
    tensor = init.sparse_(torch.full(shape, 7.0), sparsity, seed=2, name="w")
    assert same(tensor, slowly(shape, sparsity, "float32", seed=2, name="w"))


def test_dtypes_and_layouts(dtype):
    tensor = torch.full((30, 80), 7.0, dtype=dtype).T[::2]
    init.sparse_(tensor, 0.4, seed=2, name="w")
    assert same(tensor, slowly((40, 30), 0.4, DTYPES[dtype], seed=2, name="w"))


@pytest.mark.parametrize("count", range(9))
def test_the_first_of_equal_ones_is_taken(count):
    random = np.random.default_rng(0)
    numbers = random.integers(0, 4, (500, 8)).astype("f8")
    chosen = sparse.least(numbers, count)
    expected = np.argsort(numbers, axis=1, kind="stable")[:, :count]
    assert (np.sort(expected, axis=1) == np.nonzero(chosen)[1].reshape(len(numbers), count)).all()


@pytest.mark.parametrize(("shape", "groups"), [((6, 4, 3), 1), ((6, 4, 3, 4), 3), ((4, 8, 1, 2, 5), 2), ((0, 4, 3), 1)])
def test_dirac_is_torchs(shape, groups, dtype):
    ours, theirs = (torch.full(shape, 7.0, dtype=dtype) for _ in range(2))
    assert init.dirac_(ours, groups) is ours
    assert same(ours, torch.nn.init.dirac_(theirs, groups))
    assert same(init.dirac_(ours.transpose(0, 1).contiguous().transpose(0, 1), groups), theirs)


def test_dirac_leaves_to_torch_what_cannot_be_filled():
    assert same(init.dirac_(torch.full((3, 3, 3), 7)), torch.nn.init.dirac_(torch.full((3, 3, 3), 7)))
    assert init.dirac_(torch.empty(3, 3, 3, device="meta")).is_meta


def test_dirac_draws_no_seed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    init.dirac_(torch.empty(3, 3, 3))
    assert (torch.get_rng_state() == before).all()
