"""A recipe's values in a tensor: plain, or the shard of it that this process holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..questions import dtype_of
from ..recipe import Part
from .memory import DTYPES, check_memory, dtype_name, write
from .shards import Held, global_shape, held_by, is_dtensor, is_sharded_tensor, jobs

#: What this process holds of a tensor; and as an array, where that has been looked at.
Place = tuple[Held, np.ndarray | None]


def fill_(tensor: torch.Tensor, recipe: Part, *, staged: bool = False) -> torch.Tensor:
    """Fill a tensor with a recipe's values; a DTensor or ShardedTensor with those of its shard.

    Parameters
    ----------
    tensor : Tensor
        Of the recipe's dtype and (global) shape, in the CPU's memory or on a CUDA device, of any strides. It may
        require grad: that it has changed is not recorded, as in ``torch.nn.init``.
    recipe : Recipe or Part
        What to fill it with; see `fastinit.recipe`.
    staged : bool, optional
        Allow for other devices: values pass through a buffer of 64 MiB in the CPU's memory (orthogonal and sparse ones
        through one as large as the tensor).

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    TypeError, ValueError
        Another dtype, shape, device or layout, overlapping memory, a DTensor that is a partial sum; before a byte is
        written.
    """
    check_recipe(recipe)
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"a tensor is needed, not {type(tensor).__name__}")
    if global_shape(tensor) != recipe.shape:
        raise ValueError(f"the tensor has shape {global_shape(tensor)}, but the recipe has shape {recipe.shape}")
    return fill_checked(tensor, recipe, check_fillable(tensor, staged=staged))


def fill_checked(tensor: torch.Tensor, recipe: Part, places: Sequence[Place]) -> torch.Tensor:
    """`fill_` of a tensor that has passed its checks; `places` are what `check_fillable` has found."""
    for held, array in places:
        for view, part, rows in jobs(held, recipe):
            write(view, part, rows, array if view is held.local else None)
    if is_dtensor(tensor):  # has a version of its own, beside its local tensor's
        torch.autograd.graph.increment_version(tensor)
    return tensor


def fill_stack_checked(tensor: torch.Tensor, recipes: Sequence[Part]) -> torch.Tensor:
    """`fill_checked` of a stack of tensors along axis 0, each with a recipe of its own."""
    with torch.no_grad():
        for held in held_by(tensor):
            for local, position in enumerate(position for run in held.runs[0] for position in run):
                for view, part, rows in jobs(Held(held.local[local], held.runs[1:]), recipes[position]):
                    write(view, part, rows)
        if is_dtensor(tensor):
            torch.autograd.graph.increment_version(tensor)
    return tensor


def check_recipe(recipe: Any) -> None:
    """TypeError for what is no recipe and no part of one."""
    if not isinstance(recipe, Part):
        raise TypeError(f"a Recipe is needed, not {type(recipe).__name__}: see fastinit.recipe")


def check_fillable(tensor: torch.Tensor, *, staged: bool = False, meta: bool = False) -> list[Place]:
    """TypeError, ValueError or RuntimeError unless what this process holds of a tensor can be filled."""
    dtype_name(tensor)
    check_lasting(tensor)
    return [(held, check_memory(held.local, staged=staged, meta=meta)) for held in held_by(tensor)]


def check_lasting(tensor: Any) -> None:
    """ValueError for what looks like a weight, but does not hold its values: to fill it would change nothing."""
    if is_sharded_tensor(tensor):  # has neither a base nor a graph
        return
    base = tensor._base if tensor._is_view() else tensor
    if base.grad_fn is not None:
        raise ValueError(
            f"the tensor is computed from others ({base.grad_fn.name()}), so it does not keep what it is filled with: "
            "fill what it is computed from, or its module by init_module_"
        )
    whole = getattr(tensor, "ds_shape", None)
    if whole is not None and tuple(whole) != tuple(tensor.shape):
        raise ValueError(
            f"the tensor is ZeRO-3's placeholder of a weight of shape {tuple(whole)}: fill it within "
            "deepspeed.zero.GatheredParameters(parameters, modifier_rank=0)"
        )


def tensor(recipe: Part, **options: Any) -> torch.Tensor:
    """A new tensor with a recipe's values.

    Parameters
    ----------
    recipe : Recipe or Part
        Gives shape and dtype.
    **options
        Of ``torch.empty``: `device`, `requires_grad`, `pin_memory`.

    Returns
    -------
    Tensor
        On the CPU unless a CUDA `device` is given.
    """
    check_recipe(recipe)
    dtype = next(dtype for dtype, known in DTYPES.items() if known == dtype_of(recipe))
    return fill_(torch.empty(recipe.shape, dtype=dtype, **({"device": "cpu"} | options)), recipe)
