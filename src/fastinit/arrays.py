"""Shapes, dtypes and the memory that may be written to."""

from __future__ import annotations

import functools
import math
import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _kernels
from .wording import near_match

#: Dtypes that can be filled, by name.
DTYPES = ("float32", "float64", "float16", "bfloat16")

#: Larger tensors have no 64-bit counters left for their words.
MAX_SIZE = 1 << 62
#: NumPy's arrays have no more.
MAX_AXES = 64
#: DLPack's name of the CPU's memory.
ON_CPU = (1, 0)

#: Context: default rounding and denormals in this thread.
DefaultFloatEnvironment = _kernels.DefaultFloatEnvironment

_INT = frozenset({int})


def bfloat16_type() -> Any:
    """ml_dtypes.bfloat16 where installed, else uint16 (the same bits)."""
    try:
        import ml_dtypes
    except ImportError:
        return np.uint16
    return ml_dtypes.bfloat16


def dtype_name(dtype: Any) -> str:
    """The name in `DTYPES` of anything that means one of them; TypeError for the rest."""
    try:
        return _dtype_name(dtype)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
    raise TypeError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")


@functools.lru_cache(maxsize=64)  # NumPy works out a dtype's name anew each time: 3 us
def _dtype_name(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    if dtype is None:  # NumPy would take it for float64
        raise TypeError(f"a dtype is needed, not None; known: {', '.join(DTYPES)}")
    try:
        given = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):  # NumPy parses text: "f4,f4", "9" * 5000
        raise TypeError(f"unknown dtype {dtype!r}; {near_match(dtype, DTYPES)}") from None
    if not given.isnative:
        raise TypeError(f"dtype {given.str} is not in native byte order")
    if given.name not in DTYPES:
        raise TypeError(f"dtype {given.name} cannot be filled; known: {', '.join(DTYPES)}")
    return given.name


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of arrays that we allocate."""
    return np.dtype(bfloat16_type() if name == "bfloat16" else name)


def check_shape(shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple; TypeError or ValueError unless it is one or more lengths, in all below 2**62."""
    checked = shape if type(shape) is tuple and _INT.issuperset(map(type, shape)) else _integral_shape(shape)
    if not checked:
        return checked
    if min(checked) < 0:
        raise ValueError(f"negative length in shape {checked}")
    if len(checked) > MAX_AXES:
        raise ValueError(f"a shape has at most {MAX_AXES} axes, got {len(checked)}")
    if max(checked) >= MAX_SIZE or math.prod(checked) >= MAX_SIZE:
        raise ValueError(f"shape {checked} has 2**62 elements or more")
    return checked


def _integral_shape(shape: Any) -> tuple[int, ...]:
    lengths = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        checked = tuple(map(operator.index, lengths))
    except TypeError:
        checked = None
    if checked is None or not {bool, np.bool_}.isdisjoint(map(type, lengths)):
        raise TypeError(f"a shape is made of integers, not {shape!r}")
    return checked


def integers(given: tuple[Any, ...], what: str) -> tuple[int, ...]:
    """Integers given one by one or as one sequence."""
    listed = given[0] if len(given) == 1 and isinstance(given[0], Sequence) else given
    try:
        if any(isinstance(n, (bool, np.bool_)) for n in listed):
            raise TypeError
        return tuple(map(operator.index, listed))
    except TypeError:
        raise TypeError(f"{what} must be integers, got {reprlib.repr(listed)}") from None


def is_shape(out: Any) -> bool:
    """Whether a function's first argument is a shape to allocate rather than memory to fill."""
    return isinstance(out, (tuple, list, int, np.integer))


