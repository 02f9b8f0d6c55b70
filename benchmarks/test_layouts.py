"""Normals into memory that is not one run of elements, against as many elements in one run, and against what memory
allows: constants in the same layout."""

import numpy as np
import pytest

import fastinit as fi
from scale import laps

LAYOUTS = {
    "Fortran order": lambda m: m.reshape(len(m) >> 13, -1).T,
    "every second column": lambda m: m.reshape(len(m) >> 13, -1)[:, ::2],
    "backwards": lambda m: m[::-1],
    "rows of 100 of 128": lambda m: m.reshape(-1, 128)[:, :100],
}


@pytest.mark.parametrize("contestant", ["fastinit", "one run", "constants, same layout"])
@pytest.mark.parametrize("lap", range(laps(5, 7)))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(measure, memory, layout, lap, contestant):
    memory = memory[: len(memory) // 4]
    view = LAYOUTS[layout](memory)
    out = memory[: view.size] if contestant == "one run" else view
    recipe = fi.recipe("zeros" if contestant == "constants, same layout" else "normal", out.shape, seed=0)
    measure(layout, contestant, lambda: recipe.fill(out), view.nbytes)


@pytest.mark.parametrize("contestant", ["fastinit", "one run", "constants, same layout"])
@pytest.mark.parametrize("lap", range(laps(5, 7)))
@pytest.mark.parametrize("columns", [128, 32])
def test_gathered_rows(measure, memory, columns, lap, contestant):
    """200,000 rows of an embedding table of 10^9 rows by 128, gathered at random: whole, or a shard of its columns."""
    rows = min(200_000, len(memory) // 128)
    out = memory[: rows * columns].reshape(rows, columns)
    ids = np.random.default_rng(0).integers(0, 10**9, rows)
    kind = "zeros" if contestant == "constants, same layout" else "uniform"
    table = fi.recipe(kind, (10**9, 128), seed=0).part(np.s_[:, :columns])
    gather = contestant != "one run"
    function = (lambda: table.take(ids, out=out)) if gather else (lambda: fi.uniform(out, seed=0))
    measure(f"gathered rows, {columns} columns", contestant, function, out.nbytes, rounds=15)
