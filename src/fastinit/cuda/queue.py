"""A stream of a device, and what is sent to it: fills by plans, copies, and bytes of the host's."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _kernels
from .compiling import COPYING, compiled, matrix_module, module_of
from .driver import Device, Driver

#: Threads of a block, as the kernels have them, and blocks for each multiprocessor at most: enough to hide latency.
THREADS, BLOCKS_EACH = 256, 32
#: Bytes that a launch carries with it: see `fi_few` in cuda_copy.cu.
FEW = 480 * 8


class Allocation:
    """Memory of a device, given back in the order of the stream once nothing needs it any more."""

    __slots__ = ("_queue", "address")

    def __init__(self, queue: Queue, nbytes: int) -> None:
        self._queue = queue
        self.address = 0
        self.address = queue.driver.allocate(max(nbytes + 7 & ~7, 8), queue.stream)  # uploads write 8 bytes at a time

    def hand_over(self, queue: Queue) -> None:
        """Another stream's order counts from here on."""
        self._queue = queue

    def __del__(self) -> None:
        if self.address:
            with self._queue.driver.on(self._queue.device.number):
                self._queue.driver.free(self.address, self._queue.stream)


class Kept:
    """Memory for fills on any stream of a device, and an event after which it holds what it was made for.

    It is given back in the order of a stream of our own, which waits for each use: nobody's stream need be there still.
    """

    __slots__ = ("_aside", "_event", "arrays")

    def __init__(self, queue: Queue, arrays: list[Any]) -> None:
        """What fills `arrays`, new memory of the queue's, has been sent to it."""
        self._aside = aside(queue.driver, queue.device)
        self._event: Any = None
        self._event = queue.driver.record(queue.stream)
        queue.driver.wait(self._aside.stream, self._event)
        self.arrays = arrays
        for array in arrays:
            array.hand_over(self._aside)

    def use_in(self, queue: Queue) -> None:
        """What is sent to the queue from here on finds the arrays filled."""
        queue.driver.wait(queue.stream, self._event)

    def used_in(self, queue: Queue) -> None:
        """All uses so far have been sent to the queue: only then are the arrays given back."""
        event = queue.driver.record(queue.stream)
        queue.driver.wait(self._aside.stream, event)
        queue.driver.forget(event)

    def __del__(self) -> None:
        if self._event is not None:
            with self._aside.driver.on(self._aside.device.number):
                self._aside.driver.forget(self._event)


#: As `_kernels.Axis`; the table may be on the device.
Axis = tuple[int, int, int, np.ndarray | Allocation | None]
#: One axis of a copy: count, steps in bytes to read and to write, and tables of byte offsets in their places, or None.
CopyAxis = tuple[int, int, int, np.ndarray | None, np.ndarray | None]


class _PackedAxis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("count", "from_step", "to_step", "from_table", "to_table")]


class _PackedCopy(ctypes.Structure):
    _fields_ = [
        ("source", ctypes.c_uint64),
        ("target", ctypes.c_uint64),
        ("size", ctypes.c_int32),
        ("naxes", ctypes.c_int32),
        ("axes", _PackedAxis * 64),
    ]


