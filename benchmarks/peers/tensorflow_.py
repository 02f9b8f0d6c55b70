"""TensorFlow, by its stateless functions, which Keras's initializers call. It allocates what it returns."""

import os

import peers

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    import tensorflow
except ImportError:
    tensorflow = None

NAME = "TensorFlow"
SLOW = dict.fromkeys(peers.DISTRIBUTIONS, 16)
FUNCTIONS = {
    "uniform": "stateless_uniform",
    "normal": "stateless_normal",
    "truncated ±2": "stateless_truncated_normal",  # its cuts are always at 2
}


def version():
    return None if tensorflow is None else tensorflow.__version__


def fill(memory, distribution, threads):
    return None


def fresh(elements, distribution, dtype):
    if distribution not in FUNCTIONS:
        return None
    function = getattr(tensorflow.random, FUNCTIONS[distribution])
    return lambda: function((elements,), seed=(1, 2), dtype=dtype)


def orthogonal(shape, threads):
    initializer = tensorflow.keras.initializers.Orthogonal(seed=0)
    return lambda: initializer(shape)
