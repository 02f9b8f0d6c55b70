"""fastinit for Keras: initializers of keras.initializers, filled by fastinit on every backend.

Classes, arguments, configurations and errors are Keras's own, by inheritance: "normal" ones truncate, the fan of one
axis is its length, an initializer with an integer seed makes the same values each time it is called. To load a saved
model that has them, import this module first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import DTYPES
from .extras import require
from .initializers import Initializer as _Description
from .initializers import init as _describe
from .recipe import Recipe
from .stream import seed_from_words

require("keras", "keras")

import keras
from keras import initializers as _keras
from keras.src.initializers.random_initializers import compute_fans  # what Keras calls a fan

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
]

_registered = keras.saving.register_keras_serializable(package="fastinit")


class _Filled:
    """What the initializers here do in the place of Keras's: draw by fastinit, and put shards where a layout says."""

    seed: Any
    _describe: Any  # the initializer that a shape asks for; each class has its own

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """A tensor of the backend.

        Parameters
        ----------
        shape : tuple of int
            Its shape.
        dtype : str, optional
            float32, float64, float16 or bfloat16; ``keras.config.floatx()`` unless given.
        layout : optional
            A ``keras.distribution.TensorLayout`` or the backend's own, over which the tensor is distributed.

        Raises
        ------
        TypeError
            Another dtype.
        """
        dtype = keras.backend.standardize_dtype(dtype)
        if dtype not in DTYPES:
            raise TypeError(f"{type(self).__name__} fills {', '.join(DTYPES)}, not {dtype}")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return _tensor(self._describe(shape), _words(getattr(self, "seed", 0)), shape, dtype, layout)


@_registered
class RandomNormal(_Filled, _keras.RandomNormal):  # type: ignore[misc]
    """N(mean, stddev^2); ``keras.initializers.RandomNormal``."""

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        return _describe("normal", mean=_number(self.mean), std=_number(self.stddev))


@_registered
class TruncatedNormal(_Filled, _keras.TruncatedNormal):  # type: ignore[misc]
    """N(mean, stddev^2) cut at two stddev; ``keras.initializers.TruncatedNormal``."""

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        return _describe("truncated_normal", mean=_number(self.mean), std=_number(self.stddev))


@_registered
class RandomUniform(_Filled, _keras.RandomUniform):  # type: ignore[misc]
    """U[minval, maxval); ``keras.initializers.RandomUniform``."""

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        return _describe("uniform", low=_number(self.minval), high=_number(self.maxval))


class _Scaled(_Filled):
    scale: float
    mode: str
    distribution: str
    input_axes: Any
    output_axes: Any

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        fan_in, fan_out = (max(1, fan) for fan in compute_fans(shape, self.input_axes, self.output_axes))
        distribution = {"untruncated_normal": "normal"}.get(self.distribution, self.distribution)
        return _describe(
            "variance_scaling",
            scale=_number(self.scale),
            mode=self.mode,
            distribution=distribution,
            fan_in=fan_in,
            fan_out=fan_out,
        )


@_registered
class VarianceScaling(_Scaled, _keras.VarianceScaling):  # type: ignore[misc]
    """Variance scale/fan; ``keras.initializers.VarianceScaling``."""


@_registered
class GlorotUniform(_Scaled, _keras.GlorotUniform):  # type: ignore[misc]
    """Glorot uniform: variance 2/(fan_in + fan_out); ``keras.initializers.GlorotUniform``."""


@_registered
class GlorotNormal(_Scaled, _keras.GlorotNormal):  # type: ignore[misc]
    """Glorot normal, truncated: variance 2/(fan_in + fan_out); ``keras.initializers.GlorotNormal``."""


@_registered
class HeUniform(_Scaled, _keras.HeUniform):  # type: ignore[misc]
    """He uniform: variance 2/fan_in; ``keras.initializers.HeUniform``."""


@_registered
class HeNormal(_Scaled, _keras.HeNormal):  # type: ignore[misc]
    """He normal, truncated: variance 2/fan_in; ``keras.initializers.HeNormal``."""


@_registered
class LecunUniform(_Scaled, _keras.LecunUniform):  # type: ignore[misc]
    """LeCun uniform: variance 1/fan_in; ``keras.initializers.LecunUniform``."""


@_registered
class LecunNormal(_Scaled, _keras.LecunNormal):  # type: ignore[misc]
    """LeCun normal, truncated: variance 1/fan_in; ``keras.initializers.LecunNormal``."""


