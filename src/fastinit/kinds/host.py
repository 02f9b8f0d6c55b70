"""Steps of orthogonal matrices in the CPU's memory, by the C core."""

from __future__ import annotations

import numpy as np

from .. import _kernels, plan
from ..arrays import scratch_for
from ..progress import unheard
from .work import Advance, Array, Indices, Offsets, Work

#: Elements that are made at once for each thread, so that they last in its cache; and at most.
AT_ONCE_A_THREAD, MOST_AT_ONCE = 1 << 18, 1 << 21


class HostWork(Work):
    """Steps by up to `threads` threads, which come together once for all that one `run` does."""

    place = "cpu"

    def __init__(self, threads: int, advance: Advance) -> None:
        self._threads = threads
        self.at_once = min(threads * AT_ONCE_A_THREAD, MOST_AT_ONCE)
        self._heard = None if advance is unheard else advance
        self._scratch = scratch_for(threads)
        self._steps = _kernels.Steps()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: str = "C") -> np.ndarray:
        return np.empty(shape, dtype, order=order)  # type: ignore[call-overload]

    def draw(self, values: _kernels.Values, out: np.ndarray, rows: Indices, columns: Indices) -> None:
        (top, down, row_table), (left, across, column_table) = rows, columns
        self._steps.draw(values, *plan.flat_axes(top + left, [down, across], out, [row_table, column_table]))

    def constant(self, value: float, out: np.ndarray) -> None:
        values = _kernels.Values("constant", out.dtype.name, (value,), 0, 0)
        self._steps.draw(values, *plan.kernel_axes(plan.whole(out.shape), out.shape, out))

    def multiply(self, c: Array, a: Array, b: Array, update: str = "set", upper: str = "", diagonal: int = 0) -> None:
        self._steps.multiply(c, a, b, update, upper, diagonal)

    def accumulate(self, total: np.ndarray, addends: np.ndarray) -> None:
        self._steps.accumulate(total, addends)

    def reflectors(self, v: np.ndarray, signs: np.ndarray) -> None:
        self._steps.reflectors(v, signs)

    def triangular_factor(self, gram: np.ndarray) -> None:
        self._steps.triangular_factor(gram)

    def cholesky(self, a: np.ndarray, inverse: np.ndarray) -> None:
        self._steps.cholesky(a, inverse)

    def put(
        self, dtype: str, gain: float, q: Array, rows: Offsets, columns: Offsets, out: Array, out_rows: Offsets,
        out_columns: Offsets,
    ) -> None:  # fmt: skip
        self._steps.scale(dtype, gain, q, rows, columns, out, out_rows, out_columns)

    def next_stage(self) -> None:
        self._steps.next_stage()

    def advance(self, share: int) -> None:
        self._steps.share(share)

    def run(self) -> None:
        self._steps.run(self._scratch, self._threads, self._heard)

    def all_positive(self) -> bool:
        self.run()
        return self._steps.all_positive
