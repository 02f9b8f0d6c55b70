"""Tensors whose every element is drawn by itself: uniforms, normals, constants."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _kernels, plan
from ..initializers.names import Initializer
from ..initializers.parameters import kernel_values
from ..initializers.scales import Distribution, mean_of, scaled, truncated_std
from ..stream import hashed
from ..threads import threads_for
from ..walks import Walk, flattened
from .joined import Stacked
from .kind import Advance, Kind, Named, all_sums, positions_of

#: Values up to this are rounded to zero: half the smallest positive float16, and bfloat16.
_FLUSHED = {"float16": 2.0**-25, "bfloat16": 2.0**-134}


class Drawn(Named):
    """One of the kernels' distributions, each element from its own words of the stream."""

    __slots__ = ("values",)

    def __init__(self, initializer: Initializer, shape: tuple[int, ...], dtype: str, seed: int, name: str) -> None:
        super().__init__(initializer, shape, dtype, seed, name)
        self.values = prepare(initializer, shape, dtype, *hashed(seed, name))

    @property
    def std(self) -> float:
        return distribution(self.initializer, self.shape).std

    @property
    def mean(self) -> float:
        with _kernels.DefaultFloatEnvironment():
            return mean_of(distribution(self.initializer, self.shape))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.values.bounds

    def fill(self, region: plan.Region, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        size = array.size
        threads = threads_for(threads, size)
        if region is self.region and array.flags.c_contiguous:  # making a plan takes longer than a small fill
            _kernels.fill(self.values, array, 0, [(size, 1, array.itemsize, None)], threads)
        else:
            out, first, axes = plan.kernel_axes(region, self.shape, array)
            _kernels.fill(self.values, out, first, axes, threads)
        advance(size)

    def fill_rows(
        self, region: plan.Region, rows: np.ndarray, array: np.ndarray, threads: int | None, advance: Advance
    ) -> None:
        out, first, axes = plan.kernel_axes(region, self.shape, array, np.ascontiguousarray(rows))
        _kernels.fill(self.values, out, first, axes, threads_for(threads, array.size))
        advance(array.size)

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        out, first, axes = self.plan_of(walk, array)
        _kernels.fill(self.values, out, first, axes, threads_for(threads, array.size))
        advance(array.size)

    def plan_of(self, walk: Walk, array: np.ndarray) -> tuple[np.ndarray, int, Sequence[_kernels.Axis]]:
        """What the kernels need for a walk; see `plan.kernel_axes`."""
        (start,), steps = flattened(walk, self.shape)
        index_steps = [0 if axis is None else step if table is None else 1 for axis, step, table in steps]
        tables = [None if table is None else np.ascontiguousarray(table, np.int64) for _, _, table in steps]
        out, first, axes = plan.flat_axes(start, index_steps, array, tables)
        # a start may lie before the tensor, where all of the tables' entries lead back into it
        return out, first % (1 << 64), axes

    def stacked(self, kinds: Sequence[Drawn]) -> DrawnStack:
        return DrawnStack(kinds, 0)

    def flat(self) -> Drawn:
        """The same values: they depend on flat indices alone, once fans have given their scale."""
        flat = copy.copy(self)
        Kind.__init__(flat, (math.prod(self.shape),), self.dtype)
        return flat


class DrawnStack(Stacked):
    """Drawn tensors of one shape along a new axis 0: one call of the kernels for all, however small they are."""

    __slots__ = ()

    others: tuple[Drawn, ...]

    def fill_walk(self, walk: Walk, array: np.ndarray, threads: int | None, advance: Advance) -> None:
        of_memory = (np.arange(array.shape[k], dtype=np.int64) * array.strides[k] for k in walk.along(0))
        offsets = all_sums(0, of_memory)
        values = [self.others[position].values for position in positions_of(walk, 0, array.shape)]
        one, view = walk, array
        for k in reversed(walk.along(0)):
            one, view = one.at(k, view, 0)
        out, first, axes = self.others[0].plan_of(one.without(0), view)
        _kernels.fill_each(values, offsets, out, first, axes, threads_for(threads, array.size))
        advance(array.size)

    def stacked(self, kinds: Sequence[Kind]) -> None:
        """None: one call of the kernels fills this stack already, so stacks of stacks are not joined."""


@functools.lru_cache(maxsize=256)
def distribution(initializer: Initializer, shape: tuple[int, ...]) -> Distribution:
    """What `initializer` draws for a tensor of that global shape."""
    with _kernels.DefaultFloatEnvironment():
        drawn = _distribution(initializer.name, initializer.parameters, shape)
    return drawn._replace(std=abs(drawn.std))  # a std or a gain may be -0.0


def _distribution(name: str, p: dict[str, Any], shape: tuple[int, ...]) -> Distribution:
    if name in ("constant", "zeros", "ones"):
        return Distribution("constant", (p.get("value", float(name == "ones")),), 0.0)
    if name == "uniform":
        return Distribution("uniform", (p["low"], p["high"]), (p["high"] / 2 - p["low"] / 2) / math.sqrt(3.0))
    if name == "normal":
        return Distribution("normal", (p["mean"], p["std"]), p["std"])
    if name == "truncated_normal":
        parameters = (p["mean"], p["std"], p["lower"], p["upper"])
        return Distribution("truncated_normal", parameters, p["std"] * truncated_std(p["lower"], p["upper"]))
    return scaled(name, p, shape)


def prepare(initializer: Initializer, shape: tuple[int, ...], dtype: str, key: int, stream: int) -> _kernels.Values:
    """The kernels' form of a tensor's values; ValueError where the dtype cannot hold the parameters."""
    kind, parameters, _ = distribution(initializer, shape)
    if dtype in _FLUSHED and "normal" in kind and 0 < parameters[1] <= _FLUSHED[dtype]:
        warnings.warn(
            f"{initializer.name}: {dtype} flushes std={parameters[1]} to zero: most values will be the mean, rounded",
            RuntimeWarning,
            stacklevel=2,
        )
    return kernel_values(initializer.name, kind, dtype, parameters, key, stream)


def fill_constant(value: float, dtype: str, array: np.ndarray, threads: int) -> None:
    """One value everywhere in memory of that dtype, rounded once."""
    out, first, axes = plan.kernel_axes(plan.whole(array.shape), array.shape, array)
    _kernels.fill(_kernels.Values("constant", dtype, (value,), 0, 0), out, first, axes, threads)


def fill_matrix(
    values: _kernels.Values,
    out: np.ndarray,
    rows: tuple[int, int, np.ndarray | None],
    columns: tuple[int, int, np.ndarray | None],
    threads: int,
) -> None:
    """The elements at the flat indices of a matrix's rows plus those of its columns; see `Side.indices`."""
    (top, down, row_table), (left, across, column_table) = rows, columns
    view, first, axes = plan.flat_axes(top + left, [down, across], out, [row_table, column_table])
    _kernels.fill(values, view, first, axes, threads)
