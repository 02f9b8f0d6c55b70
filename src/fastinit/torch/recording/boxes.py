"""Where the elements of one tensor lie in another one that shares its storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .expressions import Geometry

#: An axis longer than this is not looked at position by position.
LONGEST = 1 << 16
#: So many cells, at most, is a tensor cut into where it is written in pieces.
MOST_CELLS = 1 << 22


class Box(NamedTuple):
    """A tensor within a dense one: positions along each axis of that, and which of them each axis of the tensor is.

    An axis of length 1 is none of them, nor is one that repeats elements (of stride 0). `axes` is None where the
    tensor has the box's elements in C order, in another shape.
    """

    ranges: tuple[range, ...]
    axes: tuple[int | None, ...] | None


def place(geometry: Geometry, base: Geometry) -> Box | None:
    """The box that a tensor is in a dense one; None where it is no box."""
    if geometry.dtype.itemsize != base.dtype.itemsize:
        return None
    left = geometry.offset - base.offset
    long = sorted((axis for axis, n in enumerate(base.size) if n > 1), key=lambda axis: -base.stride[axis])
    starts = [0] * len(base.size)
    for axis in long:
        starts[axis], left = divmod(left, base.stride[axis])
        if not 0 <= starts[axis] < base.size[axis]:
            return None
    if left:
        return None
    ranges = [range(start, start + 1) for start in starts]
    axes: list[int | None] = []
    for n, stride in zip(geometry.size, geometry.stride):
        found = None
        if n > 1 and stride:
            for axis in long:
                step, rest = divmod(stride, base.stride[axis])
                if not rest and step and axis not in axes and starts[axis] + step * (n - 1) < base.size[axis]:
                    found = axis
                    ranges[axis] = range(starts[axis], starts[axis] + step * (n - 1) + 1, step)
                    break
            else:
                return _run(geometry, base, starts)
        axes.append(found)
    return Box(tuple(ranges), tuple(axes))


def _run(geometry: Geometry, base: Geometry, starts: list[int]) -> Box | None:
    """The box of elements that follow each other in C order, both in the tensor and in the dense one."""
    if not (_is_in_order(geometry) and _is_in_order(base)):
        return None
    left = math.prod(geometry.size)
    ranges: list[range] = []
    for axis in range(len(base.size))[::-1]:
        n = base.size[axis]
        if left >= n and left % n == 0 and starts[axis] == 0:  # all of the axis
            ranges.append(range(n))
            left //= n
        else:  # a part of it, and one position of those before
            if starts[axis] + left > n:
                return None
            ranges.append(range(starts[axis], starts[axis] + left))
            left = 1
    return Box(tuple(ranges[::-1]), None) if left == 1 else None


def _is_in_order(geometry: Geometry) -> bool:
    """Whether the elements follow each other in C order."""
    at = 1
    for n, stride in zip(geometry.size[::-1], geometry.stride[::-1]):
        if n > 1 and stride != at:
            return False
        at *= n
    return True


def common(along: range, other: range) -> range | None:
    """The places in `along` of the positions that `other` has too; ValueError where they are not evenly spread."""
    low, high = max(along[0], other[0]), min(along[-1], other[-1])
    if low > high:
        return None
    if along.step == other.step == 1:
        return range(low - along.start, high - along.start + 1)
    if len(along) > LONGEST:
        raise ValueError("too long an axis in steps")
    found = [place for place, position in enumerate(along) if position in other]
    if not found:
        return None
    step = found[1] - found[0] if len(found) > 1 else 1
    evenly = range(found[0], found[-1] + 1, step)
    if list(evenly) != found:
        raise ValueError("elements that are not evenly spread")
    return evenly


class Cells:
    """A tensor cut along its axes so that no box ends within a cell, and which box each cell shows: the last one."""

    def __init__(self, shape: Sequence[int], boxes: Sequence[tuple[range, ...]]) -> None:
        self.edges = [edges_along(n, [box[axis] for box in boxes]) for axis, n in enumerate(shape)]
        lengths = [len(edges) - 1 for edges in self.edges]
        if np.prod(lengths, dtype=float) > MOST_CELLS:
            raise ValueError("too many pieces")
        self.owners = np.full(lengths, -1, dtype=np.int32)
        for k, box in enumerate(boxes):
            self.owners[tuple(self.slice_of(axis, along) for axis, along in enumerate(box))] = k

    def slice_of(self, axis: int, along: range) -> slice:
        """The cells of some positions along an axis."""
        edges = self.edges[axis]
        low, high = np.searchsorted(edges, [along[0], along[-1] + 1])
        return slice(int(low), int(high), along.step)  # of steps, every position is a cell


def edges_along(n: int, ranges: Sequence[range]) -> np.ndarray:
    if any(along.step != 1 for along in ranges):
        if n > LONGEST:
            raise ValueError("too long an axis in steps")
        return np.arange(n + 1)
    return np.unique([0, n, *(along.start for along in ranges), *(along.stop for along in ranges)])
