"""What every kind of tensor answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import plan
from ..initializers.names import Initializer
from ..initializers.parameters import to_json
from ..initializers.scales import counted_axes
from ..threads import resolve_threads

#: Called with each share of a fill's cost that is done.
Advance = Callable[[int], None]
#: Positions along each axis of a tensor.
Positions = Sequence[range | np.ndarray]


class Kind(ABC):
    """How the values of one tensor are made.

    Parameters
    ----------
    shape : tuple of int
        Of the tensor. What makes a kind checks that the shape fits it: ValueError where it does not.
    dtype : str
        A name in `DTYPES`.

    Attributes
    ----------
    region : Region
        The whole tensor.
    made_together : bool
        Whether a piece of the tensor may cost as much as all of it, so that it is better made at once.
    """

    __slots__ = ("dtype", "region", "shape")

    made_together = False

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.region = plan.whole(shape)

    @property
    @abstractmethod
    def std(self) -> float:
        """Theoretical standard deviation of the values, before they are rounded to the dtype."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Closed interval, exact in the dtype, that no value leaves."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What the kind adds to a recipe's dict, as strict JSON."""

    def cost(self, region: plan.Region) -> int:
        """What `fill` of the region will call `advance` with, all in all."""
        return math.prod(region.shape)

    @abstractmethod
    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Write the region's values to `array`.

        `array` has the region's shape, at least one element, and what `as_output` or `allocate` returned: the kind's
        dtype, no overlaps. None for `threads` is the default.
        """

    @abstractmethod
    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        """As `fill`, where axis 0 of `array` is those positions along axis 0 of the region; they may repeat."""


class Named(Kind):
    """A kind that an initializer's name stands for: the values depend on it, the shape, the dtype, a seed and a name.

    ValueError where the shape does not fit the initializer, or the dtype cannot hold its parameters.
    """

    __slots__ = ("initializer",)

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        self.initializer = initializer
        self.shape = shape
        self.dtype = dtype
        self.region = plan.whole(shape)

    def parameters(self) -> dict[str, Any]:
        """All parameters, with axes counted from 0."""
        return counted_axes(self.shape, self.initializer.parameters)

    def described(self) -> dict[str, Any]:
        return {
            "init": self.initializer.name,
            **{key: to_json(value) for key, value in self.parameters().items()},
        }


class Placed(Named):
    """A kind whose values are made by their positions along each axis of the tensor."""

    __slots__ = ()

    def cost(self, region: plan.Region) -> int:
        return self.cost_at(region.ranges)

    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        self.fill_at(region.ranges, plan.with_every_axis(region, array), resolve_threads(threads), advance)

    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        axis = region.axes[0]
        if axis is None:  # rows of a new axis are all the same
            self.fill(region, array[:1], threads, advance)
            array[1:] = array[:1]
            return
        along = region.ranges[axis]
        positions = list[range | np.ndarray](region.ranges)
        positions[axis] = along.start + along.step * rows
        self.fill_at(positions, plan.with_every_axis(region, array), resolve_threads(threads), advance)

    @abstractmethod
    def cost_at(self, positions: Positions) -> int:
        """What `fill_at` will call `advance` with, all in all."""

    @abstractmethod
    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        """Write the values at those positions to `grid`, which has an axis for each of the tensor's, in order."""
