"""All 1,100,048,384 parameters of TinyLlama-1.1B, tensor by tensor, into one arena that is there (examples/tinyllama.py).

torch and NumPy fill their share of the layers only; speeds are per byte.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
from scale import laps, size

SCRIPT = Path(__file__).parent.parent / "examples" / "tinyllama.py"
LAYERS = {"fastinit": 22, "constant fill": 22, "NumPy PCG64": 1, "torch": 1}


@pytest.fixture(scope="module")
def tinyllama():
    spec = importlib.util.spec_from_file_location("tinyllama", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arena():
    return fi.zeros(size(1_100_048_384, 1_100_048_384, 200_000_000))


def fillers(contestant, listed, views):
    """One function a tensor."""
    if contestant == "fastinit":
        recipes = [fi.recipe(init, shape, seed=0, name=name) for name, _, shape, init in listed]
        return [lambda r=r, v=v: r.fill(v) for r, v in zip(recipes, views)]
    if contestant == "constant fill":
        return [lambda v=v: fi.constant(v, 0.5) for v in views]
    if contestant == "torch":
        torch = pytest.importorskip("torch")
        tensors = [torch.from_numpy(view) for view in views]
        return [lambda t=t: t.normal_(0, 0.02) for t in tensors]
    generator = np.random.default_rng(0)

    def numpys(view):
        generator.standard_normal(out=view, dtype=np.float32)
        view *= np.float32(0.02)

    return [lambda v=v: numpys(v) for v in views]


@pytest.mark.parametrize("contestant", LAYERS)
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_tinyllama(measure, tinyllama, arena, lap, contestant):
    listed = list(tinyllama.tensors(size(LAYERS[contestant], LAYERS[contestant], 1)))
    if LAYERS[contestant] == 1:  # a layer, without the vocabulary's two matrices
        listed = [tensor for tensor in listed if math.prod(tensor[2]) < 20_000_000]
    views = list(tinyllama.arena_views(arena, listed))
    calls = fillers(contestant, listed, views)

    def run():
        for call in calls:
            call()

    measure("TinyLlama-1.1B", contestant, run, sum(v.nbytes for v in views), rounds=1)
