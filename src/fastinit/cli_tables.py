"""What the commands print: rows of plan and verify; statistics of values for show."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.filesize import decimal

from .checkpoint import Comparison
from .families import fold
from .outline import described, fans_of, from_to, outline
from .questions import dtype_of, form
from .recipe import Recipe

#: The columns of `plan`, and which of them are set to the right.
PLAN_HEAD = ("name", "count", "shape", "dtype", "initializer", "fan_in", "fan_out", "std", "bounds", "bytes")
PLAN_RIGHT = (1, 5, 6, 7, 9)

#: The same of `verify --moved`.
MOVED_HEAD = ("name", "||w - w0|| / ||w0||", "max |w - w0|", "changed")
MOVED_RIGHT = (1, 2, 3)

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
    low, high = finite.min(), finite.max()
    statistics |= {"mean": mean, "std": std, "min": float(low), "max": float(high)}
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            counts, edges = np.histogram(finite, bins=BINS if low < high else 1, range=(low, high))
    except ValueError:  # too narrow, or too wide, for so many bins
        counts, edges = np.array([finite.size]), np.array([low, high])
    return statistics, counts.tolist(), edges.tolist()


def plan_rows(recipes: dict[str, Recipe], every: bool) -> list[tuple[str, ...]]:
    """The cells of `plan`: a row for each family of tensors, or for every tensor."""
    made = list(recipes.values())
    dicts = [recipe.to_dict() for recipe in made]
    if every:
        families = [(name, [i]) for i, name in enumerate(recipes)]
    else:
        outlines = [outline(d) for d in dicts]
        alike = [(name, (recipe.shape, like.alike)) for (name, recipe), like in zip(recipes.items(), outlines)]
        families = fold(alike, [(*like.numbers, recipe.std) for recipe, like in zip(made, outlines)])
    return [
        (
            family,
            f"x{len(members)}" if len(members) > 1 else "",
            shape_text(made[first].shape),
            dtype_of(made[first]),
            described(dicts[first], dicts[last]),
            *("" if fan is None else str(fan) for fan in fans_of(dicts[first])),
            from_to(made[first].std, made[last].std, "{:.6g}"),
            bounds_text(*(made[i] for i in members)),
            decimal(sum(made[i].nbytes for i in members)),
        )
        for family, members in families
        for first, last in [(members[0], members[-1])]
    ]


def moved_row(comparison: Comparison) -> tuple[str, ...]:
    """The cells of `verify --moved`; without numbers where nothing was compared."""
    if comparison.moved is None or comparison.largest_change is None or comparison.unchanged is None:
        return comparison.name, "", "", ""
    changed = f"{1 - comparison.unchanged:.1%}"
    return comparison.name, f"{comparison.moved:.4g}", f"{comparison.largest_change:.4g}", changed


def plan_json(name: str, recipe: Recipe) -> dict[str, Any]:
    """What `plan` says of a tensor in JSON."""
    d = recipe.to_dict()
    fan_in, fan_out = fans_of(d)
    return {
        "name": name,
        "shape": recipe.shape,
        "dtype": dtype_of(recipe),
        "initializer": form(recipe),
        "fan_in": fan_in,
        "fan_out": fan_out,
        "std": recipe.std,
        "bounds": recipe.bounds,
        "bytes": recipe.nbytes,
        "recipe": d,
    }


def shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def bounds_text(*recipes: Recipe) -> str:
    """What no value of any of them leaves."""
    lows, highs = zip(*(recipe.bounds for recipe in recipes))
    return f"[{min(lows):.4g}, {max(highs):.4g}]"


def cuda_rows(found: dict[str, Any]) -> dict[str, str]:
    """What `fastinit.cuda.describe` found, as lines for people."""
    devices = [f"{device['name']} ({device['compute_capability']})" for device in found["devices"]]
    versions = [f"{what} {found[key]}" for what, key in (("driver", "driver"), ("NVRTC", "nvrtc")) if found[key]]
    rows = {
        "CUDA devices": ", ".join(devices) or "none",
        "CUDA": ", ".join(versions) or "not installed",
        "CUDA kernels": f"{found['kernels']} compiled, in {found['cache']}",
    }
    return rows if found["missing"] is None else {**rows, "CUDA missing": found["missing"]}
