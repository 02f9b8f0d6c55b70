"""What one initializer does to a signal and its gradient, measured layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activation_functions import SATURATED, Activation
from .comparison import rows_to_show
from .initializers import Initializer
from .networks import Block
from .recipe import Recipe
from .tables import Table, jsonable, number, percent

#: Widest layers whose Jacobian is worked out.
WIDEST_JACOBIAN = 512


@dataclass(frozen=True, eq=False)
class SingularValues:
    """Those of the Jacobian of the last layer with respect to the input, at the first input of the batch.

    Attributes
    ----------
    values : ndarray
        All of them, the largest first, as they were computed.
    precision : float
        Those below it are mostly the rounding errors of float32: sqrt(width) times 2^-23 of the largest.
    """

    values: np.ndarray
    precision: float

    @property
    def below_precision(self) -> int:
        """How many are below the precision."""
        return int((self.values < self.precision).sum())

    def _resolved(self, value: float) -> float | None:
        return None if value < self.precision else value

    def to_dict(self) -> dict[str, Any]:
        """Largest, median and smallest; None (JSON's null) where that one is below the precision."""
        return {
            "count": len(self.values),
            "largest": float(self.values[0]),
            "median": self._resolved(float(np.median(self.values))),
            "smallest": self._resolved(float(self.values[-1])),
            "precision": self.precision,
            "below_precision": self.below_precision,
        }


@dataclass(frozen=True, eq=False)
class Signal:
    """What became of the signal and the gradient with one initializer. Arrays have an element for each layer.

    Attributes
    ----------
    label, initializer
        Its name in tables, and itself.
    input_std : float
        Of the batch, which is N(0, 1).
    activation_mean, activation_std : ndarray
        Of each layer's output, over batch and units together; of a residual network that is the sum so far. An std
        is inf where a value is infinite, and nan where there is one that is no number.
    dead : ndarray
        Fraction of units that the activation leaves at exactly 0 for every input of the batch. It means something
        for ReLU; with others only weights that are 0, or too small for float32, do that. NaN where values are NaN.
    saturated : ndarray or None
        Fraction of activations within 0.01 of an asymptote; None for activations that have none. Tanh and the sigmoid
        have two, ELU and SELU one on the left.
    gradient_std : ndarray
        Of the gradient of the loss with respect to the layer's output. At the last layer it is N(0, 1).
    input_gradient_std : float
        The same for the input.
    weight_gradient_std : ndarray
        Of the gradient of the layer's weight, the mean over the batch; in an rnn, what that step adds to it.
    singular_values : SingularValues or None
        None for layers wider than 512 units.
    counted : {"layer", "step"}
        What the elements of the arrays are: the layers of a network, or the steps of an rnn.
    """

    label: str
    initializer: Initializer
    input_std: float
    activation_mean: np.ndarray
    activation_std: np.ndarray
    dead: np.ndarray
    saturated: np.ndarray | None
    gradient_std: np.ndarray
    input_gradient_std: float
    weight_gradient_std: np.ndarray
    singular_values: SingularValues | None
    counted: str = "layer"

    def to_dict(self) -> dict[str, Any]:
        """All of it, strict JSON: "inf" and "nan" as text."""
        found = {
            key: value for key, value in vars(self).items() if key not in ("initializer", "singular_values", "counted")
        }
        found["initializer"] = self.initializer.to_dict()
        found["singular_values"] = None if self.singular_values is None else self.singular_values.to_dict()
        return jsonable(found)

    def table(self) -> Table:
        """Some of the layers or steps, counted from 1."""
        columns = {
            self.counted: [str(layer) for layer in range(1, len(self.dead) + 1)],
            "mean": [number(x) for x in self.activation_mean],
            "std": [number(x) for x in self.activation_std],
            "dead": [percent(x) for x in self.dead],
            "saturated": None if self.saturated is None else [percent(x) for x in self.saturated],
            "gradient": [number(x) for x in self.gradient_std],
            "weight gradient": [number(x) for x in self.weight_gradient_std],
        }
        shown = {head: texts for head, texts in columns.items() if texts is not None}
        layers = rows_to_show(1, len(self.dead))
        rows = [tuple(texts[layer - 1] for texts in shown.values()) for layer in layers]
        return Table(tuple(shown), rows, right=tuple(range(len(shown))))

    def notes(self) -> list[str]:
        """How fast it grows or fades, where it overflows or vanishes, the Jacobian."""
        forward, backward = growth(self.activation_std), growth(self.gradient_std[::-1])
        notes = []
        if forward is not None and backward is not None:
            notes.append(
                f"std per {self.counted}: activations x {forward:.4g} forwards, gradient x {backward:.4g} backwards"
            )
        layers = range(len(self.dead))
        one = self.counted
        notes += _what_ends("activations", self.activation_std, one, layers, "on: the input no longer shows")
        notes += _what_ends("gradient", self.gradient_std, one, layers[::-1], "down")
        values = self.singular_values
        if values is not None:
            notes += _about(values)
        return notes


# ---- the passes ----------------------------------------------------------------------------------------------


def measure(
    label: str,
    initializer: Initializer,
    blocks: Sequence[Block],
    function: Activation,
    shape: tuple[int, ...],
    seed: int,
    counted: str,
) -> Signal:
    """Push the recipe ``input`` of that shape through `blocks` and the recipe ``gradient`` back."""
    x = _standard_normal(shape, seed, "input")
    input_std = _std(x)
    width = math.prod(shape[1:])
    jacobian = Jacobian(shape[1:]) if width <= WIDEST_JACOBIAN else None
    means, stds, dead, saturated = [], [], [], []
    for block in blocks:
        x = block.forward(x)
        means.append(float(x.mean(dtype=np.float64)))
        stds.append(_std(x))
        unknown = math.nan if np.isnan(block.active).any() else 0.0
        dead.append(float((block.active == 0).all(axis=0).mean()) + unknown)
        near = [np.abs(block.active - asymptote) < SATURATED for asymptote in function.asymptotes]
        saturated.append(float(np.logical_or.reduce(near).mean()) + unknown if near else math.nan)
        if jacobian:
            jacobian.follow(block)
    d = _standard_normal(shape, seed, "gradient")
    gradient_stds, weight_stds = [], []
    for block in reversed(blocks):
        gradient_stds.append(_std(d))
        d, weight_gradient = block.backward(d)
        weight_stds.append(_std(weight_gradient))
    return Signal(
        label=label,
        initializer=initializer,
        input_std=input_std,
        activation_mean=np.array(means),
        activation_std=np.array(stds),
        dead=np.array(dead),
        saturated=np.array(saturated) if function.asymptotes else None,
        gradient_std=np.array(gradient_stds[::-1]),
        input_gradient_std=_std(d),
        weight_gradient_std=np.array(weight_stds[::-1]),
        singular_values=jacobian.singular_values() if jacobian else None,
        counted=counted,
    )


class Jacobian:
    """The Jacobian of the layers so far, by forward differentiation of all unit vectors of the input.

    It is kept near 1 by powers of two, which are exact, so that what is beyond float32 does not end it.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        width = math.prod(shape)
        self._tangents = np.eye(width, dtype=np.float32).reshape(width, *shape)
        self._exponent = 0

    def follow(self, block: Block) -> None:
        """Go through a block whose `forward` has been called."""
        t = block.tangents(self._tangents)
        largest = float(np.abs(t).max())
        if 0 < largest < math.inf:
            _, exponent = math.frexp(largest)
            t = np.ldexp(t, -exponent)
            self._exponent += exponent
        self._tangents = t

    def singular_values(self) -> SingularValues:
        """NaN all of them where a slope on the way was none."""
        t = self._tangents.reshape(len(self._tangents), -1).astype(np.float64)
        if not np.isfinite(t).all():
            return SingularValues(np.full(len(t), math.nan), math.nan)
        values = np.ldexp(np.linalg.svd(t, compute_uv=False), self._exponent)
        return SingularValues(values, float(values[0]) * math.sqrt(len(t)) * 2.0**-23)


def _standard_normal(shape: tuple[int, ...], seed: int, name: str) -> np.ndarray:
    return Recipe("normal", shape, seed=seed, name=name)[...]


def _std(x: np.ndarray) -> float:
    """Of all elements; inf where one is infinite."""
    return math.inf if np.isinf(x).any() else float(x.std(dtype=np.float64))


# ---- what there is to say ------------------------------------------------------------------------------------


def growth(stds: np.ndarray) -> float | None:
    """The factor a layer, on average, as long as it is a number and not 0."""
    usable = np.isfinite(stds) & (stds > 0)
    end = len(stds) if usable.all() else int(np.argmin(usable))
    return None if end < 2 else float((stds[end - 1] / stds[0]) ** (1 / (end - 1)))


def _what_ends(what: str, stds: np.ndarray, one: str, order: Sequence[int], onwards: str) -> list[str]:
    """Where, in the order of the layers or steps, a std stops being a number above 0."""
    for layer in order:
        std = stds[layer]
        if math.isinf(std):
            return [f"{what}: inf at {one} {layer + 1}, beyond float32"]
        if math.isnan(std):
            return [f"{what}: nan at {one} {layer + 1}"]
        if std == 0:
            return [f"{what}: std 0 from {one} {layer + 1} {onwards}"]
    return []


def _about(found: SingularValues) -> list[str]:
    if math.isnan(found.precision):
        return ["Jacobian: nan"]
    if found.values[0] == 0:
        return ["Jacobian: 0"]
    d = found.to_dict()
    text = f"Jacobian: {d['count']} singular values from {number(d['largest'])} down"
    if not d["below_precision"]:
        return [f"{text} to {number(d['smallest'])}, median {number(d['median'])}"]
    return [text, f"{d['below_precision']} of them are below the precision of float32, {number(d['precision'])}"]
