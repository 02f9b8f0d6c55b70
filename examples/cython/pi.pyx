# cython: language_level=3
"""Your own kernel on fastinit's bits: pi by counting points in a circle, from words of a named stream.

    cythonize -i examples/cython/pi.pyx && python -c "import pi; print(pi.estimate(10_000_000, seed=0))"

(in that folder; the module needs no headers of fastinit, only its .pxd files, which are installed with it)
"""

from fastinit.kernels cimport philox4x32
from libc.stdint cimport uint32_t, uint64_t

import fastinit


def estimate(uint64_t points, seed=0, name="pi"):
    """Four times the share of `points` random points of the unit square that lie in the quarter circle."""
    key, counter = fastinit.stream_key(seed, name)
    cdef uint64_t k = key, block = 0, stream = counter >> 64, inside = 0, done = 0
    cdef uint32_t words[1024]
    cdef double x, y
    cdef int i
    with nogil:
        while done < points:
            philox4x32(words, 1024, k, block, stream)  # 256 blocks of four words
            block += 256
            for i in range(0, 1024, 2):
                if done < points:
                    x, y = words[i] * 2.0**-32, words[i + 1] * 2.0**-32
                    inside += x * x + y * y < 1
                    done += 1
    return 4.0 * inside / points
