"""Small fills: what a call costs, and where a second thread begins to pay."""

import timeit

import numpy as np
import pytest
from quick import size

import fastinit as fi

CALLS = size(1000, 10)


def repeated(function):
    return lambda: timeit.repeat(function, number=CALLS, repeat=1)


@pytest.mark.parametrize("who", ["fastinit", "numpy"])
def test_sixteen_elements_in_place(measure, who):
    out = np.empty(16, np.float32)
    generator = np.random.default_rng(0)
    ours = repeated(lambda: fi.normal(out, seed=0, name="w"))
    theirs = repeated(lambda: generator.standard_normal(out=out, dtype=np.float32))
    measure("16 elements", who, ours if who == "fastinit" else theirs, CALLS * 16, rounds=21)


@pytest.mark.parametrize("who", ["fastinit", "numpy"])
def test_sixteen_elements_of_a_recipe(measure, who):
    out = np.empty(16, np.float32)
    recipe = fi.recipe("normal", 16, seed=0, name="w")
    generator = np.random.default_rng(0)
    ours = repeated(lambda: recipe.fill(out))
    theirs = repeated(lambda: generator.standard_normal(out=out, dtype=np.float32))
    measure("16 elements, recipe at hand", who, ours if who == "fastinit" else theirs, CALLS * 16, rounds=21)


@pytest.mark.parametrize("elements", [1 << k for k in range(14, 22)])
@pytest.mark.parametrize("threads", [2, 1])
def test_crossover(measure, elements, threads):
    """csrc/parallel.c, SERIAL_BELOW: sizes below it use one thread whatever is asked."""
    out = np.empty(elements, np.float32)
    recipe = fi.recipe("normal", elements, seed=0)
    calls = max(1, (1 << 22) // elements)
    who = "fastinit" if threads == 2 else "1 thread"

    def run():
        for _ in range(calls):
            recipe.fill(out, threads=threads)

    measure(f"normal, {elements} elements", who, run, elements * calls, rounds=21)
