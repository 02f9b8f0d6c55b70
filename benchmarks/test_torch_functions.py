"""What single functions of the torch adapter cost beside torch's and NumPy's own."""

import numpy as np
import pytest

import fastinit as fi
from scale import laps, size

torch = pytest.importorskip("torch")
import fastinit.torch as ft  # noqa: E402  after the word about torch

SPARSE = size([(1024, 1024), (100, 20_000), (4096, 4096)], [(1024, 1024), (100, 20_000)], [(64, 64)])
SPECTRAL = size([(512, 512), (4096, 4096), (1024, 9216)], [(512, 512)], [(64, 64)])


@pytest.mark.parametrize("contestant", ["fastinit", "torch"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("shape", SPARSE, ids=str)
def test_sparse(measure, shape, lap, contestant):
    weight = torch.empty(shape)
    runs = {
        "fastinit": lambda: ft.sparse_(weight, 0.9, seed=0),
        "torch": lambda: torch.nn.init.sparse_(weight, 0.9),
    }
    measure(f"sparse_, {shape[0]} x {shape[1]}", contestant, runs[contestant], weight.nbytes, rounds=5)


@pytest.mark.parametrize("contestant", ["fastinit", "numpy.asarray"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_export(measure, lap, contestant):
    recipe = fi.recipe("normal", (2000, 64), seed=0)
    runs = {"fastinit": lambda: torch.as_tensor(recipe), "numpy.asarray": lambda: np.asarray(recipe)}
    measure("torch.as_tensor of a recipe", contestant, runs[contestant], recipe.nbytes, rounds=5, calls=10)


@pytest.mark.parametrize("contestant", ["fastinit", "torch.linalg.svdvals"])
@pytest.mark.parametrize("lap", range(laps(2, 3)))
@pytest.mark.parametrize("shape", SPECTRAL, ids=str)
def test_spectral(measure, shape, lap, contestant):
    """A spectral_norm filled with its u and v, against the singular values of its weight."""
    module = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(*shape, bias=False)).eval()
    matrix = ft.tensor(fi.recipe("he_normal", shape, seed=0, name="weight"))
    runs = {
        "fastinit": lambda: ft.init_module_(module, {"*": "he_normal"}),
        "torch.linalg.svdvals": lambda: torch.linalg.svdvals(matrix),
    }
    measure(f"spectral_norm, {shape[0]} x {shape[1]}", contestant, runs[contestant], matrix.nbytes, rounds=1)
