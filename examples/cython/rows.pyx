# cython: language_level=3
"""Your own kernel on fastinit's values: rows of an embedding table, drawn on demand without the GIL, then summed.

    cythonize -i examples/cython/rows.pyx && python -c "import rows; print(rows.bag([3, 1, 3], 50_000_000, 64, seed=0))"

The table is ``fastinit.recipe("normal", (rows, width), std=0.02, seed=seed, name="emb")``; none of it needs to exist.
"""

from fastinit.kernels cimport FLOAT32, NORMAL, fill_range
from libc.stdint cimport int64_t, uint64_t

import operator

import fastinit
import numpy as np


def bag(indices, int64_t rows, int64_t width, seed=0, name="emb"):
    """The sum of some rows of the table."""
    key, counter = fastinit.stream_key(seed, name)
    cdef uint64_t k = key, stream = counter >> 64
    cdef double[4] parameters = [0.0, 0.02, 0.0, 0.0]  # mean, std
    cdef const int64_t[::1] wanted = np.array(list(map(operator.index, indices)), np.int64)
    cdef float[::1] row = np.empty(max(width, 1), np.float32)
    total = np.zeros(max(width, 1), np.float32)
    cdef float[::1] sums = total
    cdef const char *refused = NULL
    cdef int64_t i, j
    if width < 1 or not 0 <= rows < 2**62 // width:
        raise ValueError("no such table")
    if len(wanted) and not 0 <= min(wanted) <= max(wanted) < rows:
        raise IndexError("no such row")
    with nogil:
        for i in range(wanted.shape[0]):
            refused = fill_range(&row[0], width, wanted[i] * width, FLOAT32, NORMAL, parameters, k, stream, 1)
            if refused != NULL:
                break
            for j in range(width):
                sums[j] += row[j]
    if refused != NULL:
        raise ValueError(refused.decode())
    return total
