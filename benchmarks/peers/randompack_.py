"""Randompack with its fastest engine, one in each thread: a sequential stream, without slices or shards."""

import peers

try:
    import randompack
except ImportError:
    randompack = None

NAME = "Randompack"
SLOW = {}
METHODS = {"uniform": "unif", "normal": "normal"}


def version():
    from importlib.metadata import version

    return None if randompack is None else version("randompack")


def fill(memory, distribution, threads):
    if distribution not in METHODS or memory.dtype.kind != "f" or memory.itemsize < 4:
        return None
    generators = [randompack.Rng("x256++simd") for _ in range(threads)]
    for i, generator in enumerate(generators):
        generator.seed(1, spawn_key=[i])
    methods = [getattr(generator, METHODS[distribution]) for generator in generators]
    return peers.in_threads(lambda i, share: methods[i](out=share), memory, threads)


def fresh(elements, distribution, dtype):
    return None


def orthogonal(shape, threads):
    return None