class Queue:
    """Where fills of a device's memory are sent.

    Everything is asynchronous, and done in the order in which it was sent; the device is the current one meanwhile
    (`Driver.on`).
    """

    def __init__(self, driver: Driver, device: Device, stream: int) -> None:
        self.driver = driver
        self.device = device
        self.stream = stream

    # ---- drawn values --------------------------------------------------------------------------------------

    def fill(self, values: _kernels.Values, address: int, first: int, axes: Sequence[Axis]) -> None:
        """Fill memory by a plan: `axes` as for `_kernels.fill`, but that tables may be there already (`table`)."""
        if any(axis[0] == 0 for axis in axes):
            return
        size = {"float32": 4, "float64": 8}.get(values.dtype, 2)
        unit = 16 // size
        check_aligned(address, [step for count, _, step, _ in axes if count > 1], size)
        if values.distribution == "constant":  # whatever its index: that of its address keeps to the device's lines
            first, axes = address // size, [(count, step // size, step, None) for count, _, step, _ in axes]
        if not axes or (len(axes) == 1 and axes[0][3] is None and axes[0][1:3] == (1, size)):
            count = axes[0][0] if axes else 1
            kernel = self._kernel(values, "fill_run")
            arguments = [values.packed(), _u64(first), _u64(count), _u64(address)]
            self._launch(kernel, -(-count // (unit if size == 2 else 2 * unit)), arguments)  # cuda.cu's IN_FLIGHT
            return
        tables = [table if table is None or isinstance(table, Allocation) else self.table(table) for *_, table in axes]
        run, run_units = along_run(first, axes, unit)
        counts = [run_units if k == run else count for k, (count, *_) in enumerate(axes)]
        units = math.prod(counts)
        plan = _kernels.packed_plan(
            address,
            first % (1 << 64),
            [(*axis[:3], 0 if table is None else table.address) for axis, table in zip(axes, tables)],
        )
        kernel = self._kernel(values, "fill_plan")
        arguments = [values.packed(), plan, _u64(units), run.to_bytes(4, "little", signed=True), _u64(run_units)]
        self._launch(kernel, units, arguments)

    def table(self, positions: np.ndarray) -> Allocation:
        """Positions along an axis, for several fills."""
        return self.upload(np.ascontiguousarray(positions, np.int64))

    # ---- given values --------------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Allocation:
        """Memory that is not initialised."""
        return Allocation(self, nbytes)

    def upload(self, array: np.ndarray) -> Allocation:
        """A copy of a C-contiguous array. Its bytes go with launches: it may be gone before they are there."""
        made = Allocation(self, array.nbytes)
        stored = array.tobytes()
        kernel = _kernels_of(self.driver, self.device, *COPYING)["upload"]
        for low in range(0, len(stored), FEW):
            part = stored[low : low + FEW]
            words = -(-len(part) // 8)
            arguments = [part.ljust(FEW, b"\0"), _u64(words), _u64(made.address + low)]
            self._launch(kernel, words, arguments)
        return made

    def copy(self, source: int, target: int, size: int, axes: Sequence[CopyAxis]) -> None:
        """Copy elements of `size` bytes from one address to another, along axes with a step or a table each."""
        check_aligned(source, [axis[1] for axis in axes if axis[0] > 1], size)
        check_aligned(target, [axis[2] for axis in axes if axis[0] > 1], size)
        elements = math.prod(axis[0] for axis in axes)
        if not elements:
            return
        packed, kept = _PackedCopy(source, target, size, len(axes)), []
        for place, (count, from_step, to_step, from_table, to_table) in zip(packed.axes, axes):
            place.count, place.from_step, place.to_step = count, from_step, to_step
            for name, table in (("from_table", from_table), ("to_table", to_table)):
                if table is not None:
                    kept.append(self.table(table))
                    setattr(place, name, kept[-1].address)
        self._launch(_kernels_of(self.driver, self.device, *COPYING)["copy"], elements, [bytes(packed), _u64(elements)])

    # ---- matrices ------------------------------------------------------------------------------------------

    def stage(self, precision: str, packed: bytes, units: int) -> None:
        """Steps in float32 or float64 that are done side by side, as fi_stage; blocks of threads for all units."""
        kernel = _kernels_of(self.driver, self.device, *matrix_module(precision))["stage"]
        self.driver.launch(kernel, min(units, (1 << 31) - 1), THREADS, [packed], self.stream)

    # ---- launches ------------------------------------------------------------------------------------------

    def _kernel(self, values: _kernels.Values, name: str) -> Any:
        return _kernels_of(self.driver, self.device, *module_of(values.distribution, values.dtype))[name]

    def _launch(self, kernel: Any, work: int, arguments: Sequence[bytes]) -> None:
        blocks = min(-(-work // THREADS), self.device.multiprocessors * BLOCKS_EACH)
        self.driver.launch(kernel, blocks, THREADS, arguments, self.stream)


@functools.lru_cache(maxsize=64)
def aside(driver: Driver, device: Device) -> Queue:
    """A stream of our own, on the current device."""
    return Queue(driver, device, driver.new_stream())


@functools.lru_cache(maxsize=256)
def _kernels_of(
    driver: Driver, device: Device, file: str, names: tuple[str, ...], macros: tuple[str, ...]
) -> dict[str, Any]:
    return driver.load(compiled(driver, device.capability, file, macros), names)


def along_run(first: int, axes: Sequence[Axis], unit: int) -> tuple[int, int]:
    """The axis along which flat indices are neighbours (-1 without one), and how many units it is cut into at most."""
    runs = [k for k, (_, step, _, table) in enumerate(axes) if step == 1 and table is None]
    if not runs:
        return -1, 1
    run = runs[-1]
    count = axes[run][0]
    if all(step % unit == 0 for k, (_, step, *_) in enumerate(axes) if k != run):
        return run, -(-(first % unit + count) // unit)  # each run begins at the same place in a unit
    return run, (count + unit - 2) // unit + 1


def check_aligned(address: int, steps: Sequence[int], size: int) -> None:
    """ValueError for memory whose elements a device cannot write one by one."""
    if address % size or any(step % size for step in steps):
        raise ValueError(f"the elements are not aligned: on a device, each lies at a multiple of its {size} bytes")


def _u64(number: int) -> bytes:
    return (number % (1 << 64)).to_bytes(8, "little")
