"""What a call costs beside its values: tensors of a few elements, by each way to fill them, against the framework's own.

Rates are calls; what is made once and kept for the calls that follow is there.
"""

import numpy as np
import pytest

import fastinit as fi
from scale import laps, size

CALLS = size(2000, 1000, 5)


def functions(out):
    """Functions of 16 elements, and what NumPy's generator needs for as many."""
    generator = np.random.Generator(np.random.SFC64(0))
    matrix, recipe = out.reshape(4, 4), fi.recipe("normal", 16, seed=0)
    ours = {
        "normal": lambda: fi.normal(out, seed=0, name="w"),
        "uniform": lambda: fi.uniform(out, -1.0, 1.0, seed=0, name="w"),
        "truncated_normal": lambda: fi.truncated_normal(out, seed=0, name="w"),
        "he_normal": lambda: fi.he_normal(matrix, seed=0, name="w"),
        "glorot_uniform": lambda: fi.glorot_uniform(matrix, seed=0, name="w"),
        "lecun_normal": lambda: fi.lecun_normal(matrix, seed=0, name="w"),
        "recipe": lambda: fi.recipe("he_normal", (4, 4), seed=0, name="w", in_axis=1, out_axis=0),
        "Recipe.fill": lambda: recipe.fill(out),
    }
    return ours, lambda: generator.standard_normal(out=out, dtype=np.float32)


@pytest.mark.parametrize("contestant", ["fastinit", "NumPy standard_normal"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("name", functions(np.empty(16, np.float32))[0])
def test_function(measure, name, lap, contestant):
    ours, numpys = functions(np.empty(16, np.float32))
    run = ours[name] if contestant == "fastinit" else numpys
    measure(f"{name}, 16 elements", contestant, run, 1, "calls", rounds=5, calls=CALLS)


TORCH = {
    "normal_": lambda init, w, key: init.normal_(w, **key),
    "uniform_": lambda init, w, key: init.uniform_(w, -1.0, 1.0, **key),
    "trunc_normal_": lambda init, w, key: init.trunc_normal_(w, **key),
    "xavier_uniform_": lambda init, w, key: init.xavier_uniform_(w, **key),
    "kaiming_uniform_": lambda init, w, key: init.kaiming_uniform_(w, 5**0.5, **key),
}


@pytest.mark.parametrize("contestant", ["fastinit", "torch"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("key", [{}, {"seed": 0}], ids=["", "seed"])
@pytest.mark.parametrize("name", TORCH)
def test_torch(measure, name, key, lap, contestant):
    torch = pytest.importorskip("torch")
    import fastinit.torch as ft

    w, call = torch.empty(4, 4), TORCH[name]
    runs = {"fastinit": lambda: call(ft, w, key), "torch": lambda: call(torch.nn.init, w, {})}
    measure(
        f"torch, {name}{' by seed' if key else ''}, 4 x 4", contestant, runs[contestant], 1, "calls", 5, calls=CALLS
    )


@pytest.mark.parametrize("contestant", ["fastinit", "torch"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("name", ["Linear(8, 8)", "Conv2d(2, 2, 3)", "Embedding(4, 4)"])
def test_module(measure, name, lap, contestant):
    """A module's constructor within `intercept`, and without."""
    torch = pytest.importorskip("torch")
    import fastinit.torch as ft

    kind, arguments = getattr(torch.nn, name.partition("(")[0]), eval("(" + name.partition("(")[2])
    run = lambda: kind(*arguments)  # noqa: E731
    if contestant == "torch":
        measure(f"torch, {name} intercepted", contestant, run, 1, "calls", 5, calls=CALLS)
    else:
        with ft.intercept(0):
            measure(f"torch, {name} intercepted", contestant, run, 1, "calls", 5, calls=CALLS)


@pytest.mark.parametrize("contestant", ["fastinit", "JAX"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "he_normal", "glorot_uniform", "orthogonal"])
def test_jax(measure, name, lap, contestant):
    """An initializer made and called, eagerly."""
    jax = pytest.importorskip("jax")
    import fastinit.jax as init

    module = init if contestant == "fastinit" else jax.nn.initializers
    factory, key = getattr(module, name), jax.random.key(0)
    run = lambda: factory()(key, (4, 4)).block_until_ready()  # noqa: E731
    measure(f"JAX, {name}, 4 x 4", contestant, run, 1, "calls", 5, calls=max(1, CALLS // 10))
