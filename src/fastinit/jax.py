"""fastinit for JAX: the factories of jax.nn.initializers, and sharded arrays of recipes.

``import fastinit.jax as init`` stands for ``jax.nn.initializers``, as in ``init.he_normal()(key, (512, 512))``. The key
is the seed. Names, arguments, axes, truncation and errors are JAX's; values are fastinit's, with and without ``jit``
and on every machine the same.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import DTYPES
from .cuda import why_unavailable
from .cuda.driver import installed
from .cuda.exporting import Export
from .extras import require
from .initializers import Initializer as _Description
from .initializers import init as _describe
from .questions import is_made_on_host
from .recipe import Part, Recipe
from .stream import seed_from_words

require("jax", "jax")

import jax
import jax.numpy as jnp
from jax.nn import initializers as _jax
from jax.nn.initializers import Initializer, constant, ones, zeros

__all__ = [
    "Initializer",
    "array",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "seed_of",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Axes = int | Sequence[int]


def seed_of(key: Any) -> int:
    """The seed that a PRNG key stands for: its words of 32 bits, the first one lowest.

    Parameters
    ----------
    key : Array
        One key, of ``jax.random.key`` or ``jax.random.PRNGKey``; not traced.

    Returns
    -------
    int
        ``sum(word << 32 * k for k, word in enumerate(jax.random.key_data(key)))``
    """
    words = jax.random.key_data(key)
    if words.ndim != 1:
        raise ValueError(f"one key is needed, not an array of keys of shape {words.shape[:-1]}")
    return seed_from_words(np.asarray(words))


def array(recipe: Part, sharding: Any) -> jax.Array:
    """A global array with a recipe's values, each shard made for the device where it lives.

    Parameters
    ----------
    recipe : Recipe or Part
        Gives shape and dtype; see `fastinit.recipe`.
    sharding : jax.sharding.Sharding
        Over any mesh, of several processes too: each makes the shards that it can address. Shards that are replicated
        are made once. Shards on CUDA devices are made there, where `fastinit.cuda` can, all but orthogonal ones.

    Returns
    -------
    Array

    Raises
    ------
    ValueError
        float64 without ``jax_enable_x64``.
    """
    if not isinstance(recipe, Part):
        raise TypeError(f"a Recipe is needed, not {type(recipe).__name__}: see fastinit.recipe")
    _check_dtype(recipe.dtype)
    made: dict[tuple[Any, ...], np.ndarray] = {}

    def shard(index: tuple[slice, ...]) -> np.ndarray:
        where = tuple(along.indices(n) for along, n in zip(index, recipe.shape))
        if where not in made:
            made[where] = recipe[index]
        return made[where]

    there = {device for device in sharding.addressable_devices if _is_filled_there(device, sharding, recipe)}
    if recipe.size == 0 or not there:
        return jax.make_array_from_callback(recipe.shape, sharding, shard)
    shards = [
        jax.dlpack.from_dlpack(Export(installed(), device.local_hardware_id, recipe.part(index)), device=device)
        if device in there
        else jax.device_put(shard(index), device)
        for device, index in sharding.addressable_devices_indices_map(recipe.shape).items()
    ]
    return jax.make_array_from_single_device_arrays(recipe.shape, sharding, shards)


def _is_filled_there(device: Any, sharding: Any, recipe: Part) -> bool:
    """Whether a shard is made in the device's own memory, without one in the CPU's."""
    in_its_memory = sharding.memory_kind in (None, device.default_memory().kind)
    return _is_cuda(device) and in_its_memory and not is_made_on_host(recipe) and not why_unavailable()


def _is_cuda(device: Any) -> bool:
    return device.platform in ("cuda", "gpu") and "NVIDIA" in device.device_kind.upper()


# ---- the factories ---------------------------------------------------------------------------------------------


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """U[0, scale); ``jax.nn.initializers.uniform``."""
    return _initializer(_jax.uniform(scale, dtype), "uniform", dtype, high=scale)


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """N(0, stddev^2); ``jax.nn.initializers.normal``."""
    return _initializer(_jax.normal(stddev, dtype), "normal", dtype, std=stddev)


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """N(0, stddev^2) cut at `lower` and `upper`, in units of stddev; ``jax.nn.initializers.truncated_normal``."""
    theirs = _jax.truncated_normal(stddev, dtype, lower, upper)
    return _initializer(theirs, "truncated_normal", dtype, std=stddev, lower=lower, upper=upper)


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Variance scale/fan; ``jax.nn.initializers.variance_scaling``.

    Parameters
    ----------
    scale : float
        Variance times fan.
    mode : str
        fan_in, fan_out, fan_avg or fan_geo_avg.
    distribution : str
        truncated_normal (cut at two standard deviations, widened so that the variance is the same), normal or uniform.
    in_axis, out_axis, batch_axis : int or sequence of int, optional
        Axes of the shape; those that are none of them are the receptive field.
    dtype : dtype, optional
        float32, float64 (with ``jax_enable_x64``), float16 or bfloat16. Complex ones are left to JAX.
    """
    theirs = _jax.variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)
    given = {"scale": scale, "mode": mode, "distribution": distribution}
    return _initializer(theirs, "variance_scaling", dtype, **given, **_axes(in_axis, out_axis, batch_axis))


