"""Tensors that are zero but for a diagonal."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from .. import _kernels, plan
from ..arrays import allocate
from ..initializers.names import Initializer
from ..initializers.parameters import kernel_values
from ..initializers.scales import resolve_axes
from .drawn import fill_constant
from .kind import Advance, Named, Placed, Positions
from .sides import as_array

#: Pairs of an out and an in channel that are compared at a time: 1 MiB.
PAIRS_AT_ONCE = 1 << 20


class Eye(Placed, Named):
    """A matrix with the gain on its diagonal."""

    __slots__ = ("_gain", "values")

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        eye_std(initializer, shape)  # refuses a shape that does not fit
        self.values = kernel_values(initializer.name, "constant", dtype, (initializer.parameters["gain"],))
        self._gain = allocate((1,), dtype)
        fill_constant(initializer.parameters["gain"], dtype, self._gain, 1)

    @property
    def std(self) -> float:
        return eye_std(self.initializer, self.shape)

    @property
    def mean(self) -> float:
        rows, columns = self.shape
        return self.initializer.parameters["gain"] / max(rows, columns, 1)

    @property
    def bounds(self) -> tuple[float, float]:
        least, greatest = self.values.bounds
        return min(0.0, least), max(0.0, greatest)

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        """Zeros, then the gain where row and column are equal."""
        fill_constant(0.0, self.dtype, grid, threads)
        rows, columns = positions[:2]
        if isinstance(rows, range) and isinstance(columns, range):
            found = plan.diagonal(rows, columns)
            if found is not None:
                square = grid[found]
                along: list[_kernels.Axis] = [(len(square), 1, sum(square.strides), None)]
                _kernels.fill(self.values, square, 0, along, threads)
        else:  # gathered rows or columns
            _mark_equal(as_array(rows), as_array(columns), grid, self._gain)
        advance(grid.size)


class Dirac(Placed, Named):
    """One where in and out channel are equal within their group, at the spatial centre: a convolution that copies."""

    __slots__ = ("_group", "_in_axis", "_one", "_out_axis", "_spatial")

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        dirac_std(initializer, shape)  # refuses a shape that does not fit
        self._one = allocate((1,), dtype)
        fill_constant(1.0, dtype, self._one, 1)
        p = self.parameters()
        (self._out_axis,), (self._in_axis,) = p["out_axis"], p["in_axis"]
        self._group = shape[self._out_axis] // p["groups"]
        self._spatial = {axis: n // 2 for axis, n in enumerate(shape) if axis not in (self._out_axis, self._in_axis)}

    @property
    def std(self) -> float:
        return dirac_std(self.initializer, self.shape)

    @property
    def mean(self) -> float:
        size = math.prod(self.shape)
        ones = self.parameters()["groups"] * min(self._group, self.shape[self._in_axis])
        return ones / size if size else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        fill_constant(0.0, self.dtype, grid, threads)
        outs, ins = positions[self._out_axis], as_array(positions[self._in_axis])
        channels = grid.transpose((*self._spatial, self._out_axis, self._in_axis))
        centres = [np.flatnonzero(as_array(positions[axis]) == at) for axis, at in self._spatial.items()]
        for at in itertools.product(*centres):  # at most one, unless gathered rows repeat it
            _mark_equal(as_array(outs) % self._group, ins, channels[at], self._one)
        advance(grid.size)


def _mark_equal(rows: np.ndarray, columns: np.ndarray, matrix: np.ndarray, value: np.ndarray) -> None:
    """That value where a row's number is a column's."""
    value = value.view(matrix.dtype)  # bfloat16 may come as uint16
    block = max(1, PAIRS_AT_ONCE // len(columns))
    for low in range(0, len(rows), block):
        matrix[low : low + block][rows[low : low + block, None] == columns] = value


@functools.lru_cache(maxsize=256)
def eye_std(initializer: Initializer, shape: tuple[int, ...]) -> float:
    """Theoretical standard deviation; ValueError for what is no matrix."""
    if len(shape) != 2:
        raise ValueError(f"eye needs two axes, got shape {shape}")
    size = shape[0] * shape[1]
    with _kernels.DefaultFloatEnvironment():
        density = min(shape) / size if size else 0.0
        return abs(initializer.parameters["gain"]) * math.sqrt(density * (1 - density))


@functools.lru_cache(maxsize=256)
def dirac_std(initializer: Initializer, shape: tuple[int, ...]) -> float:
    """Theoretical standard deviation; ValueError for what is no convolution of that many groups."""
    p = initializer.parameters
    if len(p["out_axis"]) != 1 or len(p["in_axis"]) != 1:
        raise ValueError(f"dirac needs one out_axis and one in_axis, got {p['out_axis']} and {p['in_axis']}")
    (out,), (into,) = (resolve_axes(shape, p[key], key) for key in ("out_axis", "in_axis"))
    if out == into:
        raise ValueError(f"dirac: in_axis and out_axis share an axis of shape {shape}")
    if len(shape) < 3:
        raise ValueError(f"dirac needs in, out and spatial axes, got shape {shape}; see eye")
    if shape[out] % p["groups"]:
        raise ValueError(f"dirac needs out channels that {p['groups']} groups divide, got {shape[out]}")
    size = math.prod(shape)
    with _kernels.DefaultFloatEnvironment():
        density = p["groups"] * min(shape[out] // p["groups"], shape[into]) / size if size else 0.0
        return math.sqrt(density * (1 - density))