def allocate(shape: tuple[int, ...], name: str) -> np.ndarray:
    """An uninitialised C-order array whose first element is on a 64-byte boundary."""
    dtype = numpy_dtype(name)
    nbytes = dtype.itemsize
    for n in shape:
        nbytes *= n
    try:
        raw = np.empty(nbytes + 63, np.uint8)
    except (MemoryError, ValueError):  # ValueError: beyond what a pointer can address
        raise MemoryError(f"cannot allocate {nbytes} bytes for shape {shape} and dtype {name}") from None
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def empty_beside(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Uninitialised memory in C order, of the dtype and the device of `array`."""
    return np.empty(shape, array.dtype) if isinstance(array, np.ndarray) else array.empty(shape)


def is_seen_in(view: np.ndarray, array: np.ndarray) -> bool:
    """Whether `view`, made of `array`, is a view of it and no copy."""
    return np.may_share_memory(view, array) if isinstance(array, np.ndarray) else array.shares_memory(view)


def is_aligned(array: np.ndarray) -> bool:
    """Whether elements lie at multiples of their size; memory of another device says so itself."""
    return array.flags.aligned if isinstance(array, np.ndarray) else array.is_aligned


def scratch_for(threads: int) -> np.ndarray:
    """Memory that products of so many threads work in."""
    return allocate((threads * _kernels.SCRATCH // 4,), "float32")


def as_output(out: Any, dtype: Any = None) -> tuple[np.ndarray, str]:
    """`out` as an array that the kernels may write to, sharing its memory, and the name of its dtype.

    TypeError for what is no array, or of another dtype; ValueError for read-only or overlapping memory.
    """
    if not isinstance(out, np.ndarray):
        out = _array_of(out)
    array = np.asarray(out)  # drops subclasses
    wanted = None if dtype is None else dtype_name(dtype)
    given = array.dtype
    if given.char == "H" and given.isnative and wanted in (None, "bfloat16"):  # uint16
        if wanted is None:
            raise TypeError(
                "out has dtype uint16, which cannot be filled; pass dtype='bfloat16' if it holds those bits"
            )
        name = wanted
    else:
        name = dtype_name(given)
    if wanted is not None and name != wanted:
        raise TypeError(f"out has dtype {name}, not the dtype {wanted} that was asked for")
    flags = array.flags
    if not flags.writeable:
        raise ValueError("out is read-only")
    if not flags.c_contiguous and overlaps_itself(array):
        raise ValueError("out overlaps itself: two of its elements share memory")
    return array, name


def _array_of(out: Any) -> np.ndarray:
    if not isinstance(out, np.generic):  # a scalar would be copied
        try:
            memoryview(out)
            return np.asarray(out)
        except TypeError:
            if hasattr(out, "__array_interface__") or hasattr(out, "__array_struct__"):
                return np.asarray(out)
    hint = "; torch tensors go through fastinit.torch" if type(out).__module__.split(".")[0] == "torch" else ""
    raise TypeError(f"out must be an array that can be written to, not {type(out).__name__}{hint}")


def overlaps_itself(array: np.ndarray) -> bool:
    """Whether two elements of the array share a byte."""
    if array.size < 2 or array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    extent = array.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1):
        if stride < extent:
            return _overlaps_exactly(array)
        extent += stride * (n - 1)
    return False


def _overlaps_exactly(array: np.ndarray) -> bool:
    """The same where axes interleave.

    Two elements that differ first in axis k can be moved along the earlier axes to 0, and along k so that one
    of them is at 0.
    """
    prefix: tuple[Any, ...] = ()
    for n in array.shape:
        if n > 1:
            first, others = array[(*prefix, slice(0, 1))], array[(*prefix, slice(1, None))]
            try:
                if np.shares_memory(first, others, max_work=1_000_000):  # type: ignore[arg-type]
                    return True
            except np.exceptions.TooHardError:
                raise ValueError("cannot tell whether out overlaps itself: its axes interleave in memory") from None
        prefix += (0,)
    return False


def check_export(name: str, stream: Any, device: tuple[int, int] | None, copy: bool | None) -> None:
    """BufferError for what another library asks of DLPack and a recipe of that dtype cannot give."""
    if name == "bfloat16":
        raise BufferError("NumPy exports no bfloat16 by DLPack: fastinit.torch.tensor makes a torch tensor of a recipe")
    if stream is not None or device not in (None, ON_CPU):
        raise BufferError("the values of a recipe are made in the CPU's memory: move them from there")
    if copy is False:
        raise BufferError("the values of a recipe exist only once they are made: copy=False cannot be honoured")
