"""The log of what has been written to each recorded storage."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .expressions import Expression, Geometry, View, Write

#: Storages that are gone are looked for when there are this many, or more.
FEWEST = 1 << 13
#: So many bytes of values are kept, at most, beyond those of storages in use.
MOST_GROWN = 16 << 20


class Store:
    """The writes to a storage, in order, without those that later ones have covered."""

    __slots__ = ("exposed", "filled", "nbytes", "origin", "owner", "writes")

    def __init__(self, nbytes: int, owner: object) -> None:
        self.nbytes = nbytes
        self.owner = owner  # the recorder in whose block it was made
        self.writes: list[Write] = []
        #: Whether the memory holds the values by now, and may have been written to by others since.
        self.exposed = False
        #: Whether it was filled after its block.
        self.filled = False
        #: How values that are in memory came there, and the line of code.
        self.origin = ("", "")

    def append(self, geometry: Geometry, values: Expression) -> None:
        again = len(self.writes) == 1 and self.writes[0].geometry == geometry  # as it is nearly always
        if again or covers(geometry, self.nbytes):
            self.writes = []
        elif any(write.geometry == geometry for write in self.writes):
            self.writes = [write for write in self.writes if write.geometry != geometry]
        self.writes.append(Write(geometry, values))

    def view(self, geometry: Geometry) -> Expression:
        """The values of some elements as they are now."""
        if self.writes and self.writes[-1].geometry == geometry:
            return self.writes[-1].values
        return View(tuple(self.writes), self.nbytes, geometry)


class Stores:
    """Every recorded storage that is still in use, by its identity."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[StorageWeakRef, Store]] = {}
        self._lock = threading.Lock()
        self._sweep_at = FEWEST
        self._grown = 0

    def get(self, tensor: torch.Tensor) -> Store | None:
        """The store of a tensor's storage; None where it is not recorded."""
        try:
            which = tensor.untyped_storage()._cdata
        except (RuntimeError, NotImplementedError):  # it has no storage
            return None
        found = self._found.get(which)
        return None if found is None or found[0].expired() else found[1]

    def add(self, storage: torch.UntypedStorage, store: Store) -> None:
        # while the weak reference is there, no other storage has this identity
        with self._lock:
            self._found[storage._cdata] = StorageWeakRef(storage), store
            if len(self._found) >= self._sweep_at:
                self._sweep()

    def grown(self, nbytes: int) -> None:
        """Let go of what was recorded of storages that are gone, when values in memory have become many."""
        with self._lock:
            self._grown += nbytes
            if self._grown > MOST_GROWN:
                self._sweep()

    def _sweep(self) -> None:
        self._found = {which: found for which, found in self._found.items() if not found[0].expired()}
        self._sweep_at = max(FEWEST, 2 * len(self._found))
        self._grown = 0


#: All recordings of a process share it: a tensor of one may be met in another.
STORES = Stores()


def geometry_of(tensor: torch.Tensor) -> Geometry:
    return Geometry(tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def covers(geometry: Geometry, nbytes: int) -> bool:
    """Whether a tensor has all elements of a storage of that size."""
    whole = geometry.offset == 0 and math.prod(geometry.size) * geometry.dtype.itemsize == nbytes
    return whole and is_dense(geometry)


def is_dense(geometry: Geometry) -> bool:
    """Whether the elements lie one behind the other, in the order of some of the axes' permutations."""
    at = 1
    for stride, length in sorted((s, n) for n, s in zip(geometry.size, geometry.stride) if n != 1):
        if stride != at:
            return False
        at *= length
    return True


def tensor_over(storage: torch.UntypedStorage, geometry: Geometry, **options: Any) -> torch.Tensor:
    """The tensor of that geometry in a storage."""
    made = torch.empty(0, dtype=geometry.dtype, device=storage.device)
    return made.set_(storage, geometry.offset, geometry.size, geometry.stride)
