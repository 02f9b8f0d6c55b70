"""Orthogonal matrices of general shapes: Householder reflectors, drawn and not computed.

docs/stream.md, "Orthogonal", in code: which reflectors and products, in which order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _kernels
from .drawn import fill_constant
from .matrix import Matrix, Work, rows_contiguous
from .sides import Numbers, as_array, as_slice, is_all

#: Reflectors that are applied at once: part of the stream version.
BLOCK = 128

#: T of each block of reflectors, by its first column.
Factors = dict[int, np.ndarray]


class Reflectors(Matrix):
    """Columns (rows of a wide matrix) are made a panel at a time, each from all reflectors; parameters of `Matrix`."""

    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        return sum(self._cost_of_panel(*panel) for panel in self._panels(columns))

    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: np.ndarray) -> None:
        factors: Factors = {}
        matrix = self.in_place(grid)
        every_row = is_all(rows, self.long.size)
        if matrix is not None and every_row and isinstance(columns, range) and columns.step == 1:
            self._columns(work, matrix, columns.start, factors)
            self.scale(work, matrix, matrix)
            return
        kept = slice(None) if every_row else as_slice(as_array(rows))
        listed = as_array(columns)
        panels = self._panels(columns)
        space = np.empty((self.long.size, max(stop - start for start, stop in panels)), self.working)
        for start, stop in panels:
            inside = np.flatnonzero((listed >= start) & (listed < stop))
            if len(inside):
                panel = space[:, : stop - start]
                self._columns(work, panel, start, factors)
                chosen = panel[kept][:, as_slice(listed[inside] - start)]
                self.put(work, chosen, grid, range(len(chosen)), inside)
            else:
                work.advance(self._cost_of_panel(start, stop))

    def _panels(self, columns: Numbers) -> list[tuple[int, int]]:
        """(start, stop) of all columns from the first that is wanted to the last: a twentieth each, or a mebibyte."""
        listed = as_array(columns)
        low, high = int(listed.min()), int(listed.max())
        width = max(self.short.size // 320 * 16, (1 << 18) // self.long.size, 16)
        return [(start, min(start + width, high + 1)) for start in range(low, high + 1, width)]

    def _cost_of_panel(self, start: int, stop: int) -> int:
        return sum(
            2 * (self.long.size - first) * (stop - max(first, start)) * min(BLOCK, self.short.size - first)
            for first in range(0, stop, BLOCK)
        )

    def _columns(self, work: Work, q: np.ndarray, start: int, factors: Factors) -> None:
        """The columns of Q from `start` on, all rows, into `q`: (I - V T V') of the last block first."""
        long, short, stop = self.long.size, self.short.size, start + q.shape[1]
        block = min(BLOCK, short)
        fill_constant(0.0, self.working.name, q, work.threads)
        vectors = np.empty((long, block), self.working)
        order: Any = "C" if rows_contiguous(q) else "F"
        spaces = [np.empty((block, q.shape[1]), self.working, order=order) for _ in range(2)]
        for first in range((stop - 1) // BLOCK * BLOCK, -1, -BLOCK):
            last, left = min(first + BLOCK, short), max(first, start)
            v = vectors[: long - first, : last - first]
            self.normals_at(v, range(first, long), range(first, last), work.threads)
            signs = _kernels.reflectors(v, work.threads)
            if first not in factors:
                t = factors[first] = np.empty((v.shape[1], v.shape[1]), self.working)
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
