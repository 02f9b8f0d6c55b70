"""Fills by distribution and dtype with all threads: of memory whose pages are there, and of fresh memory.

Slow peers fill less of the memory, which suits them: it may stay in the cache. Speeds are per byte.
"""

import pytest

from peers import DISTRIBUTIONS
from scale import laps, size

DTYPES = ["float32", "bfloat16", "float64", "float16"]
JOBS = [(distribution, "float32") for distribution in DISTRIBUTIONS]
JOBS += [("normal", dtype) for dtype in DTYPES[1:]]
JOBS += size([(d, t) for d in ("uniform", "truncated ±2") for t in DTYPES[1:]], [], [])
FRESH = size(1 << 28, 1 << 26, 1 << 20)  # elements


@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize(("distribution", "dtype"), JOBS)
def test_warm(measure, memory, threads, distribution, dtype, peer, lap):
    view = memory.view("uint16" if dtype == "bfloat16" else dtype)
    view = view[: len(view) // peer.SLOW.get(distribution, 1)]
    run = peer.fill(view, distribution, threads)
    if run is None:
        pytest.skip("not offered")
    slow = DISTRIBUTIONS[distribution] and peer.SLOW  # seconds each
    measure(f"{distribution} {dtype}", peer.NAME, run, view.nbytes, rounds=1 if slow else 3, warm=not slow)


@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("dtype", size(["float32", "float64"], ["float32"], ["float32"]))
@pytest.mark.parametrize("distribution", size(list(DISTRIBUTIONS), ["uniform", "normal", "truncated ±2"], ["normal"]))
def test_fresh(measure, distribution, dtype, peer, lap):
    elements = FRESH // peer.SLOW.get(distribution, 1)
    run = peer.fresh(elements, distribution, dtype)
    if run is None:
        pytest.skip("not offered")
    nbytes = elements * {"float32": 4, "float64": 8}[dtype]
    measure(f"{distribution} {dtype}, fresh memory", peer.NAME, run, nbytes, rounds=2)
