"""A device's memory in the place of an ndarray: what kinds see of it, and what they do to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _kernels
from ..arrays import overlaps_itself
from ..kinds.work import Advance
from ..walks import Walk
from .queue import Allocation, CopyAxis, Queue
from .work import DeviceWork


class _Described:
    """What makes NumPy compute with shapes, strides and addresses that it never reads from."""

    def __init__(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": f"<u{dtype.itemsize}",
            "data": (address, False),
            "shape": shape,
            "strides": strides,
        }


def described(address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of unsigned integers at an address; strides in bytes. To touch its elements ends the process."""
    return np.asarray(_Described(address, shape, strides, dtype))


class Memory:
    """Elements in a device's memory.

    It has an ndarray's shape, strides, basic indexing, `transpose` and `reshape`; what is assigned to it, and what the
    kernels fill it with (`_kernels.fill`), is sent to a queue. Its elements cannot be read.
    """

    __slots__ = ("_owner", "_view", "address", "dtype", "queue")

    def __init__(self, queue: Queue, view: np.ndarray, dtype: np.dtype, owner: Any = None) -> None:
        self.queue = queue
        self.dtype = dtype
        self._view = view  # of unsigned integers; its elements must never be touched
        self.address: int = view.__array_interface__["data"][0]  #: of element 0
        self._owner = owner

    @classmethod
    def at(
        cls, queue: Queue, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, owner: Any
    ) -> Memory:
        """Memory at an address; strides in bytes. `owner` is kept as long as it is in use."""
        return cls(queue, described(address, shape, strides, dtype), dtype, owner)

    def new(self, shape: Sequence[int], dtype: np.dtype, order: str = "C") -> Memory:
        """New memory of the same device, not initialised, in C or Fortran order."""
        made = self.queue.allocate(math.prod(shape) * dtype.itemsize)
        strides, step = [], dtype.itemsize
        for n in reversed(shape) if order == "C" else shape:
            strides.append(step)
            step *= max(n, 1)
        in_order = tuple(strides[::-1] if order == "C" else strides)
        return Memory.at(self.queue, made.address, tuple(shape), in_order, dtype, made)

    def hand_over(self, queue: Queue) -> None:
        """New memory is given back in the order of that queue."""
        self._owner.hand_over(queue)

    def empty(self, shape: Sequence[int]) -> Memory:
        """The same of this dtype, in C order."""
        return self.new(shape, self.dtype)

    def work(self, advance: Advance) -> DeviceWork:
        """What makes an orthogonal matrix in this memory."""
        return DeviceWork(self.queue, self.new, advance)

    # ---- what an ndarray has ---------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self._view.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self._view.strides

    @property
    def ndim(self) -> int:
        return self._view.ndim

    @property
    def size(self) -> int:
        return self._view.size

    @property
    def itemsize(self) -> int:
        return self._view.itemsize

    @property
    def flags(self) -> Any:
        return self._view.flags

    @property
    def is_aligned(self) -> bool:
        return all(at % self.itemsize == 0 for at in (self.address, *self.strides))

    def __len__(self) -> int:
        return len(self._view)

    __iter__ = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("the elements of a device's memory cannot be read")

    def __repr__(self) -> str:
        return f"<{self.dtype} memory of shape {self.shape} on CUDA device {self.queue.device.number}>"

    def _seen(self, view: np.ndarray) -> Memory:
        return Memory(self.queue, view, self.dtype, self._owner)

    @property
    def T(self) -> Memory:
        return self._seen(self._view.T)

    def transpose(self, axes: Sequence[int]) -> Memory:
        return self._seen(self._view.transpose(axes))

    def reshape(self, *shape: Any) -> Memory:
        """A view where there is one, else new memory without values, as large."""
        wanted = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
        if -1 in wanted:
            wanted[wanted.index(-1)] = self.size // -math.prod(wanted)
        seen = _reshaped(self._view, tuple(wanted))
        return self.empty(wanted) if seen is None else self._seen(seen)

    def shares_memory(self, other: Memory) -> bool:
        """Whether both are views of one piece of memory."""
        return bool(np.may_share_memory(self._view, other._view))

    def overlaps_itself(self) -> bool:
        """Whether two elements share a byte."""
        return overlaps_itself(self._view)

    # ---- what is done to it ------------------------------------------------------------------------------------

    def fill(self, values: _kernels.Values, first: int, axes: Sequence[_kernels.Axis]) -> None:
        """What `_kernels.fill` does to an ndarray."""
        self.queue.fill(values, self.address, first, axes)

    def fill_each(
        self, values: Sequence[_kernels.Values], offsets: np.ndarray, first: int, axes: Sequence[_kernels.Axis]
    ) -> None:
        """What `_kernels.fill_each` does to an ndarray."""
        there = [(*axis[:3], None if axis[3] is None else self.queue.table(axis[3])) for axis in axes]
        for one, offset in zip(values, offsets):
            self.queue.fill(one, self.address + int(offset), first, there)

    def copy_walk(self, source: Memory, walk: Walk) -> None:
        """Writes the elements of `source`, which has one axis, that the walk finds."""
        size = self.itemsize
        axes: list[CopyAxis] = []
        for (axis, step, table), n, stride in zip(walk.steps, self.shape, self.strides):
            if axis is None:
                axes.append((n, 0, stride, None, None))
            else:
                axes.append((n, step * size, stride, None if table is None else table * size, None))
        self.queue.copy(source.address + walk.starts[0] * size, self.address, size, axes)

    def __getitem__(self, index: Any) -> Memory:
        """A view; or, where one of the items is an array of positions, a copy."""
        items = index if isinstance(index, tuple) else (index,)
        k = _listed(items)
        if k is None:
            if not any(item is Ellipsis for item in items):
                items = (*items, ...)  # without it, NumPy would read an element where each axis has an integer
            return self._seen(self._view[items])
        table, view = items[k], self._view[(*items[:k], slice(None))]
        made = self.empty((*view.shape[:k], len(table), *view.shape[k + 1 :]))
        axes: list[CopyAxis] = [(n, a, b, None, None) for n, a, b in zip(made.shape, view.strides, made.strides)]
        axes[k] = (len(table), 0, made.strides[k], table * view.strides[k], None)
        self.queue.copy(int(view.__array_interface__["data"][0]), made.address, self.itemsize, axes)
        return made

    def __setitem__(self, index: Any, value: Any) -> None:
        """Writes numbers or arrays of the host's, or memory of this device.

        `index` is basic, has one array of positions, or is a mask.
        """
        if isinstance(index, np.ndarray) and index.dtype == bool:
            at = np.nonzero(index)
            offsets = sum((along * stride for along, stride in zip(at, self.strides)), np.zeros(len(at[0]), np.int64))
            self._write((len(offsets),), [(len(offsets), 0, offsets)], self.address, value)
            return
        items = index if isinstance(index, tuple) else (index,)
        k = _listed(items)
        if k is None:
            view = self[items]
            self._write(view.shape, [(n, s, None) for n, s in zip(view.shape, view.strides)], view.address, value)
            return
        table, view = items[k], self[(*items[:k], slice(None))]
        to: list[tuple[int, int, np.ndarray | None]] = [(n, s, None) for n, s in zip(view.shape, view.strides)]
        to[k] = (len(table), 0, table * view.strides[k])
        shape = (*view.shape[:k], len(table), *view.shape[k + 1 :])
        self._write(shape, to, view.address, value)

    def _write(
        self,
        shape: tuple[int, ...],
        to: Sequence[tuple[int, int, np.ndarray | None]],
        address: int,
        value: Any,
    ) -> None:
        kept: Allocation | None = None
        if isinstance(value, Memory):
            view, source = value._view, value.address
        else:
            given = np.ascontiguousarray(value if isinstance(value, np.ndarray) else np.asarray(value, self.dtype))
            if given.dtype.itemsize != self.itemsize:
                given = given.astype(self.dtype)
            kept = self.queue.upload(given)
            view, source = given.reshape(np.shape(value)), kept.address
        strides = np.broadcast_to(view, shape).strides
        axes = [(n, a, b, None, table) for (n, b, table), a in zip(to, strides)]
        self.queue.copy(source, address, self.itemsize, axes)


def _listed(items: tuple[Any, ...]) -> int | None:
    """Where in an index its one array of positions is; None in a basic one."""
    return next((k for k, item in enumerate(items) if isinstance(item, np.ndarray) and item.ndim), None)


def _reshaped(view: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A view in another shape; None where there is none. NumPy must not copy: it cannot read the elements."""
    try:
        return np.reshape(view, shape, copy=False)
    except TypeError:  # NumPy 2.0 has no copy=
        view = view.view()
        try:
            view.shape = shape
        except AttributeError:
            return None
        return view
    except ValueError:
        return None
