"""Tensors made of other tensors: what all of them share; transposes, parts, and tensors with a region replaced."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _kernels, plan
from ..arrays import check_shape, empty_beside
from ..progress import unheard
from ..walks import Step, Walk, through, walk_of
from .kind import BLOCK, Advance, Kind, stacked_alike

#: How deep a composed tensor is nested, and how many tensors it has in all, each as often as it occurs, at most.
DEEPEST, MOST = 64, 1 << 16
#: A repr lists the tensors within it up to this many; beyond that it says how many.
FEW = 8


class Composed(Kind):
    """A tensor whose elements are those of others.

    A composed kind has one thing to do for its elements: in `fill_walk`, tell which of them are which elements of
    which other kind.
    """

    __slots__ = ("count", "depth", "made_together", "others")

    def __init__(self, shape: Sequence[int], others: Sequence[Kind]) -> None:
        super().__init__(check_shape(tuple(shape)), others[0].dtype)
        for other in others:
            if other.dtype != self.dtype:
                raise ValueError(f"all tensors need one dtype, got {self.dtype} and {other.dtype}")
        self.made_together = any(other.made_together for other in others)
        self.others = tuple(others)
        self._nest(1 + max(other.depth for other in others), 1 + sum(other.count for other in others))

    def _nest(self, depth: int, count: int) -> None:
        """Sets how deep the dict is nested and how many tensors it names; ValueError beyond the limits."""
        if depth > DEEPEST:
            raise ValueError(f"composed tensors, and parts of them, are nested at most {DEEPEST} deep")
        if count > MOST:
            raise ValueError(f"a composed tensor and those within it are at most {MOST} tensors, got {count}")
        self.depth, self.count = depth, count

    def arrangement(self) -> Any:
        """What, besides its shape and the others, tells it from another of its class."""
        return None

    @abstractmethod
    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        """This arrangement of `others`, each of which has a new axis 0 of length n; the result has that axis, too."""

    def stacked(self, kinds: Sequence[Composed]) -> Kind | None:
        """Composed as each of the kinds is, of stacks of what they are composed of."""
        if any(kind.arrangement() != self.arrangement() or len(kind.others) != len(self.others) for kind in kinds):
            return None
        inner = []
        for others in zip(*(kind.others for kind in kinds)):
            found = stacked_alike(others)
            if found is None:
                return None
            inner.append(found)
        return self.arranged(inner, len(kinds))

    def shares(self) -> list[int]:
        """How many elements are of each of the others."""
        return [math.prod(other.shape) for other in self.others]

    @property
    def mean(self) -> float:
        return self._moments()[0]

    @property
    def std(self) -> float:
        """The standard deviation of all values together."""
        return self._moments()[1]

    def _moments(self) -> tuple[float, float]:
        size = math.prod(self.shape)
        weighed = [(share / size, other) for share, other in zip(self.shares(), self.others) if share]
        if len(weighed) == 1:
            return weighed[0][1].mean, weighed[0][1].std
        with _kernels.DefaultFloatEnvironment():
            moments = [(weight, other.mean, other.std) for weight, other in weighed]
            if not all(math.isfinite(mean) and math.isfinite(std) for _, mean, std in moments):
                return math.nan, math.nan  # a literal or a constant with infinities
            mean = math.fsum(weight * its_mean for weight, its_mean, _ in moments)
            parts = [(math.sqrt(w) * s, math.sqrt(w) * (m - mean)) for w, m, s in moments]
            return mean, math.hypot(*(number for pair in parts for number in pair))

    @property
    def bounds(self) -> tuple[float, float]:
        found = [other.bounds for share, other in zip(self.shares(), self.others) if share] or [self.others[0].bounds]
        return float(np.min([low for low, _ in found])), float(np.max([high for _, high in found]))

    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        self.fill_walk(walk_of(region), array, threads, advance)

    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        self.fill_walk(walk_of(region, rows), array, threads, advance)

    def __repr__(self) -> str:
        if self.count > FEW:
            return f"{type(self).__name__.lower()}({self.count} tensors, shape={self.shape}, dtype={self.dtype!r})"
        (form, _), *rest = self.described().items()
        shown = [*map(repr, self.others), *(f"{key}={value}" for key, value in rest if not isinstance(value, dict))]
        return f"{form}({', '.join(shown)})"


class Transposed(Composed):
    """A tensor with its axes in another order."""

    __slots__ = ("axes",)

    def __init__(self, other: Kind, axes: tuple[int, ...]) -> None:
        super().__init__([other.shape[axis] for axis in axes], [other])
        self.axes = axes

    def arrangement(self) -> Any:
        return self.axes

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Transposed(others[0], (0, *(axis + 1 for axis in self.axes)))

    def described(self) -> dict[str, Any]:
        return {"transpose": self.others[0].described(), "axes": list(self.axes)}

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        starts = tuple(walk.starts[self.axes.index(axis)] for axis in range(len(self.axes)))
        steps = tuple(Step(None if axis is None else self.axes[axis], step, table) for axis, step, table in walk.steps)
        self.others[0].fill_walk(Walk(starts, steps), array, threads, advance)


class Cut(Composed):
    """A region of a tensor."""

    __slots__ = ("cut",)

    def __init__(self, other: Kind, cut: plan.Region) -> None:
        super().__init__(cut.shape, [other])
        self.cut = cut
        if None in cut.axes:  # described as a reshaped part
            self._nest(self.depth + 1, self.count + 1)

    def arrangement(self) -> Any:
        return self.cut

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Cut(others[0], _with_axis(self.cut, n))

    def shares(self) -> list[int]:
        return [math.prod(self.shape)]

    def described(self) -> dict[str, Any]:
        return described_part(self.others[0], self.cut)

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        self.others[0].fill_walk(through(self.cut, walk), array, threads, advance)


def described_part(whole: Kind, region: plan.Region) -> dict[str, Any]:
    """The dict of a region of a tensor; with new axes, that of a reshaped one."""
    own = len(whole.shape)
    if len(region.ranges) > own:  # a new axis of length 0: no elements to describe
        return {"literal": "", "dtype": whole.dtype, "shape": list(region.shape)}
    part = {"part": whole.described(), "at": _described_index(region)}
    return {"reshape": part, "shape": list(region.shape)} if None in region.axes else part


def _described_index(region: plan.Region) -> list[int | list[int]]:
    """An integer for each axis that the region has not, [start, stop, step] for each that it has."""
    return [
        [along.start, along.start + len(along) * along.step, along.step] if axis in region.axes else along.start
        for axis, along in enumerate(region.ranges)
    ]


class Pasted(Composed):
    """A tensor, but for a region that is another's."""

    __slots__ = ("hole",)

    def __init__(self, onto: Kind, hole: plan.Region, what: Kind) -> None:
        super().__init__(onto.shape, [onto, what])
        if None in hole.axes or len(hole.ranges) > len(onto.shape):
            raise ValueError("the index of a paste has no new axes: reshape what is pasted")
        if hole.shape != what.shape:
            raise ValueError(f"a tensor of shape {what.shape} cannot be pasted onto a region of shape {hole.shape}")
        self.hole = hole

    def arrangement(self) -> Any:
        return self.hole

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Pasted(others[0], _with_axis(self.hole, n), others[1])

    def shares(self) -> list[int]:
        hole = math.prod(self.hole.shape)
        return [math.prod(self.shape) - hole, hole]

    def described(self) -> dict[str, Any]:
        onto, what = (other.described() for other in self.others)
        return {"paste": what, "onto": onto, "at": _described_index(self.hole)}

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        onto = self.others[0]
        inside = [self._inside(walk, axis, array.shape) for axis in range(len(self.shape))]
        if all(along is True for along in inside):
            self._fill_hole(walk, array, threads, advance)
            return
        onto.fill_walk(walk, array, threads, advance)
        if all(along is not False for along in inside):
            self._within(0, walk, array, threads)

    def _inside(self, walk: Walk, axis: int, shape: tuple[int, ...]) -> bool | None:
        """Whether all of the array's positions along an axis are in the hole, or none, or some (None)."""
        hole = self.hole.ranges[axis]
        least, greatest = walk.reach(axis, shape)
        if not hole or greatest < min(hole[0], hole[-1]) or least > max(hole[0], hole[-1]):
            return False
        if least == greatest:
            return least in hole
        return True if abs(hole.step) == 1 and least in hole and greatest in hole else None

    def _within(self, axis: int, walk: Walk, array: np.ndarray, threads: int | None) -> None:
        """Fills the elements in the hole, which have been found along the axes before `axis`."""
        if array.size == 0:
            return
        if axis == len(self.shape):
            self._fill_hole(walk, array, threads, unheard)  # counted when `onto` was written
            return
        inside = self._inside(walk, axis, array.shape)
        along = walk.along(axis)
        if inside is False:
            return
        if inside is True:
            self._within(axis + 1, walk, array, threads)
        elif len(along) > 1:  # an axis that outer ones have cut: position by position along all but the longest
            k = min(along, key=lambda k: array.shape[k])
            for position in range(array.shape[k]):
                self._within(axis, *walk.at(k, array, position), threads)
        else:
            (k,), hole = along, self.hole.ranges[axis]
            step = walk.steps[k]
            if step.table is None:
                start, n = walk.starts[axis], array.shape[k]
                found = plan.diagonal(range(start, start + step.step * n, step.step), hole)
                if found is not None:
                    low, high, every = found[0].indices(n)
                    if every < 0:  # `diagonal` goes upwards in positions
                        count = len(range(low, high, every))
                        low, high, every = low + every * (count - 1), low + 1, -every
                    self._within(axis + 1, *walk.cut(k, array, low, high, every), threads)
            else:
                at = walk.starts[axis] + step.table - hole.start
                where = np.flatnonzero((at % hole.step == 0) & (at // hole.step >= 0) & (at // hole.step < len(hole)))

                def fill(view: np.ndarray, part: slice, table: np.ndarray = step.table[where]) -> None:
                    self._within(axis + 1, walk.with_step(k, Step(axis, 1, table[part])), view, threads)

                scattered(array, k, where, fill, keep=True)

    def _fill_hole(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """`what`, where every element of the array is in the hole."""
        kept = [axis for axis in self.hole.axes if axis is not None]  # all of them: a hole has no new axes
        new = {axis: position for position, axis in enumerate(kept)}
        starts = tuple(
            (walk.starts[axis] - self.hole.ranges[axis].start) // self.hole.ranges[axis].step for axis in kept
        )
        steps = []
        for axis, step, table in walk.steps:
            if axis is None or axis not in new:
                steps.append(Step(None, 1))
                continue
            by = self.hole.ranges[axis].step
            if table is None:
                steps.append(Step(new[axis], step // by or 1))  # 0 only where there is one element
            else:
                start = walk.starts[axis] - self.hole.ranges[axis].start
                positions = (start + table) // by - start // by  # neither need be a multiple by itself
                steps.append(Step(new[axis], 1, positions))
        self.others[1].fill_walk(Walk(starts, tuple(steps)), array, threads, advance)


def _with_axis(region: plan.Region, n: int) -> plan.Region:
    """The same region of n tensors along a new axis 0."""
    axes = (0, *(None if axis is None else axis + 1 for axis in region.axes))
    return plan.Region((range(n), *region.ranges), axes)


def scattered(
    array: np.ndarray,
    k: int,
    where: np.ndarray,
    fill: Callable[[np.ndarray, slice], None],
    *,
    at_once: bool = False,
    keep: bool = False,
) -> None:
    """Have `fill` write those positions along axis k of the array, ascending, a slice of them at a time.

    Where they are evenly spread, in the array itself; else in memory of at most `BLOCK` elements, or in all of it
    `at_once`. With `keep`, `fill` leaves some elements as they are.
    """
    before: tuple[Any, ...] = (slice(None),) * k
    if len(where) == 0:
        return
    step = int(where[1] - where[0]) if len(where) > 1 else 1
    if (np.diff(where) == step).all():
        fill(array[(*before, slice(int(where[0]), int(where[-1]) + 1, step))], slice(None))
        return
    across = array.size // array.shape[k]
    n = len(where) if at_once else max(1, BLOCK // across)
    for low in range(0, len(where), n):
        part = slice(low, min(low + n, len(where)))
        listed = where[part]
        if len(listed) == 1:
            fill(array[(*before, slice(int(listed[0]), int(listed[0]) + 1))], part)
            continue
        shape = (*array.shape[:k], len(listed), *array.shape[k + 1 :])
        memory = array[(*before, listed)] if keep else empty_beside(array, shape)
        fill(memory, part)
        array[(*before, listed)] = memory
