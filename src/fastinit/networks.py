"""Small networks in NumPy: a batch forward, a gradient backward, and tangents, one block at a time.

All arrays have a row for each input: (inputs, units), in a convolutional network (inputs, positions, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .activation_functions import Activation
from .initializers import Initializer
from .recipe import Recipe

NETWORKS = ("mlp", "residual", "rnn", "cnn")

#: Of the convolutional network: taps of the kernel, and positions of the circle.
KERNEL, POSITIONS = 3, 8


class LinearMap(Protocol):
    """What a block does with its weight; `weight` is one array."""

    weight: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The weight applied to each row of `x`."""

    def transposed(self, d: np.ndarray) -> np.ndarray:
        """The gradient of `x` from that of `apply(x)`."""

    def weight_gradient(self, x: np.ndarray, d: np.ndarray) -> np.ndarray:
        """The gradient of the weight from `x` and the gradient of `apply(x)`: the mean over the rows."""


class Dense:
    """``x @ weight``; weight of shape (in, out)."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight

    def transposed(self, d: np.ndarray) -> np.ndarray:
        return d @ self.weight.T

    def weight_gradient(self, x: np.ndarray, d: np.ndarray) -> np.ndarray:
        return x.T @ d / len(x)


class CircularConvolution:
    """``y[p] = sum over k of x[p + k - centre] @ weight[k]``, positions on a circle; weight (kernel, in, out)."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight
        centre = len(weight) // 2
        self._shifts = [centre - k for k in range(len(weight))]

    def _windows(self, x: np.ndarray) -> np.ndarray:
        """For each position what the kernel sees, taps and channels in one axis."""
        return np.concatenate([np.roll(x, shift, axis=1) for shift in self._shifts], axis=2)

    def apply(self, x: np.ndarray) -> np.ndarray:
        return self._windows(x) @ self.weight.reshape(-1, self.weight.shape[-1])

    def transposed(self, d: np.ndarray) -> np.ndarray:
        return np.sum([np.roll(d @ tap.T, -shift, axis=1) for tap, shift in zip(self.weight, self._shifts)], axis=0)

    def weight_gradient(self, x: np.ndarray, d: np.ndarray) -> np.ndarray:
        windows = self._windows(x)
        rows, columns = windows.reshape(-1, windows.shape[-1]), d.reshape(-1, d.shape[-1])
        return (rows.T @ columns / len(x)).reshape(self.weight.shape)


class Block(Protocol):
    """One layer; it remembers what `forward` saw, for `backward` and `tangents`."""

    linear: LinearMap
    active: np.ndarray

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The block's output; `active` becomes what the activation gave."""

    def backward(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the gradient of the output: that of the input, and that of the weight."""

    def tangents(self, t: np.ndarray) -> np.ndarray:
        """Images of the tangents `t`, one a row, at the first input of the batch."""


class Plain:
    """``f(linear(x) + bias)``."""

    def __init__(self, linear: LinearMap, bias: np.ndarray | None, function: Activation) -> None:
        self.linear, self.bias, self.function = linear, bias, function

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x, self.z = x, _plus(self.linear.apply(x), self.bias)
        self.active = self.function.value(self.z)
        return self.active

    def backward(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = self.function.times_jacobian(self.z, d)
        return self.linear.transposed(d), self.linear.weight_gradient(self.x, d)

    def tangents(self, t: np.ndarray) -> np.ndarray:
        return self.function.times_jacobian(self.z[:1], self.linear.apply(t))


class Residual:
    """``x + scale (linear(f(x)) + bias)``: the order of He et al. (2016), so that the branch adds no mean."""

    def __init__(self, linear: LinearMap, bias: np.ndarray | None, function: Activation, scale: float) -> None:
        self.linear, self.bias, self.function, self.scale = linear, bias, function, scale

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x, self.active = x, self.function.value(x)
        return x + self.scale * _plus(self.linear.apply(self.active), self.bias)

    def backward(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        branch = self.scale * d
        through = self.function.times_jacobian(self.x, self.linear.transposed(branch))
        return d + through, self.linear.weight_gradient(self.active, branch)

    def tangents(self, t: np.ndarray) -> np.ndarray:
        return t + self.scale * self.linear.apply(self.function.times_jacobian(self.x[:1], t))


def _plus(z: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return z if bias is None else z + bias


# ---- networks of them --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Architecture:
    """Everything about a network but its initializers."""

    network: str
    function: Activation
    depth: int
    width: int
    branch_scale: float = 1.0

    @property
    def counted(self) -> str:
        """What the depth counts."""
        return "step" if self.network == "rnn" else "layer"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, and of what every layer makes of it."""
        return (POSITIONS, self.width // POSITIONS) if self.network == "cnn" else (self.width,)

    def build(
        self, initializer: Initializer, bias: Initializer | None, gain: float | None, seed: int
    ) -> list[Plain | Residual]:
        """The blocks in their order, with float32 weights drawn from recipes.

        They are named ``layer.0.weight``, ``layer.0.bias`` and so on; those that all steps of an rnn share,
        ``recurrent.weight`` and ``recurrent.bias``.
        """

        def draw(name: str) -> tuple[LinearMap, np.ndarray | None]:
            channels = self.input_shape[-1]
            kernel = (KERNEL,) if self.network == "cnn" else ()
            weight = draw_weight(initializer, kernel, channels, gain, seed, f"{name}.weight")
            offset = None if bias is None else draw_bias(bias, channels, seed, f"{name}.bias")
            return CircularConvolution(weight) if kernel else Dense(weight), offset

        if self.network == "rnn":
            drawn = [draw("recurrent")] * self.depth
        else:
            drawn = [draw(f"layer.{layer}") for layer in range(self.depth)]
        if self.network == "residual":
            return [Residual(linear, offset, self.function, self.branch_scale) for linear, offset in drawn]
        return [Plain(linear, offset, self.function) for linear, offset in drawn]


def draw_bias(initializer: Initializer, channels: int, seed: int, name: str) -> np.ndarray:
    """One number a channel; an initializer that needs more axes is refused by the word "bias"."""
    try:
        return Recipe(initializer, (channels,), seed=seed, name=name)[...]
    except ValueError as error:
        raise ValueError(f"bias: {error}") from None


def draw_weight(
    initializer: Initializer, kernel: tuple[int, ...], channels: int, gain: float | None, seed: int, name: str
) -> np.ndarray:
    """A weight of shape (*kernel, in, out).

    With ``out_axis=0`` the initializer is meant for torch's order of axes, (out, in, *kernel): the weight is drawn
    in that order and turned round. `gain` goes into the initializer's own where it has one; the weights of the
    others are multiplied by it.
    """
    factor = None
    if gain is not None and "gain" in initializer.parameters:
        p = initializer.parameters
        initializer = Initializer(initializer.name, **{**p, "gain": p["gain"] * gain})
    elif gain is not None:
        factor = np.float32(gain)
    if initializer.parameters.get("out_axis") == (0,):
        weight = Recipe(initializer, (channels, channels, *kernel), seed=seed, name=name)[...]
        weight = np.ascontiguousarray(weight.T)
    else:
        weight = Recipe(initializer, (*kernel, channels, channels), seed=seed, name=name)[...]
    return weight if factor is None else weight * factor
