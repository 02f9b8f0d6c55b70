"""Orthogonal matrices whose sides differ much: Q = G R^-1, with R by Cholesky.

docs/stream.md, "Orthogonal", in code: which products, in which order.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Hashable
from typing import Any

import numpy as np

from .. import _kernels
from .matrix import Matrix
from .sides import Numbers, Side, as_array, is_all
from .work import Array, Work

#: Columns of a block of R: part of the stream version.
BLOCK = 128
#: Rows of the Gram matrix that are summed in the working precision: part of the stream version.
GRAM_ROWS = 1024
#: Columns of it that are made at once: a multiple of BLOCK.
GRAM_COLUMNS = 512
#: Elements of Gaussian rows that may be made at once whatever part of the result they are; and rows, so that R^-1 is
#: not read for a few of them each time: 100 rows of 4,096 columns took 1.3 times as long by 64.
FEW, FEW_ROWS = 1 << 18, 256

FLOAT64 = np.dtype(np.float64)


class Tall(Matrix):
    """Rows (columns of a wide matrix) are made one by one once R is known, and R is kept. Parameters as of `Matrix`."""

    def __init__(self, normals: _kernels.Values, dtype: str, rows: Side, columns: Side, gain: float) -> None:
        super().__init__(normals, dtype, rows, columns, gain)
        self._kept: dict[Hashable, Any] = {}  # R^-1, by the place of its memory
        self._lock, self._process = threading.RLock(), os.getpid()

    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        factor = 0 if self._kept else self.long.size
        return (factor + len(rows)) * self.short.size**2

    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: Array) -> None:
        inverse = self._inverse_of_r(work)
        matrix = self.in_place(grid) if is_all(columns, self.short.size) else None
        listed = as_array(columns)
        starts = [j * BLOCK for j in range(len(inverse)) if ((listed >= j * BLOCK) & (listed < (j + 1) * BLOCK)).any()]
        width = starts[-1] + inverse[starts[-1] // BLOCK].shape[1]  # later columns of G are not needed
        height = rows_at_once(work, len(rows), self.short.size)
        lows = range(0, len(rows), height)
        held = [work.empty((min(height, len(rows)), width), self.working, self.order()) for _ in lows[:2]]
        spaces = held if matrix is not None else [work.empty(g.shape, self.working, self.order()) for g in held]
        self.draw(work, held[0][: len(rows)], rows[:height], range(width))
        work.next_stage()
        for i, low in enumerate(lows):
            n = min(height, len(rows) - low)
            if low + height < len(rows):
                following = rows[low + height : low + 2 * height]
                self.draw(work, held[1 - i % 2][: len(following)], following, range(width))
            g = held[i % 2][:n]
            q = spaces[i % 2][:n] if matrix is None else matrix[low : low + n]
            for start in starts:
                block = inverse[start // BLOCK]
                stop = start + block.shape[1]
                work.multiply(q[:, start:stop], g[:, :stop], block, upper="b", diagonal=start)
            work.advance(n * self.short.size**2)
            work.next_stage()
            # beside the next rows' products
            if matrix is None:
                self.put(work, q, (range(n), listed), grid, (range(low, low + n), range(len(listed))))
            else:
                self.scale(work, q)

    def _inverse_of_r(self, work: Work) -> list[Array]:
        """R^-1 by blocks of columns, each with its rows down to the diagonal; made once.

        Other threads that need it wait. Progress callbacks and signal handlers of the thread that makes it do not: they
        make it themselves.
        """
        if self._process != os.getpid():  # the thread that held the lock may not be in this child
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            found = work.recall(self._kept.get(work.place))
            if found is None:
                found = self._invert(work)
                kept = work.keep(found)
                if kept is not None:
                    self._kept[work.place] = kept
            return found

    def _invert(self, work: Work) -> list[Array]:
        blocks = self._gram(work)
        work.run()  # what it needed besides can be given back
        diagonal = [work.empty((block.shape[1],) * 2, FLOAT64) for block in blocks]
        spare = work.empty((len(blocks), BLOCK, BLOCK), FLOAT64)
        factorise(work, blocks, diagonal, spare)
        invert(work, blocks, diagonal, spare)
        inverse = blocks
        if self.working != FLOAT64:
            inverse = [work.empty(block.shape, self.working) for block in blocks]
            for rounded, block in zip(inverse, blocks):
                work.copy(rounded, block)
        if not work.all_positive():
            raise ArithmeticError("the Gaussian rows are not independent: take another seed")
        return inverse

    def _gram(self, work: Work) -> list[Array]:
        """G'G by blocks of columns, float64: GRAM_ROWS rows at a time in the working precision, then added."""
        long, short = self.long.size, self.short.size
        starts = range(0, short, BLOCK)
        totals = [work.empty((min(start + BLOCK, short), min(BLOCK, short - start)), FLOAT64) for start in starts]
        height = rows_at_once(work, long, short)
        height = height // GRAM_ROWS * GRAM_ROWS or (512 if height >= 512 else 256)  # halves and quarters add up
        lows = range(0, long, height)
        held = [work.empty((min(height, long), short), self.working, self.order()) for _ in lows[:2]]
        runs = min(-(-height // GRAM_ROWS), -(-long // GRAM_ROWS))
        ahead = height >= GRAM_ROWS and len(lows) > 1  # sums of some rows are added while the next ones' are made
        parts = [self._strips(work, runs) for _ in range(2 if ahead else 1)]
        for array in itertools.chain(totals, *parts):
            work.constant(0.0, array)
        self.draw(work, held[0], range(min(height, long)), range(short))
        work.next_stage()
        for i, low in enumerate(lows):
            stop, strips = min(low + height, long), parts[i % len(parts)]
            if stop < long:
                following = range(stop, min(stop + height, long))
                self.draw(work, held[1 - i % 2][: len(following)], following, range(short))
            count = _multiply_runs(work, strips, held[i % 2][: stop - low], low % GRAM_ROWS > 0)
            work.advance((stop - low) * short**2)
            work.next_stage()
            if stop % GRAM_ROWS == 0 or stop == long:
                for start, total in zip(starts, totals):
                    strip, left = strips[start // GRAM_COLUMNS], start % GRAM_COLUMNS
                    rows, columns = total.shape
                    work.accumulate(total, strip[:count, :rows, left : left + columns])
                if not ahead:
                    work.next_stage()
        return totals

    def _strips(self, work: Work, runs: int) -> list[Array]:
        """Memory for the Gram matrices of so many runs, by GRAM_COLUMNS columns, each down to its diagonal."""
        short = self.short.size
        return [
            work.empty((runs, min(left + GRAM_COLUMNS, short), min(GRAM_COLUMNS, short - left)), self.working)
            for left in range(0, short, GRAM_COLUMNS)
        ]


def rows_at_once(work: Work, rows: int, columns: int) -> int:
    """Gaussian rows that are made at once, where the result has so many."""
    return max(min(max(rows * columns // work.part, FEW), work.at_once) // columns, FEW_ROWS)


def _multiply_runs(work: Work, strips: list[Array], g: Array, goes_on: bool) -> int:
    """The Gram matrix of each run of GRAM_ROWS rows, the last shorter; or of a part of a run, which may go on one.

    Returns how many.
    """
    rows, columns = g.shape
    whole = rows // GRAM_ROWS
    update = "add" if goes_on else "set"
    for k, strip in enumerate(strips):
        left, right = k * GRAM_COLUMNS, k * GRAM_COLUMNS + strip.shape[2]
        if whole:
            each = g[: whole * GRAM_ROWS].reshape((whole, GRAM_ROWS, columns))
            transposed = each[:, :, :right].transpose((0, 2, 1))
            work.multiply(strip[:whole], transposed, each[:, :, left:right], update, upper="c", diagonal=left)
        if rows % GRAM_ROWS:
            rest = g[whole * GRAM_ROWS :]
            work.multiply(strip[whole], rest[:, :right].T, rest[:, left:right], update, upper="c", diagonal=left)
    return whole + (rows % GRAM_ROWS > 0)


def factorise(work: Work, blocks: list[Array], diagonal: list[Array], spare: Array) -> None:
    """The Cholesky factor of a Gram matrix in its place, a block row at a time; the inverses of its diagonal blocks.

    `spare` is memory for a block of each column.
    """
    for i, column in enumerate(blocks):
        top = i * BLOCK
        bottom = top + column.shape[1]
        later = [
            (block, block[top:bottom], spare[j][:, : block.shape[1]]) for j, block in enumerate(blocks[i + 1 :], i + 1)
        ]
        if i > 0:
            work.multiply(column[top:], column[:top].T, column[:top], "subtract")
        for _, own, kept in later:
            work.copy(kept, own)
        work.next_stage()
        work.cholesky(column[top:], diagonal[i])
        if i > 0:
            for block, _, kept in later:
                work.multiply(kept, column[:top].T, block[:top], "subtract")
        work.next_stage()
        for _, own, kept in later:
            work.multiply(own, diagonal[i].T, kept)
        work.next_stage()


def invert(work: Work, blocks: list[Array], diagonal: list[Array], spare: Array) -> None:
    """The inverse of R in its place: above the diagonal -(R^-1)_{..j-1} R_j (R_jj)^-1.

    Each column of blocks is added to all later ones' sums as soon as it is there. `spare` as in `factorise`.
    """
    for i, column in enumerate(blocks):
        top = i * BLOCK
        bottom = top + column.shape[1]
        total = spare[:i].reshape((top, BLOCK))[:, : column.shape[1]]
        later = [
            (block, block[top:bottom], spare[j][:, : block.shape[1]]) for j, block in enumerate(blocks[i + 1 :], i + 1)
        ]
        for kept, source in [(total, column[:top]), *((kept, own) for _, own, kept in later)]:
            if source.shape[0]:
                work.copy(kept, source)
        work.next_stage()
        for array in (column[:top], *(own for _, own, _ in later)):
            if array.shape[0]:
                work.constant(0.0, array)
        work.copy(column[top:], diagonal[i])
        work.next_stage()
        if top:
            work.multiply(column[:top], total, diagonal[i], "subtract")
            work.next_stage()
        for block, _, kept in later:
            work.multiply(block[:bottom], column, kept, "add")
        work.next_stage()
