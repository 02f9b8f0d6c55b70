"""Orthogonal matrices whose sides differ much: Q = G R^-1, with R by Cholesky.

docs/stream.md, "Orthogonal", in code: which products, in which order.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from .. import _kernels
from .matrix import ROWS_AT_ONCE, Matrix, Work
from .sides import Numbers, Side, as_array, as_slice, is_all

#: Columns of a block of R: part of the stream version.
BLOCK = 128
#: Rows of the Gram matrix that are summed in the working precision: part of the stream version.
GRAM_ROWS = 1024
#: Columns of it that are made at once: a multiple of BLOCK.
GRAM_COLUMNS = 512


class Tall(Matrix):
    """Rows (columns of a wide matrix) are made one by one once R is known, and R is kept. Parameters as of `Matrix`."""

    def __init__(self, normals: _kernels.Values, dtype: str, rows: Side, columns: Side, gain: float) -> None:
        super().__init__(normals, dtype, rows, columns, gain)
        self._inverse: list[np.ndarray] | None = None
        self._lock, self._process = threading.RLock(), os.getpid()

    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        factor = 0 if self._inverse else self.long.size
        return (factor + len(rows)) * self.short.size**2

    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: np.ndarray) -> None:
        inverse = self._inverse_of_r(work)
        matrix = self.in_place(grid) if is_all(columns, self.short.size) else None
        listed = as_array(columns)
        starts = [j * BLOCK for j in range(len(inverse)) if ((listed >= j * BLOCK) & (listed < (j + 1) * BLOCK)).any()]
        width = starts[-1] + inverse[starts[-1] // BLOCK].shape[1]  # later columns of G are not needed
        height = min(len(rows), max(1, ROWS_AT_ONCE // self.short.size))
        held = self.empty_rows(height, width)
        space = np.empty_like(held) if matrix is None else held
        for low in range(0, len(rows), height):
            wanted = rows[low : low + height]
            g = held[: len(wanted)]
            self.normals_at(g, wanted, range(width), work.threads)
            q = space[: len(wanted)] if matrix is None else matrix[low : low + height]
            for start in starts:
                block = inverse[start // BLOCK]
                stop = start + block.shape[1]
                work.multiply(q[:, start:stop], g[:, :stop], block, upper="b", diagonal=start)
            if matrix is None:
                self.put(work, q[:, as_slice(listed)], grid, range(low, low + len(wanted)), np.arange(len(listed)))
            else:
                self.scale(work, q, q)
            work.advance(len(wanted) * self.short.size**2)

    def _inverse_of_r(self, work: Work) -> list[np.ndarray]:
        """R^-1 by blocks of columns, each with its rows down to the diagonal; made once.

        Other threads that need it wait. Progress callbacks and signal handlers of the thread that makes it do not: they
        make it themselves.
        """
        if self._process != os.getpid():  # the thread that held the lock may not be in this child
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            if self._inverse is None:
                blocks = self._gram(work)
                diagonal = _factorise(work, blocks)
                _invert(work, blocks, diagonal)
                with _kernels.DefaultFloatEnvironment():
                    self._inverse = [block.astype(self.working) for block in blocks]
            return self._inverse

    def _gram(self, work: Work) -> list[np.ndarray]:
        """G'G by blocks of columns, float64: GRAM_ROWS rows at a time in the working precision, then added."""
        long, short = self.long.size, self.short.size
        starts = range(0, short, BLOCK)
        blocks = [np.zeros((min(start + BLOCK, short), min(BLOCK, short - start))) for start in starts]
        strips = [
            (left, np.zeros((min(left + GRAM_COLUMNS, short), min(GRAM_COLUMNS, short - left)), self.working))
            for left in range(0, short, GRAM_COLUMNS)
        ]
        height = ROWS_AT_ONCE // short
        height = height // GRAM_ROWS * GRAM_ROWS or (512 if height >= 512 else 256)  # halves and quarters add up
        held = self.empty_rows(min(height, long), short)
        for low in range(0, long, height):
            rows = range(low, min(low + height, long))
            g = held[: len(rows)]
            self.normals_at(g, rows, range(short), work.threads)
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
