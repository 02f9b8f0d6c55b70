"""Arrays of other libraries on CUDA devices: where they lie, by `__cuda_array_interface__` or DLPack."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

from ..arrays import DTYPES

#: DLPack's numbers of devices, and what they are.
CUDA, PINNED, MANAGED = 2, 3, 13
_ELSEWHERE = {
    1: "in the CPU's memory: recipe.fill(out) fills it",
    PINNED: "pinned memory of the CPU",
    MANAGED: "managed",
}

_TYPES = {"<f4": "float32", "<f8": "float64", "<f2": "float16"}
#: DLPack's codes of floating-point types: (code, bits).
_DLPACK = {(2, 32): "float32", (2, 64): "float64", (2, 16): "float16", (4, 16): "bfloat16"}
DLPACK_TYPES = {name: code for (code, _), name in _DLPACK.items()}


class Exported(NamedTuple):
    """An array's memory: strides in bytes, the number of a stream that it says is its own, and what keeps it there."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    stream: int | None
    owner: Any


def memory_of(out: Any, dtype: str) -> Exported:
    """The memory of `out`, for values of that dtype; TypeError or ValueError for what cannot be filled."""
    if type(out).__module__.partition(".")[0] in ("jax", "jaxlib"):
        raise TypeError("a jax.Array cannot be changed: fastinit.jax.array makes a new one of a recipe")
    if getattr(out, "requires_grad", False) is True and hasattr(out, "detach"):
        out = out.detach()
    interface = None if dtype == "bfloat16" and hasattr(out, "__dlpack__") else _interface_of(out)
    if interface is not None:
        return _of_interface(out, interface, dtype)
    if hasattr(out, "__dlpack__") and hasattr(out, "__dlpack_device__"):
        kind, _ = out.__dlpack_device__()
        if int(kind) != CUDA:
            raise TypeError(
                f"out is {_ELSEWHERE.get(int(kind), 'on another device')}; cuda.fill fills memory of CUDA devices"
            )
        return _of_dlpack(out, dtype)
    raise TypeError(
        f"out must be an array on a CUDA device, with __cuda_array_interface__ or __dlpack__, not {type(out).__name__}"
    )


def _interface_of(out: Any) -> Any:
    try:
        return out.__cuda_array_interface__
    except (AttributeError, TypeError):  # torch's raises for dtypes that it has no name for
        return None


def _of_interface(out: Any, interface: Any, dtype: str) -> Exported:
    if interface.get("mask") is not None:
        raise TypeError("a masked array has elements without values: fill what it masks")
    address, read_only = interface["data"]
    if read_only:
        raise ValueError("out is read-only")
    kind, shape = interface["typestr"], tuple(interface["shape"])
    found = _TYPES.get(kind)
    if dtype == "bfloat16" and kind[1:] in ("V2", "u2"):  # as a uint16 array of NumPy is
        found = dtype
    if found != dtype:
        raise TypeError(f"out has dtype {found or kind}, but the recipe has dtype {dtype}")
    strides = interface.get("strides")
    if strides is None:
        strides = _contiguous(shape, int(kind[2:]))
    stream = interface.get("stream")
    return Exported(int(address), shape, tuple(strides), dtype, None if stream is None else int(stream), out)


def _contiguous(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    strides = []
    for n in reversed(shape):
        strides.append(size)
        size *= max(n, 1)
    return tuple(strides[::-1])


# ---- DLPack: https://dmlc.github.io/dlpack/latest/c_api.html ----------------------------------------------------


class DlpackTensor(ctypes.Structure):
    """DLPack's DLTensor; strides in elements."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", DlpackTensor),
    ]


_READ_ONLY, _COPIED = 1, 2
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _of_dlpack(out: Any, dtype: str) -> Exported:
    # stream=-1: nothing is to wait, since what is sent to the stream is done in its order
    try:
        capsule = out.__dlpack__(stream=-1, max_version=(1, 0))
    except TypeError:  # older than max_version
        capsule = out.__dlpack__(stream=-1)
    name = _name_of(capsule)
    pointer = _pointer_of(capsule, name)
    if name == b"dltensor_versioned":
        versioned = _Versioned.from_address(pointer)
        if versioned.flags & _READ_ONLY:
            raise ValueError("out is read-only")
        if versioned.flags & _COPIED:
            raise ValueError("out would be filled in a copy: its library exports no memory of its own")
        tensor = versioned.tensor
    else:
        tensor = DlpackTensor.from_address(pointer)
    found = _DLPACK.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if found != dtype:
        known = ", ".join(DTYPES)
        raise TypeError(f"out has dtype {found or f'none of {known}'}, but the recipe has dtype {dtype}")
    shape, size = tuple(tensor.shape[: tensor.ndim]), tensor.bits // 8
    strides = (
        tuple(step * size for step in tensor.strides[: tensor.ndim]) if tensor.strides else _contiguous(shape, size)
    )
    return Exported((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, None, (out, capsule))


# ---- streams --------------------------------------------------------------------------------------------------


def stream_number(stream: Any) -> int:
    """The handle of a stream of any library; TypeError for what is none."""
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int((protocol() if callable(protocol) else protocol)[1])
    for name in ("cuda_stream", "ptr", "handle"):  # torch, CuPy, Numba
        found = getattr(stream, name, None)
        if found is not None:
            return int(getattr(found, "value", found) or 0)
    raise TypeError(f"a stream is a number, or has __cuda_stream__, not {type(stream).__name__}")


def current_stream(out: Any, device: int) -> int | None:
    """The current stream, on that device, of the library that an array is of; None where none is known."""
    library = type(out).__module__.partition(".")[0]
    module = sys.modules.get(library)
    if library == "torch" and module is not None:
        return int(module.cuda.current_stream(device).cuda_stream)
    if library == "cupy" and module is not None:
        return int(module.cuda.get_current_stream().ptr)
    return None
