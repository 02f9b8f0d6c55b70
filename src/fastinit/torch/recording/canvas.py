"""Tensors that were written in pieces, as recipes: pasted, or one behind the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...functions import concatenate, paste
from ...recipe import Part
from .boxes import Box, Cells, common, place
from .expressions import Constant, Expression, Geometry, Literal, Unset, View, Write, where_made
from .folding import InexpressibleError
from .shapes import in_order, in_shape, is_constant
from .steps import Step
from .storage import is_dense

#: A tensor of repeated elements is composed of at most so many copies.
MOST_COPIES = 64
#: A tensor of constants in boxes is composed of at most so many of them, else it is a literal.
MOST_CONSTANTS = 8
#: A draw has at most so many constants over it.
MOST_OVER = 1024

#: The recipe of an expression's values after some steps.
PartOf = Callable[[Expression, Sequence[Step]], Part]
#: The recipe of values in another shape, where they are one draw, of whose values no other tensor has any.
DrawnAs = Callable[[Expression, Sequence[Step], tuple[int, ...]], "Part | None"]


def part_in_pieces(
    view: View, near: Sequence[Write], steps: Sequence[Step], part_of: PartOf, drawn_as: DrawnAs
) -> Part:
    """The recipe of elements of a storage after writes to some of them.

    `near` are the writes that may have to do with them. Along the axes of one of the tensors, all others must be boxes.
    """
    if any(write.geometry.dtype is not view.dtype for write in near):
        raise InexpressibleError("written as another dtype", where_made(near[-1].values))
    why = "written in pieces that are no boxes of each other"
    last = [write.geometry for write in near[::-1]]
    for base in dict.fromkeys([*last[:4], view.geometry, last[-1]]):
        if not is_dense(base):
            continue
        whole = place(view.geometry, base)
        placed = [box for write in near if (box := place(write.geometry, base)) is not None]
        if whole is None or len(placed) < len(near):
            continue
        try:
            return Canvas(view, whole, near, placed, steps, part_of, drawn_as).part()
        except ValueError as error:
            why = f"written in pieces: {error}"
    raise InexpressibleError(
        why, next((found for found in map(where_made, (w.values for w in near[::-1])) if found), "")
    )


class Canvas:
    """A view of a storage as an array along the axes of a dense tensor, on which the writes are boxes."""

    def __init__(
        self,
        view: View,
        whole: Box,
        writes: Sequence[Write],
        placed: Sequence[Box],
        steps: Sequence[Step],
        part_of: PartOf,
        drawn_as: DrawnAs,
    ) -> None:
        self.part_of = part_of
        self.drawn_as = drawn_as
        self.view = view
        self.steps = steps
        self.axes = whole.axes
        self.shape = tuple(map(len, whole.ranges))
        self.boxes: list[tuple[range, ...]] = []
        self.writes: list[Write] = []
        self.placed: list[Box] = []
        self.whole = whole
        for write, box in zip(writes, placed):
            found = [common(along, other) for along, other in zip(whole.ranges, box.ranges)]
            if None not in found:
                self.boxes.append(tuple(along for along in found if along is not None))
                self.writes.append(write)
                self.placed.append(box)
        self.cells = Cells(self.shape, self.boxes)

    def part(self) -> Part:
        owners = np.unique(self.cells.owners)
        shown = [int(k) for k in owners if k >= 0]
        if len(shown) == 1 and owners[0] >= 0:
            values = self.writes[shown[0]].values
            if math.prod(values.shape) == math.prod(self.view.shape):
                made = self.drawn_as(values, self.steps, self.view.shape)
                if made is not None:
                    return made
        simple = [_is_simple(self.writes[k].values) for k in shown]
        if all(simple) and (
            len(shown) > MOST_CONSTANTS or any(isinstance(self.writes[k].values, Literal) for k in shown)
        ):
            where = next(
                (where_made(self.writes[k].values) for k in shown[::-1] if where_made(self.writes[k].values)), ""
            )
            why = next(
                (w.why for k in shown for w in [self.writes[k].values] if isinstance(w, Literal)),
                "constants in many places",
            )
            raise InexpressibleError(why, where)
        if sum(simple) > MOST_OVER:
            raise InexpressibleError("constants in very many places")
        made = self._region([(0, n) for n in self.cells.owners.shape])
        return self._out(made)

    def _region(self, cells: list[tuple[int, int]]) -> Part:
        """The part of some cells, as ranges of them along the axes, in the canvas's axes."""
        owners = self.cells.owners[tuple(slice(*along) for along in cells)]
        shown = [int(k) for k in np.unique(owners)]
        region = [self._positions(axis, low, high) for axis, (low, high) in enumerate(cells)]
        base = next((k for k in shown if k >= 0 and self._covers(k, region)), None)
        if base is None:
            for axis in range(owners.ndim):
                cuts = self._cuts(owners, axis)
                if len(cuts) > 2:
                    low = cells[axis][0]
                    pieces = [
                        self._region([*cells[:axis], (low + a, low + b), *cells[axis + 1 :]])
                        for a, b in zip(cuts, cuts[1:])
                    ]
                    return concatenate(pieces, axis)
            shape = tuple(len(along) for along in region)
            made = self.part_of(Unset(shape, self.view.dtype), self.steps)
        else:
            made = self._leaf(base, region)
        for k in shown:
            if k >= 0 and k != base:
                inside = [common(along, other) for along, other in zip(region, self.boxes[k])]
                index = [_entry(along, hole) for along, hole in zip(region, inside) if hole is not None]
                what = self._leaf(k, region)
                kept = [n for n, entry in zip(what.shape, index) if isinstance(entry, slice)]
                made = paste(made, tuple(index), in_shape(what, kept))
        return made

    def _positions(self, axis: int, low: int, high: int) -> range:
        edges = self.cells.edges[axis]
        return range(int(edges[low]), int(edges[high]))

    def _covers(self, k: int, region: Sequence[range]) -> bool:
        return all(
            box.step == 1 and box.start <= along.start and along.stop <= box.stop
            for box, along in zip(self.boxes[k], region)
        )

    @staticmethod
    def _cuts(owners: np.ndarray, axis: int) -> list[int]:
        """Where along an axis nothing is shown on both sides: from 0 to the length."""
        if owners.shape[axis] == 1:
            return [0, 1]
        across = np.moveaxis(owners, axis, 0).reshape(owners.shape[axis], -1)
        last: dict[int, int] = {}
        for at, row in enumerate(across):
            for k in np.unique(row):
                last[int(k)] = at
        cuts, reach = [0], 0
        for at, row in enumerate(across):
            if at > reach:
                cuts.append(at)
            reach = max(reach, *(last[int(k)] for k in np.unique(row)))
        return [*cuts, owners.shape[axis]]

    def _leaf(self, k: int, region: Sequence[range]) -> Part:
        """What a write shows of a region, along the canvas's axes."""
        values, box = self.writes[k].values, self.placed[k]
        inside = []
        for along, other in zip(region, self.boxes[k]):
            found = common(along, other)
            assert found is not None
            inside.append(range(along[found[0]], along[found[-1]] + 1, found.step * along.step))
        shape = tuple(map(len, inside))
        if _is_simple(values) and not isinstance(values, Literal):
            return self.part_of(_reshaped_constant(values, shape), self.steps)
        part = self.part_of(values, self.steps)
        axes = box.axes
        if axes is None:
            part, axes = in_shape(part, tuple(map(len, box.ranges))), tuple(range(len(box.ranges)))
        # positions in the canvas -> in the dense tensor -> in what was written
        index: list[slice] = []
        for which in axes:
            if which is None:
                index.append(slice(None))
                continue
            view, own = self.whole.ranges[which], box.ranges[which]
            start = (view[inside[which][0]] - own.start) // own.step
            stop = (view[inside[which][-1]] - own.start) // own.step
            step = (stop - start) // (len(inside[which]) - 1) if len(inside[which]) > 1 else 1
            index.append(slice(start, stop + 1, step))
        if any(len(range(*along.indices(n))) != n for n, along in zip(part.shape, index)):
            part = part.part(tuple(index))
        order = sorted(range(len(axes)), key=lambda k: (axes[k] is None, axes[k] or 0))
        if order != list(range(part.ndim)):
            part = in_order(part, order)
        return in_shape(part, shape)

    def _out(self, part: Part) -> Part:
        """From the canvas's axes to the view's."""
        if is_constant(part) or self.axes is None:
            return in_shape(part, self.view.shape)
        used = [axis for axis in self.axes if axis is not None]
        order = used + [axis for axis in range(part.ndim) if axis not in used]
        if order != list(range(part.ndim)):
            part = in_order(part, order)
        part = in_shape(part, tuple(n if axis is not None else 1 for n, axis in zip(self.view.shape, self.axes)))
        for k, (n, axis) in enumerate(zip(self.view.shape, self.axes)):
            if axis is None and n > 1:
                if n > MOST_COPIES:
                    raise InexpressibleError("repeated elements")
                part = concatenate([part] * n, k)
        return part


def _entry(along: range, hole: range) -> int | slice:
    """An index of the places `hole` along an axis."""
    if len(hole) == 1 and len(along) > 1:
        return hole[0]
    return slice(hole.start, hole.stop, hole.step) if len(hole) < len(along) else slice(None)


def _is_simple(expression: Expression) -> bool:
    """Whether nothing in it is drawn or computed."""
    return isinstance(expression, (Constant, Unset, Literal))


def _reshaped_constant(expression: Expression, shape: tuple[int, ...]) -> Expression:
    if isinstance(expression, Constant):
        return Constant(expression.value, shape, expression.dtype)
    return Unset(shape, expression.dtype)


def overlap(a: Geometry, b: Geometry) -> bool:
    """Whether the spans of two tensors in a storage have something in common."""

    def span(g: Geometry) -> tuple[int, int]:
        last = g.offset + sum((n - 1) * stride for n, stride in zip(g.size, g.stride))
        return g.offset * g.dtype.itemsize, (last + 1) * g.dtype.itemsize

    (low, high), (other_low, other_high) = span(a), span(b)
    return low < other_high and other_low < high
