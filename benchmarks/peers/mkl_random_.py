"""Intel's mkl_random with the generator that was the fastest here, SFMT19937. It returns new float64 arrays."""

try:
    import mkl_random
except ImportError:
    mkl_random = None

NAME = "mkl_random"
SLOW = {"uniform": 4, "normal": 8}


def version():
    return None if mkl_random is None else mkl_random.__version__


def fill(memory, distribution, threads):
    return None


def fresh(elements, distribution, dtype):
    if distribution not in SLOW or dtype != "float64":
        return None
    state = mkl_random.MKLRandomState(0, brng="SFMT19937")
    if distribution == "uniform":
        return lambda: state.uniform(-0.05, 0.05, elements)
    return lambda: state.normal(0.0, 0.02, elements, method="ICDF")


def orthogonal(shape, threads):
    return None
