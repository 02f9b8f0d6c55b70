"""The activations themselves: values, derivatives and asymptotes, in NumPy. `activations` says who goes with whom."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .initializers import check_parameter
from .wording import near_match

Function = Callable[[np.ndarray], np.ndarray]

#: A value nearer to an asymptote than this is saturated.
SATURATED = 0.01

#: The constants of Klambauer et al. (2017), to float64.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@dataclass(frozen=True)
class Activation:
    """A function of one number, applied to each element.

    Attributes
    ----------
    value, slope : callable
        The function and its derivative; at a kink the derivative from the left.
    asymptotes : tuple of float
        Finite limits at which it saturates. Empty for those whose limit 0 is "dead" rather than "saturated".
    """

    name: str
    value: Function
    slope: Function
    asymptotes: tuple[float, ...] = ()

    def times_jacobian(self, z: np.ndarray, d: np.ndarray) -> np.ndarray:
        """`d` times the derivative at `z`: of gradients, and as the Jacobian is symmetric of tangents too."""
        return d * self.slope(z)


class Softmax(Activation):
    """A function of a whole vector, the last axis; its Jacobian, too, is symmetric."""

    def times_jacobian(self, z: np.ndarray, d: np.ndarray) -> np.ndarray:
        y = self.value(z)
        return y * (d - (y * d).sum(axis=-1, keepdims=True))


def activation_function(name: str, negative_slope: float | None = None) -> Activation:
    """The activation of that name; `negative_slope` goes with ``leaky_relu`` and ``prelu``.

    Raises
    ------
    TypeError, ValueError
        Unknown name, or a slope where there is none.
    """
    if not isinstance(name, str):
        raise TypeError(f"an activation's name is a str, not {type(name).__name__}")
    name = ALIASES.get(name, name)
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; {near_match(name, [*ACTIVATIONS, *ALIASES])}")
    if negative_slope is None:
        return ACTIVATIONS[name]
    if name not in ("leaky_relu", "prelu"):
        raise ValueError(f"negative_slope goes with leaky_relu and prelu, not with {name}")
    slope = finite("negative_slope", negative_slope)
    return replace(_leaky(name, slope), name=f"{name}({slope:g})")


def finite(key: str, value: Any) -> float:
    """A number as float; TypeError or ValueError for what is none, or not finite."""
    number: float = check_parameter(key, value)
    if not math.isfinite(number):
        raise ValueError(f"{key} must be finite, got {number}")
    return number


# ---- functions and their derivatives ---------------------------------------------------------------------


def _sigmoid(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))  # never overflows
    return np.where(z >= 0, 1, e) / (1 + e)


def _sigmoid_slope(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))
    return e / (1 + e) ** 2


def _tanh_slope(z: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(z) ** 2


def _step(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, 1, np.where(z <= 0, 0, z)).astype(z.dtype)  # NaN stays NaN


def _leaky(name: str, slope: float) -> Activation:
    return Activation(
        name,
        lambda z: np.where(z > 0, z, slope * z),
        lambda z: np.where(z > 0, 1, slope).astype(z.dtype),
    )


def _exponential(name: str, scale: float, alpha: float) -> Activation:
    """ELU and its scaled form: the line `scale z` to the right, an exponential towards `-scale alpha` to the left."""
    return Activation(
        name,
        lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        lambda z: scale * np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0))),
        asymptotes=(-scale * alpha,),
    )


@functools.cache
def _scaled_erfc() -> np.polynomial.Chebyshev:
    """erfc(x) exp(x^2) for 0 <= x <= 26 as a polynomial in t = 2 / (2 + x): relative error below 1e-12.

    NumPy has no erf. Its values at the nodes of the interpolation are those of `math.erfc`.
    """

    def exact(t: np.ndarray) -> np.ndarray:
        return np.array([math.erfc(x) * math.exp(x * x) for x in (2 / t - 2).tolist()])

    return np.polynomial.Chebyshev.interpolate(exact, 24, domain=[2 / 28, 1])


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """Phi(z), the distribution function of the standard normal: in float64, to about 1e-12 of itself, 0 below -36."""
    x = np.abs(z.astype(np.float64)) * math.sqrt(0.5)
    tail = 0.5 * _scaled_erfc()(2 / (2 + np.minimum(x, 26))) * np.exp(-x * x)
    tail = np.where(x > 26, 0, tail)
    return np.where(z > 0, 1 - tail, tail)


def _gelu(z: np.ndarray) -> np.ndarray:
    return (z * normal_cdf(z)).astype(z.dtype)


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    wide = z.astype(np.float64)
    return (normal_cdf(z) + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)).astype(z.dtype)


def _silu_slope(z: np.ndarray) -> np.ndarray:
    s = _sigmoid(z)
    return s + z * _sigmoid_slope(z)


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _mish_slope(z: np.ndarray) -> np.ndarray:
    t = np.tanh(_softplus(z))
    return t + z * _sigmoid(z) * (1 - t * t)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softmax_slope(z: np.ndarray) -> np.ndarray:
    """The diagonal of the Jacobian."""
    y = _softmax(z)
    return y * (1 - y)


#: Every activation by its name; those of `for_activation`, and a few more.
ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("linear", lambda z: z, np.ones_like),
        Activation("relu", lambda z: np.maximum(z, 0), _step),
        _leaky("leaky_relu", 0.01),
        _leaky("prelu", 0.25),
        _exponential("elu", 1.0, 1.0),
        _exponential("selu", SELU_SCALE, SELU_ALPHA),
        Activation("gelu", _gelu, _gelu_slope),
        Activation("silu", lambda z: z * _sigmoid(z), _silu_slope),
        Activation("mish", lambda z: z * np.tanh(_softplus(z)), _mish_slope),
        Activation("softplus", _softplus, _sigmoid),
        Activation("tanh", np.tanh, _tanh_slope, asymptotes=(-1.0, 1.0)),
        Activation("sigmoid", _sigmoid, _sigmoid_slope, asymptotes=(0.0, 1.0)),
        Softmax("softmax", _softmax, _softmax_slope),
    )
}
ALIASES = {"swish": "silu"}
