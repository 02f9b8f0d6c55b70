"""Models recorded and filled, and what their recipes hold."""

import math

import torch
from torch import nn

import fastinit as fi
import fastinit.torch as ft
from conftest import DTYPES, same


def drawn(kind, shape, name, seed=7, **parameters):
    """A recipe with the seed that most recordings of the tests have."""
    return fi.recipe(kind, shape, seed=seed, name=name, **parameters)


def holding(weight):
    """A module of one parameter, ``w``."""
    module = nn.Module()
    module.w = nn.Parameter(weight)
    return module


def of_weight(make, seed=7):
    """The recipe, the report and the values of a parameter, ``w``, that `make` makes."""
    with ft.record(seed=seed) as recording:
        module = holding(make())
    report = recording.report(module)
    recording.fill_(module)
    assert same(module.w, ft.tensor(report.recipes["w"]))
    return report.recipes["w"], report, module.w


def recorded(build, seed=0, torchs_seed=None, fill=True):
    """The model that `build` makes, recorded and filled, and its recipes."""
    torch.manual_seed(1000 + seed if torchs_seed is None else torchs_seed)
    with ft.record(seed=seed) as recording:
        model = build()
    recipes = recording.recipes(model)
    if fill:
        recording.fill_(model)
    return model, recipes


def plain(build, seed):
    torch.manual_seed(seed)
    return build()


def first_names(model):
    """Names of `state_dict()`, of tensors with floating-point values, tied ones by their first name alone."""
    names, seen = [], set()
    for name, tensor in model.state_dict().items():
        which = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.dtype in DTYPES and (which not in seen or not tensor.numel()):
            names.append(name)
        seen.add(which)
    return names


def mistakes(model, recipes):
    """What tells a filled model from its recipes: sentences."""
    told = []
    if list(recipes) != first_names(model):
        told.append(f"recipes are of {sorted(recipes.keys() ^ set(first_names(model)))} or in another order")
    state = model.state_dict()
    for name, recipe in recipes.items():
        if recipe.shape != tuple(state[name].shape):
            told.append(f"{name} has the shape {recipe.shape}")
        elif not same(state[name], ft.tensor(recipe)):
            told.append(f"{name} is not what its recipe says")
        if fi.Recipe.from_dict(recipe.to_dict()) != recipe:
            told.append(f"{name}'s recipe is another one when read back")
    return told


def literal_elements(described):
    """How many elements of a recipe, given as `to_dict` writes it, are literals."""
    if isinstance(described, dict):
        if "literal" in described:
            return math.prod(described["shape"])
        return sum(map(literal_elements, described.values()))
    return sum(map(literal_elements, described)) if isinstance(described, list) else 0


def literals(recipes):
    """Names of the recipes that hold literals, and how many elements they have."""
    counted = {name: literal_elements(recipe.to_dict()) for name, recipe in recipes.items()}
    return {name: count for name, count in counted.items() if count}
