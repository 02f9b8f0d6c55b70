"""Recipes in other shapes: as simple ones wherever the values allow it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...functions import literal
from ...initializers import Initializer
from ...questions import dtype_of, form
from ...recipe import Part, Recipe
from ..memory import DTYPES
from .folding import ONE_BY_ONE, InexpressibleError


def as_recipe(part: Part) -> Recipe:
    """A recipe of its own of what may be a part of one."""
    return part if isinstance(part, Recipe) else Recipe.from_dict(part.to_dict())


def constant(value: torch.Tensor, shape: Sequence[int], seed: int) -> Recipe:
    """The recipe of one number."""
    number, dtype = float(value.item()), DTYPES.get(value.dtype)
    if dtype is None:
        raise InexpressibleError(f"{value.dtype}, which recipes do not have")
    kind = {0.0: "zeros", 1.0: "ones"}.get(number)
    if kind is None or math.copysign(1, number) < 0:
        return Recipe("constant", shape, dtype=dtype, seed=seed, value=number)
    return Recipe(kind, shape, dtype=dtype, seed=seed)


def is_constant(part: Part) -> bool:
    """Whether it is one number."""
    initializer = initializer_of(part)
    return initializer is not None and initializer.name in ("zeros", "ones", "constant")


def initializer_of(part: Part) -> Initializer | None:
    """The initializer of all of the values; None for a part, and for what is composed of others."""
    return part.initializer if isinstance(part, Recipe) else None


def in_shape(part: Part, shape: Sequence[int]) -> Part:
    """The same elements in C order; constants, and what is drawn one by one, as recipes of that shape."""
    shape = tuple(shape)
    if part.shape == shape:
        return part
    initializer = initializer_of(part)
    if initializer is not None and (
        is_constant(part) or (initializer.name in ONE_BY_ONE and part.size == math.prod(shape))
    ):
        return Recipe(initializer, shape, dtype=dtype_of(part), seed=part.seed, name=part.name or "")
    if isinstance(part, Recipe) and form(part) == "literal":
        return literal(part[...].reshape(shape), dtype_of(part))
    return part.reshape(shape)


def in_order(part: Part, axes: Sequence[int]) -> Part:
    """The same elements with the axes in another order."""
    if is_constant(part):
        return in_shape(part, [part.shape[axis] for axis in axes])
    moved = [axis for axis in axes if part.shape[axis] != 1]
    if moved == sorted(moved):  # only axes of length 1 move
        return in_shape(part, [part.shape[axis] for axis in axes])
    return part.transpose(*axes)
