"""Tensors that are zero but for a diagonal."""

from __future__ import annotations

import functools
import math

import numpy as np

from .. import _kernels, plan
from ..initializers.names import Initializer
from ..initializers.parameters import kernel_values
from ..threads import default_for
from .drawn import fill_constant
from .kind import Advance, Named


class Eye(Named):
    """A matrix with the gain on its diagonal."""

    __slots__ = ("values",)

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        eye_std(initializer, shape)  # refuses a shape that does not fit
        self.values = kernel_values(initializer.name, "constant", dtype, (initializer.parameters["gain"],))

    @property
    def std(self) -> float:
        return eye_std(self.initializer, self.shape)

    @property
    def bounds(self) -> tuple[float, float]:
        least, greatest = self.values.bounds
        return min(0.0, least), max(0.0, greatest)

    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        self._fill(region, array, default_for(array.size) if threads is None else threads)
        advance(array.size)

    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        for i, row in enumerate(rows):
            self.fill(plan.select(region, int(row)), array[i, ...], threads, advance)

    def _fill(self, region: plan.Region, array: np.ndarray, threads: int) -> None:
        """Zeros, then the gain where the region's rows and columns are equal."""
        fill_constant(0.0, self.dtype, array, threads)
        found = plan.diagonal(region)
        if found is None:
            return
        on_diagonal = np.einsum("ii->i", plan.with_every_axis(region, array)[found])
        _kernels.fill(self.values, on_diagonal, 0, [(on_diagonal.size, 1, on_diagonal.strides[0], None)], threads)


@functools.lru_cache(maxsize=256)
def eye_std(initializer: Initializer, shape: tuple[int, ...]) -> float:
    """Theoretical standard deviation; ValueError for what is no matrix."""
    if len(shape) != 2:
        raise ValueError(f"eye needs two axes, got shape {shape}")
    size = shape[0] * shape[1]
    with _kernels.DefaultFloatEnvironment():
        density = min(shape) / size if size else 0.0
        return abs(initializer.parameters["gain"]) * math.sqrt(density * (1 - density))
