"""Sparse matrices: normals, and equally many zeros in every column."""

from __future__ import annotations

import math

import numpy as np

from .. import _kernels
from ..initializers.names import Initializer, cached_init
from ..stream import hashed
from .drawn import fill_matrix, prepare
from .kind import Advance, Named, Placed, Positions
from .sides import Side, as_array

#: Uniforms that are ordered at a time: 4 MiB of them stay in the cache.
BLOCK = 1 << 19


class Sparse(Placed, Named):
    """Normals, but zero where the uniforms of their column are least.

    The uniforms are a tensor of their own, with a row for each column of this one; its seed is the same, and its name
    this one's with "/zeros" appended. Whether an element is zero depends on the uniforms of its whole column.
    """

    __slots__ = ("_columns", "_normals", "_rows", "_uniforms")

    made_together = True

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        if len(shape) != 2:
            raise ValueError(f"sparse needs two axes, got shape {shape}")
        rows, columns = shape
        self._rows, self._columns = Side((0,), (rows,), (columns,)), Side((1,), (columns,), (1,))
        normal = cached_init("normal", {"std": initializer.parameters["std"]})
        self._normals = prepare(normal, shape, dtype, *hashed(seed, name))
        self._uniforms = _kernels.Values("uniform", "float64", (0.0, 1.0), *hashed(seed, f"{name}/zeros"))

    @property
    def zeros(self) -> int:
        """How many elements of each column are zero."""
        with _kernels.DefaultFloatEnvironment():
            return math.ceil(self.initializer.parameters["sparsity"] * self.shape[0])

    @property
    def std(self) -> float:
        rows = max(1, self.shape[0])
        with _kernels.DefaultFloatEnvironment():
            return abs(self.initializer.parameters["std"]) * math.sqrt(1 - self.zeros / rows)

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        return self._normals.bounds

    def cost_at(self, positions: Positions) -> int:
        rows, columns = map(len, positions)
        return (rows + self.shape[0]) * columns

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        rows, columns = positions[:2]
        fill_matrix(self._normals, grid, self._rows.indices(rows), self._columns.indices(columns), threads)
        advance(grid.size)
        listed, length, zeros = as_array(rows), self.shape[0], self.zeros
        block = max(1, BLOCK // length)
        uniforms = np.empty((min(block, len(columns)), length))
        for low in range(0, len(columns), block):
            wanted = np.ascontiguousarray(as_array(columns[low : low + block]), np.int64)
            drawn = uniforms[: len(wanted)]
            # ordering takes several times as long as drawing: no threads, which may have to be waited for
            axes: list[_kernels.Axis] = [(len(wanted), length, length * 8, wanted), (length, 1, 8, None)]
            _kernels.fill(self._uniforms, drawn, 0, axes, 1)
            grid[:, low : low + block][least(drawn, zeros).T[listed]] = 0
            advance(length * len(wanted))


def least(numbers: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` least numbers of each row are, the first of equal ones before the others."""
    if not 0 < count < numbers.shape[1]:
        return np.full(numbers.shape, count > 0)
    bound = np.partition(numbers, count - 1, axis=1)[:, count - 1, None]
    chosen = numbers <= bound
    for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > count):  # equal ones, some of which are too many
        chosen[row] = False
        chosen[row, np.argsort(numbers[row], kind="stable")[:count]] = True
    return chosen
