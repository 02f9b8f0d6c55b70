"""Orthogonal matrices of general shapes: Householder reflectors, drawn and not computed.

docs/stream.md, "Orthogonal", in code: which reflectors and products, in which order.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .matrix import Matrix, rows_contiguous
from .sides import Numbers, as_array, is_all
from .work import Array, Work

#: Reflectors that are applied at once: part of the stream version.
BLOCK = 128
#: Elements of V that need not be few beside the result.
FEW = 1 << 18


class _Block(NamedTuple):
    """Reflectors that are applied at once, and their place in Q, of which some columns are made."""

    first: int  #: column of Q, and row
    v: Array
    signs: Array
    t: Array
    is_new: bool  #: whether T is still to be made
    part: Array  #: of Q: what the reflectors change
    own: Array  #: of Q: rows and columns from where its diagonal gets the signs
    own_signs: Array


class Reflectors(Matrix):
    """Columns (rows of a wide matrix) are made a panel at a time, each from all reflectors; parameters of `Matrix`."""

    def _cost(self, rows: Numbers, columns: Numbers) -> int:
        return sum(self._cost_of_panel(*panel) for panel in self._panels(columns))

    def _fill(self, work: Work, rows: Numbers, columns: Numbers, grid: Array) -> None:
        factors: dict[int, Array] = {}
        matrix = self.in_place(grid)
        if matrix is not None and is_all(rows, self.long.size) and isinstance(columns, range) and columns.step == 1:
            self._columns(work, matrix, columns.start, factors)
            self.scale(work, matrix)
            return
        kept = rows if isinstance(rows, range) else as_array(rows)
        listed = as_array(columns)
        panels = self._panels(columns)
        space = work.empty((self.long.size, max(stop - start for start, stop in panels)), self.working)
        for start, stop in panels:
            inside = np.flatnonzero((listed >= start) & (listed < stop))
            if len(inside):
                panel = space[:, : stop - start]
                self._columns(work, panel, start, factors)
                self.put(work, panel, (kept, listed[inside] - start), grid, (range(len(kept)), inside))
                work.next_stage()
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

    def _columns(self, work: Work, q: Array, start: int, factors: dict[int, Array]) -> None:
        """The columns of Q from `start` on, all rows, into `q`: (I - V T V') of the last block first.

        `factors` are the blocks' T, by their first columns. Where there is memory for the reflectors of two blocks,
        those of the next are made while those of one are applied.
        """
        blocks = self._blocks(work, q, start, factors)
        ahead = self._held() > 1
        order = "C" if rows_contiguous(q) else "F"
        spaces = [work.empty((min(BLOCK, self.short.size), q.shape[1]), self.working, order) for _ in range(2)]
        work.constant(0.0, q)
        for block, following in itertools.zip_longest(blocks, blocks[1:] if ahead else []):
            if not ahead or block is blocks[0]:
                for prepare in (self._draw, self._reflect, self._start):
                    prepare(work, block)
                    work.next_stage()
            v, part = block.v, block.part
            projection, weights = (space[: v.shape[1], : part.shape[1]] for space in spaces)
            # the block's own columns are zero but for the signs so far, and the others in its own rows
            top, mine = v.shape[1], len(block.own_signs)
            if block.is_new:
                work.triangular_factor(block.t)
            work.multiply(projection[:, :mine], v[:top].T, part[:top, :mine])
            work.multiply(projection[:, mine:], v[top:].T, part[top:, mine:])
            if following:
                self._draw(work, following)
            work.next_stage()
            work.multiply(weights, block.t, projection)
            if following:
                self._reflect(work, following)
            work.next_stage()
            if following:
                self._start(work, following)
            work.multiply(part, v, weights, "subtract")
            work.advance(2 * v.shape[0] * v.shape[1] * part.shape[1])
            work.next_stage()

    def _blocks(self, work: Work, q: Array, start: int, factors: dict[int, Array]) -> list[_Block]:
        """All that change the columns of `q`, in the order in which they do; they share the memory of their V."""
        stop = start + q.shape[1]
        width = min(BLOCK, self.short.size)
        firsts = range((stop - 1) // BLOCK * BLOCK, -1, -BLOCK)
        spaces = [
            (work.empty((self.long.size, width), self.working), work.empty((width,), np.dtype(np.float64)))
            for _ in firsts[: self._held()]
        ]
        blocks = []
        for first, (v, signs) in zip(firsts, itertools.cycle(spaces)):
            n, left = min(BLOCK, self.short.size - first), max(first, start)
            is_new = first not in factors
            if is_new:
                factors[first] = work.empty((n, n), self.working)
            part = q[first:, left - start :]
            own_signs = signs[left - first : max(left, min(first + n, stop)) - first]
            blocks.append(
                _Block(
                    first, v[: self.long.size - first, :n], signs[:n], factors[first], is_new, part,
                    part[left - first :], own_signs,
                )
            )  # fmt: skip
        return blocks

    def _held(self) -> int:
        """Blocks of V that are held at once: two where they are few elements, or few beside the result."""
        itemsize = 2 if self.dtype in ("float16", "bfloat16") else self.working.itemsize
        result = self.long.size * self.short.size * itemsize // self.working.itemsize
        return 2 if self.long.size * BLOCK <= max(FEW, result // 8) else 1

    # ---- what makes a block, in three stages ---------------------------------------------------------------------

    def _draw(self, work: Work, block: _Block) -> None:
        first, (rows, columns) = block.first, block.v.shape
        self.draw(work, block.v, range(first, first + rows), range(first, first + columns))

    def _reflect(self, work: Work, block: _Block) -> None:
        work.reflectors(block.v, block.signs)

    def _start(self, work: Work, block: _Block) -> None:
        """What T is made of, and the signs in Q."""
        if block.is_new:
            work.multiply(block.t, block.v.T, block.v, upper="c")
        if len(block.own_signs):
            work.put_diagonal(block.own, block.own_signs)
