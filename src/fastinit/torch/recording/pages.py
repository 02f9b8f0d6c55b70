"""Address space without memory: where the elements of a recorded tensor would lie.

The pages cannot be read or written, so the system sets no memory aside for them, also where it refuses to overcommit;
and what reads them past this package's eyes ends the process instead of taking zeros for weights.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np
import torch

#: Bytes of address space that are asked for at a time. Addresses are not used again within it.
CHUNK = 1 << 30

PROT_NONE = 0


class Pages:
    """Gives out storages that have an address and a size, and no memory."""

    def __init__(self) -> None:
        self._chunk: mmap.mmap | None = None
        self._start = 0
        self._used = 0

    def tensor(self, nbytes: int, dtype: torch.dtype) -> torch.Tensor:
        """A tensor of one axis and `nbytes`, in pages of its own."""
        length = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._chunk is None or self._used + length > len(self._chunk):
            self._reserve(max(CHUNK, length))
        array = (ctypes.c_uint8 * nbytes).from_address(self._start + self._used)
        array.chunk = self._chunk  # type: ignore[attr-defined]  # keeps the addresses reserved
        self._used += length
        return torch.frombuffer(array, dtype=dtype)

    def _reserve(self, nbytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:
            self._chunk = mmap.mmap(-1, nbytes, flags=flags, prot=PROT_NONE)
        except OSError as error:
            raise MemoryError(f"the system gives no {nbytes} bytes of address space: {error}") from None
        self._start = int(np.frombuffer(self._chunk, np.uint8).ctypes.data)
        self._used = 0


def give_memory(storage: torch.UntypedStorage) -> None:
    """Let a storage of `Pages` be read and written: zeros, so far."""
    libc = ctypes.CDLL(None, use_errno=True)
    length = -(-storage.nbytes() // mmap.PAGESIZE) * mmap.PAGESIZE
    access = mmap.PROT_READ | mmap.PROT_WRITE
    if libc.mprotect(ctypes.c_void_p(storage.data_ptr()), ctypes.c_size_t(length), access):
        raise MemoryError(f"the system gives no memory for {storage.nbytes()} bytes: {os.strerror(ctypes.get_errno())}")
