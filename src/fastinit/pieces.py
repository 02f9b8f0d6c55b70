"""A tensor cut into pieces: runs of a file, boxes of a store, loads of a buffer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Piece(NamedTuple):
    """An index of a tensor, the flat index of its first element, and how many elements it has."""

    at: tuple[int | slice, ...]
    first: int
    size: int


def rows_of_piece(shape: tuple[int, ...], largest: int) -> tuple[int, int]:
    """The axis along which to cut, and how many positions of it have at most `largest` elements together.

    Axes before it are taken one position at a time, those behind it whole.
    """
    inner = 1
    for axis in range(len(shape) - 1, -1, -1):
        if inner * shape[axis] > largest:
            return axis, max(1, largest // inner)
        inner *= shape[axis]
    return 0, max(1, shape[0]) if shape else 1


def pieces(shape: tuple[int, ...], largest: int) -> Iterator[Piece]:
    """Pieces of at most `largest` elements (at least 1) that are contiguous in C order, in that order."""
    if math.prod(shape) == 0:
        return
    if not shape:
        yield Piece((), 0, 1)
        return
    axis, rows = rows_of_piece(shape, largest)
    inner = math.prod(shape[axis + 1 :])
    first = 0
    for before in np.ndindex(shape[:axis]):
        for low in range(0, shape[axis], rows):
            high = min(low + rows, shape[axis])
            yield Piece((*before, slice(low, high)), first, (high - low) * inner)
            first += (high - low) * inner


def boxes(shape: tuple[int, ...], lengths: tuple[int, ...]) -> Iterator[Piece]:
    """Boxes of those lengths that cover a tensor; `first` is not set, since they are not contiguous."""
    if math.prod(shape) == 0:
        return
    starts = (range(0, n, length) for n, length in zip(shape, lengths))
    for corner in itertools.product(*starts):
        at = tuple(slice(low, min(low + length, n)) for low, length, n in zip(corner, lengths, shape))
        yield Piece(at, -1, math.prod(along.stop - along.start for along in at))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` of the items."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch
