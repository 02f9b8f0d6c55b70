"""How far values spread: fans and axes, variance scaling, the standard deviation of truncated normals."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Standard deviation of the standard normal cut at -2 and 2:
#: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)). JAX and Keras use the same digits.
TRUNCATED_STD = 0.87962566103423978


#: The parameters that are axes.
AXES = ("in_axis", "out_axis", "batch_axis")


class Distribution(NamedTuple):
    """What the kernels draw: one of their distributions with its parameters, and the theoretical std."""

    kind: str
    parameters: tuple[float, ...]
    std: float


def fans(
    shape: tuple[int, ...],
    in_axis: tuple[int, ...] = (-2,),
    out_axis: tuple[int, ...] = (-1,),
    batch_axis: tuple[int, ...] = (),
) -> tuple[int, int]:
    """fan_in and fan_out of a weight's global shape, exact.

    The axes that are none of the three are the receptive field: its size multiplies both fans.
    """
    groups = [resolve_axes(shape, axes, key) for axes, key in zip((in_axis, out_axis, batch_axis), AXES)]
    named = [axis for group in groups for axis in group]
    if len(set(named)) < len(named):
        raise ValueError(f"in_axis, out_axis and batch_axis share an axis of shape {shape}")
    field = math.prod(n for axis, n in enumerate(shape) if axis not in named)
    fan_in, fan_out, _ = (math.prod(shape[axis] for axis in group) * field for group in groups)
    return fan_in, fan_out


def resolve_axes(shape: tuple[int, ...], axes: tuple[int, ...], key: str) -> tuple[int, ...]:
    """The axes counted from 0; ValueError where the shape has none."""
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{key}={axis}: shape {shape} has {len(shape)} axes; give {key}=, or fan_in= and fan_out=")
    return tuple(axis % len(shape) for axis in axes)


def counted_axes(shape: tuple[int, ...], p: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose axes are counted from 0 in a tensor of that shape.

    Axes that the shape does not have stay as they are: where fans are given, they do not matter.
    """
    counted = dict(p)
    for key in AXES:
        if p.get(key) is not None and all(-len(shape) <= axis < len(shape) for axis in p[key]):
            counted[key] = resolve_axes(shape, p[key], key)
    return counted


def _fan(shape: tuple[int, ...], mode: str, p: Mapping[str, Any]) -> float:
    """The fan of `mode`; overrides first, so that they also serve shapes without those axes."""
    fan_in, fan_out = p["fan_in"], p["fan_out"]
    if (fan_in is None and mode != "fan_out") or (fan_out is None and mode != "fan_in"):
        computed_in, computed_out = fans(shape, *(p[key] for key in AXES))
        fan_in = computed_in if fan_in is None else fan_in
        fan_out = computed_out if fan_out is None else fan_out
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    if mode == "fan_avg":
        return (fan_in + fan_out) / 2
    return math.sqrt(float(fan_in) * float(fan_out))


def scaled(name: str, p: Mapping[str, Any], shape: tuple[int, ...]) -> Distribution:
    """What an initializer of the family of variance_scaling draws for that global shape."""
    mode = fan_mode(name, p)
    if name == "variance_scaling":
        return _scaled(shape, p["scale"], mode, p["distribution"], p)
    family, distribution = name.split("_")
    if p.get("truncated"):
        distribution = "truncated_normal"
    scale = 1.0
    if family == "he":
        slope = p["negative_slope"]
        scale = 2.0 / (1.0 + slope * slope)
    return _scaled(shape, scale, mode, distribution, p)


def _scaled(shape: tuple[int, ...], scale: float, mode: str, distribution: str, p: Mapping[str, Any]) -> Distribution:
    """variance_scaling, in float64 and in this order of operations, which is part of the stream version."""
    fan = _fan(shape, mode, p)
    if fan == 0:  # only with size 0: nothing to draw
        return Distribution("constant", (0.0,), 0.0)
    var = scale / fan
    std = math.sqrt(var) * p["gain"]
    if distribution == "uniform":
        b = math.sqrt(3.0 * var) * p["gain"]
        return Distribution("uniform", (-b, b), std)
    if distribution == "truncated_normal":
        return Distribution("truncated_normal", (0.0, math.sqrt(var) / TRUNCATED_STD * p["gain"], -2.0, 2.0), std)
    return Distribution("normal", (0.0, std), std)


def fan_mode(name: str, p: Mapping[str, Any]) -> str:
    """Which fan a scaled initializer divides by."""
    if name == "variance_scaling":
        return p["mode"]
    return "fan_avg" if name.startswith("glorot") else "fan_in"


def mean_of(drawn: Distribution) -> float:
    """The theoretical mean of what the kernels draw."""
    p = drawn.parameters
    if drawn.kind == "uniform":
        return p[0] / 2 + p[1] / 2
    if drawn.kind == "truncated_normal":
        return p[0] + p[1] * truncated_moments(*p[2:])[0]
    return p[0]


def truncated_std(lower: float, upper: float) -> float:
    """Standard deviation of the standard normal cut at `lower` and `upper`, to about 1e-9."""
    return truncated_moments(lower, upper)[1]


def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of the standard normal cut at `lower` and `upper`, to about 1e-9.

    By quadrature from the cut next to 0, where the textbook formula cancels in the tails. No value of a
    tensor depends on it.
    """
    if upper < 0 or (upper == 0 and lower < 0):
        mean, std = truncated_moments(-upper, -lower)
        return -mean, std
    start = max(lower, -40.0) if lower < 0 else lower
    reach = 40.0 - start if start < 0 else min(40.0, 80.0 / max(start, 1.0))  # beyond it the density is below 1e-17
    width = min(upper - start, reach)
    if not width > 0:
        return start, 0.0
    panels, nodes, weights = 64, *_gauss_legendre()
    samples = []  # distance from `start`, and weight times density relative to that at `start` (at 0, if it is inside)
    for panel in range(panels):
        for x, w in zip(nodes, weights):
            s = width * (panel + x) / panels
            samples.append((s, w * math.exp(-s * (start + s / 2) if start >= 0 else -((start + s) ** 2) / 2)))
    total = sum(density for _, density in samples)
    mean = sum(s * density for s, density in samples) / total
    second = sum((s - mean) ** 2 * density for s, density in samples)
    return start + mean, math.sqrt(second / total)


@functools.cache
def _gauss_legendre() -> tuple[list[float], list[float]]:
    """Nodes and weights of ten points on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(10)
    return list((nodes + 1) / 2), list(weights / 2)
