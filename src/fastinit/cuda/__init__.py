"""fastinit on CUDA devices: arrays there are filled there, with the bits that the CPU makes.

Needs an NVIDIA GPU of compute capability 7.5 or later, and ``pip install 'fastinit-weights[cuda]'``. The kernels are
compiled when they are first needed, in about a second each, and kept under the user's cache directory.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from .. import plan
from ..arrays import numpy_dtype
from ..questions import dtype_of, region_of, write_region
from ..recipe import Part, check_same_shape
from . import cache
from .driver import Driver, device_numbered, installed
from .exported import current_stream, memory_of, stream_number
from .memory import Memory
from .queue import Queue, check_aligned

__all__ = ["describe", "fill"]


def fill(out: Any, recipe: Part, *, index: Any = ..., stream: Any = None) -> Any:
    """Fill an array on a CUDA device with a recipe's values, or with those of a region.

    Parameters
    ----------
    out : array
        Of the recipe's dtype and of the region's shape, on a CUDA device, of any strides: anything with
        ``__cuda_array_interface__`` or ``__dlpack__``, such as arrays of CuPy and Numba and tensors of torch. bfloat16
        may come as uint16.
    recipe : Recipe or Part
        What to fill it with; see `fastinit.recipe`.
    index : optional
        NumPy basic index of a region, such as ``np.s_[lo:hi, 128:256]``; everything unless given.
    stream : optional
        A number, or a stream of any library; the current stream of the array's library unless given, or the one that
        the array says it is used on, or the default stream.

    Returns
    -------
    array
        `out`.

    Raises
    ------
    TypeError, ValueError, IndexError
        Before a byte is written.
    ImportError, RuntimeError, MemoryError
        No driver, no device, none that the kernels are for, no NVRTC, no memory.

    Notes
    -----
    Asynchronous: what is sent to the stream later finds the values, and a failure on the device shows at the next call
    that touches it, or when the stream is synchronised. Nothing but the launches depends on the CPU.

    Examples
    --------
    >>> import cupy, fastinit as fi, fastinit.cuda  # doctest: +SKIP
    >>> w = cupy.empty((4096, 4096), cupy.float32)  # doctest: +SKIP
    >>> fi.cuda.fill(w, fi.recipe("he_normal", w.shape, seed=0, name="mlp.up"))  # doctest: +SKIP
    """
    if not isinstance(recipe, Part):
        raise TypeError(f"a Recipe is needed, not {type(recipe).__name__}: see fastinit.recipe")
    region = region_of(recipe, index)
    given = memory_of(out, dtype_of(recipe))
    check_same_shape(given.shape, region.shape)
    if 0 in given.shape:
        return out
    cuda = installed()
    kind, device = cuda.device_of(given.address)
    if kind != "device":
        raise TypeError(f"out is {kind} memory; cuda.fill fills memory of CUDA devices")
    number = _stream(cuda, out, device, given.stream, stream)
    write(cuda, device, number, recipe, region, given.address, given.shape, given.strides, given.owner)
    return out


def describe() -> dict[str, Any]:
    """What CUDA has here, as strict JSON: devices, versions, and the cache of kernels; what is missing, in words.

    Returns
    -------
    dict
        devices, a list of name and compute capability; driver and nvrtc, their versions, None where missing; missing,
        why nothing can be filled on CUDA devices, or None; cache, the folder of compiled kernels; kernels, how many are
        there.
    """
    found: dict[str, Any] = {"devices": [], "driver": None, "nvrtc": None, "missing": why_unavailable() or None}
    with contextlib.suppress(ImportError, RuntimeError):
        found["nvrtc"] = "{}.{}".format(*installed().compiler_version())
    with contextlib.suppress(ImportError, RuntimeError):
        found["driver"] = "{}.{}".format(*installed().version())
        found["devices"] = [
            {"name": device.name, "compute_capability": f"{device.capability / 10:.1f}"}
            for device in installed().devices()
        ]
    place = cache.folder()
    return {**found, "cache": None if place is None else str(place), "kernels": len(cache.entries())}


@functools.cache
def why_unavailable() -> str:
    """Why nothing can be filled on CUDA devices here, in one line; empty where it can."""
    try:
        cuda = installed()
        cuda.compiler_version()
        if not cuda.devices():
            return "there is no CUDA device here"
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


def write(
    cuda: Driver,
    device: int,
    stream: int,
    recipe: Part,
    region: plan.Region,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    owner: Any,
    rows: Any = None,
) -> None:
    """Send the fill of a region, or of some of its rows, to a stream; strides in bytes."""
    with cuda.on(device):
        queue = Queue(cuda, device_numbered(cuda, device), stream)
        memory = Memory.at(queue, address, shape, strides, numpy_dtype(dtype_of(recipe)), owner)
        if memory.overlaps_itself():
            raise ValueError("out overlaps itself: two of its elements share memory")
        check_aligned(address, [step for n, step in zip(shape, strides) if n > 1], memory.itemsize)
        write_region(recipe, region, memory, rows)


def _stream(cuda: Driver, out: Any, device: int, own: int | None, given: Any) -> int:
    if given is not None:
        return _of_device(cuda, stream_number(given), device, "the stream")
    theirs = current_stream(out, device)
    if theirs is not None:
        return _of_device(cuda, theirs, device, "the current stream")
    current = cuda.current()
    if current is not None and current != device:
        raise ValueError(
            f"out is on CUDA device {device}, but the current device is {current}: change to it, or give stream="
        )
    return 0 if own is None else own


def _of_device(cuda: Driver, number: int, device: int, what: str) -> int:
    where = cuda.device_of_stream(number)
    if where is not None and where != device:
        raise ValueError(f"{what} is of CUDA device {where}, but out is on device {device}")
    return number
