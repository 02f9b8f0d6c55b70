"""Weights that a module computes from its parameters: weight_norm, spectral_norm, pruning, other parametrizations.

The weight is what a rule names and what gets the values, in the forms of torch.nn.utils.parametrize and in those of
the older hooks. What else it is computed from follows from the recipe alone: no memory, no process, no generator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..pieces import pieces
from ..questions import dtype_of, form, made_together
from ..recipe import Part, Recipe
from .fill import tensor
from .shards import held_by, is_dtensor

#: Elements that are made at a time for the norms. Where sums are cut decides how they are rounded: it stays.
PIECE = 1 << 22

Values = dict[str, np.ndarray]


class Computed(NamedTuple):
    """A weight, the parameter that gets its values, and what else has to be set for it to come out as asked."""

    owner: torch.nn.Module
    attribute: str
    weight: str
    #: None for a parametrization that this package does not know: then `by` names it.
    source: str | None
    parts: tuple[str, ...]
    by: str = ""
    #: Further parameters and buffers, by name, that follow from the recipe.
    others: tuple[str, ...] = ()
    derive: Callable[[Part], Values] = lambda recipe: {}
    #: Hooks keep the last weight as an attribute, until the next forward.
    refresh: Callable[[], None] = lambda: None


def computed_weights(module: torch.nn.Module) -> dict[str, Computed]:
    """The weights that are computed, by the names of the parameters that they are computed from."""
    found: dict[str, Computed] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        prefix = path + "." if path else ""
        for weight in (*_by_parametrizations(owner, prefix), *_by_hooks(owner, prefix)):
            found |= dict.fromkeys(weight.parts, weight)
    return found


def _by_parametrizations(owner: torch.nn.Module, prefix: str) -> Iterator[Computed]:
    if not parametrize.is_parametrized(owner):
        return
    for attribute, chain in owner.parametrizations.items():
        inside = f"{prefix}parametrizations.{attribute}."
        parts = tuple(inside + name for name, _ in chain.named_parameters(recurse=False))
        known = functools.partial(Computed, owner, attribute, prefix + attribute, parts=parts)
        first = chain[0] if len(chain) == 1 else None
        if isinstance(first, parametrizations._WeightNorm):
            g = inside + "original0"
            yield known(inside + "original1", others=(g,), derive=functools.partial(_scale, g, dim=first.dim))
        elif isinstance(first, parametrizations._SpectralNorm):
            u, v = inside + "0._u", inside + "0._v"
            flat = chain.original.ndim < 2  # then its length is divided by, and nothing is kept
            derive = functools.partial(_singular_vectors, u, v, dim=first.dim)
            yield known(inside + "original") if flat else known(inside + "original", others=(u, v), derive=derive)
        else:
            yield known(None, by=", ".join(type(each).__name__ for each in chain))


def _by_hooks(owner: torch.nn.Module, prefix: str) -> Iterator[Computed]:
    for hook in owner._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield _hooked(owner, prefix, hook.name, "_v", ("_g",), functools.partial(_scale, dim=hook.dim), hook)
        elif isinstance(hook, SpectralNorm):
            derive = functools.partial(_singular_vectors, dim=hook.dim)
            yield _hooked(owner, prefix, hook.name, "_orig", ("_u", "_v"), derive, hook)
        elif isinstance(hook, prune.BasePruningMethod):  # the mask stays
            yield _hooked(owner, prefix, hook._tensor_name, "_orig", (), lambda recipe: {}, hook)


def _hooked(
    owner: torch.nn.Module,
    prefix: str,
    attribute: str,
    source: str,
    others: tuple[str, ...],
    derive: Callable[..., Values],
    hook: Any,
) -> Computed:
    weight = prefix + attribute
    names = tuple(weight + other for other in others)
    own = {prefix + name for name, _ in owner.named_parameters(recurse=False)}
    parts = tuple(name for name in (weight + source, *names) if name in own)
    if weight + source not in own:  # computed from what is itself computed
        return Computed(owner, attribute, weight, None, parts, type(hook).__name__)

    def refresh() -> None:
        if any(is_dtensor(parameter) for parameter in owner.parameters(recurse=False)):
            return  # whole only within forward
        if isinstance(hook, SpectralNorm):
            with torch.no_grad():  # as at first: the module can be copied
                setattr(owner, attribute, hook.compute_weight(owner, do_power_iteration=False))
        else:
            hook(owner, ())

    return Computed(
        owner, attribute, weight, weight + source, parts, "", names, functools.partial(derive, *names), refresh
    )


def set_values(target: torch.Tensor, values: np.ndarray) -> None:
    """What this process holds of a parameter or buffer, from the values of all of it."""
    for held in held_by(target):
        along = ([np.arange(run.start, run.stop) for run in runs] for runs in held.runs)
        at = np.ix_(*(np.concatenate(runs) if runs else np.arange(0) for runs in along))
        held.local.copy_(torch.as_tensor(np.asarray(values[at])))


# ---- what follows from a recipe ------------------------------------------------------------------------------------


def _scale(g: str, recipe: Part, *, dim: int) -> Values:
    """weight_norm's g: the norms of v along `dim`, so that the weight is v itself; of all of v for -1.

    In float64, of pieces in C order that depend on the shape alone: layout, shards and threads do not matter.
    """
    shape = recipe.shape
    axis = None if dim == -1 else dim % len(shape)
    total = np.zeros(1 if axis is None else shape[axis])
    for piece in pieces(shape, recipe.size if made_together(recipe) else PIECE):
        at = tuple(slice(k, k + 1) if isinstance(k, int) else k for k in piece.at)
        at += (slice(None),) * (len(shape) - len(at))
        squares = np.square(tensor(recipe.part(at)).to(torch.float64).numpy())
        rows = (
            squares.reshape(1, -1) if axis is None else np.moveaxis(squares, axis, 0).reshape(squares.shape[axis], -1)
        )
        total[... if axis is None else at[axis]] += rows.sum(axis=1)
    if recipe.size and not total.all():
        raise ValueError(f"{form(recipe)} leaves weights of norm 0, to which weight_norm cannot give a direction")
    norms, dtype = np.sqrt(total), dtype_of(recipe)
    if recipe.size and norms.max() > torch.finfo(getattr(torch, dtype)).max:
        raise ValueError(f"{form(recipe)} leaves weights whose norm, weight_norm's g, is too large for {dtype}")
    return {g: norms.reshape([] if axis is None else [n if k == axis else 1 for k, n in enumerate(shape)])}


def _singular_vectors(u: str, v: str, recipe: Part, *, dim: int) -> Values:
    """spectral_norm's u and v: the leading singular vectors, to about 1e-6 of the norm.

    By Lanczos with full orthogonalization in float64, from a start that is drawn as the tensor ``name + "/spectral"``.
    All singular vectors would take 16 s for 3000 x 3000 on two cores, and as many steps of power iteration as
    needed (some hundreds) about as long.
    """
    if not recipe.size:
        return {}
    weight = tensor(recipe).to(torch.float64).numpy()
    matrix = np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)
    seed, name = recipe.seed or 0, recipe.name or ""  # composed tensors have none
    drawn = Recipe("normal", matrix.shape[1], dtype="float64", seed=seed, name=f"{name}/spectral")[...]
    basis = [drawn / np.linalg.norm(drawn)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        new = matrix.T @ (matrix @ basis[-1])
        diagonal.append(float(basis[-1] @ new))
        so_far = np.stack(basis)
        for _ in range(2):  # twice is enough (Parlett, "The symmetric eigenvalue problem", 6.9)
            new -= so_far.T @ (so_far @ new)
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        left = float(np.linalg.norm(new))
        if len(basis) == min(matrix.shape) or left * abs(vectors[-1, -1]) <= 1e-6 * values[-1]:
            break
        beside.append(left)
        basis.append(new / left)
    right = vectors[:, -1] @ so_far
    right *= np.copysign(1, right @ basis[0])  # an eigenvector's sign is LAPACK's choice
    image = matrix @ right
    if not image.any():
        raise ValueError(f"{form(recipe)} makes a weight of zeros, which spectral_norm cannot divide by its norm")
    return {u: image / np.linalg.norm(image), v: right / np.linalg.norm(right)}
