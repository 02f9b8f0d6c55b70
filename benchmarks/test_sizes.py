"""float32 normals from 16 elements to 4 GiB, warm: what a call costs, and where a second thread begins to pay.

Besides the constant fill, which is the ceiling, the only peer is NumPy on one thread: it has no threads of its own.
"""

import numpy as np
import pytest

import fastinit as fi
from scale import laps, size

SIZES = [1 << k for k in range(4, size(30, 28, 20) + 1, 3)]
SIZES += size([1 << 30], [], [])
MOVED = size(1 << 24, 1 << 23, 1 << 10)  # elements a measurement, at least: small fills are repeated


@pytest.mark.parametrize("contestant", ["fastinit", "constant fill", "NumPy SFC64"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("elements", SIZES)
def test_size(measure, memory, threads, elements, lap, contestant):
    out = memory[:elements] if elements <= len(memory) else fi.zeros(elements)
    if contestant == "NumPy SFC64":
        method = np.random.Generator(np.random.SFC64(0)).standard_normal
        out = out[: 1 << 24]
        run = lambda: method(out=out, dtype=np.float32)  # noqa: E731
    else:
        kind = {"fastinit": ("normal", {"std": 0.02}), "constant fill": ("constant", {"value": 0.5})}[contestant]
        recipe = fi.recipe(kind[0], len(out), seed=0, **kind[1])
        run = lambda: recipe.fill(out, threads=threads)  # noqa: E731
    calls = min(max(1, MOVED // len(out)), size(20_000, 5000, 10))
    measure(f"{elements} elements", contestant, run, out.nbytes, calls=calls)


@pytest.mark.parametrize("contestant", ["fastinit", "NumPy SFC64"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
def test_a_whole_call(measure, lap, contestant):
    """The public function on 16 elements: arguments, recipe, key and fill."""
    out = np.empty(16, np.float32)
    method = np.random.Generator(np.random.SFC64(0)).standard_normal
    runs = {
        "fastinit": lambda: fi.normal(out, seed=0, name="w"),
        "NumPy SFC64": lambda: method(out=out, dtype=np.float32),
    }
    measure("16 elements by fi.normal", contestant, runs[contestant], out.nbytes, calls=size(5000, 5000, 10))


@pytest.mark.parametrize("contestant", ["fastinit", "1 thread"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("elements", [1 << k for k in range(15, 19)])
def test_crossover(measure, memory, threads, elements, lap, contestant):
    """csrc/fastinit.h, FI_SERIAL_BELOW: fills below it use one thread whatever is asked."""
    out, recipe = memory[:elements], fi.recipe("normal", elements, seed=0)
    asked = threads if contestant == "fastinit" else 1
    run = lambda: recipe.fill(out, threads=asked)  # noqa: E731
    measure(f"{elements} elements, all threads", contestant, run, out.nbytes, calls=size(64, 64, 1))
