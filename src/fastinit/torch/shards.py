"""Which elements of a global tensor this process holds: plain tensors, DTensor, ShardedTensor."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..questions import made_together
from ..recipe import Part

#: Positions along one axis that follow each other in memory: ascending ranges of step 1.
Runs = list[range]


class Held(NamedTuple):
    """A tensor in this process's memory, and the positions of its elements along each axis of the global one."""

    local: torch.Tensor
    runs: Sequence[Runs]


#: Tensors that hold all of their elements themselves.
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})


def is_dtensor(tensor: Any) -> bool:
    """Whether it is a DTensor; does not import what nobody has imported yet."""
    if type(tensor) in _PLAIN:
        return False
    names = ("torch.distributed.tensor", "torch.distributed._tensor")  # it has moved once
    found = (getattr(sys.modules.get(name), "DTensor", None) for name in names)
    return any(isinstance(tensor, kind) for kind in found if kind is not None)


def is_sharded_tensor(tensor: Any) -> bool:
    """Whether it is a ShardedTensor, as TorchRec's tables are in a state dict."""
    if type(tensor) in _PLAIN:
        return False
    kind = getattr(sys.modules.get("torch.distributed._shard.sharded_tensor"), "ShardedTensor", None)
    return kind is not None and isinstance(tensor, kind)


def global_shape(tensor: Any) -> tuple[int, ...]:
    """The shape of the whole tensor."""
    return tuple(tensor.size())


def held_by(tensor: Any) -> list[Held]:
    """What this process holds of a tensor, and where in the global tensor that lies.

    Raises
    ------
    ValueError
        A DTensor that is a partial sum.
    """
    if type(tensor) in _PLAIN:
        return [Held(tensor, _all_along(tensor.shape))]
    if is_dtensor(tensor):
        return _held_of_dtensor(tensor)
    if is_sharded_tensor(tensor):
        return [
            Held(
                shard.tensor,
                [
                    [range(offset, offset + length)]
                    for offset, length in zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes)
                ],
            )
            for shard in tensor.local_shards()
        ]
    return [Held(tensor, [[range(n)] for n in tensor.shape])]


@functools.lru_cache(maxsize=1024)
def _all_along(shape: tuple[int, ...]) -> tuple[Runs, ...]:
    """The runs of what is not cut; nobody changes them."""
    return tuple([range(n)] for n in shape)


def _held_of_dtensor(tensor: Any) -> list[Held]:
    """Placements from the first mesh axis to the last, each dividing what the one before it left.

    torch's own `compute_local_shape_and_global_offset` gives one offset, which does not say where the rows of a
    `_StridedShard` are: they are not neighbours.
    """
    mesh = tensor.device_mesh
    with torch.no_grad():
        local = tensor.to_local()
    coordinate = mesh.get_coordinate()
    if coordinate is None:  # a process outside the mesh
        return []
    runs: list[Runs] = [[range(n)] for n in tensor.shape]
    for placement in tensor.placements:
        if placement.is_partial():
            raise ValueError(f"a DTensor with placement {placement} is a sum that no process holds: reduce it first")
    for axis in _order(tensor):
        placement = tensor.placements[axis]
        dim, factor = placement.dim, getattr(placement, "split_factor", 1)
        runs[dim] = divide(runs[dim], factor, mesh.size(axis), coordinate[axis])
    expected = tuple(sum(map(len, along)) for along in runs)
    if expected != tuple(local.shape):
        raise ValueError(f"placements {tensor.placements} give this process {expected}, but it holds {local.shape}")
    return [Held(local, runs)]


def _order(tensor: Any) -> list[int]:
    """The axes of the mesh that divide the tensor, in the order in which they do."""
    given = getattr(getattr(tensor, "_spec", None), "shard_order", None)  # only ever another one within torch itself
    if given is not None:
        return [axis for entry in given for axis in entry.mesh_dims]
    return [axis for axis, placement in enumerate(tensor.placements) if not placement.is_replicate()]


def divide(runs: Runs, factor: int, among: int, k: int) -> Runs:
    """What process k of `among` gets: a chunk, of each of `factor` chunks where a _StridedShard says so.

    That is FSDP on an axis that is divided already, whose mesh axis comes later.
    """
    pieces = (chunk(runs, factor, piece) for piece in range(factor))
    return join(run for piece in pieces for run in chunk(piece, among, k))


def chunk(runs: Runs, pieces: int, k: int) -> Runs:
    """Piece k of as many as `torch.chunk` cuts: equal ones, the last ones shorter or empty."""
    length = -(-sum(map(len, runs)) // pieces)
    low, high, before, kept = k * length, (k + 1) * length, 0, []
    for run in runs:
        part = run[max(0, low - before) : max(0, high - before)]
        if part:
            kept.append(part)
        before += len(run)
    return kept


def join(runs: Iterator[range]) -> Runs:
    """The same positions in as few runs as possible."""
    joined: Runs = []
    for run in runs:
        if joined and joined[-1].stop == run.start:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    return joined


#: A view of a local tensor, the part whose values it gets, and which rows of that part, if not all.
Job = tuple[torch.Tensor, Part, np.ndarray | None]


def jobs(held: Held, part: Part) -> list[Job]:
    """The views that a local tensor falls into, one for each combination of runs.

    Orthogonal rows in several runs are one job, since every job on them makes their factor anew.
    """
    if not held.local.numel():
        return []
    several = bool(held.runs) and len(held.runs[0]) > 1 and made_together(part.recipe)
    if not several and held.local.shape == part.shape:
        return [(held.local, part, None)]
    along, rows = [placed(runs) for runs in held.runs], None
    if several:
        rows = np.concatenate([np.arange(run.start, run.stop) for run in held.runs[0]])
        along[0] = [(slice(None), slice(None))]
    local = held.local.detach()  # views of it are none in a graph
    return [
        (local[tuple(here for here, _ in chosen)], part.part(tuple(where for _, where in chosen)), rows)
        for chosen in itertools.product(*along)
    ]


def placed(runs: Runs) -> list[tuple[slice, slice]]:
    """Where each run lies in the local tensor and in the global one."""
    placed, at = [], 0
    for run in runs:
        placed.append((slice(at, at + len(run)), slice(run.start, run.stop)))
        at += len(run)
    return placed


def local_position(runs: Runs, position: int) -> int | None:
    """Where in the local tensor a position of the global one is; None if another process holds it."""
    for local, where in placed(runs):
        if where.start <= position < where.stop:
            return int(local.start + position - where.start)
    return None