@_registered
class Orthogonal(_Filled, _keras.Orthogonal):  # type: ignore[misc]
    """Haar-distributed, the last axis has the columns; ``keras.initializers.Orthogonal``."""

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        if len(shape) < 2:
            raise ValueError(
                "The tensor to initialize must be at least two-dimensional. "
                f"Received: shape={shape} of rank {len(shape)}."
            )
        return _describe("orthogonal", gain=_number(self.gain))


@_registered
class Identity(_Filled, _keras.Identity):  # type: ignore[misc]
    """``gain`` on the diagonal; ``keras.initializers.Identity``. Dtypes that fastinit does not fill are Keras's."""

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """A tensor of the backend; see `RandomNormal`."""
        if len(shape) == 2 and keras.backend.standardize_dtype(dtype) in DTYPES:
            return super().__call__(shape, dtype, layout)
        return _distributed(lambda: _keras.Identity.__call__(self, shape, dtype), layout)

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        return _describe("eye", gain=_number(self.gain))


@_registered
class Constant(_Filled, _keras.Constant):  # type: ignore[misc]
    """One value; ``keras.initializers.Constant``. Arrays, and dtypes that fastinit does not fill, are Keras's."""

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """A tensor of the backend; see `RandomNormal`."""
        if isinstance(self.value, (int, float)) and keras.backend.standardize_dtype(dtype) in DTYPES:
            return super().__call__(shape, dtype, layout)
        return _distributed(lambda: _keras.Constant.__call__(self, shape, dtype), layout)

    def _describe(self, shape: tuple[int, ...]) -> _Description:
        return _describe("constant", value=_number(self.value))


# ---- seeds and tensors -----------------------------------------------------------------------------------------


def _number(value: Any) -> float:
    """A Python number, or a scalar tensor."""
    return float(value if isinstance(value, (int, float)) else keras.ops.convert_to_numpy(value))


def _words(seed: Any) -> Any:
    """The words of 32 bits, lowest first, that make the seed of a recipe.

    Of an integer: its own; of a negative one the lowest 32 bits. Of a SeedGenerator: its two, seed and count, of 32
    bits each, so that the first draw equals that of the integer.
    """
    if isinstance(seed, keras.random.SeedGenerator):
        with _own_devices():
            return seed.next()
    seed = seed % (1 << 32) if seed < 0 else seed
    return np.array([seed >> 32 * k & 0xFFFFFFFF for k in range(max(2, -(-seed.bit_length() // 32)))], np.uint32)


def _recipe(description: _Description, words: Any, shape: tuple[int, ...], dtype: str) -> Recipe:
    return Recipe(description, shape, dtype=dtype, seed=seed_from_words(np.asarray(words)))


def _tensor(description: _Description, words: Any, shape: tuple[int, ...], dtype: str, layout: Any) -> Any:
    """The backend's tensor of these values, on the devices of `layout` if there is one."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        from .jax.drawing import filled

        words = words if isinstance(words, jax.core.Tracer) else np.asarray(words)  # not spread over a mesh
        return filled(description, words, shape, dtype, out_sharding=getattr(layout, "backend_layout", layout))
    if backend == "torch":
        from .torch import tensor

        words = keras.ops.convert_to_numpy(words)
        made = keras.ops.convert_to_tensor(tensor(_recipe(description, words, shape, dtype)))
    elif backend == "tensorflow":
        import tensorflow as tf

        def fill(words: Any) -> np.ndarray:
            return _recipe(description, words, shape, dtype)[...]

        if tf.is_symbolic_tensor(words):  # of a SeedGenerator within tf.function
            made = tf.ensure_shape(tf.numpy_function(fill, [words], dtype, stateful=False), shape)
        else:
            made = tf.convert_to_tensor(fill(words))
    else:
        made = keras.ops.convert_to_tensor(_recipe(description, words, shape, dtype)[...], dtype)
    return _distributed(lambda: made, layout)


def _distributed(make: Callable[[], Any], layout: Any) -> Any:
    """What is made as on one device, where a layout says."""
    if layout is None:
        return make()
    if keras.backend.backend() == "jax":
        import jax

        from .jax.arrays import placement

        with _own_devices():
            made = make()
        return jax.device_put(made, placement(None, getattr(layout, "backend_layout", layout)))
    return keras.distribution.distribute_tensor(make(), layout)


def _own_devices() -> Any:
    """On JAX, Keras calls an initializer with a layout within the layout's mesh, where other arrays cannot be used."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))