def _named(name: str, title: str, **parameters: Any) -> Callable[..., Initializer]:
    def factory(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
        theirs = getattr(_jax, name)(in_axis, out_axis, batch_axis, dtype)
        return _initializer(theirs, name, dtype, **parameters, **_axes(in_axis, out_axis, batch_axis))

    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = f"{title}; ``jax.nn.initializers.{name}``. Arguments as for `variance_scaling`."
    return factory


_TRUNCATED = "truncated at two standard deviations"
glorot_uniform = _named("glorot_uniform", "Glorot (Xavier) uniform: variance 2/(fan_in + fan_out)")
glorot_normal = _named(
    "glorot_normal", f"Glorot (Xavier) normal: variance 2/(fan_in + fan_out), {_TRUNCATED}", truncated=True
)
he_uniform = _named("he_uniform", "He (Kaiming) uniform: variance 2/fan_in")
he_normal = _named("he_normal", f"He (Kaiming) normal: variance 2/fan_in, {_TRUNCATED}", truncated=True)
lecun_uniform = _named("lecun_uniform", "LeCun uniform: variance 1/fan_in")
lecun_normal = _named("lecun_normal", f"LeCun normal: variance 1/fan_in, {_TRUNCATED}", truncated=True)
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """Haar-distributed orthogonal matrices times `scale`; ``jax.nn.initializers.orthogonal``.

    `column_axis` has the columns, all other axes together are the rows; the shorter side is orthonormal. In bfloat16
    and float16 too.
    """
    theirs = _jax.orthogonal(scale, column_axis)
    return _initializer(theirs, "orthogonal", dtype, gain=scale, out_axis=column_axis)


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An orthogonal matrix at the centre of a convolution's kernel; ``jax.nn.initializers.delta_orthogonal``.

    The shape is (\\*kernel, in, out). Both values of `column_axis` give the same distribution.
    """
    return _initializer(_jax.delta_orthogonal(scale, column_axis), "delta_orthogonal", dtype, gain=scale)


# ---- what they share -------------------------------------------------------------------------------------------


def _axes(in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> dict[str, Any]:
    given = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    return {name: axes if isinstance(axes, int) else tuple(axes) for name, axes in given.items()}


def _initializer(theirs: Initializer, name: str, default_dtype: Any, **parameters: Any) -> Initializer:
    """JAX's initializer `theirs` with our values; JAX checks the arguments, by its own function, without filling."""

    def init(key: Any, shape: Any, dtype: Any = default_dtype, out_sharding: Any = None) -> jax.Array:
        dtype = float if dtype is None else dtype  # JAX's default float, whichever that is now
        if dtype is not float:
            if jnp.issubdtype(dtype, jnp.complexfloating):
                return theirs(key, shape, dtype, out_sharding)
            _check_dtype(jnp.dtype(dtype))
        expected = jax.eval_shape(lambda: theirs(key, shape, dtype, out_sharding))
        if expected.dtype.name not in DTYPES:
            raise TypeError(f"{expected.dtype.name} cannot be filled; known dtypes: {', '.join(DTYPES)}")
        description = _describe(name, **{name: _plain(name, value) for name, value in parameters.items()})
        words = jax.random.key_data(key)
        return filled(description, words, expected.shape, expected.dtype, key, out_sharding)

    return init


def filled(
    description: _Description,
    words: Any,
    shape: tuple[int, ...],
    dtype: Any,
    beside: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """The values of a description on the seed that `words` make: at once, or as part of what is being traced.

    They lie where `out_sharding` says, or where JAX would put what it draws from the key `beside`.
    """
    drawn = _Drawn(description, tuple(shape), jnp.dtype(dtype))
    _check_dtype(drawn.dtype)
    drawn.recipe(0)  # refuses parameters now, not when a compiled program runs
    words = jnp.asarray(words, jnp.uint32) | jnp.uint32(0)  # traced wherever anything is
    if isinstance(words, jax.core.Tracer) or _within_a_transform_over_a_mesh():
        made = _later(drawn, words)
        return made if out_sharding is None else jax.sharding.reshard(made, out_sharding)
    recipe, sharding = drawn.recipe(seed_from_words(np.asarray(words))), placement(beside, out_sharding)
    if sharding is None:
        return jax.device_put(recipe[...], may_alias=True)  # nobody else has the array
    return array(recipe, sharding)


def _within_a_transform_over_a_mesh() -> bool:
    """Where nothing is traced, as within grad, and yet JAX does not say over which devices the mesh is."""
    if jax.sharding.get_abstract_mesh().empty:
        return False
    try:
        jax.sharding.get_mesh()
    except ValueError:
        return True
    return False


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A tensor without its seed. Equal ones hash alike, so that JAX compiles their callbacks once."""

    description: _Description
    shape: tuple[int, ...]
    dtype: Any

    def recipe(self, seed: int) -> Recipe:
        return Recipe(self.description, self.shape, dtype=self.dtype, seed=seed)

    def __call__(self, words: Any) -> np.ndarray:
        """The callback: a tensor for each key, whose words are along the last axis."""
        words = np.asarray(words)
        batch = words.shape[:-1]
        if not batch:
            made = self.recipe(seed_from_words(words))[...]
        else:
            made = np.empty((*batch, *self.shape), self.dtype)
            for at in np.ndindex(batch):
                self.recipe(seed_from_words(words[at])).fill(made[at])
        return made.view(np.uint32).reshape(*made.shape, 2) if self.dtype == np.float64 else made


@functools.partial(jax.jit, static_argnums=0)
def _later(drawn: _Drawn, words: jax.Array) -> jax.Array:
    """The fill as part of a traced computation."""
    wide = drawn.dtype == np.float64  # as pairs of words: a callback may run where 64-bit types are off
    shape, dtype = ((*drawn.shape, 2), np.dtype(np.uint32)) if wide else (drawn.shape, drawn.dtype)
    made = jax.pure_callback(drawn, jax.ShapeDtypeStruct(shape, dtype), words, vmap_method="broadcast_all")
    # the barrier, since a callback that is all of a program would leave its result on one device only
    made = jax.lax.optimization_barrier(made)
    return jax.lax.bitcast_convert_type(made, drawn.dtype) if wide else made


def placement(beside: Any, given: Any) -> Any:
    """The sharding that is given, or that of the mesh in use, or of an array that was put somewhere; else None."""
    if isinstance(given, jax.sharding.NamedSharding) and isinstance(given.mesh, jax.sharding.Mesh):
        return given
    if not jax.sharding.get_abstract_mesh().empty:
        mesh = jax.sharding.get_mesh()
        spec = getattr(given, "spec", given)  # of a NamedSharding over an abstract mesh, or a PartitionSpec
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec() if spec is None else spec)
    if given is not None:
        raise ValueError(f"{given} does not say which devices: enter jax.set_mesh, or give a mesh of devices")
    if isinstance(beside, jax.Array) and beside.committed:
        return beside.sharding
    return None


def _plain(name: str, value: Any) -> Any:
    """A parameter as a Python number, where it is a scalar of NumPy or JAX."""
    if not hasattr(value, "dtype") or getattr(value, "ndim", None) != 0:
        return value
    return int(value) if "axis" in name else float(value)


def _check_dtype(dtype: Any) -> None:
    """JAX would silently make float32 of float64."""
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("float64 needs 64-bit types in JAX: jax.config.update('jax_enable_x64', True)")
