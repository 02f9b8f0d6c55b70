"""What the commands plan and show print: a row for each family of tensors; statistics of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.filesize import decimal

from .families import fold
from .initializers import fans, known_parameters
from .recipe import Recipe

#: The columns of `plan`, and which of them are set to the right.
PLAN_HEAD = ("name", "count", "shape", "dtype", "initializer", "fan_in", "fan_out", "std", "bounds", "bytes")
PLAN_RIGHT = (1, 5, 6, 7, 9)

#: Bins of the histogram of `show`.
BINS = 20


def statistics_of(values: np.ndarray) -> tuple[dict[str, float], list[int], list[float]]:
    """Statistics, and the histogram's counts and edges, of the finite values."""
    finite = values[np.isfinite(values)]
    statistics: dict[str, float] = {"elements": values.size}
    if finite.size < values.size:
        statistics["not finite"] = values.size - finite.size
    if not finite.size:
        return statistics, [], []
    with np.errstate(over="ignore"):
        mean, std = float(finite.mean()), float(finite.std())
    statistics |= {"mean": mean, "std": std, "min": float(finite.min()), "max": float(finite.max())}
    low, high = finite.min(), finite.max()
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            counts, edges = np.histogram(finite, bins=BINS if low < high else 1, range=(low, high))
    except ValueError:  # too narrow, or too wide, for so many bins
        counts, edges = np.array([finite.size]), np.array([low, high])
    return statistics, counts.tolist(), edges.tolist()


def plan_rows(recipes: dict[str, Recipe], every: bool) -> list[tuple[str, ...]]:
    """The cells of `plan`: a row for each family of tensors, or for every tensor."""
    names, made = list(recipes), list(recipes.values())
    if every:
        families = [(name, [i]) for i, name in enumerate(names)]
    else:
        split = [_split(r) for r in made]
        families = fold([(name, alike) for name, (alike, _) in zip(names, split)], [numbers for _, numbers in split])
    return [
        (
            family,
            f"x{len(members)}" if len(members) > 1 else "",
            shape_text(first.shape),
            first.to_dict()["dtype"],
            _describe(first, last),
            *("" if fan is None else str(fan) for fan in fans_of(first)),
            _from_to(first.std, last.std, "{:.6g}"),
            bounds_text(*(made[i] for i in members)),
            decimal(sum(made[i].nbytes for i in members)),
        )
        for family, members in families
        for first, last in [(made[members[0]], made[members[-1]])]
    ]


def plan_json(name: str, recipe: Recipe) -> dict[str, Any]:
    """What `plan` says of a tensor in JSON."""
    fan_in, fan_out = fans_of(recipe)
    return {
        "name": name,
        "shape": recipe.shape,
        "dtype": recipe.to_dict()["dtype"],
        "initializer": recipe.initializer.name,
        "fan_in": fan_in,
        "fan_out": fan_out,
        "std": recipe.std,
        "bounds": recipe.bounds,
        "bytes": recipe.nbytes,
        "recipe": recipe.to_dict(),
    }


def _split(recipe: Recipe) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """What all tensors of a row have in common, and what may rise or fall from its first tensor to its last."""
    parameters = recipe.initializer.parameters.values()
    numbers = [value for value in parameters if isinstance(value, float)]
    others = [value for value in parameters if not isinstance(value, float)]
    return (recipe.shape, recipe.to_dict()["dtype"], recipe.initializer.name, *others), (*numbers, recipe.std)


def shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _from_to(first: float, last: float, how: str) -> str:
    """`0.02`, or `0.02 to 0.0025` for the first tensor of a row and the last."""
    shown = how.format(first), how.format(last)
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)


def _describe(first: Recipe, last: Recipe) -> str:
    """`he_normal(in_axis=(1,), out_axis=(0,))`: what differs from the defaults, in the first tensor or the last."""
    name, defaults = known_parameters(first.initializer.name)
    ends = last.initializer.parameters
    shown = [
        f"{key}={value!r}" if value == ends[key] or value != value else f"{key}={_from_to(value, ends[key], '{:.6g}')}"
        for key, value in first.initializer.parameters.items()
        if value != defaults[key] or ends[key] != defaults[key]
    ]
    return name + (f"({', '.join(shown)})" if shown else "")


def fans_of(recipe: Recipe) -> tuple[int | None, int | None]:
    """fan_in and fan_out where the initializer scales by them; None where it does not."""
    given = recipe.initializer.parameters
    if "fan_in" not in given:
        return None, None
    try:
        fan_in, fan_out = fans(recipe.shape, given["in_axis"], given["out_axis"], given["batch_axis"])
    except ValueError:  # both are given, and the axes do not matter
        return given["fan_in"], given["fan_out"]
    return given["fan_in"] or fan_in, given["fan_out"] or fan_out


def bounds_text(*recipes: Recipe) -> str:
    """What no value of any of them leaves."""
    lows, highs = zip(*(recipe.bounds for recipe in recipes))
    return f"[{min(lows):.4g}, {max(highs):.4g}]"
