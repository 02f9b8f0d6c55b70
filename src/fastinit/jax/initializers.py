"""The factories of jax.nn.initializers: JAX's checks, fastinit's values."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers as _jax
from jax.nn.initializers import Initializer

from ..arrays import DTYPES
from ..initializers import init as describe
from .arrays import check_dtype
from .drawing import filled

Axes = int | Sequence[int]


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """U[0, scale); ``jax.nn.initializers.uniform``."""
    return _initializer(_theirs("uniform", scale, dtype), "uniform", dtype, high=scale)


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """N(0, stddev^2); ``jax.nn.initializers.normal``."""
    return _initializer(_theirs("normal", stddev, dtype), "normal", dtype, std=stddev)


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """N(0, stddev^2) cut at `lower` and `upper`, in units of stddev; ``jax.nn.initializers.truncated_normal``."""
    theirs = _theirs("truncated_normal", stddev, dtype, lower, upper)
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
    theirs = _theirs("variance_scaling", scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)
    given = {"scale": scale, "mode": mode, "distribution": distribution}
    return _initializer(theirs, "variance_scaling", dtype, **given, **_axes(in_axis, out_axis, batch_axis))


def _named(name: str, title: str, **parameters: Any) -> Callable[..., Initializer]:
    def factory(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
        theirs = _theirs(name, in_axis, out_axis, batch_axis, dtype)
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
    theirs = _theirs("orthogonal", scale, column_axis)
    return _initializer(theirs, "orthogonal", dtype, gain=scale, out_axis=column_axis)


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An orthogonal matrix at the centre of a convolution's kernel; ``jax.nn.initializers.delta_orthogonal``.

    The shape is (\\*kernel, in, out). Both values of `column_axis` give the same distribution.
    """
    return _initializer(_theirs("delta_orthogonal", scale, column_axis), "delta_orthogonal", dtype, gain=scale)


# ---- what they share -------------------------------------------------------------------------------------------


def _axes(in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> dict[str, Any]:
    given = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    return {name: axes if isinstance(axes, int) else tuple(axes) for name, axes in given.items()}


class _Theirs(NamedTuple):
    """An initializer of JAX's, and the same for tracing: what has been traced of that, JAX keeps."""

    init: Initializer
    traced: Any


def _theirs(name: str, *args: Any) -> _Theirs:
    """What JAX's factory of that name makes of the arguments; the same for equal ones, as far as they can be told."""
    if not any(isinstance(arg, jax.Array) for arg in args):
        with contextlib.suppress(TypeError):  # a list of axes, say
            return _kept(name, args, repr(args))
    return _made(name, args)


@functools.lru_cache(maxsize=256)
def _kept(name: str, args: tuple[Any, ...], _: str) -> _Theirs:
    return _made(name, args)


def _made(name: str, args: tuple[Any, ...]) -> _Theirs:
    made = getattr(_jax, name)(*args)
    return _Theirs(made, jax.jit(made, static_argnums=(1, 2, 3)))


def _expected(theirs: _Theirs, key: Any, shape: Any, dtype: Any, out_sharding: Any) -> jax.ShapeDtypeStruct:
    """JAX checks the arguments, by its own function, without filling."""
    shape = tuple(shape) if isinstance(shape, list) else shape
    given = _as_argument(key)
    # to JAX, lengths that are equal are one argument, whatever their types are
    if given is None or type(shape) is not tuple or not _INT.issuperset(map(type, shape)):
        return jax.eval_shape(lambda: theirs.init(key, shape, dtype, out_sharding))
    return theirs.traced.eval_shape(given, shape, dtype, out_sharding)


_INT = frozenset({int})


def _as_argument(key: Any) -> jax.ShapeDtypeStruct | None:
    """What one key is to a traced function; None for what is being traced itself, and for what may be no key."""
    if not isinstance(key, jax.Array) or isinstance(key, jax.core.Tracer):
        return None
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        try:
            key = jax.random.wrap_key_data(key)  # settings say which keys these words are
        except (TypeError, ValueError):
            return None
    return jax.ShapeDtypeStruct((), key.dtype) if key.shape == () else None


def _initializer(theirs: _Theirs, name: str, default_dtype: Any, **parameters: Any) -> Initializer:
    """JAX's initializer `theirs` with our values."""

    def init(key: Any, shape: Any, dtype: Any = default_dtype, out_sharding: Any = None) -> jax.Array:
        dtype = float if dtype is None else dtype  # JAX's default float, whichever that is now
        if dtype is not float:
            if jnp.issubdtype(dtype, jnp.complexfloating):
                return theirs.init(key, shape, dtype, out_sharding)
            check_dtype(jnp.dtype(dtype))
        expected = _expected(theirs, key, shape, dtype, out_sharding)
        if expected.dtype.name not in DTYPES:
            raise TypeError(f"{expected.dtype.name} cannot be filled; known dtypes: {', '.join(DTYPES)}")
        description = describe(name, **{name: _plain(name, value) for name, value in parameters.items()})
        words = jax.random.key_data(key)  # refuses also words as a key, where settings do
        return filled(description, words, expected.shape, expected.dtype, key, out_sharding)

    return init


def _plain(name: str, value: Any) -> Any:
    """A parameter as a Python number, where it is a scalar of NumPy or JAX."""
    if not hasattr(value, "dtype") or getattr(value, "ndim", None) != 0:
        return value
    return int(value) if "axis" in name else float(value)
