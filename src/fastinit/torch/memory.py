"""A tensor's memory: filled in place on CPUs and CUDA devices, through one buffer of bounded size elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .. import cuda
from ..arrays import as_output, overlaps_itself
from ..cuda.driver import installed
from ..cuda.memory import described
from ..cuda.queue import check_aligned
from ..pieces import pieces
from ..questions import made_together, region_of
from ..recipe import Part

#: The dtypes that can be filled, by the names that recipes have for them.
DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}

#: Bytes of the buffer that values for other devices go through.
STAGE = 64 << 20


def dtype_name(tensor: torch.Tensor) -> str:
    """The name of a tensor's dtype; TypeError if it cannot be filled."""
    try:
        return DTYPES[tensor.dtype]
    except KeyError:
        known = ", ".join(DTYPES.values())
        raise TypeError(f"a tensor of {tensor.dtype} cannot be filled; known dtypes: {known}") from None


def on_host(tensor: torch.Tensor) -> bool:
    """Whether the CPU can write to the tensor's memory."""
    return bool(tensor.is_cpu)


def on_cuda(tensor: torch.Tensor) -> bool:
    """Whether the tensor is on a CUDA device."""
    return bool(tensor.is_cuda)


def stream_of(tensor: torch.Tensor) -> int:
    """torch's current stream on the tensor's device."""
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)


def fills_on(device_type: str) -> bool:
    """Whether tensors of such a device are filled where they are."""
    return device_type == "cpu" or (device_type == "cuda" and not cuda.why_unavailable())


def is_filled_there(tensor: torch.Tensor) -> bool:
    """Whether this tensor is filled where it is."""
    return on_host(tensor) or fills_on(tensor.device.type)


def check_memory(tensor: torch.Tensor, *, staged: bool = False, meta: bool = False) -> np.ndarray | None:
    """TypeError, ValueError or RuntimeError for a tensor whose elements cannot be written to.

    `staged` allows for any device; `meta` for a tensor without memory, which will be given some. Returns the tensor's
    memory as `array_of` does, where that has been looked at.
    """
    name, without = dtype_name(tensor), tensor.is_meta
    if without and not meta:
        raise TypeError(
            "fastinit fills tensors in the CPU's or a CUDA device's memory; this one is on meta, and has none"
        )
    host = on_host(tensor)
    if not (host or staged or without):
        if not on_cuda(tensor):
            raise TypeError(
                f"fastinit fills tensors in the CPU's or a CUDA device's memory; this one is on {tensor.device}"
            )
        if cuda.why_unavailable():
            raise RuntimeError(f"the tensor is on {tensor.device}: {cuda.why_unavailable()}")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise TypeError(f"a tensor of layout {tensor.layout} has no elements in memory to fill")
    if tensor.is_neg() or tensor.is_conj():
        raise ValueError("the tensor is a lazily negated view: resolve_neg() it first")
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. "
            "You can make a clone to get a normal tensor before doing inplace update."
        )
    if is_traceable_wrapper_subclass(tensor):
        raise TypeError(f"a {type(tensor).__name__} has no elements of its own to fill")
    if without or not tensor.numel():
        return None
    if not tensor.untyped_storage().nbytes():
        raise ValueError("the tensor's storage has been freed: its parameter may be sharded, or not yet there")
    if not (host or on_cuda(tensor)):
        return None
    try:
        array = array_of(tensor)
    except RuntimeError as error:  # a fake tensor, or one that a transform of functions has wrapped
        raise TypeError(f"a {type(tensor).__name__} has no elements of its own to fill: {error}") from None
    if host:
        as_output(array, name)  # refuses memory that is read-only or overlaps
        return array
    if overlaps_itself(array):
        raise ValueError("the tensor overlaps itself: two of its elements share memory")
    check_aligned(tensor.data_ptr(), array.strides, array.itemsize)
    return array


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a tensor that `check_memory` lets pass; bfloat16 as uint16, which recipes take for its bits.

    On a CUDA device an array that tells where elements lie; they must not be touched.
    """
    plain = tensor.detach() if tensor.requires_grad else tensor
    if not on_host(tensor):
        size = tensor.element_size()
        strides = tuple(size * step for step in plain.stride())
        return described(plain.data_ptr(), tuple(plain.shape), strides, np.dtype(f"u{size}"))
    return np.asarray((plain.view(torch.uint16) if tensor.dtype is torch.bfloat16 else plain).numpy())


def write(tensor: torch.Tensor, part: Part, rows: np.ndarray | None = None, array: np.ndarray | None = None) -> None:
    """Fill a tensor that has been checked with a part's values, or with those of its `rows`.

    `array` is its memory, where `check_memory` has looked at that.

    On other devices than CPUs and CUDA's, values pass through a buffer. Orthogonal and sparse ones are made together,
    so there the buffer is as large as the tensor.
    """
    if on_host(tensor):
        _make(array_of(tensor) if array is None else array, part, rows)
    elif on_cuda(tensor) and not cuda.why_unavailable():
        _send(tensor, part, rows)
    else:
        _copy(tensor, part, rows)
    torch.autograd.graph.increment_version(tensor)


def _make(array: np.ndarray, part: Part, rows: np.ndarray | None) -> None:
    if rows is None:
        part.fill(array)
    else:
        part.take(rows, out=array)


def _send(tensor: torch.Tensor, part: Part, rows: np.ndarray | None) -> None:
    """The same on the tensor's CUDA device, on torch's current stream."""
    array = array_of(tensor)
    device, stream = tensor.device.index or 0, stream_of(tensor)
    given = tensor.data_ptr(), array.shape, array.strides, tensor
    cuda.write(installed(), device, stream, part, region_of(part), *given, rows)


def _copy(tensor: torch.Tensor, part: Part, rows: np.ndarray | None) -> None:
    together = rows is not None or made_together(part.recipe)
    largest = tensor.numel() if together else max(1, STAGE // tensor.element_size())
    stage = torch.empty(min(tensor.numel(), largest), dtype=tensor.dtype, device="cpu")
    target = tensor.detach()
    for piece in pieces(tuple(tensor.shape), largest):
        there = target[piece.at]
        here = stage[: piece.size].view(there.shape)
        _make(array_of(here), part if rows is not None else part.part(piece.at), rows)
        there.copy_(here)
