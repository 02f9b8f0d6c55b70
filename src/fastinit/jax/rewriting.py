"""Recipes changed in each of the tensors that they are made of: another dtype, numbers taken into the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..recipe import Part, Recipe

#: Rewrites the dict of a tensor that is not composed; None where it cannot.
Rewrite = Callable[[dict[str, Any]], dict[str, Any] | None]


class _Impossible(Exception):
    pass


def rewritten(recipe: Part, rewrite: Rewrite) -> Recipe | None:
    """The recipe with every tensor in it rewritten, or None."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        if "init" not in value and "literal" not in value:
            return {key: walk(each) for key, each in value.items()}
        made = rewrite(dict(value))
        if made is None:
            raise _Impossible
        return made

    try:
        return Recipe.from_dict(walk(recipe.to_dict()))
    except (_Impossible, ValueError):  # ValueError: parameters that the dtype cannot hold
        return None


def with_dtype(recipe: Part, dtype: str, free: bool) -> Recipe | None:
    """The recipe in another dtype, if it has the bits that rounding the values gives; or is `free` to have others."""
    source = recipe.dtype.name
    small = source == "float32" and dtype in ("float16", "bfloat16")

    def rewrite(d: dict[str, Any]) -> dict[str, Any] | None:
        if "literal" in d:
            return None
        if free or d["init"] in ("zeros", "ones", "constant"):  # constants of a program are exact in their dtype
            return {**d, "dtype": dtype}
        # values of a normal are rounded once, to the dtype; those of a uniform are also held within its bounds
        rounded_once = (
            d["init"] == "normal"
            or d.get("distribution") == "normal"
            or (d["init"] in ("glorot_normal", "he_normal", "lecun_normal") and not d["truncated"])
        )
        return {**d, "dtype": dtype} if small and rounded_once else None

    return rewritten(recipe, rewrite)


def scaled(recipe: Part, factor: float) -> Recipe | None:
    """The recipe of tensors with the distribution of `factor` times these, not with their bits."""

    def rewrite(d: dict[str, Any]) -> dict[str, Any] | None:
        numbers = {key: float(d[key]) for key in ("mean", "std", "low", "high", "lower", "upper", "gain") if key in d}
        if not math.isfinite(factor) or factor == 0:
            return None
        if d.get("init") == "uniform":
            ends = sorted((numbers["low"] * factor, numbers["high"] * factor))
            return {**d, "low": ends[0], "high": ends[1]}
        if d.get("init") in ("normal", "truncated_normal"):
            scaled = {**d, "mean": numbers["mean"] * factor, "std": numbers["std"] * abs(factor)}
            if factor < 0 and "lower" in d:
                scaled |= {"lower": _text(-numbers["upper"]), "upper": _text(-numbers["lower"])}
            return scaled
        if d.get("init") == "orthogonal":
            return {**d, "gain": numbers["gain"] * factor}
        return None

    return rewritten(recipe, rewrite)


def shifted(recipe: Part, distance: float) -> Recipe | None:
    """The recipe of tensors with the distribution of these and `distance`, not with their bits."""

    def rewrite(d: dict[str, Any]) -> dict[str, Any] | None:
        if d.get("init") == "uniform":
            return {**d, "low": float(d["low"]) + distance, "high": float(d["high"]) + distance}
        if d.get("init") in ("normal", "truncated_normal"):
            return {**d, "mean": float(d["mean"]) + distance}
        return None

    return rewritten(recipe, rewrite) if math.isfinite(distance) else None


def _text(number: float) -> float | str:
    """A number as a recipe's dict has it."""
    return number if math.isfinite(number) else str(number)
