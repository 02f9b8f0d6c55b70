"""A module's parameters and buffers from a mapping of their names to recipes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeGuard

import torch

from ..questions import dtype_of
from ..recipe import Part
from ..retyping import with_dtype
from .fill import check_fillable
from .memory import dtype_name
from .naming import Plan, Planned, clean_names, cleaner, sharded_of, tensors_of
from .parametrized import Computed, computed_weights
from .shards import global_shape
from .sharing import check_overlaps, identity

#: Names that a message lists.
_SHOWN = 5


def are_by_name(rules: Any, module: torch.nn.Module, prefix: str) -> TypeGuard[Mapping[str, Part]]:
    """Whether rules are recipes by the names of tensors: all of them recipes, and none under a glob.

    What looks like a glob may be a name all the same, of a tensor of the module.
    """
    if not isinstance(rules, Mapping) or not rules or not all(isinstance(rule, Part) for rule in rules.values()):
        return False
    globs = {name for name in rules if isinstance(name, str) and any(sign in name for sign in "*?[")}
    return not globs or globs <= {prefix + name for name in clean_names(module, {}).values()}


def plan_by_name(module: torch.nn.Module, recipes: Mapping[str, Part], prefix: str) -> Plan:
    """What fills which parameter or buffer; all mistakes in one error."""
    cleaned, own, sharded = clean_names(module, {}), tensors_of(module), sharded_of(module)
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    weights = {(id(made.owner), made.attribute): made for made in computed_weights(module).values()}
    plan = Plan({}, {}, list(weights.values()))
    taken: dict[str, Hashable] = {}
    missing: list[str] = []
    mistakes: list[str] = []
    asked = _asked_for(module, plan.computed, recipes, prefix)
    following = {identity(own[name]) for made in asked.values() for name in (*made.parts, *made.others)}
    for which, names in _tied(own).items():
        full = [prefix + cleaned[name] for name in names]
        clash = next((name for name in full if taken.setdefault(name, which) != which), None)
        given = [name for name in full if name in recipes]
        if clash is not None and given:
            mistakes.append(f"two tensors would have the name {clash}")
        elif given and which in following:
            mistakes.append(f"{given[0]} is a part of a weight that has a recipe itself")
        elif not given:
            missing += full[:1] if names[0] in parameters and which not in following else []
        elif any(recipes[name] != recipes[given[0]] for name in given):
            mistakes.append(f"{' and '.join(given)} are one tensor, and their recipes differ")
        else:
            try:
                recipe = _fitting(sharded.get(names[0], own[names[0]]), recipes[given[0]])
            except (TypeError, ValueError, RuntimeError) as error:
                mistakes.append(f"{given[0]}: {error}")
                continue
            plan.parameters[names[0]] = Planned([recipe], False, set())
    for name, made in asked.items():
        try:
            _plan_weight(plan, made, own, recipes[name])
        except (TypeError, ValueError, RuntimeError) as error:
            mistakes.append(f"{name}: {error}")
    known = taken.keys() | asked.keys()
    extra = [str(name) for name in recipes if name not in known and str(name).startswith(prefix)]
    if missing:
        mistakes.insert(0, f"there is no recipe for {_listed(missing)}")
    if extra:
        mistakes.append(f"the module has no {_listed(extra)}")
    if mistakes:
        raise ValueError("; ".join(mistakes[: _SHOWN + 2]))
    check_overlaps((name, own[name]) for name in plan.parameters)
    return plan


def _asked_for(
    module: torch.nn.Module, weights: Iterable[Computed], recipes: Mapping[str, Part], prefix: str
) -> dict[str, Computed]:
    """The computed weights that have a recipe under their own names."""
    clean = cleaner(module)
    by_name = {prefix + clean(made.weight): made for made in weights}
    return {name: made for name, made in by_name.items() if name in recipes}


def _plan_weight(plan: Plan, made: Computed, tensors: Mapping[str, Any], recipe: Part) -> None:
    """Plan what a weight is computed from, so that it comes out as asked."""
    if made.source is None:
        raise TypeError(f"the weight is computed by {made.by}: give recipes for {' and '.join(made.parts)}")
    fitting = _fitting(tensors[made.source], recipe)
    for other in made.others:
        check_fillable(tensors[other], staged=True, meta=True)
    plan.parameters[made.source] = Planned([fitting], False, set())
    plan.values.update(made.derive(fitting) if made.others else {})


def _tied(tensors: Mapping[str, Any]) -> dict[Hashable, list[str]]:
    """The names of each tensor, in the order of the module."""
    tied: dict[Hashable, list[str]] = {}
    for name, tensor in tensors.items():
        lazy = torch.nn.parameter.is_lazy(tensor)
        tied.setdefault(id(tensor) if lazy else identity(tensor), []).append(name)
    return tied


def _fitting(tensor: Any, recipe: Part) -> Part:
    """The recipe in the tensor's dtype; TypeError, ValueError or RuntimeError where it cannot fill the tensor."""
    if torch.nn.parameter.is_lazy(tensor):
        raise TypeError("a lazy parameter has no shape yet: run the module once")
    check_fillable(tensor, staged=True, meta=True)
    if recipe.shape != global_shape(tensor):
        raise ValueError(f"its recipe has shape {recipe.shape}, and the module's tensor {global_shape(tensor)}")
    own, wanted = dtype_of(recipe), dtype_name(tensor)
    if own != wanted and "float64" in (own, wanted):
        raise ValueError(f"its recipe is {own}, and the module's tensor {wanted}: float64 has other random numbers")
    return with_dtype(recipe, wanted)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
