"""Tensors joined along an axis: concatenated, in groups or not, and stacked."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import MAX_AXES, MAX_SIZE
from ..walks import Step, Walk
from .composed import Composed, scattered
from .kind import Advance, Kind, offsets_of, stacked_alike


class Joined(Composed):
    """Tensors one behind the other along an axis, piece by piece.

    Each of the tensors is cut into `groups` equal pieces; a period has one piece of each.
    """

    __slots__ = ("_alike", "axis", "edges", "groups", "lengths", "period")

    def __init__(
        self, shape: Sequence[int], others: Sequence[Kind], axis: int, groups: int, lengths: Sequence[int]
    ) -> None:
        super().__init__(shape, others)
        self.axis = axis
        self.groups = groups
        self.lengths = lengths  # of each one's pieces
        self.edges = list(itertools.accumulate(lengths, initial=0))  # where they begin and end in a period
        self.period = self.edges[-1]
        self._alike: tuple[Kind | None] | None = None

    def arrangement(self) -> Any:
        return self.axis, self.groups, self.lengths

    def stacked(self, kinds: Sequence[Composed]) -> Kind | None:
        """None where each kind has more tensors than there are kinds: to join those within each gains more."""
        return super().stacked(kinds) if len(self.others) <= len(kinds) else None

    def alike(self) -> Kind | None:
        """All of the tensors stacked along a new axis 0, where they are of one structure; None where they are not."""
        if self._alike is None:
            one_more = len(self.others) > 1 and len(self.others[0].shape) < MAX_AXES
            self._alike = (stacked_alike(self.others) if one_more else None,)
        return self._alike[0]

    @property
    def together(self) -> int:
        """The size of one tensor, where the tensors have equal shapes and follow each other in C order."""
        before = math.prod(self.shape[: self.axis]) * self.groups
        size = math.prod(self.others[0].shape)
        return max(1, size) if before == 1 and len(set(self.lengths)) == 1 else super().together

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        least, greatest = walk.reach(self.axis, array.shape)
        if least // self.period == greatest // self.period:
            other = self._at(least % self.period)
            offset = (least // self.period) * self.period + self.edges[other]
            if greatest - offset < self.lengths[other]:
                start = walk.starts[self.axis] + self._position(least, other) - least
                self._fill(other, walk.moved(self.axis, start), array, threads, advance)
                return
        regular = self._periodic(walk)
        others = [k for k in walk.along(self.axis) if k not in regular]
        if not others:
            self._fill_run(walk, array, self._at(walk.starts[self.axis] % self.period), threads, advance)
            return
        if len(others) > 1:
            k = min(others, key=lambda k: array.shape[k])
            for position in range(array.shape[k]):
                self.fill_walk(*walk.at(k, array, position), threads, advance)
            return
        (k,) = others
        if walk.steps[k].table is None:
            walk, array = walk.upwards(array)
            # a tensor that is made together is made once, whatever it takes to find its elements
            if not self.made_together or self._runs_of(walk.steps[k].step, array.shape[k]) <= len(self.others):
                self._fill_along(walk, array, k, threads, advance)
                return
        self._gather(walk, array, k, threads, advance)

    def _fill_along(self, walk: Walk, array: np.ndarray, k: int, threads: int | None, advance: Advance) -> None:
        """Fills an array one of whose axes runs through the pieces."""
        step, count = walk.steps[k].step, array.shape[k]
        again = math.lcm(step, self.period) // step  # so many elements on, the pieces are cut in the same way
        times = count // again
        if times > 1 and array.ndim < MAX_AXES:
            body, view = walk.cut(k, array, 0, times * again)
            body, view = body.split(k, view, again)
            self._fill_runs(body, view, k + 1, threads, advance)
            walk, array = walk.cut(k, array, times * again, count)
        self._fill_runs(walk, array, k, threads, advance)

    def _fill_runs(self, walk: Walk, array: np.ndarray, k: int, threads: int | None, advance: Advance) -> None:
        """Fills an array whose axis k runs through the pieces, and whose other axes run from period to period."""
        start, step = walk.starts[self.axis], walk.steps[k].step
        low, count = 0, array.shape[k]
        while low < count:
            number = (start + step * low) % self.period
            other = self._at(number)
            length = self.lengths[other]
            if number == self.edges[other] and length % step == 0:
                pieces = min((count - low) * step // length, len(self.others) - other)
                if pieces > 1 and array.ndim < MAX_AXES and self.alike() is not None:
                    high = low + pieces * (length // step)
                    part, view = walk.cut(k, array, low, high)
                    self._fill_pieces(*part.split(k, view, length // step), k, other, threads, advance)
                    low = high
                    continue
            high = min(count, low - (number - self.edges[other + 1]) // step)
            self._fill_run(*walk.cut(k, array, low, high), other, threads, advance)
            low = high

    def _fill_pieces(
        self, walk: Walk, array: np.ndarray, k: int, other: int, threads: int | None, advance: Advance
    ) -> None:
        """Fills an array whose axis k has a piece of each of the tensors from `other` on, which are alike."""
        alike = self.alike()
        assert alike is not None
        start = self._position(walk.starts[self.axis], other)
        walk = walk.moved(self.axis, start, {i: n for i, n in self._within(walk, other).items() if i != k})
        steps = [Step(None, 1) if axis is None else Step(axis + 1, step, table) for axis, step, table in walk.steps]
        steps[k] = Step(0, 1)
        alike.fill_walk(Walk((other, *walk.starts), tuple(steps)), array, threads, advance)

    def _fill_run(self, walk: Walk, array: np.ndarray, other: int, threads: int | None, advance: Advance) -> None:
        """Fills an array whose elements are all in one piece of one tensor, but for steps of whole periods."""
        start = self._position(walk.starts[self.axis], other)
        self._fill(other, walk.moved(self.axis, start, self._within(walk, other)), array, threads, advance)

    def _gather(self, walk: Walk, array: np.ndarray, k: int, threads: int | None, advance: Advance) -> None:
        """Fills an array one of whose axes jumps from piece to piece."""
        positions = walk.starts[self.axis] + offsets_of(walk.steps[k], array.shape[k])
        period, number = np.divmod(positions, self.period)
        owners = np.searchsorted(self.edges, number, side="right") - 1
        by_owner = np.argsort(owners, kind="stable")
        ends = [*(np.flatnonzero(np.diff(owners[by_owner])) + 1).tolist(), len(by_owner)]
        for low, high in zip([0, *ends], ends):
            where = by_owner[low:high]
            other = int(owners[where[0]])
            table = period[where] * self.lengths[other] + number[where] - self.edges[other]
            moved = walk.moved(self.axis, 0, self._within(walk, other))
            fill = functools.partial(self._fill_listed, other, moved, k, table, threads, advance)
            scattered(array, k, where, fill, at_once=self.others[other].made_together)

    def _fill_listed(
        self,
        other: int,
        walk: Walk,
        k: int,
        table: np.ndarray,
        threads: int | None,
        advance: Advance,
        array: np.ndarray,
        part: slice,
    ) -> None:
        """Fills an array whose axis k is of some of the listed positions in one of the tensors."""
        self._fill(other, walk.with_step(k, Step(self.axis, 1, table[part])), array, threads, advance)

    def _fill(self, other: int, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        """Fills an array by a walk whose positions along the axis are those of one of the tensors."""
        self.others[other].fill_walk(walk, array, threads, advance)

    def _at(self, number: int) -> int:
        """Which tensor a position within a period belongs to."""
        return bisect.bisect_right(self.edges, number) - 1

    def _position(self, position: int, other: int) -> int:
        """The position within one of the tensors."""
        period, number = divmod(position, self.period)
        return period * self.lengths[other] + number - self.edges[other]

    def _periodic(self, walk: Walk) -> dict[int, int]:
        """The axes of the array that go from period to period, and how many periods a step of them is."""
        return {
            k: walk.steps[k].step // self.period
            for k in walk.along(self.axis)
            if walk.steps[k].table is None and walk.steps[k].step % self.period == 0
        }

    def _within(self, walk: Walk, other: int) -> dict[int, Step]:
        """The steps of the periodic axes, within one of the tensors."""
        return {k: Step(self.axis, n * self.lengths[other]) for k, n in self._periodic(walk).items()}

    def _runs_of(self, step: int, count: int) -> int:
        """At most so many runs are filled by `_fill_along`."""
        return min(count, len(self.others) * math.lcm(step, self.period) // self.period)


class Concatenated(Joined):
    """Tensors one behind the other along an axis of theirs; in groups, piece 0 of each, piece 1 of each, and so on."""

    __slots__ = ()

    def __init__(self, others: Sequence[Kind], axis: int, groups: int) -> None:
        first = others[0].shape
        for other in others:
            if len(other.shape) != len(first) or any(
                n != m for k, (n, m) in enumerate(zip(first, other.shape)) if k != axis
            ):
                raise ValueError(
                    f"concatenated tensors need equal shapes but for axis {axis}, got {first} and {other.shape}"
                )
            if other.shape[axis] % groups or groups >= MAX_SIZE:  # any number divides a length of 0
                raise ValueError(f"{groups} groups do not divide axis {axis} of shape {other.shape}")
        lengths = [other.shape[axis] // groups for other in others]
        shape = (*first[:axis], groups * sum(lengths), *first[axis + 1 :])
        super().__init__(shape, others, axis, groups, lengths)

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Concatenated(others, self.axis + 1, self.groups)

    def described(self) -> dict[str, Any]:
        return {
            "concatenate": [other.described() for other in self.others],
            "axis": self.axis,
            "groups": self.groups,
        }

    def flat(self) -> Concatenated | None:
        return joined_flat(self.others) if math.prod(self.shape[: self.axis]) == 1 and self.groups == 1 else None


class Stacked(Joined):
    """Tensors of one shape along a new axis."""

    __slots__ = ()

    def __init__(self, others: Sequence[Kind], axis: int) -> None:
        first = others[0].shape
        for other in others:
            if other.shape != first:
                raise ValueError(f"stacked tensors need equal shapes, got {first} and {other.shape}")
        shape = (*first[:axis], len(others), *first[axis:])
        super().__init__(shape, others, axis, 1, (1,) * len(others))

    def arranged(self, others: Sequence[Kind], n: int) -> Kind:
        return Stacked(others, self.axis + 1)

    def described(self) -> dict[str, Any]:
        return {"stack": [other.described() for other in self.others], "axis": self.axis}

    def flat(self) -> Concatenated | None:
        return joined_flat(self.others) if math.prod(self.shape[: self.axis]) == 1 else None

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        alike = self.alike()
        if alike is None:
            super().fill_walk(walk, array, threads, advance)
            return
        starts = (walk.starts[self.axis], *walk.starts[: self.axis], *walk.starts[self.axis + 1 :])
        steps = (
            Step(None, 1) if axis is None
            else Step(0 if axis == self.axis else axis + (axis < self.axis), step, table)
            for axis, step, table in walk.steps
        )  # fmt: skip
        alike.fill_walk(Walk(starts, tuple(steps)), array, threads, advance)

    def _fill(self, other: int, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        self.others[other].fill_walk(walk.without(self.axis), array, threads, advance)


def joined_flat(others: Sequence[Kind]) -> Concatenated | None:
    """Tensors one behind the other in C order; None where one of them has no flat form."""
    flats = []
    for other in others:
        flat = other.flat()
        if flat is None:
            return None
        flats.append(flat)
    return Concatenated(flats, 0, 1)
