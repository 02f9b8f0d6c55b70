"""JAX on the CPU: compiled, with its default generator. It allocates what it returns, so it has no warm fill."""

import peers

try:
    import jax
except ImportError:
    jax = None

NAME = "JAX"
SLOW = dict.fromkeys(peers.DISTRIBUTIONS, 16)


def version():
    return None if jax is None else jax.__version__


def fill(memory, distribution, threads):
    return None


def fresh(elements, distribution, dtype):
    if dtype == "float64":  # JAX makes 32 bits of it, unless told otherwise for the whole process
        return None
    draw = {"uniform": jax.random.uniform, "normal": jax.random.normal}.get(distribution)
    cuts = peers.DISTRIBUTIONS[distribution]
    if draw is None:
        make = jax.jit(lambda key: jax.random.truncated_normal(key, *map(float, cuts), (elements,), dtype))
    else:
        make = jax.jit(lambda key: draw(key, (elements,), dtype))
    key = jax.random.key(0)
    return lambda: make(key).block_until_ready()


def orthogonal(shape, threads):
    initializer, key = jax.nn.initializers.orthogonal(), jax.random.key(0)
    return lambda: initializer(key, shape).block_until_ready()
