"""What orthogonal matrices are made by, wherever their memory is: steps, grouped in stages.

The algorithms (`reflectors`, `tall`) describe steps over arrays whose elements they never read. What knows the memory
does them: `host.HostWork` for the CPU's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _kernels
from .sides import Numbers, as_array, one_step

#: A matrix in that memory: an ndarray, or what has its shape, strides, dtype, `T` and indexing by slices.
Array = Any
#: Flat index of a side's first number, its step, and the positions to step to, or None: see `Side.indices`.
Indices = tuple[int, int, np.ndarray | None]
#: Called with each share of a fill's cost that is done.
Advance = Callable[[int], None]


class Offsets(NamedTuple):
    """Where numbers along an axis lie in memory: number i is `first + step * i` bytes from an array, or `table[i]`."""

    length: int
    step: int = 0
    first: int = 0
    table: np.ndarray | None = None

    @classmethod
    def of(cls, numbers: Numbers, lengths: Sequence[int], strides: Sequence[int]) -> Offsets:
        """Of numbers that count through axes of those lengths."""
        step = one_step(lengths, strides)
        if step is not None and isinstance(numbers, range):
            return cls(len(numbers), numbers.step * step, numbers.start * step)
        listed = np.asarray(as_array(numbers), np.int64)
        at = (listed,) if len(lengths) == 1 else np.unravel_index(listed, tuple(lengths))
        start = np.zeros(len(listed), np.int64)
        return cls(len(listed), table=sum((along.astype(np.int64) * n for along, n in zip(at, strides)), start))


class Work(ABC):
    """Does steps in the order in which they are described, at the latest when `run` is called.

    Steps between two calls of `next_stage` are done side by side, in any order: none may read or write what another of
    them writes.

    Attributes
    ----------
    place : hashable
        Which memory this is. Arrays of one place are of no use in another.
    at_once : int
        Elements that are best made at once where more are made one after the other.
    part : int
        And at most, unless they are few: one in so many of all.
    """

    place: Hashable
    at_once: int = 1 << 19
    part: int = 32

    # ---- memory -------------------------------------------------------------------------------------------

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: str = "C") -> Array:
        """Memory that nobody has written to; its elements are neighbours along rows ("C") or columns ("F")."""

    def keep(self, arrays: list[Array]) -> Any:
        """What later fills of this place may `recall`, or None; steps that make the arrays have been described."""
        return arrays

    def recall(self, kept: Any) -> list[Array] | None:
        """The arrays of what was kept, for steps described from here on; None if they must be made anew."""
        return kept

    # ---- steps --------------------------------------------------------------------------------------------

    @abstractmethod
    def draw(self, values: _kernels.Values, out: Array, rows: Indices, columns: Indices) -> None:
        """The elements at the flat indices of rows plus those of columns."""

    @abstractmethod
    def constant(self, value: float, out: Array) -> None:
        """One value, everywhere in a matrix of float32 or float64."""

    @abstractmethod
    def multiply(self, c: Array, a: Array, b: Array, update: str = "set", upper: str = "", diagonal: int = 0) -> None:
        """c = a @ b, or added to or subtracted from c; see `_kernels.multiply`.

        All three may have an axis more in front: then as many products, side by side.
        """

    @abstractmethod
    def accumulate(self, total: Array, addends: Array) -> None:
        """total += addends[0], then addends[1], ..., in float64."""

    @abstractmethod
    def reflectors(self, v: Array, signs: Array) -> None:
        """Householder vectors in place of normals, and the factors of Q's columns as float64; see `_kernels`."""

    @abstractmethod
    def triangular_factor(self, gram: Array) -> None:
        """T of I - V T V', in place of V'V."""

    @abstractmethod
    def cholesky(self, a: Array, inverse: Array) -> None:
        """The upper factor of a float64 matrix in place, 0 below; its inverse to other memory. See `all_positive`."""

    @abstractmethod
    def put(
        self, dtype: str, gain: float, q: Array, rows: Offsets, columns: Offsets, out: Array, out_rows: Offsets,
        out_columns: Offsets,
    ) -> None:  # fmt: skip
        """gain * q, rounded once to `dtype`; offsets are counted from the first elements of `q` and `out`."""

    # ---- steps that are made of others ---------------------------------------------------------------------

    def scale(self, dtype: str, gain: float, q: Array, out: Array) -> None:
        """out = gain * q, rounded once to `dtype`; both are matrices, or have one axis."""
        self.put(dtype, gain, q, *_offsets(q), out, *_offsets(out))

    def copy(self, out: Array, q: Array) -> None:
        """out = q, float64 rounded to float32 where `out` is."""
        self.scale(out.dtype.name, 1.0, q, out)

    def put_diagonal(self, out: Array, values: Array) -> None:
        """Values from the first element of `out` down its diagonal."""
        n = len(values)
        down = Offsets(n, out.strides[0] + out.strides[1])
        self.put(out.dtype.name, 1.0, values, *_offsets(values), out, down, Offsets(1))

    # ---- their order, and their end --------------------------------------------------------------------------

    @abstractmethod
    def next_stage(self) -> None:
        """Steps described from here on may read what earlier ones write."""

    @abstractmethod
    def advance(self, share: int) -> None:
        """A share of the fill's cost is done once the steps described so far are."""

    @abstractmethod
    def run(self) -> None:
        """Do all steps described so far. What is described later is of the next stage."""

    @abstractmethod
    def all_positive(self) -> bool:
        """`run`, and whether every pivot of `cholesky` was above 0."""


def _offsets(matrix: Array) -> tuple[Offsets, Offsets]:
    along = [Offsets(n, step) for n, step in zip(matrix.shape, matrix.strides)]
    return (along[0], along[1]) if len(along) == 2 else (along[0], Offsets(1))
