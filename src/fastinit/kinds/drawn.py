"""Tensors whose every element is drawn by itself."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

from .. import _kernels
from ..initializers.names import Initializer
from ..initializers.parameters import kernel_values
from ..initializers.scales import Distribution, counted_axes, resolve_axes, scaled, truncated_std

#: How far an element of a unit vector may lie beyond 1 by rounding, generously.
ORTHOGONAL_SLACK = 2.0**-14

#: Half the smallest positive value of the dtypes whose range is less than float32's, or that are rounded from it.
_FLUSHED = {"float16": 2.0**-25, "bfloat16": 2.0**-134}


@functools.lru_cache(maxsize=256)
def distribution(initializer: Initializer, shape: tuple[int, ...]) -> Distribution:
    """What `initializer` draws for a tensor of that global shape.

    `eye` is not drawn: its kind is "eye", its parameter the gain.
    """
    with _kernels.DefaultFloatEnvironment():
        drawn = _distribution(initializer.name, initializer.parameters, shape)
    return drawn._replace(std=abs(drawn.std))  # gains can be negative, or -0.0


def _distribution(name: str, p: dict[str, Any], shape: tuple[int, ...]) -> Distribution:
    if name in ("constant", "zeros", "ones"):
        return Distribution("constant", (p.get("value", float(name == "ones")),), 0.0)
    if name == "eye":
        if len(shape) != 2:
            raise ValueError(f"eye needs two axes, got shape {shape}")
        size = shape[0] * shape[1]
        density = min(shape) / size if size else 0.0
        return Distribution("eye", (p["gain"],), p["gain"] * math.sqrt(density * (1 - density)))
    if name in ("orthogonal", "delta_orthogonal"):
        return _orthogonal(name, p, shape)
    if name == "uniform":
        return Distribution("uniform", (p["low"], p["high"]), (p["high"] / 2 - p["low"] / 2) / math.sqrt(3.0))
    if name == "normal":
        return Distribution("normal", (p["mean"], p["std"]), p["std"])
    if name == "truncated_normal":
        parameters = (p["mean"], p["std"], p["lower"], p["upper"])
        return Distribution("truncated_normal", parameters, p["std"] * truncated_std(p["lower"], p["upper"]))
    return scaled(name, p, shape)


def _orthogonal(name: str, p: dict[str, Any], shape: tuple[int, ...]) -> Distribution:
    """ValueError for axes that leave no matrix."""
    if name == "orthogonal" and len(shape) < 2:
        raise ValueError(f"orthogonal needs two axes or more, got shape {shape}")
    columns = resolve_axes(shape, p["out_axis"], "out_axis")
    rows = resolve_axes(shape, p["in_axis"], "in_axis") if p["in_axis"] is not None else ()
    if len({*rows, *columns}) < len(rows) + len(columns):
        raise ValueError(f"{name}: in_axis and out_axis share an axis of shape {shape}")
    others = [axis for axis in range(len(shape)) if axis not in columns]
    if not columns or not others:
        raise ValueError(f"{name}: out_axis={p['out_axis']} leaves no matrix of shape {shape}")
    n, size = math.prod(shape[axis] for axis in columns), math.prod(shape)
    if name == "orthogonal":
        longer = max(n, size // n if n else 0)
        return Distribution("orthogonal", (p["gain"],), p["gain"] / math.sqrt(longer) if size else 0.0)
    m = math.prod(shape[axis] for axis in rows)
    if not rows or len(rows) + len(columns) == len(shape):
        raise ValueError(f"delta_orthogonal needs in, out and spatial axes, got shape {shape}; see orthogonal")
    if m > n:
        raise ValueError(f"delta_orthogonal needs in <= out channels, got {m} and {n}")
    return Distribution("orthogonal", (p["gain"],), p["gain"] * math.sqrt(m / size) if size else 0.0)


def prepare(initializer: Initializer, shape: tuple[int, ...], dtype: str, key: int, stream: int) -> _kernels.Values:
    """The kernels' form of a tensor's values; ValueError where the dtype cannot hold the parameters."""
    kind, parameters, _ = distribution(initializer, shape)
    if kind == "orthogonal":  # the Gaussian that it is made of, and the gain in its own dtype
        gain = parameters[0]
        if math.isinf(gain * (1 + ORTHOGONAL_SLACK)):
            raise ValueError(f"{initializer.name}: gain={gain} overflows the dtype")
        kernel_values(initializer.name, "constant", dtype, (gain * (1 + ORTHOGONAL_SLACK),))
        if gain != 0 and dtype != "float64" and _kernels.Values("constant", "float32", (gain,), 0, 0).bounds[0] == 0:
            raise ValueError(f"{initializer.name}: gain={gain} vanishes in float32")
        working = "float64" if dtype == "float64" else "float32"
        return kernel_values(initializer.name, "normal", working, (0.0, 1.0), key, stream)
    if "normal" in kind and 0 < parameters[1] <= _FLUSHED.get(dtype, 0.0):
        warnings.warn(
            f"{initializer.name}: {dtype} flushes std={parameters[1]} to zero: most values will be the mean, rounded",
            RuntimeWarning,
            stacklevel=2,
        )
    return kernel_values(initializer.name, "constant" if kind == "eye" else kind, dtype, parameters, key, stream)


def resolved_parameters(initializer: Initializer, shape: tuple[int, ...]) -> dict[str, Any]:
    """All parameters for a tensor of that shape: axes counted from 0, those of `orthogonal` spelled out."""
    p = counted_axes(shape, initializer.parameters)
    if initializer.name == "orthogonal":
        p["in_axis"] = tuple(axis for axis in range(len(shape)) if axis not in p["out_axis"])
    return p
