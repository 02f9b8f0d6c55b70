"""What both ways to an orthogonal matrix share: its two sides, its Gaussian, its way into memory.

The matrix is seen as tall here, long side x short side, transposed if need be.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from .. import _kernels
from ..arrays import is_aligned
from .host import HostWork
from .sides import Numbers, Side, one_step
from .work import Advance, Array, Offsets, Work


class Matrix(ABC):
    """An orthogonal matrix, as a tensor of any number of axes: where its elements lie, and what they are made of.

    Parameters
    ----------
    normals : Values
        Standard normals on the tensor's stream, float64 for that dtype, else float32.
    dtype : str
        Of the result.
    rows, columns : Side
        The tensor's axes as the two sides of the matrix; the longer one is `long` from here on.
    gain : float
        Multiplies every element, before the one rounding to the dtype.
    """

    def __init__(self, normals: _kernels.Values, dtype: str, rows: Side, columns: Side, gain: float) -> None:
        self.normals = normals
        self.dtype = dtype
        self.working = np.dtype(np.float64 if dtype == "float64" else np.float32)
        self.gain = gain
        self.long, self.short = (rows, columns) if rows.size >= columns.size else (columns, rows)

    def fill(self, positions: Sequence[range | np.ndarray], out: Array, threads: int, advance: Advance) -> None:
        """Fill `out`, which has an axis for each of the tensor's, with what lies at `positions` along each.

        `advance` is called with shares of `cost(positions)`.
        """
        rows, columns = self._numbers(positions)
        grid = out.transpose(self.long.axes + self.short.axes)
        work = HostWork(threads, advance) if isinstance(out, np.ndarray) else out.work(advance)
        self._fill(work, rows, columns, grid)
        work.run()

    def cost(self, positions: Sequence[range | np.ndarray]) -> int:
        """Terms of the sums that `fill` makes."""
        return self._cost(*self._numbers(positions))

    @abstractmethod
    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: Array) -> None:
        """Describe how `grid`, long side first, gets those rows and columns of Q."""

    @abstractmethod
    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        """Terms of the sums that `_fill` makes."""

    def _numbers(self, positions: Sequence[range | np.ndarray]) -> tuple[Numbers, Numbers]:
        long, short = (side.numbers([positions[axis] for axis in side.axes]) for side in (self.long, self.short))
        return long, short

    def draw(self, work: Work, out: Array, rows: Numbers, columns: Numbers) -> None:
        """G at those rows and columns."""
        work.draw(self.normals, out, self.long.indices(rows), self.short.indices(columns))

    def order(self) -> str:
        """That of memory in which normals are neighbours as they are in the tensor."""
        return "C" if self.short.steps[-1] <= self.long.steps[-1] else "F"

    def in_place(self, grid: Array) -> Array | None:
        """`grid` as a matrix, long side x short side, if the products can write to it."""
        sides = len(self.long.axes)
        lengths, steps = grid.shape, grid.strides
        down, across = one_step(lengths[:sides], steps[:sides]), one_step(lengths[sides:], steps[sides:])
        if down is None or across is None or grid.dtype != self.working or not is_aligned(grid):
            return None
        matrix = grid.reshape((math.prod(lengths[:sides]), math.prod(lengths[sides:])))
        size = self.working.itemsize
        whole = all(n == 1 or stride % size == 0 for n, stride in zip(matrix.shape, matrix.strides))
        return matrix if whole and (rows_contiguous(matrix) or rows_contiguous(matrix.T)) else None

    def scale(self, work: Work, q: Array) -> None:
        """Multiply by the gain, in place."""
        if self.gain != 1:
            work.scale(self.working.name, self.gain, q, q)

    def put(
        self, work: Work, q: Array, kept: tuple[Numbers, Numbers], grid: Array, at: tuple[Numbers, Numbers]
    ) -> None:
        """Rows and columns of `q`, scaled and rounded, to numbers of the grid's rows and columns."""
        sides = len(self.long.axes)
        source = [Offsets.of(numbers, (n,), (step,)) for numbers, n, step in zip(kept, q.shape, q.strides)]
        target = [
            Offsets.of(numbers, grid.shape[part], grid.strides[part])
            for numbers, part in zip(at, (slice(sides), slice(sides, None)))
        ]
        work.put(self.dtype, self.gain, q, source[0], source[1], grid, target[0], target[1])


def rows_contiguous(matrix: Array) -> bool:
    return bool(matrix.strides[1] == matrix.dtype.itemsize or matrix.shape[1] == 1)
