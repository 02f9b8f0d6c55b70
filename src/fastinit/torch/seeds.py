"""Which seed and name a tensor is drawn by: given ones, those of an enclosing `intercept`, or of torch's generators."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from ..stream import check_seed
from .shards import is_dtensor
from .watching import has_modes, is_transformed

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Count:
    """The seed of an `intercept` block, and how many fills there have been."""

    def __init__(self, seed: int | None) -> None:
        self._agreed = seed is not None  # all processes were given the same
        self.seed = drawn_seed() if seed is None else check_seed(seed)
        self.fills = 0
        self._forks = _forks

    def is_here(self) -> bool:
        """False in a process forked within the block, such as a loader's worker: all of them would count alike."""
        return self._forks == _forks

    def next_key(self, tensor: Any, name: str) -> tuple[int, str]:
        """Seed and name of the next fill; a name that was given stays."""
        seed, fills = self.seed, self.fills
        if not self._agreed:
            seed, fills = agreed((seed, fills), tensor)
        self.fills += 1
        return seed, name or str(fills)


class _Blocks(threading.local):
    def __init__(self) -> None:
        self.open: list[Count] = []


#: The blocks of `intercept` that this thread is in, the innermost last.
BLOCKS = _Blocks()


def key(tensor: Any, generator: Any, seed: int | None, name: str) -> tuple[int, str]:
    """The seed and the name that a call to fill a tensor asks for; draws a seed if need be."""
    if seed is not None:
        return seed, name
    if generator is None and BLOCKS.open and BLOCKS.open[-1].is_here():
        return BLOCKS.open[-1].next_key(tensor, name)
    return agreed((drawn_seed(generator),), tensor)[0], name


def check_key(generator: Any, seed: int | None) -> None:
    """TypeError or ValueError for a seed that is none, or one beside a generator."""
    if seed is not None:
        check_seed(seed)
        if generator is not None:
            raise ValueError("give either generator= or seed=")


#: Has, of each thread that has drawn a seed, a number where a generator can write.
_KEPT = threading.local()


def drawn_seed(generator: Any = None) -> int:
    """A seed of 63 bits from a generator, torch's default one unless given; whatever modes are in force."""
    if has_modes():
        with _disable_current_modes():
            return _drawn(generator)
    return _drawn(generator)


def _drawn(generator: Any) -> int:
    with torch._C.DisableTorchFunction():
        if generator is None and not is_transformed():
            number = _number_of_this_thread()
        else:
            number = torch.empty((), dtype=torch.int64, device="cpu" if generator is None else generator.device)
        return int(number.random_(generator=generator).item())


def _number_of_this_thread() -> torch.Tensor:
    if not hasattr(_KEPT, "number"):
        with torch.inference_mode(False):
            _KEPT.number = torch.empty((), dtype=torch.int64, device="cpu")
    number: torch.Tensor = _KEPT.number
    return number


def agreed(numbers: Sequence[int], tensor: Any) -> Sequence[int]:
    """The numbers that the first process of a DTensor's mesh has, on all of its processes; for other tensors, as given.

    Replicas and shards of one tensor must not be drawn from different ones. Collective: all processes of the mesh
    fill the tensor, as with every operation on a DTensor.
    """
    if not is_dtensor(tensor) or tensor.device_mesh.get_coordinate() is None:
        return numbers
    import torch.distributed as dist

    mesh = tensor.device_mesh
    box = torch.tensor(numbers, dtype=torch.int64, device=mesh.device_type)
    for axis in range(mesh.ndim):  # after each, all along this axis have what its first process had
        group = mesh.get_group(axis)
        dist.broadcast(box, src=dist.get_global_rank(group, 0), group=group)
    return [int(number) for number in box.tolist()]
