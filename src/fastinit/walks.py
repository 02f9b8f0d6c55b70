"""Walks: which element of a tensor each element of an array is, where the tensor is made of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .plan import Region, strides_of


class Step(NamedTuple):
    """What one axis of an array moves along: an axis of the tensor, or None where the tensor has no such axis.

    Element j of the array's axis is `table[j]` positions along the tensor's axis, or `step * j` without a table.
    """

    axis: int | None
    step: int
    table: np.ndarray | None = None


class Walk(NamedTuple):
    """Which element of a tensor each element of an array is.

    `starts` has the position of the array's first element along each axis of the tensor, and `steps` one `Step` for
    each axis of the array. Several axes of the array may move along one axis of the tensor: their positions add up.
    """

    starts: tuple[int, ...]
    steps: tuple[Step, ...]

    def along(self, axis: int) -> list[int]:
        """The axes of the array that move along that axis of the tensor."""
        return [k for k, step in enumerate(self.steps) if step.axis == axis]

    def moved(self, axis: int, start: int, changed: Mapping[int, Step] | None = None) -> Walk:
        """The same but for the start along one axis of the tensor, and for some of the steps."""
        starts = (*self.starts[:axis], start, *self.starts[axis + 1 :])
        if not changed:
            return Walk(starts, self.steps)
        return Walk(starts, tuple(changed.get(k, step) for k, step in enumerate(self.steps)))

    def cut(self, k: int, array: np.ndarray, low: int, high: int, every: int = 1) -> tuple[Walk, np.ndarray]:
        """Only every so many of the elements from `low` to `high` along axis k of the array."""
        axis, step, table = self.steps[k]
        view = array[(*(slice(None),) * k, slice(low, high, every))]
        if table is not None:
            return self.with_step(k, Step(axis, 1, table[low:high:every])), view
        walk = self.with_step(k, Step(axis, step * every))
        if axis is None:
            return walk, view
        return walk.moved(axis, self.starts[axis] + step * low), view

    def with_step(self, k: int, step: Step) -> Walk:
        """The same but for the step of axis k of the array."""
        return Walk(self.starts, (*self.steps[:k], step, *self.steps[k + 1 :]))

    def split(self, k: int, array: np.ndarray, length: int) -> tuple[Walk, np.ndarray]:
        """Axis k of the array, without a table, as two: the inner one has that length."""
        axis, step, _ = self.steps[k]
        count = array.shape[k] // length
        view = array.reshape(*array.shape[:k], count, length, *array.shape[k + 1 :])  # of one axis always a view
        return Walk(
            self.starts, (*self.steps[:k], Step(axis, step * length), Step(axis, step), *self.steps[k + 1 :])
        ), view

    def at(self, k: int, array: np.ndarray, position: int) -> tuple[Walk, np.ndarray]:
        """One position along axis k of the array, without that axis."""
        axis, step, table = self.steps[k]
        offset = step * position if table is None else int(table[position])
        before: tuple[Any, ...] = (slice(None),) * k
        view = array[(*before, position, ...)]
        walk = self if axis is None else self.moved(axis, self.starts[axis] + offset)
        return Walk(walk.starts, (*walk.steps[:k], *walk.steps[k + 1 :])), view

    def without(self, axis: int) -> Walk:
        """The same in a tensor without that axis, along which there is no step that matters."""
        steps = tuple(
            Step(None, 1) if along is None or along == axis else Step(along - (along > axis), step, table)
            for along, step, table in self.steps
        )
        return Walk((*self.starts[:axis], *self.starts[axis + 1 :]), steps)

    def upwards(self, array: np.ndarray) -> tuple[Walk, np.ndarray]:
        """The same elements with no step backwards: such axes of the array are turned round."""
        walk, turned = self, [k for k, step in enumerate(self.steps) if step.step < 0 and step.table is None]
        for k in turned:
            axis, step, _ = walk.steps[k]
            last = step * (array.shape[k] - 1)
            walk = walk.with_step(k, Step(axis, -step))
            if axis is not None:
                walk = walk.moved(axis, walk.starts[axis] + last)
        if turned:
            array = array[tuple(slice(None, None, -1) if k in turned else slice(None) for k in range(array.ndim))]
        return walk, array

    def reach(self, axis: int, shape: Sequence[int]) -> tuple[int, int]:
        """The least and the greatest position along an axis of the tensor, for an array of that shape."""
        least = greatest = self.starts[axis]
        for (along, step, table), n in zip(self.steps, shape):
            if along != axis:
                continue
            low, high = (0, step * (n - 1)) if table is None else (int(table.min()), int(table.max()))
            least += min(low, high)
            greatest += max(low, high)
        return least, greatest


def walk_of(region: Region, rows: np.ndarray | None = None) -> Walk:
    """The walk of an array of the region's shape; with `rows`, its axis 0 is those positions along the region's."""
    starts = tuple(along.start for along in region.ranges)
    steps = [Step(axis, 1 if axis is None else region.ranges[axis].step) for axis in region.axes]
    if rows is not None and steps[0].axis is not None:
        steps[0] = Step(steps[0].axis, 1, np.ascontiguousarray(rows * steps[0].step, np.int64))
    return Walk(starts, tuple(steps))


def through(region: Region, walk: Walk) -> Walk:
    """A walk through a region of a tensor, as a walk through the tensor."""
    starts = [along.start for along in region.ranges]
    for axis, start in zip(region.axes, walk.starts):
        if axis is not None:
            starts[axis] += region.ranges[axis].step * start
    steps = []
    for part_axis, step, table in walk.steps:
        axis = None if part_axis is None else region.axes[part_axis]
        if axis is not None:
            scale = region.ranges[axis].step
            steps.append(Step(axis, step * scale, None if table is None else table * scale))
        else:
            steps.append(Step(None, 1))
    return Walk(tuple(starts), tuple(steps))


def flattened(walk: Walk, shape: Sequence[int]) -> Walk:
    """A walk through a tensor of that shape, as a walk through its elements in C order: a tensor of one axis."""
    strides = strides_of(shape)
    steps = []
    for axis, step, table in walk.steps:
        if axis is None:
            steps.append(Step(None, 1))
        else:
            stride = strides[axis]
            steps.append(Step(0, step * stride, None if table is None else table * stride))
    return Walk((sum(map(int.__mul__, strides, walk.starts)),), tuple(steps))
