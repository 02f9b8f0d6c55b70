"""Tensors of one structure, stacked: one call of the kernels for all of them, however small they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _kernels, plan
from ..threads import default_for
from ..walks import Walk
from .composed import Composed, Cut, Pasted, Transposed
from .drawn import Drawn
from .joined import Concatenated, Joined, Stacked
from .kind import Advance, Kind, offsets_of, positions_of
from .reshaped import Reshaped


class DrawnStack(Stacked):
    """Drawn tensors of one shape along a new axis 0."""

    __slots__ = ()

    others: tuple[Drawn, ...]

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        positions = positions_of(walk, 0, array.shape)
        offsets = np.zeros(1, np.int64)
        for k in walk.along(0):
            offsets = (offsets[:, None] + np.arange(array.shape[k], dtype=np.int64) * array.strides[k]).ravel()
        inner, view = walk, array
        for k in reversed(walk.along(0)):
            inner, view = inner.at(k, view, 0)
        first = self.others[0]
        out, index, axes = first.plan_of(inner.without(0), view)
        values = [self.others[position].values for position in positions]
        threads = default_for(array.size) if threads is None else threads
        _kernels.fill_each(values, offsets, out, index, axes, threads)
        advance(array.size)


def stacked_alike(kinds: Sequence[Kind]) -> Kind | None:
    """The stack along a new axis 0 of kinds that differ in nothing but what is drawn; None where there is more.

    It is composed as each of the kinds is, of stacks of what they are composed of.
    """
    first = kinds[0]
    if any(type(kind) is not type(first) or kind.shape != first.shape for kind in kinds):
        return None
    if isinstance(first, Drawn):
        return DrawnStack(kinds, 0)
    if isinstance(first, DrawnStack):  # there is nothing more to gain
        return None
    if isinstance(first, Joined) and len(first.others) > len(kinds):  # more is alike within each of them
        return None
    if not isinstance(first, Composed) or any(
        len(kind.others) != len(first.others) or kind.arrangement() != first.arrangement()  # type: ignore[attr-defined]
        for kind in kinds
    ):
        return None
    inner: list[Kind] = []
    for others in zip(*(kind.others for kind in kinds)):  # type: ignore[attr-defined]
        found = stacked_alike(others)
        if found is None:
            return None
        inner.append(found)
    if isinstance(first, Transposed):
        return Transposed(inner[0], (0, *(axis + 1 for axis in first.axes)))
    if isinstance(first, Cut):
        return Cut(inner[0], _with_axis(first.cut, len(kinds)))
    if isinstance(first, Pasted):
        return Pasted(inner[0], _with_axis(first.hole, len(kinds)), inner[1])
    if isinstance(first, Concatenated):
        return Concatenated(inner, first.axis + 1, first.groups)
    if isinstance(first, Stacked):
        return Stacked(inner, first.axis + 1)
    if isinstance(first, Reshaped):
        return Reshaped(inner[0], (len(kinds), *first.shape))
    return None


def _with_axis(region: plan.Region, n: int) -> plan.Region:
    """The same region of n tensors along a new axis 0."""
    axes = (0, *(None if axis is None else axis + 1 for axis in region.axes))
    return plan.Region((range(n), *region.ranges), axes)
