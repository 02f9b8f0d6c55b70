"""Orthogonal matrices: which reflectors and products, in which order. docs/stream.md, "Orthogonal", in code.

The matrix is seen as tall here, long side x short side, transposed if need be. The C core multiplies; NumPy selects,
copies and rounds.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _kernels
from .arrays import allocate
from .sides import Numbers, Side, as_array, as_slice, index, is_all, one_step

#: Reflectors that are applied at once, and columns of a block of R: part of the stream version.
BLOCK = 128
#: Rows of the Gram matrix that are summed in the working precision: part of the stream version.
GRAM_ROWS = 1024
#: Columns of it that are made at once: a multiple of BLOCK.
GRAM_COLUMNS = 512
#: From this ratio of the sides on Q is G R^-1: part of the stream version.
TALL = 8
#: Elements of Gaussian rows held at once.
ROWS_AT_ONCE = 1 << 19

Advance = Callable[[int], None]
#: T of each block of reflectors, by its first column.
Factors = dict[int, np.ndarray]


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


class Orthogonal:
    """An orthogonal tensor: its shape, which axes are columns, its Gaussian and its gain.

    Parameters
    ----------
    normals : Values
        Standard normals on the tensor's stream, float64 for that dtype, else float32.
    dtype : str
        Of the result.
    shape, out_axis : tuple of int
        The tensor is a matrix of prod(shape[out_axis]) columns; its other axes are the rows.
    gain : float
        Multiplies every element, before the one rounding to the dtype.
    """

    def __init__(
        self, normals: _kernels.Values, dtype: str, shape: tuple[int, ...], out_axis: tuple[int, ...], gain: float
    ) -> None:
        self._normals = normals
        self._dtype = dtype
        self._working = np.dtype(np.float64 if dtype == "float64" else np.float32)
        self._gain = gain
        self._zero = _kernels.Values("constant", self._working.name, (0.0,), 0, 0)
        rest = tuple(axis for axis in range(len(shape)) if axis not in out_axis)
        rows, columns = (
            Side(axes, tuple(shape[a] for a in axes), tuple(math.prod(shape[a + 1 :]) for a in axes))
            for axes in (rest, out_axis)
        )
        self._long, self._short = (rows, columns) if rows.size >= columns.size else (columns, rows)
        self._tall = self._long.size >= TALL * self._short.size
        self._inverse: list[np.ndarray] | None = None
        self._lock, self._process = threading.RLock(), os.getpid()

    def fill(self, positions: Sequence[range | np.ndarray], out: np.ndarray, threads: int, advance: Advance) -> None:
        """Fill `out`, which has an axis for each of the tensor's, with what lies at `positions` along each.

        `advance` is called with shares of `cost(positions)`.
        """
        work = Work(threads, scratch_for(threads), advance)
        rows, columns = self._numbers(positions)
        grid = out.transpose(self._long.axes + self._short.axes)
        if self._tall:
            self._fill_tall(work, rows, columns, grid)
        else:
            self._fill_general(work, rows, columns, grid)

    def cost(self, positions: Sequence[range | np.ndarray]) -> int:
        """Terms of the sums that `fill` makes."""
        rows, columns = self._numbers(positions)
        if self._tall:
            factor = 0 if self._inverse else self._long.size
            return (factor + len(rows)) * self._short.size**2
        return sum(self._cost_of_panel(*panel) for panel in self._panels(columns))

    def _numbers(self, positions: Sequence[range | np.ndarray]) -> tuple[Numbers, Numbers]:
        long, short = (side.numbers([positions[axis] for axis in side.axes]) for side in (self._long, self._short))
        return long, short

    # ---- general shapes: reflectors drawn, not computed ----------------------------------------------------

    def _fill_general(self, work: Work, rows: Numbers, columns: Numbers, grid: np.ndarray) -> None:
        factors: Factors = {}
        matrix = self._in_place(grid)
        every_row = is_all(rows, self._long.size)
        if matrix is not None and every_row and isinstance(columns, range) and columns.step == 1:
            self._columns(work, matrix, columns.start, factors)
            self._scale(work, matrix, matrix)
            return
        kept = slice(None) if every_row else as_slice(as_array(rows))
        listed = as_array(columns)
        panels = self._panels(columns)
        space = np.empty((self._long.size, max(stop - start for start, stop in panels)), self._working)
        for start, stop in panels:
            inside = np.flatnonzero((listed >= start) & (listed < stop))
            if len(inside):
                panel = space[:, : stop - start]
                self._columns(work, panel, start, factors)
                chosen = panel[kept][:, as_slice(listed[inside] - start)]
                self._put(work, chosen, grid, range(len(chosen)), inside)
            else:
                work.advance(self._cost_of_panel(start, stop))

    def _panels(self, columns: Numbers) -> list[tuple[int, int]]:
        """(start, stop) of all columns from the first that is wanted to the last: a twentieth each, or a mebibyte."""
        listed = as_array(columns)
        low, high = int(listed.min()), int(listed.max())
        width = max(self._short.size // 320 * 16, (1 << 18) // self._long.size, 16)
        return [(start, min(start + width, high + 1)) for start in range(low, high + 1, width)]

    def _cost_of_panel(self, start: int, stop: int) -> int:
        return sum(
            2 * (self._long.size - first) * (stop - max(first, start)) * min(BLOCK, self._short.size - first)
            for first in range(0, stop, BLOCK)
        )

    def _columns(self, work: Work, q: np.ndarray, start: int, factors: Factors) -> None:
        """The columns of Q from `start` on, all rows, into `q`: (I - V T V') of the last block first."""
        long, short, stop = self._long.size, self._short.size, start + q.shape[1]
        block = min(BLOCK, short)
        _write(self._zero, q, (0, 1, None), (0, 1, None), work.threads)
        vectors = np.empty((long, block), self._working)
        order: Any = "C" if _rows_contiguous(q) else "F"
        spaces = [np.empty((block, q.shape[1]), self._working, order=order) for _ in range(2)]
        for first in range((stop - 1) // BLOCK * BLOCK, -1, -BLOCK):
            last, left = min(first + BLOCK, short), max(first, start)
            v = vectors[: long - first, : last - first]
            self._normals_at(v, range(first, long), range(first, last), work.threads)
            signs = _kernels.reflectors(v, work.threads)
            if first not in factors:
                t = factors[first] = np.empty((v.shape[1], v.shape[1]), self._working)
                work.multiply(t, v.T, v, upper="c")
                _kernels.triangular_factor(t)
            part = q[first:, left - start :]
            own = np.arange(left, min(last, stop))
            part[own - first, own - left] = signs[own - first]
            projected, weights = (space[: last - first, : part.shape[1]] for space in spaces)
            # the block's own columns are zero but for the signs so far, and the others in its own rows
            top, mine = last - first, len(own)
            work.multiply(projected[:, :mine], v[:top].T, part[:top, :mine])
            work.multiply(projected[:, mine:], v[top:].T, part[top:, mine:])
            work.multiply(weights, factors[first], projected)
            work.multiply(part, v, weights, "subtract")
            work.advance(2 * v.size * part.shape[1])

    # ---- tall shapes: G R^-1 ---------------------------------------------------------------------------------

    def _fill_tall(self, work: Work, rows: Numbers, columns: Numbers, grid: np.ndarray) -> None:
        inverse = self._inverse_of_r(work)
        matrix = self._in_place(grid) if is_all(columns, self._short.size) else None
        listed = as_array(columns)
        starts = [j * BLOCK for j in range(len(inverse)) if ((listed >= j * BLOCK) & (listed < (j + 1) * BLOCK)).any()]
        width = starts[-1] + inverse[starts[-1] // BLOCK].shape[1]  # later columns of G are not needed
        height = min(len(rows), max(1, ROWS_AT_ONCE // self._short.size))
        held = self._empty_rows(height, width)
        space = np.empty_like(held) if matrix is None else held
        for low in range(0, len(rows), height):
            wanted = rows[low : low + height]
            g = held[: len(wanted)]
            self._normals_at(g, wanted, range(width), work.threads)
            q = space[: len(wanted)] if matrix is None else matrix[low : low + height]
            for start in starts:
                block = inverse[start // BLOCK]
                stop = start + block.shape[1]
                work.multiply(q[:, start:stop], g[:, :stop], block, upper="b", diagonal=start)
            if matrix is None:
                self._put(work, q[:, as_slice(listed)], grid, range(low, low + len(wanted)), np.arange(len(listed)))
            else:
                self._scale(work, q, q)
            work.advance(len(wanted) * self._short.size**2)

    def _inverse_of_r(self, work: Work) -> list[np.ndarray]:
        """R^-1 by blocks of columns, each with its rows down to the diagonal; made once.

        Whoever asks meanwhile waits, but for progress callbacks and signal handlers of the thread that makes it.
        """
        if self._process != os.getpid():  # the thread that held the lock may not be in this child
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            if self._inverse is None:
                blocks = self._gram(work)
                diagonal = _factorise(work, blocks)
                _invert(work, blocks, diagonal)
                with _kernels.DefaultFloatEnvironment():
                    self._inverse = [block.astype(self._working) for block in blocks]
            return self._inverse

    def _gram(self, work: Work) -> list[np.ndarray]:
        """G'G by blocks of columns, float64: GRAM_ROWS rows at a time in the working precision, then added."""
        long, short = self._long.size, self._short.size
        starts = range(0, short, BLOCK)
        blocks = [np.zeros((min(start + BLOCK, short), min(BLOCK, short - start))) for start in starts]
        strips = [
            (left, np.zeros((min(left + GRAM_COLUMNS, short), min(GRAM_COLUMNS, short - left)), self._working))
            for left in range(0, short, GRAM_COLUMNS)
        ]
        height = ROWS_AT_ONCE // short
        height = height // GRAM_ROWS * GRAM_ROWS or (512 if height >= 512 else 256)  # halves and quarters add up
        held = self._empty_rows(min(height, long), short)
        for low in range(0, long, height):
            rows = range(low, min(low + height, long))
            g = held[: len(rows)]
            self._normals_at(g, rows, range(short), work.threads)
            for first in range(low, rows.stop, GRAM_ROWS):
                last = min(first + GRAM_ROWS, rows.stop)
                own = g[first - low : last - low]
                update = "add" if first % GRAM_ROWS else "set"
                for left, strip in strips:
                    right = len(strip)
                    work.multiply(strip, own[:, :right].T, own[:, left:right], update, upper="c", diagonal=left)
                if last % GRAM_ROWS == 0 or last == long:
                    for start, block in zip(starts, blocks):
                        left, strip = strips[start // GRAM_COLUMNS]
                        part = strip[: len(block), start - left : len(block) - left]
                        _kernels.accumulate(block, part, work.threads)
            work.advance(len(rows) * short**2)
        return blocks

    # ---- memory ------------------------------------------------------------------------------------------------

    def _normals_at(self, out: np.ndarray, rows: Numbers, columns: Numbers, threads: int) -> None:
        """G at those rows and columns."""
        _write(self._normals, out, self._long.indices(rows), self._short.indices(columns), threads)

    def _empty_rows(self, height: int, width: int) -> np.ndarray:
        """Memory in the order of the tensor's flat index."""
        order = "C" if self._short.steps[-1] <= self._long.steps[-1] else "F"
        return np.empty((height, width), self._working, order=order)  # type: ignore[call-overload]

    def _in_place(self, grid: np.ndarray) -> np.ndarray | None:
        """`grid` as a matrix, long side x short side, if the products can write to it."""
        sides = len(self._long.axes)
        lengths, steps = grid.shape, grid.strides
        down, across = one_step(lengths[:sides], steps[:sides]), one_step(lengths[sides:], steps[sides:])
        if down is None or across is None or grid.dtype != self._working or not grid.flags.aligned:
            return None
        matrix = grid.reshape(math.prod(lengths[:sides]), math.prod(lengths[sides:]))
        size = matrix.itemsize
        whole = all(n == 1 or stride % size == 0 for n, stride in zip(matrix.shape, matrix.strides))
        return matrix if whole and (_rows_contiguous(matrix) or _rows_contiguous(matrix.T)) else None

    def _scale(self, work: Work, q: np.ndarray, out: np.ndarray) -> None:
        """out = gain * q, rounded to the dtype."""
        if q is out and self._gain == 1:
            return
        if not _rows_contiguous(q):
            q, out = q.T, out.T
        _kernels.scale(self._dtype, q, self._gain, out, work.threads)

    def _put(self, work: Work, q: np.ndarray, grid: np.ndarray, rows: range, columns: np.ndarray) -> None:
        """Rounded values into `grid`, at numbers of its rows and columns; a few rows at a time."""
        sides = len(self._long.axes)
        height = max(1, ROWS_AT_ONCE // 4 // q.shape[1])
        for low in range(0, len(rows), height):
            part = q[low : low + height]
            if q.dtype != grid.dtype or self._gain != 1:
                source = part if _rows_contiguous(part) else np.ascontiguousarray(part)
                part = np.empty(source.shape, grid.dtype)
                self._scale(work, source, part)
            down = index(as_array(rows[low : low + height]), grid.shape[:sides])
            across = index(columns, grid.shape[sides:])
            if not isinstance(down[0], slice) and not isinstance(across[0], slice):
                down = tuple(along[:, None] for along in down)
            grid[(*down, *across)] = part


class DeltaOrthogonal:
    """Zeros, with an orthogonal matrix (in axes x out axes) at the centre of the spatial axes.

    Parameters as of `Orthogonal`; the matrix is the one of shape[in_axis] + shape[out_axis] by itself.
    """

    def __init__(
        self,
        normals: _kernels.Values,
        dtype: str,
        shape: tuple[int, ...],
        in_axis: tuple[int, ...],
        out_axis: tuple[int, ...],
        gain: float,
    ) -> None:
        self._axes = in_axis + out_axis
        self._spatial = {axis: (n - 1) // 2 for axis, n in enumerate(shape) if axis not in self._axes}
        inner = tuple(shape[axis] for axis in self._axes)
        self._matrix = Orthogonal(normals, dtype, inner, tuple(range(len(in_axis), len(inner))), gain)

    def fill(self, positions: Sequence[range | np.ndarray], out: np.ndarray, threads: int, advance: Advance) -> None:
        """As `Orthogonal.fill`; `out` is zero already."""
        found = self._centre(positions)
        if not all(map(len, found)):
            advance(1)
            return
        grid = out.transpose((*self._spatial, *self._axes))
        first, *others = [grid[at] for at in itertools.product(*found)]  # gathered rows may repeat the centre
        self._matrix.fill([positions[axis] for axis in self._axes], first, threads, advance)
        for other in others:
            other[...] = first

    def cost(self, positions: Sequence[range | np.ndarray]) -> int:
        """As `Orthogonal.cost`; 1 where there are only zeros."""
        if not all(map(len, self._centre(positions))):
            return 1
        return self._matrix.cost([positions[axis] for axis in self._axes])

    def _centre(self, positions: Sequence[range | np.ndarray]) -> list[list[int]]:
        """Where the centre is along each spatial axis; more than once in gathered rows."""
        return [
            np.flatnonzero(along == centre).tolist() if isinstance(along, np.ndarray)
            else [along.index(centre)] if centre in along else []
            for along, centre in ((positions[axis], centre) for axis, centre in self._spatial.items())
        ]  # fmt: skip


def _factorise(work: Work, blocks: list[np.ndarray]) -> list[np.ndarray]:
    """The Cholesky factor of a Gram matrix in its place; returns the inverses of its diagonal blocks."""
    inverses: list[np.ndarray] = []
    for j, column in enumerate(blocks):
        for i, left in enumerate(blocks[: j + 1]):
            top, bottom = i * BLOCK, i * BLOCK + left.shape[1]
            own = column[top:bottom]
            if i > 0:
                work.multiply(own, left[:top].T, column[:top], "subtract")
            if i < j:
                work.multiply(own, inverses[i].T, own.copy())
            elif not _kernels.cholesky(own):
                raise ArithmeticError("the Gaussian rows are not independent: take another seed")
            else:
                inverses.append(_kernels.invert_upper(own))
    return inverses


def _invert(work: Work, blocks: list[np.ndarray], diagonal: list[np.ndarray]) -> None:
    """The inverse of R in its place: above the diagonal -(R^-1)_{..j-1} R_j (R_jj)^-1."""
    for j, column in enumerate(blocks):
        top = j * BLOCK
        total = np.zeros((top, column.shape[1]))
        for i, done in enumerate(blocks[:j]):
            work.multiply(total[: (i + 1) * BLOCK], done, column[i * BLOCK : (i + 1) * BLOCK], "add")
        column[:top] = 0
        if top:
            work.multiply(column[:top], total, diagonal[j], "subtract")
        column[top:] = diagonal[j]


def _write(
    values: _kernels.Values,
    out: np.ndarray,
    rows: tuple[int, int, np.ndarray | None],
    columns: tuple[int, int, np.ndarray | None],
    threads: int,
) -> None:
    """Fill a matrix with the elements at the flat indices of its rows plus those of its columns."""
    first = 0
    axes: list[_kernels.Axis] = []
    for (start, step, table), count, stride in sorted(
        zip((rows, columns), out.shape, out.strides), key=lambda side: -abs(side[2])
    ):
        first += start
        if count == 1 and table is not None:
            first += step * int(table[0])
        elif axes and table is None and axes[-1][3] is None and axes[-1][1:3] == (step * count, stride * count):
            axes[-1] = (axes[-1][0] * count, step, stride, None)
        elif count > 1:
            axes.append((count, step, stride, table))
    _kernels.fill(values, out, first, axes, threads)


def _rows_contiguous(matrix: np.ndarray) -> bool:
    return matrix.strides[1] == matrix.itemsize or matrix.shape[1] == 1


def scratch_for(threads: int) -> np.ndarray:
    """Memory that products of so many threads work in."""
    return allocate((threads * _kernels.SCRATCH // 4,), "float32")
