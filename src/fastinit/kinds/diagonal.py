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
from ..threads import default_for
from .drawn import fill_constant
from .kind import Advance, Named, Placed, Positions
from .sides import as_array

#: Pairs of an out and an in channel that are compared at a time: 1 MiB.
PAIRS_AT_ONCE = 1 << 20


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


class Dirac(Placed):
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
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def cost_at(self, positions: Positions) -> int:
        return math.prod(map(len, positions))

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        fill_constant(0.0, self.dtype, grid, threads)
        outs, ins = positions[self._out_axis], as_array(positions[self._in_axis])
        channels = grid.transpose((*self._spatial, self._out_axis, self._in_axis))
        centres = [np.flatnonzero(as_array(positions[axis]) == at) for axis, at in self._spatial.items()]
        one = self._one.view(grid.dtype)  # bfloat16 may come as uint16
        block = max(1, PAIRS_AT_ONCE // len(ins))
        for at in itertools.product(*centres):  # one at most, but that gathered rows may repeat it
            for low in range(0, len(outs), block):
                within_group = as_array(outs[low : low + block]) % self._group
                channels[at][low : low + block][within_group[:, None] == ins] = one
        advance(grid.size)


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
