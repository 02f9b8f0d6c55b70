"""Which elements of a tensor, and where they go: regions, and the runs of flat indices the kernels fill."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ._kernels import Axis


class Region(NamedTuple):
    """What basic indexing leaves of a tensor.

    `ranges` has one range of positions for each axis of the global tensor; `axes` says which of them each axis
    of the region is, None for a new axis of length 1. Axes indexed by an integer have a range of one position
    and do not appear in `axes`.
    """

    ranges: tuple[range, ...]
    axes: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple([1 if axis is None else len(self.ranges[axis]) for axis in self.axes])


@functools.lru_cache(maxsize=1024)
def whole(shape: tuple[int, ...]) -> Region:
    """The region that is all of a tensor."""
    return Region(tuple(map(range, shape)), tuple(range(len(shape))))


def select(region: Region, index: Any) -> Region:
    """`region[index]` by NumPy's basic indexing: integers, slices, Ellipsis and None."""
    items = _expand(index if isinstance(index, tuple) else (index,), len(region.axes))
    ranges, old = list(region.ranges), 0
    axes: list[int | None] = []
    for item in items:
        if item is None:
            axes.append(None)
            continue
        axis, position = region.axes[old], old
        along = range(1) if axis is None else ranges[axis]
        old += 1
        if isinstance(item, slice):
            kept = along[item]
            if len(kept) < 2:  # one position, one description
                kept = range(kept.start, kept.start + 1) if kept else range(0)
            if axis is not None:
                ranges[axis] = kept
                axes.append(axis)
            elif len(kept) == 1:
                axes.append(None)
            else:  # an empty part of a new axis: an axis of length 0 of its own
                ranges.append(range(0))
                axes.append(len(ranges) - 1)
        else:
            at = _position(item, len(along), position)
            if axis is not None:
                ranges[axis] = along[at : at + 1]
    return Region(tuple(ranges), tuple(axes))


def _expand(items: tuple[Any, ...], naxes: int) -> list[Any]:
    """Checks the items of an index and replaces the Ellipsis; one item for each axis, and None."""
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > naxes:
        raise IndexError(f"too many indices: {naxes} axes, but {used} were indexed")
    expanded: list[Any] = []
    seen = False
    for item in items:
        if item is Ellipsis:
            if seen:
                raise IndexError("an index can only have a single ellipsis ('...')")
            seen = True
            expanded += [slice(None)] * (naxes - used)
        elif item is None or isinstance(item, slice):
            expanded.append(item)
        else:
            expanded.append(_integer(item))
    if not seen:
        expanded += [slice(None)] * (naxes - used)
    return expanded


def _integer(item: Any) -> int:
    if not isinstance(item, (bool, np.bool_)) and getattr(item, "ndim", 0) == 0:
        try:
            return operator.index(item)
        except TypeError:
            pass
    raise IndexError(
        f"only integers, slices, '...' and None index a recipe, not {type(item).__name__}; "
        "take() gathers rows by an array"
    )


