"""Normals into memory that is not one run of elements, against as many elements in one run."""

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


@pytest.mark.parametrize("contestant", ["fastinit", "one run"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(measure, memory, layout, lap, contestant):
    memory = memory[: len(memory) // 4]
    view = LAYOUTS[layout](memory)
    out = view if contestant == "fastinit" else memory[: view.size]
    recipe = fi.recipe("normal", out.shape, seed=0)
    measure(layout, contestant, lambda: recipe.fill(out), view.nbytes)


@pytest.mark.parametrize("contestant", ["fastinit", "one run"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("columns", [128, 32])
def test_gathered_rows(measure, memory, columns, lap, contestant):
    """200,000 rows of an embedding table of 10^9 rows by 128, gathered at random: whole, or a shard of its columns."""
    rows = min(200_000, len(memory) // 128)
    table = fi.recipe("uniform", (10**9, 128), seed=0).part(np.s_[:, :columns])
    out = memory[: rows * columns].reshape(rows, columns)
    ids = np.random.default_rng(0).integers(0, 10**9, rows)
    runs = {"fastinit": lambda: table.take(ids, out=out), "one run": lambda: fi.uniform(out, seed=0)}
    measure(f"gathered rows, {columns} columns", contestant, runs[contestant], out.nbytes)
