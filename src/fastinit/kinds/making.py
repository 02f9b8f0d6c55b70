"""Makes composed kinds and checks their arguments, for functions, methods of recipes and dicts alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..arrays import check_shape
from .composed import Transposed
from .joined import Concatenated, Stacked
from .kind import Kind
from .reshaped import Reshaped


def concatenated(kinds: Sequence[Kind], axis: int, groups: int) -> Kind:
    """Tensors one behind the other along an axis of theirs, in groups."""
    if not kinds[0].shape:
        raise ValueError("0-d tensors cannot be concatenated: stack them")
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    return Concatenated(kinds, _counted(axis, len(kinds[0].shape)), groups)


def stacked(kinds: Sequence[Kind], axis: int) -> Kind:
    """Tensors along a new axis."""
    return Stacked(kinds, _counted(axis, len(kinds[0].shape) + 1))


def transposed(kind: Kind, axes: Sequence[int]) -> Kind:
    """A tensor with its axes in that order."""
    naxes = len(kind.shape)
    counted = tuple(_counted(axis, naxes) for axis in axes)
    if sorted(counted) != list(range(naxes)):
        raise ValueError(f"axes {tuple(axes)} are not the {naxes} axes of shape {kind.shape} in another order")
    return Transposed(kind, counted)


def reshaped(kind: Kind, shape: Sequence[int]) -> Kind:
    """A tensor in another shape, in which one length may be -1: whatever is left."""
    size = math.prod(kind.shape)
    if list(shape).count(-1) > 1:
        raise ValueError(f"one length alone may be -1, got {tuple(shape)}")
    if -1 in shape:
        known = check_shape(tuple(n for n in shape if n != -1))
        rest = math.prod(known)
        if rest == 0 or size % rest:
            raise ValueError(f"a tensor of shape {kind.shape} cannot be reshaped to {tuple(shape)}")
        shape = [size // rest if n == -1 else n for n in shape]
    return Reshaped(kind, check_shape(tuple(shape)))


def _counted(axis: int, naxes: int) -> int:
    """An axis counted from 0."""
    if not -naxes <= axis < naxes:
        raise ValueError(f"axis {axis} is out of bounds for {naxes} axes")
    return axis % naxes
