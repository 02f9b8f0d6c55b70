"""NumPy with its fastest generator, SFC64, one in each thread; LAPACK's QR for orthogonal matrices."""

import numpy as np

import peers

NAME = "NumPy SFC64"
SLOW = {"uniform": 4, "normal": 8}
METHODS = {"uniform": "random", "normal": "standard_normal"}


def version():
    return np.__version__


def fill(memory, distribution, threads):
    if distribution not in METHODS or memory.dtype.kind != "f" or memory.itemsize < 4:
        return None
    methods = [getattr(np.random.Generator(np.random.SFC64(i)), METHODS[distribution]) for i in range(threads)]
    return peers.in_threads(lambda i, share: methods[i](out=share, dtype=share.dtype), memory, threads)


def fresh(elements, distribution, dtype):
    if distribution not in METHODS or dtype not in ("float32", "float64"):
        return None
    method = getattr(np.random.Generator(np.random.SFC64(0)), METHODS[distribution])
    return lambda: method(elements, dtype=dtype)


def orthogonal(shape, threads):
    generator = np.random.default_rng(0)

    def run():
        q, r = np.linalg.qr(generator.standard_normal(shape, np.float32))
        return q * np.sign(np.diag(r))

    return run
