"""Steps of orthogonal matrices in a device's memory: each stage of them is a launch or two of cuda_matrix.cu."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _kernels
from ..kinds.drawn import fill_constant, fill_matrix
from ..kinds.work import Advance, Array, Indices, Offsets, Work
from .compiling import DTYPES, STEP_WORDS, STEPS
from .queue import THREADS, Allocation, Kept, Queue

#: As in cuda_matrix.cu: elements of a tile's side, and those of an elementwise step for each block of threads.
TILE = {"float32": 128, "float64": 64}
ELEMENTS = 8 * THREADS
#: Columns of reflectors that a block of threads makes.
GROUP = 32
#: Terms of a product that are summed before they are added to it: part of the stream version.
RUN = 256
#: A reach or a diagonal that leaves out nothing.
ALL = (1 << 63) // 4

MULTIPLY, COMBINE, REFLECT, FACTOR, CHOLESKY, ACCUMULATE, PUT = range(7)
#: What takes long and cannot be cut begins first.
SERIAL = (FACTOR, CHOLESKY, REFLECT)
UPDATES = {"set": 0, "add": 1, "subtract": 2}
#: By the size of an element; NumPy works out a dtype's name anew each time.
PRECISIONS = {4: "float32", 8: "float64"}


class Step(NamedTuple):
    """A step as the kernels know it; what it works on is kept until it is launched."""

    kind: int
    units: int
    words: bytes
    kept: tuple[Any, ...]


class DeviceWork(Work):
    """Steps sent to a queue, a stage at a time.

    Parameters
    ----------
    queue : Queue
        A stream of the device.
    empty : callable
        New memory there: of a shape, a dtype, and an order.
    advance : callable
        Called with each share of a fill's cost once it is described: nobody waits for the device.
    """

    at_once, part = 1 << 24, 16  # 65,536 x 512 has as many tiles at once as a large device has multiprocessors

    def __init__(self, queue: Queue, empty: Callable[..., Array], advance: Advance) -> None:
        self.place = queue.driver, queue.device
        self._queue = queue
        self._empty = empty
        self._advance = advance
        self._kept: Kept | None = None  # in use
        self._phases: list[dict[str, list[Step]]] = []  # of the stage: by working precision
        self._room: list[Allocation] = []  # for what steps of a stage need besides: the last one is used
        self._size = self._used = 0  # of it

    # ---- memory -------------------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: str = "C") -> Array:
        return self._empty(shape, np.dtype(dtype), order)

    def keep(self, arrays: list[Array]) -> Any:
        """None while a graph is captured, where nothing is made yet."""
        if self._is_captured():
            return None
        self._send()
        self._kept = Kept(self._queue, arrays)
        return self._kept

    def recall(self, kept: Any) -> list[Array] | None:
        """None while a graph is captured: it may be replayed when the memory is another's."""
        if kept is None or self._is_captured():
            return None
        self._kept = kept
        kept.use_in(self._queue)
        return kept.arrays

    def _is_captured(self) -> bool:
        return self._queue.driver.is_capturing(self._queue.stream)

    # ---- steps --------------------------------------------------------------------------------------------

    def draw(self, values: _kernels.Values, out: Array, rows: Indices, columns: Indices) -> None:
        fill_matrix(values, out, rows, columns, 1)

    def constant(self, value: float, out: Array) -> None:
        fill_constant(value, out.dtype.name, out, 1)

    def multiply(self, c: Array, a: Array, b: Array, update: str = "set", upper: str = "", diagonal: int = 0) -> None:
        row_reach, column_reach, wanted = ALL, diagonal + 1 if upper == "b" else ALL, diagonal if upper == "c" else ALL
        if c.strides[-1] != c.itemsize and c.strides[-2] == c.itemsize and upper != "c":  # as if along rows
            c, a, b = _turned(c), _turned(b), _turned(a)
            row_reach, column_reach = column_reach, row_reach
        rows, columns, depth = c.shape[-2], c.shape[-1], a.shape[-1]
        batch, name = c.shape[0] if c.ndim == 3 else 1, PRECISIONS[c.itemsize]
        if 0 in (rows, columns, batch):
            return
        operands = _matrix(a) + _matrix(b) + _matrix(c)
        reaches = (row_reach, column_reach, wanted)
        tiles, runs = _ceil(rows, TILE[name]) * _ceil(columns, TILE[name]) * batch, _ceil(depth, RUN)
        at_once = self._queue.device.multiprocessors // (_wanted(rows, columns, wanted, TILE[name]) * batch)
        if min(at_once, runs) < 2 or min(row_reach, column_reach) < ALL:
            words = (*operands, rows, columns, depth, batch, UPDATES[update], *reaches, 0, 0, 0)
            self._add(0, name, MULTIPLY, tiles, words, c, a, b)
            return
        at_once = _ceil(runs, _ceil(runs, at_once))  # no more memory than as many launches need
        partial = self._room_for(at_once * batch * rows * columns * c.itemsize)
        for phase, first in enumerate(range(0, runs, at_once)):
            side_by_side = min(at_once, runs - first)
            how = UPDATES["add" if first and update == "set" else update]
            words = (
                *operands, rows, columns, depth, batch, how, *reaches, partial, first, side_by_side,
            )  # fmt: skip
            self._add(2 * phase, name, MULTIPLY, tiles * side_by_side, words, c, a, b)
            self._add(2 * phase + 1, name, COMBINE, _ceil(batch * rows * columns, ELEMENTS), words, c)

    def accumulate(self, total: Array, addends: Array) -> None:
        rows, columns = total.shape
        words = (total.address, _down(total), *_matrix(addends), rows, columns, len(addends))
        self._add(0, PRECISIONS[addends.itemsize], ACCUMULATE, _ceil(rows * columns, ELEMENTS), words, total, addends)

    def reflectors(self, v: Array, signs: Array) -> None:
        words = (v.address, _down(v), *v.shape, signs.address)
        self._add(0, PRECISIONS[v.itemsize], REFLECT, _ceil(v.shape[1], GROUP), words, v, signs)

    def triangular_factor(self, gram: Array) -> None:
        n = len(gram)
        inverse = self.empty((n, n), np.dtype(np.float64))
        words = (gram.address, _down(gram), n, inverse.address, n)
        self._add(0, PRECISIONS[gram.itemsize], FACTOR, 1, words, gram, inverse)

    def cholesky(self, a: Array, inverse: Array) -> None:
        words = (a.address, _down(a), len(a), inverse.address, _down(inverse))
        self._add(0, "float64", CHOLESKY, 1, words, a, inverse)

    def put(
        self, dtype: str, gain: float, q: Array, rows: Offsets, columns: Offsets, out: Array, out_rows: Offsets,
        out_columns: Offsets,
    ) -> None:  # fmt: skip
        if abs(out_rows.step) < abs(out_columns.step):  # neighbours in memory to neighbouring threads
            rows, columns, out_rows, out_columns = columns, rows, out_columns, out_rows
        tables = [
            None if along.table is None else self._queue.table(along.table)
            for along in (rows, columns, out_rows, out_columns)
        ]
        offsets: list[int] = []
        for along, table in zip((rows, columns, out_rows, out_columns), tables):
            offsets += (along.step, 0 if table is None else table.address)
        words = (
            q.address + rows.first + columns.first, out.address + out_rows.first + out_columns.first,
            tuple(DTYPES).index(dtype), _bits(gain), rows.length, columns.length, *offsets,
        )  # fmt: skip
        self._add(0, PRECISIONS[q.itemsize], PUT, _ceil(rows.length * columns.length, ELEMENTS), words, q, out, tables)

    # ---- their order, and their end --------------------------------------------------------------------------

    def next_stage(self) -> None:
        self._send()

    def advance(self, share: int) -> None:
        self._advance(share)

    def run(self) -> None:
        self._send()
        self._room.clear()
        self._size = 0
        if self._kept is not None:
            self._kept.used_in(self._queue)

    def _send(self) -> None:
        phases, self._phases, self._used = self._phases, [], 0
        for phase in phases:
            for precision, steps in phase.items():
                if len(steps) > 1:
                    steps.sort(key=_begins_late)
                for low in range(0, len(steps), STEPS):
                    self._launch(precision, steps[low : low + STEPS])
        del self._room[:-1]

    def all_positive(self) -> bool:
        """True: a pivot that is not above 0 leaves NaN on a device, where nobody waits for it."""
        return True

    def _room_for(self, nbytes: int) -> int:
        """Memory until the stage is sent; the next stage has the same, for a stream does one after the other."""
        needed = nbytes + 255 & ~255
        if self._used + needed > self._size:
            if not self._used:
                self._room.clear()  # before there is more
            self._size, self._used = min(2 * needed, needed + (1 << 20)), 0
            self._room.append(self._queue.allocate(self._size))
        self._used += needed
        return self._room[-1].address + self._used - needed

    def _add(self, phase: int, precision: str, kind: int, units: int, words: tuple[int, ...], *kept: Any) -> None:
        if units:
            while len(self._phases) <= phase:
                self._phases.append({})
            packed = struct.pack(f"<{len(words) + 2}q", kind, units, *words)
            steps = self._phases[phase].setdefault(precision, [])
            steps.append(Step(kind, units, packed.ljust(8 * STEP_WORDS, b"\0"), kept))

    def _launch(self, precision: str, steps: list[Step]) -> None:
        units = sum(step.units for step in steps)
        packed = struct.pack("<2q", len(steps), units) + b"".join(step.words for step in steps)
        self._queue.stage(precision, packed.ljust(16 + 8 * STEP_WORDS * STEPS, b"\0"), units)


def _begins_late(step: Step) -> bool:
    return step.kind not in SERIAL


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _wanted(rows: int, columns: int, diagonal: int, side: int) -> int:
    """Tiles of a product that have elements that are wanted."""
    down = _ceil(rows, side)
    if diagonal >= rows:
        return down * _ceil(columns, side)
    ends = (min(left + side, columns) - 1 + diagonal for left in range(0, columns, side))
    return sum(min(down, end // side + 1) for end in ends)


def _turned(matrix: Array) -> Array:
    return matrix.transpose((*range(matrix.ndim - 2), matrix.ndim - 1, matrix.ndim - 2))


def _down(matrix: Array) -> int:
    """The step from row to row, in elements."""
    return int(matrix.strides[0]) // int(matrix.itemsize)


def _matrix(matrix: Array) -> tuple[int, int, int, int]:
    """As fi_matrix: where it is, and its steps down, across, and to the next one."""
    strides, size = matrix.strides, matrix.itemsize
    return (
        matrix.address, strides[-2] // size, strides[-1] // size, strides[0] // size if len(strides) == 3 else 0,
    )  # fmt: skip


def _bits(number: float) -> int:
    return int.from_bytes(struct.pack("<d", number), "little", signed=True)