def _position(index: int, length: int, axis: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {length}")
    return index % length


def row_positions(indices: Any, length: int) -> np.ndarray:
    """Row numbers as a fresh int64 array counted from 0; TypeError or IndexError for what is none."""
    array = np.asarray(indices)
    if array.size == 0 and not isinstance(indices, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"row numbers must be integers, not {array.dtype}")
    if array.size:
        least, most = int(array.min()), int(array.max())
        if least < -length or most >= length:
            wrong = least if least < -length else most
            raise IndexError(f"row {wrong} is out of bounds for axis 0 with size {length}")
    rows = array.astype(np.int64)  # always a copy: the caller's may lie in the output
    rows[rows < 0] += length
    return rows


def strides_of(shape: Sequence[int]) -> list[int]:
    """How many elements it is from one position to the next along each axis, in C order."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return strides


def kernel_axes(
    region: Region, shape: tuple[int, ...], out: np.ndarray, rows: np.ndarray | None = None
) -> tuple[np.ndarray, int, Sequence[Axis]]:
    """What the kernels need to write `region` of a tensor of `shape` to `out`.

    With `rows`, axis 0 of `out` is those positions along axis 0 of the region.

    Returns
    -------
    out : ndarray
        A view of `out` whose axes all count upwards in flat index.
    first_index : int
        Flat index of its element 0.
    axes : sequence of (count, index step, byte step, positions or None)
        Largest byte step first; neighbours that are one run of memory and of flat index are one axis.
    """
    steps = strides_of(shape)
    first = 0
    for step, along in zip(steps, region.ranges):
        first += step * along.start
    index_steps = [0 if axis is None else steps[axis] * region.ranges[axis].step for axis in region.axes]
    return flat_axes(first, index_steps, out, [] if rows is None else [rows])


def flat_axes(
    first: int, index_steps: list[int], out: np.ndarray, tables: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, int, Sequence[Axis]]:
    """The same for an array whose axes move by those steps of flat index.

    `tables` are the positions, in steps, along the first axes of `out`; None, or none, where they are 0, 1, 2, ...
    """
    backward = [i for i, step in enumerate(index_steps) if step < 0 and (i >= len(tables) or tables[i] is None)]
    for i in backward:
        first += index_steps[i] * (out.shape[i] - 1)
        index_steps[i] = -index_steps[i]
    if backward:
        out = out[tuple(slice(None, None, -1) if i in backward else slice(None) for i in range(out.ndim))]

    found: list[Axis] = []
    order = sorted(range(out.ndim), key=lambda i: -abs(out.strides[i]))
    for i in order:
        count, step, stride = out.shape[i], index_steps[i], out.strides[i]
        table = tables[i] if i < len(tables) else None
        if count == 1:
            first += 0 if table is None else step * int(table[0])
        elif table is not None:
            found.append((count, step, stride, table))
        else:
            if found and found[-1][3] is None and found[-1][1:3] == (step * count, stride * count):
                count *= found.pop()[0]
            found.append((count, step, stride, None))
    return out, first, found


def with_every_axis(region: Region, array: np.ndarray) -> np.ndarray:
    """A view of the region's array with an axis for each of the tensor's, in order, and no new ones."""
    view = array[(*(0 if axis is None else slice(None) for axis in region.axes), ...)]  # with an Ellipsis a view
    for axis in range(len(region.ranges)):
        if axis not in region.axes:
            view = view[(*(slice(None),) * axis, None)]
    return view


def diagonal(rows: range, columns: range) -> tuple[slice, slice] | None:
    """The elements that lie on a matrix's diagonal: slices of those rows and columns of it.

    Both have equally many positions; None if there are none.
    """
    common = _common_positions(rows, columns)
    if not common:
        return None
    return tuple(_slice_of(common, along) for along in (rows, columns))  # type: ignore[return-value]


def _slice_of(part: range, along: range) -> slice:
    start, last = along.index(part[0]), along.index(part[-1])
    if start == last:
        return slice(start, start + 1)
    step = (last - start) // (len(part) - 1)
    stop = last + (1 if step > 0 else -1)
    return slice(start, None if stop < 0 else stop, step)


def _common_positions(a: range, b: range) -> range:
    """The intersection of two ranges, ascending: the Chinese remainder theorem on start and step."""
    a = a if a.step > 0 else a[::-1]
    b = b if b.step > 0 else b[::-1]
    gcd = math.gcd(a.step, b.step)
    if not a or not b or (b.start - a.start) % gcd:
        return range(0)
    lcm = a.step // gcd * b.step
    # a.start + a.step * k is in b's residue class for k = this, modulo b.step / gcd
    k = (b.start - a.start) // gcd * pow(a.step // gcd, -1, b.step // gcd) if b.step > gcd else 0
    start = a.start + a.step * k
    low = max(a.start, b.start)
    start += -((start - low) // lcm) * lcm
    return range(start, min(a[-1], b[-1]) + 1, lcm)
