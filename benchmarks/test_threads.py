"""Scaling: each number of threads against a constant fill with as many threads, and against one thread."""

import os

import pytest

import fastinit as fi
from scale import laps, size

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
COUNTS = sorted({min(1 << k, CPUS) for k in range(10)})
KINDS = {
    "uniform": {},
    "normal": {"std": 0.02},
    "truncated_normal": {"lower": -2, "upper": 2},
    "constant": {"value": 0.5},
}


@pytest.mark.parametrize("contestant", ["fastinit", "constant fill", "1 thread"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["", " in cache"])
def test_threads(measure, memory, place, kind, threads, lap, contestant):
    """1 GiB, where memory may be the limit; and 4 MiB over and over, where it is not."""
    if (contestant == "1 thread" and threads == 1) or (contestant == "constant fill" and kind == "constant"):
        pytest.skip("itself")
    if place and kind == "constant":
        pytest.skip("nothing but the cache's own speed")
    out = memory[: 1 << 20] if place else memory
    name = "constant" if contestant == "constant fill" else kind
    recipe = fi.recipe(name, len(out), seed=0, **KINDS[name])
    count = 1 if contestant == "1 thread" else threads
    job = f"{kind}{place}, {threads} thread{'s' if threads > 1 else ''}"
    calls = size(64, 64, 1) if place else 1
    measure(job, contestant, lambda: recipe.fill(out, threads=count), out.nbytes, rounds=2, calls=calls)
