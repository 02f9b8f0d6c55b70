"""Steps of orthogonal matrices in the CPU's memory, by the C core."""

from __future__ import annotations

import numpy as np

from .. import _kernels
from ..arrays import scratch_for
from .drawn import fill_constant, fill_matrix
from .work import Advance, Array, Indices, Offsets, Work


class HostWork(Work):
    """Steps by up to `threads` threads."""

    place = "cpu"

    def __init__(self, threads: int, advance: Advance) -> None:
        self._threads = threads
        self._advance = advance
        self._scratch = scratch_for(threads)
        self._positive = True

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: str = "C") -> np.ndarray:
        return np.empty(shape, dtype, order=order)  # type: ignore[call-overload]

    def draw(self, values: _kernels.Values, out: np.ndarray, rows: Indices, columns: Indices) -> None:
        fill_matrix(values, out, rows, columns, self._threads)

    def constant(self, value: float, out: np.ndarray) -> None:
        fill_constant(value, out.dtype.name, out, self._threads)

    def multiply(
        self, c: np.ndarray, a: np.ndarray, b: np.ndarray, update: str = "set", upper: str = "", diagonal: int = 0
    ) -> None:
        for c_, a_, b_ in zip(c, a, b) if c.ndim == 3 else [(c, a, b)]:
            _kernels.multiply(c_, a_, b_, update, self._scratch, self._threads, upper, diagonal)

    def accumulate(self, total: np.ndarray, addends: np.ndarray) -> None:
        for addend in addends:
            _kernels.accumulate(total, addend, self._threads)

    def reflectors(self, v: np.ndarray, signs: np.ndarray) -> None:
        _kernels.reflectors(v, signs, self._threads)

    def triangular_factor(self, gram: np.ndarray) -> None:
        _kernels.triangular_factor(gram)

    def cholesky(self, a: np.ndarray, inverse: np.ndarray) -> None:
        self._positive &= _kernels.cholesky(a)
        _kernels.invert_upper(a, inverse)

    def put(
        self, dtype: str, gain: float, q: Array, rows: Offsets, columns: Offsets, out: Array, out_rows: Offsets,
        out_columns: Offsets,
    ) -> None:  # fmt: skip
        _kernels.scale(dtype, gain, q, rows, columns, out, out_rows, out_columns, self._threads)

    def next_stage(self) -> None:
        pass

    def advance(self, share: int) -> None:
        self._advance(share)

    def run(self) -> None:
        pass

    def all_positive(self) -> bool:
        return self._positive
