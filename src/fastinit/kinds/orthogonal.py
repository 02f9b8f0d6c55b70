"""Orthogonal tensors: one matrix, or one in the centre of zeros."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

from .. import _kernels
from ..initializers.names import Initializer
from ..initializers.parameters import kernel_values
from ..initializers.scales import resolve_axes
from ..plan import strides_of
from ..stream import hashed
from .drawn import fill_constant
from .kind import Advance, Named, Placed, Positions
from .matrix import Matrix
from .reflectors import Reflectors
from .sides import Side
from .tall import Tall

#: How far an element of a unit vector may lie beyond 1 by rounding, generously.
ORTHOGONAL_SLACK = 2.0**-14
#: From this ratio of the sides on Q is G R^-1: part of the stream version.
TALL = 8


class _WithMatrix(Placed, Named):
    """What both kinds have: a matrix, whose elements are made together, and a gain."""

    __slots__ = ("matrix",)

    made_together = True
    matrix: Matrix

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        gain = abs(self.initializer.parameters["gain"])
        greatest = _kernels.Values("constant", self.dtype, (gain * (1 + ORTHOGONAL_SLACK),), 0, 0).bounds[1]
        return -greatest, greatest


class Orthogonal(_WithMatrix):
    """An orthogonal matrix of all axes: those of `out_axis` are its columns, the others its rows."""

    __slots__ = ()

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        orthogonal_std(initializer, shape)  # refuses a shape that does not fit
        normals = _normals(initializer, dtype, seed, name)
        p = self.parameters()
        self.matrix = matrix_of(normals, dtype, shape, p["out_axis"], p["gain"])

    @property
    def std(self) -> float:
        return orthogonal_std(self.initializer, self.shape)

    def parameters(self) -> dict[str, Any]:
        p = super().parameters()
        return p | {"in_axis": tuple(axis for axis in range(len(self.shape)) if axis not in p["out_axis"])}

    def cost_at(self, positions: Positions) -> int:
        return self.matrix.cost(positions)

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        self.matrix.fill(positions, grid, threads, advance)


class DeltaOrthogonal(_WithMatrix):
    """Zeros, with an orthogonal matrix (in axes x out axes) at the centre of the spatial axes.

    The matrix has the values of an orthogonal tensor of shape (*in axes, *out axes) with the same seed and name.
    """

    __slots__ = ("_axes", "_spatial")

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        delta_std(initializer, shape)  # refuses a shape that does not fit
        normals = _normals(initializer, dtype, seed, name)
        p = self.parameters()
        self._axes = p["in_axis"] + p["out_axis"]
        self._spatial = {axis: (n - 1) // 2 for axis, n in enumerate(shape) if axis not in self._axes}
        inner = tuple(shape[axis] for axis in self._axes)
        self.matrix = matrix_of(normals, dtype, inner, tuple(range(len(p["in_axis"]), len(inner))), p["gain"])

    @property
    def std(self) -> float:
        return delta_std(self.initializer, self.shape)

    def cost_at(self, positions: Positions) -> int:
        """That of the matrix; 1 where there are only zeros."""
        if not all(map(len, self._centre(positions))):
            return 1
        return self.matrix.cost([positions[axis] for axis in self._axes])

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        fill_constant(0.0, self.dtype, grid, threads)
        found = self._centre(positions)
        if not all(map(len, found)):
            advance(1)
            return
        centres = grid.transpose((*self._spatial, *self._axes))
        first, *others = [centres[at] for at in itertools.product(*found)]  # gathered rows may repeat the centre
        self.matrix.fill([positions[axis] for axis in self._axes], first, threads, advance)
        for other in others:
            other[...] = first

    def _centre(self, positions: Positions) -> list[list[int]]:
        """Where the centre is along each spatial axis; more than once in gathered rows."""
        return [
            np.flatnonzero(along == centre).tolist() if isinstance(along, np.ndarray)
            else [along.index(centre)] if centre in along else []
            for along, centre in ((positions[axis], centre) for axis, centre in self._spatial.items())
        ]  # fmt: skip


def matrix_of(
    normals: _kernels.Values, dtype: str, shape: tuple[int, ...], out_axis: tuple[int, ...], gain: float
) -> Matrix:
    """The matrix of prod(shape[out_axis]) columns that a tensor of that shape is; its other axes are the rows."""
    rest = tuple(axis for axis in range(len(shape)) if axis not in out_axis)
    strides = strides_of(shape)
    rows, columns = (
        Side(axes, tuple(shape[a] for a in axes), tuple(strides[a] for a in axes)) for axes in (rest, out_axis)
    )
    is_tall = max(rows.size, columns.size) >= TALL * min(rows.size, columns.size)
    return (Tall if is_tall else Reflectors)(normals, dtype, rows, columns, gain)


def _normals(initializer: Initializer, dtype: str, seed: int, name: str) -> _kernels.Values:
    """The Gaussian that the matrix is made of; ValueError where the dtype cannot hold the gain."""
    gain = initializer.parameters["gain"]
    if math.isinf(gain * (1 + ORTHOGONAL_SLACK)):
        raise ValueError(f"{initializer.name}: gain={gain} overflows the dtype")
    kernel_values(initializer.name, "constant", dtype, (gain * (1 + ORTHOGONAL_SLACK),))
    if gain != 0 and dtype != "float64" and _kernels.Values("constant", "float32", (gain,), 0, 0).bounds[0] == 0:
        raise ValueError(f"{initializer.name}: gain={gain} vanishes in float32")
    working = "float64" if dtype == "float64" else "float32"
    return kernel_values(initializer.name, "normal", working, (0.0, 1.0), *hashed(seed, name))


@functools.lru_cache(maxsize=256)
def orthogonal_std(initializer: Initializer, shape: tuple[int, ...]) -> float:
    """Theoretical standard deviation; ValueError for a shape that is no matrix."""
    if len(shape) < 2:
        raise ValueError(f"orthogonal needs two axes or more, got shape {shape}")
    _, columns = _checked_axes(initializer, shape)
    n, size = math.prod(shape[axis] for axis in columns), math.prod(shape)
    longer = max(n, size // n if n else 0)
    with _kernels.DefaultFloatEnvironment():
        return abs(initializer.parameters["gain"]) / math.sqrt(longer) if size else 0.0


@functools.lru_cache(maxsize=256)
def delta_std(initializer: Initializer, shape: tuple[int, ...]) -> float:
    """Theoretical standard deviation; ValueError for a shape that has no matrix in its centre."""
    rows, columns = _checked_axes(initializer, shape)
    m, n = (math.prod(shape[axis] for axis in axes) for axes in (rows, columns))
    size = math.prod(shape)
    if not rows or len(rows) + len(columns) == len(shape):
        raise ValueError(f"delta_orthogonal needs in, out and spatial axes, got shape {shape}; see orthogonal")
    if m > n:
        raise ValueError(f"delta_orthogonal needs in <= out channels, got {m} and {n}")
    with _kernels.DefaultFloatEnvironment():
        return abs(initializer.parameters["gain"]) * math.sqrt(m / size) if size else 0.0


def _checked_axes(initializer: Initializer, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes of rows, as far as they are given, and of columns; ValueError where they leave no matrix."""
    name, p = initializer.name, initializer.parameters
    columns = resolve_axes(shape, p["out_axis"], "out_axis")
    rows = resolve_axes(shape, p["in_axis"], "in_axis") if p["in_axis"] is not None else ()
    if len({*rows, *columns}) < len(rows) + len(columns):
        raise ValueError(f"{name}: in_axis and out_axis share an axis of shape {shape}")
    if not columns or len(columns) == len(shape):
        raise ValueError(f"{name}: out_axis={p['out_axis']} leaves no matrix of shape {shape}")
    return rows, columns
