"""The two sides of a tensor seen as a matrix: row and column numbers, and the flat indices they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Flattened:
    """Row or column numbers of a region of several axes, made a few at a time."""

    __slots__ = ("lengths", "positions")

    def __init__(self, positions: Sequence[range | np.ndarray], lengths: tuple[int, ...]) -> None:
        self.positions, self.lengths = positions, lengths

    def __len__(self) -> int:
        return math.prod(map(len, self.positions))

    def __getitem__(self, part: slice) -> np.ndarray:
        at = np.unravel_index(np.arange(*part.indices(len(self))), tuple(map(len, self.positions)))
        numbers = np.zeros(len(at[0]), np.int64)
        for along, i, n in zip(self.positions, at, self.lengths):
            numbers = numbers * n + (along.start + along.step * i if isinstance(along, range) else along[i])
        return numbers


#: Numbers of rows or columns, or positions along an axis.
Numbers = range | np.ndarray | Flattened


def as_array(numbers: Numbers) -> np.ndarray:
    """The numbers as an array."""
    return np.arange(numbers.start, numbers.stop, numbers.step) if isinstance(numbers, range) else numbers[:]


class Side(NamedTuple):
    """The rows or the columns of a tensor viewed as a matrix: some of its axes, flattened."""

    axes: tuple[int, ...]
    lengths: tuple[int, ...]
    steps: tuple[int, ...]  #: of flat index, along each axis

    @property
    def size(self) -> int:
        return math.prod(self.lengths)

    @property
    def step(self) -> int | None:
        """The step of flat index from number to number, if there is one."""
        return one_step(self.lengths, self.steps)

    def numbers(self, positions: Sequence[range | np.ndarray]) -> Numbers:
        """Row or column numbers of the elements at those positions along each of its axes."""
        if len(positions) == 1:
            return positions[0]
        if all(map(is_all, positions, self.lengths)):
            return range(self.size)
        return Flattened(positions, self.lengths)

    def indices(self, numbers: Numbers) -> tuple[int, int, np.ndarray | None]:
        """(first, step, positions or None): flat index of number i is first + step * i, or step * positions[i]."""
        step = self.step
        if step is not None and isinstance(numbers, range) and numbers.step > 0:
            return numbers.start * step, numbers.step * step, None
        listed = np.ascontiguousarray(as_array(numbers), np.int64)
        if step is not None:
            return 0, step, listed
        along = np.unravel_index(listed, self.lengths)
        return 0, 1, sum((a.astype(np.int64) * s for a, s in zip(along, self.steps)), np.zeros(len(listed), np.int64))


def is_all(numbers: Numbers, count: int) -> bool:
    """Whether the numbers are 0 to count - 1, in order."""
    return isinstance(numbers, range) and numbers == range(count)


def one_step(lengths: Sequence[int], steps: Sequence[int]) -> int | None:
    """The step between neighbours, if the axes together are one run of equal steps (1 for one element); else None."""
    found = [(n, step) for n, step in zip(lengths, steps) if n > 1]
    if any(outer[1] != inner[0] * inner[1] for outer, inner in zip(found, found[1:])):
        return None
    return found[-1][1] if found else 1


def as_slice(numbers: np.ndarray) -> Any:
    """Numbers that follow one another as a slice, which copies nothing; others as they are."""
    first, last = int(numbers[0]), int(numbers[-1])
    return slice(first, last + 1) if (numbers == np.arange(first, first + len(numbers))).all() else numbers


def index(numbers: np.ndarray, lengths: tuple[int, ...]) -> Any:
    """The index by which an array with those axes yields the elements of these flattened numbers."""
    return (as_slice(numbers),) if len(lengths) == 1 else np.unravel_index(numbers, lengths)
