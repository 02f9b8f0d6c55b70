"""What every kind of tensor answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import plan
from ..arrays import is_seen_in
from ..initializers.names import Initializer
from ..initializers.parameters import to_json
from ..initializers.scales import counted_axes
from ..progress import unheard
from ..threads import resolve_threads
from ..walks import Step, Walk

#: Called with each share of a fill's cost that is done.
Advance = Callable[[int], None]
#: Positions along each axis of a tensor.
Positions = Sequence[range | np.ndarray]

#: Elements of the memory that is worked in where values cannot be made in their place: 1 MiB of float32.
BLOCK = 1 << 18


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
    depth, count : int
        How deep the kind is nested, and how many kinds it is made of; 1 unless it is composed.
    """

    __slots__ = ("dtype", "region", "shape")

    made_together: bool = False
    depth: int = 1
    count: int = 1

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.region = plan.whole(shape)

    @property
    def together(self) -> int:
        """Only where `made_together`: in C order, each block of this many elements is best made at once."""
        return max(1, math.prod(self.shape))

    @property
    @abstractmethod
    def std(self) -> float:
        """Theoretical standard deviation of the values, before they are rounded to the dtype."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """Theoretical mean of the values, before they are rounded to the dtype."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Closed interval, exact in the dtype, that no value leaves."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The recipe's dict but for the version of the stream, as strict JSON."""

    def cost(self, region: plan.Region) -> int:
        """What `fill` of the region will call `advance` with, all in all."""
        return math.prod(region.shape)

    @abstractmethod
    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Write the region's values to `array`.

        `array` has the region's shape, at least one element, and what `as_output` or `allocate` returned: the kind's
        dtype, no overlaps. None for `threads` is the default. It may be memory of a GPU: then it is no ndarray, but has
        what one has (`fastinit.cuda.memory`), and its elements cannot be read.
        """

    @abstractmethod
    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        """As `fill`, where axis 0 of `array` is those positions along axis 0 of the region; they may repeat."""

    @abstractmethod
    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """As `fill`, for the elements that the walk finds, each as one unit of progress."""

    def flat(self) -> Kind | None:
        """The same elements in C order, with one axis, where `fill_walk` is no slower so; None where it is."""
        return None

    def stacked(self, kinds: Sequence[Any]) -> Kind | None:
        """Kinds of this class and shape, this one the first, along a new axis 0, as one that fills all of them at once.

        None where they differ in more than what is drawn.
        """
        return None


def stacked_alike(kinds: Sequence[Kind]) -> Kind | None:
    """Kinds of one structure along a new axis 0, as one whose memory is filled at once; None for other kinds."""
    first = kinds[0]
    if any(type(kind) is not type(first) or kind.shape != first.shape for kind in kinds):
        return None
    return first.stacked(kinds)


class Named(Kind):
    """A kind that an initializer's name stands for: the values depend on it, the shape, the dtype, a seed and a name.

    ValueError where the shape does not fit the initializer, or the dtype cannot hold its parameters.
    """

    __slots__ = ("initializer", "name", "seed")

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        self.initializer = initializer
        self.shape = shape  # as Kind.__init__ does; its call would show in small fills (commit 5c044e3)
        self.dtype = dtype
        self.region = plan.whole(shape)
        self.seed = seed
        self.name = name

    def parameters(self) -> dict[str, Any]:
        """All parameters, with axes counted from 0."""
        return counted_axes(self.shape, self.initializer.parameters)

    def described(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "seed": self.seed if self.seed < 1 << 53 else str(self.seed),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "init": self.initializer.name,
            **{key: to_json(value) for key, value in self.parameters().items()},
        }

    def __repr__(self) -> str:
        given = repr(self.initializer)[len("init(") : -1].partition(", ")
        rest = f", {given[2]}" if given[2] else ""
        tensor = f"{self.shape}, dtype={self.dtype!r}, seed={self.seed}, name={self.name!r}"
        return f"recipe({given[0]}, {tensor}{rest})"


class Placed(Kind):
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

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        for k, step in enumerate(walk.steps):
            if step.axis is None and array.shape[k] > 1:  # an axis that the tensor does not have repeats the values
                first, rest = (array[(*(slice(None),) * k, part)] for part in (slice(0, 1), slice(1, None)))
                self.fill_walk(walk, first, threads, advance)
                rest[...] = first
                advance(rest.size)
                return
        order = sorted(range(array.ndim), key=lambda k: -1 if (axis := walk.steps[k].axis) is None else axis)
        array = array.transpose(order)
        walk = Walk(walk.starts, tuple(walk.steps[k] for k in order))
        named = [step.axis for step in walk.steps if step.axis is not None]
        merging = len(set(named)) < len(named)
        if merging and array.size > BLOCK and not self.made_together:  # in parts, for they may need memory of their own
            k = max(range(array.ndim), key=lambda k: array.shape[k])
            for low, high in ((0, array.shape[k] // 2), (array.shape[k] // 2, array.shape[k])):
                self.fill_walk(*walk.cut(k, array, low, high), threads, advance)
            return
        found = [positions_of(walk, axis, array.shape) for axis in range(len(self.shape))]
        grid = array.reshape(tuple(map(len, found)))  # a copy where memory cannot be seen with those axes
        self.fill_at(found, grid, resolve_threads(threads), in_elements(advance, self.cost_at(found), array.size))
        if merging and not is_seen_in(grid, array):
            array[...] = grid.reshape(array.shape)

    def cost_at(self, positions: Positions) -> int:
        """What `fill_at` will call `advance` with, all in all: each element once, unless a kind says otherwise."""
        return math.prod(map(len, positions))

    @abstractmethod
    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        """Write the values at those positions to `grid`, which has an axis for each of the tensor's, in order."""


def positions_of(walk: Walk, axis: int, shape: tuple[int, ...]) -> range | np.ndarray:
    """The positions along an axis of the tensor, in the order of the array's axes that move along it."""
    start, steps = walk.starts[axis], [(step, shape[k]) for k, step in enumerate(walk.steps) if step.axis == axis]
    if not steps:
        return range(start, start + 1)
    if len(steps) == 1 and steps[0][0].table is None:
        ((step, n),) = steps
        return range(start, start + step.step * n, step.step)
    return all_sums(start, (offsets_of(step, n) for step, n in steps))


def all_sums(start: int, offsets: Iterable[np.ndarray]) -> np.ndarray:
    """`start` plus one of each of the offsets, for all combinations, the last running fastest."""
    found = np.full(1, start, np.int64)
    for along in offsets:
        found = (found[:, None] + along).ravel()
    return found


def offsets_of(step: Step, n: int) -> np.ndarray:
    """How far each of n elements is from the start."""
    return np.arange(n, dtype=np.int64) * step.step if step.table is None else step.table


def in_elements(advance: Advance, cost: int, size: int) -> Advance:
    """What to call with shares of `cost` so that `advance` is called with shares of `size`."""
    if advance is unheard:
        return unheard
    done = 0

    def advanced(share: int) -> None:
        nonlocal done
        before, done = done * size // cost, done + share
        advance(done * size // cost - before)

    return advanced
