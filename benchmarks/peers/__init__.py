"""The contestants: ours, the ceiling that memory sets, and the libraries that people use instead. One file each.

A file in this folder is a contestant. It has

    NAME                                     what tables and pictures call it
    version()                                of the library, or None where it is not installed
    fill(memory, distribution, threads)      a function that fills `memory` once more at each call, or None
    fresh(elements, distribution, dtype)     a function that returns new memory filled, as users get it, or None
    orthogonal(shape, threads)               a function that makes an orthogonal float32 matrix, or None
    SLOW                                     distribution -> the factor by which its share of the memory is smaller

`distribution` is one of DISTRIBUTIONS. `memory` is a flat array, uint16 where bfloat16 is meant (`dtype_of`). Each
library is used as its users would at its best: two threads with a generator each where its generators do not share.
"""

import importlib
import pkgutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np

#: name -> (lower, upper) cuts in standard deviations, where there are some
DISTRIBUTIONS = {
    "uniform": None,
    "normal": None,
    "truncated ±2": (-2, 2),
    "truncated ±3": (-3, 3),
    "truncated [4, 6]": (4, 6),
}


def installed():
    """Every contestant whose library is there, by name: ours first, then the ceiling."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"peers.{name}") for name in names]
    found = {peer.NAME: peer for peer in found if peer.version() is not None}
    first = ["fastinit", "constant fill"]
    return {name: found[name] for name in first} | {name: found[name] for name in found if name not in first}


def dtype_of(memory):
    return "bfloat16" if memory.dtype == np.uint16 else memory.dtype.name


def in_threads(function, memory, threads):
    """`function(i, its share of memory)` in each of `threads` Python threads that are there before."""
    bounds = [len(memory) * i // threads for i in range(threads + 1)]
    shares = [memory[low:high] for low, high in zip(bounds, bounds[1:])]
    pool = ThreadPoolExecutor(threads)
    list(pool.map(int, range(threads)))
    return lambda: list(pool.map(function, range(threads), shares))
