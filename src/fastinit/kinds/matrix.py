"""What both ways to an orthogonal matrix share: its two sides, its Gaussian, its products, its way into memory.

The matrix is seen as tall here, long side x short side, transposed if need be. The C core multiplies; NumPy selects,
copies and rounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .. import _kernels, plan
from ..arrays import scratch_for
from .sides import Numbers, Side, as_array, index, one_step

#: Elements of Gaussian rows held at once.
ROWS_AT_ONCE = 1 << 19

Advance = Callable[[int], None]


class Work(NamedTuple):
    """What every product of a fill needs besides its operands."""

    threads: int
    scratch: np.ndarray
    advance: Advance

    def multiply(
        self, c: np.ndarray, a: np.ndarray, b: np.ndarray, update: str = "set", upper: str = "", diagonal: int = 0
    ) -> None:
        """c = a @ b, or added to or subtracted from c; see `_kernels.multiply`."""
        _kernels.multiply(c, a, b, update, self.scratch, self.threads, upper, diagonal)


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

    def fill(self, positions: Sequence[range | np.ndarray], out: np.ndarray, threads: int, advance: Advance) -> None:
        """Fill `out`, which has an axis for each of the tensor's, with what lies at `positions` along each.

        `advance` is called with shares of `cost(positions)`.
        """
        rows, columns = self._numbers(positions)
        grid = out.transpose(self.long.axes + self.short.axes)
        self._fill(Work(threads, scratch_for(threads), advance), rows, columns, grid)

    def cost(self, positions: Sequence[range | np.ndarray]) -> int:
        """Terms of the sums that `fill` makes."""
        return self._cost(*self._numbers(positions))

    @abstractmethod
    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: np.ndarray) -> None:
        """Fill `grid`, long side first, with those rows and columns of Q."""

    @abstractmethod
    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        """Terms of the sums that `_fill` makes."""

    def _numbers(self, positions: Sequence[range | np.ndarray]) -> tuple[Numbers, Numbers]:
        long, short = (side.numbers([positions[axis] for axis in side.axes]) for side in (self.long, self.short))
        return long, short

    def normals_at(self, out: np.ndarray, rows: Numbers, columns: Numbers, threads: int) -> None:
        """G at those rows and columns."""
        write(self.normals, out, self.long.indices(rows), self.short.indices(columns), threads)

    def empty_rows(self, height: int, width: int) -> np.ndarray:
        """Memory in the order of the tensor's flat index."""
        order = "C" if self.short.steps[-1] <= self.long.steps[-1] else "F"
        return np.empty((height, width), self.working, order=order)  # type: ignore[call-overload]

    def in_place(self, grid: np.ndarray) -> np.ndarray | None:
        """`grid` as a matrix, long side x short side, if the products can write to it."""
        sides = len(self.long.axes)
        lengths, steps = grid.shape, grid.strides
        down, across = one_step(lengths[:sides], steps[:sides]), one_step(lengths[sides:], steps[sides:])
        if down is None or across is None or grid.dtype != self.working or not grid.flags.aligned:
            return None
        matrix = grid.reshape(math.prod(lengths[:sides]), math.prod(lengths[sides:]))
        size = matrix.itemsize
        whole = all(n == 1 or stride % size == 0 for n, stride in zip(matrix.shape, matrix.strides))
        return matrix if whole and (rows_contiguous(matrix) or rows_contiguous(matrix.T)) else None

    def scale(self, work: Work, q: np.ndarray, out: np.ndarray) -> None:
        """out = gain * q, rounded to the dtype."""
        if q is out and self.gain == 1:
            return
        if not rows_contiguous(q):
            q, out = q.T, out.T
        _kernels.scale(self.dtype, q, self.gain, out, work.threads)

    def put(self, work: Work, q: np.ndarray, grid: np.ndarray, rows: range, columns: np.ndarray) -> None:
        """Rounded values into `grid`, at numbers of its rows and columns; a few rows at a time."""
        sides = len(self.long.axes)
        height = max(1, ROWS_AT_ONCE // 4 // q.shape[1])
        for low in range(0, len(rows), height):
            part = q[low : low + height]
            if q.dtype != grid.dtype or self.gain != 1:
                source = part if rows_contiguous(part) else np.ascontiguousarray(part)
                part = np.empty(source.shape, grid.dtype)
                self.scale(work, source, part)
            down = index(as_array(rows[low : low + height]), grid.shape[:sides])
            across = index(columns, grid.shape[sides:])
            if not isinstance(down[0], slice) and not isinstance(across[0], slice):
                down = tuple(along[:, None] for along in down)
            grid[(*down, *across)] = part


def write(
    values: _kernels.Values,
    out: np.ndarray,
    rows: tuple[int, int, np.ndarray | None],
    columns: tuple[int, int, np.ndarray | None],
    threads: int,
) -> None:
    """Fill a matrix with the elements at the flat indices of its rows plus those of its columns."""
    (top, down, row_table), (left, across, column_table) = rows, columns
    view, first, axes = plan.flat_axes(top + left, [down, across], out, [row_table, column_table])
    _kernels.fill(values, view, first, axes, threads)


def rows_contiguous(matrix: np.ndarray) -> bool:
    return matrix.strides[1] == matrix.itemsize or matrix.shape[1] == 1
