"""A module's parameters and buffers from a mapping of their names to recipes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeGuard

import torch

from ..recipe import Part
from .fill import check_fillable
from .memory import dtype_name
from .naming import Plan, Planned, clean_names, sharded_of, tensors_of
from .parametrized import computed_weights
from .retyping import with_dtype
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
    plan = Plan({}, {}, [])
    taken: dict[str, Hashable] = {}
    missing: list[str] = []
    mistakes: list[str] = []
    for which, names in _tied(own).items():
        full = [prefix + cleaned[name] for name in names]
        clash = next((name for name in full if taken.setdefault(name, which) != which), None)
        given = [name for name in full if name in recipes]
        if clash is not None and given:
            mistakes.append(f"two tensors would have the name {clash}")
        elif not given:
            missing += full[:1] if names[0] in parameters else []
        elif any(recipes[name] != recipes[given[0]] for name in given):
            mistakes.append(f"{' and '.join(given)} are one tensor, and their recipes differ")
        else:
            try:
                recipe = _fitting(sharded.get(names[0], own[names[0]]), recipes[given[0]])
            except (TypeError, ValueError, RuntimeError) as error:
                mistakes.append(f"{given[0]}: {error}")
                continue
            plan.parameters[names[0]] = Planned([recipe], False, set())
    extra = [str(name) for name in recipes if name not in taken and str(name).startswith(prefix)]
    if missing:
        mistakes.insert(0, f"there is no recipe for {_listed(missing)}")
    if extra:
        mistakes.append(f"the module has no {_listed(extra)}")
    if mistakes:
        raise ValueError("; ".join(mistakes[: _SHOWN + 2]))
    check_overlaps((name, own[name]) for name in plan.parameters)
    weights = {(id(made.owner), made.attribute): made for made in computed_weights(module).values()}
    plan.computed.extend(weights.values())
    return plan


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
    return with_dtype(recipe, dtype_name(tensor))


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
