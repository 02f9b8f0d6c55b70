"""Tensors with the same elements, in C order, in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import MAX_AXES, empty_beside
from ..plan import strides_of
from ..walks import Step, Walk, flattened
from .composed import Composed
from .kind import BLOCK, Advance, Kind, in_elements, offsets_of

#: It is cheaper to make this many elements in a row and drop all but one than to make that one by itself.
COVERED = 4096


class Reshaped(Composed):
    """A tensor's elements, in C order, in another shape.

    A walk through them is one through flat indices. Where the other tensor can be walked so, that is all. Else the
    walk is cut where it goes from one row of the other tensor to the next; what cannot be cut into few such pieces is
    picked from blocks of consecutive elements.
    """

    __slots__ = ("_flat", "_strides")

    def __init__(self, other: Kind, shape: tuple[int, ...]) -> None:
        super().__init__(shape, [other])
        if math.prod(self.shape) != math.prod(other.shape):
            raise ValueError(f"a tensor of shape {other.shape} cannot be reshaped to {self.shape}")
        self._flat = other.flat()
        self._strides = strides_of(other.shape)

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Reshaped(others[0], (n, *self.shape))

    def described(self) -> dict[str, Any]:
        return {"reshape": self.others[0].described(), "shape": list(self.shape)}

    def flat(self) -> Kind | None:
        return self._flat

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        walk = flattened(walk, self.shape)
        if self._flat is not None:
            self._flat.fill_walk(walk, array, threads, advance)
            return
        walk, array = walk.upwards(array)
        self._fill(*_joined(walk, array), threads, advance)

    def _fill(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Fills an array by a walk through flat indices without steps backwards."""
        while array.size:
            walk = _from_least(walk)
            found = self._walk_through_other(walk, array.shape)
            if isinstance(found, Walk):
                self.others[0].fill_walk(found, array, threads, advance)
                return
            cut = self._first_cut(walk, array, found)
            if cut is None or self.made_together:
                self._pick(walk, array, threads, advance)
                return
            k, per, times = cut
            times = times if array.ndim < MAX_AXES else 1
            n = per * times
            head, view = walk.cut(k, array, 0, n)
            if times > 1:
                head, view = head.split(k, view, per)
            self._fill(head, view, threads, advance)
            walk, array = walk.cut(k, array, n, array.shape[k])

    def _walk_through_other(self, walk: Walk, shape: tuple[int, ...]) -> Walk | int:
        """The walk through the other tensor; or the axis of it at whose end the walk would go on in the next row."""
        lengths = self.others[0].shape
        starts = [walk.starts[0] // stride % n for stride, n in zip(self._strides, lengths)]
        steps = []
        for along, step, table in walk.steps:
            if along is None:
                steps.append(Step(None, 1))
                continue
            for axis, (stride, n) in enumerate(zip(self._strides, lengths)):
                if n > 1 and _divides(stride, Step(0, step, table)):
                    steps.append(Step(axis, step // stride, None if table is None else table // stride))
                    break
            else:
                steps.append(Step(None, 1))  # there is one element alone
        found = Walk(tuple(starts), tuple(steps))
        for axis in range(len(lengths) - 1, -1, -1):
            if found.reach(axis, shape)[1] >= lengths[axis]:
                return axis
        return found

    def _first_cut(self, walk: Walk, array: np.ndarray, axis: int) -> tuple[int, int, int] | None:
        """The axis of the array to cut first, the elements of a piece, and how many such pieces it begins with.

        None where it cannot be cut into few pieces.
        """
        n, stride = self.others[0].shape[axis], self._strides[axis]
        row = n * stride  # flat indices until the next one
        crossing = [
            k
            for k, step in enumerate(walk.steps)
            if step.axis is not None and array.shape[k] > 1 and not _divides(row, step) and _divides(stride, step)
        ]
        if len(crossing) != 1 or walk.steps[crossing[0]].table is not None:
            return None
        (k,) = crossing
        step, count, within = walk.steps[k].step, array.shape[k], walk.starts[0] % row
        if row % step:  # every row is cut in another way
            return None
        if within < step:
            per = row // step
            return (k, per, count // per) if count >= per else None
        per = -(-(row - within) // step)
        return (k, min(per, count), 1)

    def _pick(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Picks elements from a run of consecutive ones, unless that would be much longer."""
        first, last = walk.reach(0, array.shape)
        covered = last - first + 1
        if self.made_together or (covered <= BLOCK and covered <= COVERED * array.size):
            if array.ndim == 1 and covered == array.size and walk.steps[0].table is None:
                self._fill_consecutive(first, array, threads, advance)
                return
            run = empty_beside(array, (covered,))
            self._fill_consecutive(first, run, threads, in_elements(advance, covered, array.size))
            _copy_from(run, walk.moved(0, walk.starts[0] - first), array)
            return
        lengths = [
            0
            if step.axis is None or n < 2
            else int(np.ptp(step.table)) + 1
            if step.table is not None
            else step.step * n
            for step, n in zip(walk.steps, array.shape)
        ]
        k = max(range(array.ndim), key=lengths.__getitem__)
        half = array.shape[k] // 2
        for low, high in ((0, half), (half, array.shape[k])):
            self._fill(*walk.cut(k, array, low, high), threads, advance)

    def _fill_consecutive(self, first: int, run: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Consecutive elements of the other tensor."""
        if self.made_together:  # all of the rows that they are in, once
            width = self._strides[0]
            rows = range(first // width, (first + len(run) - 1) // width + 1)
            other = self.others[0]
            shape = (len(rows), *other.shape[1:])
            in_place = len(run) == math.prod(shape)
            whole = run.reshape(shape) if in_place else empty_beside(run, shape)  # one axis reshaped is a view
            walk = Walk((rows.start, *(0,) * (whole.ndim - 1)), tuple(Step(axis, 1) for axis in range(whole.ndim)))
            other.fill_walk(walk, whole, threads, in_elements(advance, whole.size, len(run)))
            if not in_place:
                low = first - rows.start * width
                run[...] = whole.reshape(-1)[low : low + len(run)]
            return
        self._fill(Walk((first,), (Step(0, 1),)), run, threads, advance)


def _copy_from(run: np.ndarray, walk: Walk, array: np.ndarray) -> None:
    """Writes to `array` the elements of `run` that the walk finds."""
    if not isinstance(array, np.ndarray):
        array.copy_walk(run, walk)
        return
    if all(step.table is None for step in walk.steps):
        strides = [0 if step.axis is None else step.step * run.itemsize for step in walk.steps]
        array[...] = np.lib.stride_tricks.as_strided(run[walk.starts[0] :], array.shape, strides)
        return
    where = np.zeros((1,) * array.ndim, np.int64) + walk.starts[0]
    for k, step in enumerate(walk.steps):
        if step.axis is not None:
            where = where + offsets_of(step, array.shape[k]).reshape(-1, *(1,) * (array.ndim - 1 - k))
    array[...] = run[where]


def _joined(walk: Walk, array: np.ndarray) -> tuple[Walk, np.ndarray]:
    """The same with axes of the array that are one run of memory and of flat indices made one."""
    k = 0
    while k + 1 < array.ndim:
        outer, inner = walk.steps[k : k + 2]
        n = array.shape[k + 1]
        plain = outer.table is None and inner.table is None and outer.axis == inner.axis == 0
        if plain and outer.step == inner.step * n and array.strides[k] == array.strides[k + 1] * n:
            array = array.reshape(*array.shape[:k], -1, *array.shape[k + 2 :])
            walk = Walk(walk.starts, (*walk.steps[:k], inner, *walk.steps[k + 2 :]))
        else:
            k += 1
    return walk, array


def _from_least(walk: Walk) -> Walk:
    """The same with tables whose least element is 0."""
    for k, (axis, _, table) in enumerate(walk.steps):
        if table is not None and (least := int(table.min())):
            walk = walk.with_step(k, Step(axis, 1, table - least)).moved(0, walk.starts[0] + least)
    return walk


def _divides(stride: int, step: Step) -> bool:
    """Whether all elements of an array's axis are multiples of `stride` apart."""
    return step.step % stride == 0 if step.table is None else not (step.table % stride).any()
