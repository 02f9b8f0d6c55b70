"""New memory of a CUDA device with a recipe's values, handed over to another library by DLPack."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..questions import dtype_of, region_of, write_region
from ..recipe import Part
from .driver import Driver, device_numbered
from .exported import CUDA, DLPACK_TYPES, DlpackTensor, stream_number
from .memory import Memory
from .queue import Queue

_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLPack's DLManagedTensor."""

    _fields_ = [("tensor", DlpackTensor), ("manager", ctypes.c_void_p), ("deleter", _Deleter)]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

#: What has been handed over, by its address, until the library that has it gives it back.
_lent: dict[int, Any] = {}


class Export:
    """A recipe's values on a device, for a library that takes DLPack: it makes them when it asks for them.

    They are made on the stream that the library names, so that it need not wait for another one.
    """

    def __init__(self, driver: Driver, device: int, recipe: Part) -> None:
        self._driver = driver
        self._device = device
        self._recipe = recipe

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self._device

    def __dlpack__(self, *, stream: Any = None, **asked: Any) -> Any:
        recipe, driver = self._recipe, self._driver
        name, size = dtype_of(recipe), recipe.dtype.itemsize
        shape, strides, step = recipe.shape, [], 1
        for n in reversed(shape):
            strides.append(step)
            step *= max(n, 1)
        strides.reverse()
        with driver.on(self._device):
            address = driver.allocate_now(max(1, recipe.size * size))
            try:
                queue = Queue(driver, device_numbered(driver, self._device), _stream(stream))
                in_bytes = tuple(step * size for step in strides)
                memory = Memory.at(queue, address, shape, in_bytes, np.dtype(f"u{size}"), None)
                write_region(recipe, region_of(recipe), memory)
            except BaseException:
                driver.free_now(address)
                raise
        return self._lend(address, name, size, shape, strides)

    def _lend(self, address: int, name: str, size: int, shape: tuple[int, ...], strides: list[int]) -> Any:
        lengths = ctypes.c_int64 * max(1, len(shape))
        kept_shape, kept_strides = lengths(*shape), lengths(*strides)
        kind, device = self.__dlpack_device__()
        managed = _Managed()
        managed.tensor = DlpackTensor(
            address, kind, device, len(shape), DLPACK_TYPES[name], 8 * size, 1,
            ctypes.cast(kept_shape, ctypes.POINTER(ctypes.c_int64)),
            ctypes.cast(kept_strides, ctypes.POINTER(ctypes.c_int64)), 0,
        )  # fmt: skip

        pointer = ctypes.addressof(managed)
        managed.deleter = _give_back
        _lent[pointer] = (managed, kept_shape, kept_strides, self._driver, self._device)
        # a capsule that nobody consumes keeps its memory: capsules made in Python have no destructors
        return _new_capsule(pointer, b"dltensor", None)


def _took_back(pointer: int) -> None:
    managed, *_, driver, device = _lent.pop(pointer)
    with driver.on(device):
        driver.free_now(managed.tensor.data)


#: What a library calls when it has no more need of the memory: one for all, as it must outlive its own call.
_give_back = _Deleter(_took_back)


def _stream(given: Any) -> int:
    """DLPack's number of a stream: None is the default one, -1 asks for no order, so the default one will do."""
    return 0 if given in (None, -1) else stream_number(given)
