"""Parameters that share memory: ties, and overlaps in part."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import torch

from .memory import array_of, check_memory
from .shards import is_dtensor


def identity(tensor: torch.Tensor) -> Hashable:
    """Equal for tensors of the same elements, on any device, ``meta`` included, and for other tensors not."""
    local = tensor._local_tensor if is_dtensor(tensor) else tensor
    try:
        storage = local.untyped_storage()._cdata
        return storage, local.storage_offset(), tuple(local.shape), tuple(local.stride()), local.dtype
    except (RuntimeError, NotImplementedError):  # no storage: a sparse tensor, say
        return id(tensor)


def check_overlaps(tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """ValueError where two different tensors, as `identity` tells them, have some elements in common.

    Only of plain tensors that could be filled where they are; the others are not looked at.
    """
    spans = []
    for name, tensor in tensors:
        try:
            check_memory(tensor)
        except (TypeError, ValueError, RuntimeError):
            continue
        if tensor.numel():
            array = array_of(tensor)
            low, high = np.lib.array_utils.byte_bounds(array)
            spans.append((low, high, name, array))
    spans.sort(key=lambda span: span[:2])
    reaching: list[tuple[int, int, str, np.ndarray]] = []
    for span in spans:
        reaching = [before for before in reaching if before[1] > span[0]]
        for _, _, name, array in reaching:
            if np.shares_memory(array, span[3], max_work=1_000_000):  # type: ignore[arg-type]
                raise ValueError(f"{name} and {span[2]} share elements, but are not the same: fill one of them")
        reaching.append(span)
