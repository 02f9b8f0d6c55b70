"""A draw and what has been done to all of its elements, as one initializer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .steps import Step, affine, bounds_of
from .truncated import truncated_by_steps


class InexpressibleError(Exception):
    """What has been recorded is not the values of any recipe; says why, and where in the code."""

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.where = where


Initializer = tuple[str, dict[str, Any]]

#: Initializers whose elements are drawn one by one, from one distribution.
ONE_BY_ONE = ("uniform", "normal", "truncated_normal")


def fold(kind: str, parameters: dict[str, Any], steps: Sequence[Step], *, alone: bool) -> Initializer:
    """The initializer of an initializer's values after these steps.

    `alone` where no other tensor has values from the same draw: they may be mirrored then, which leaves the
    distribution as it is. Otherwise signs and dtypes must be kept for both to agree.
    """
    left = list(steps)
    if kind == "uniform" and left and left[0].name == "erfinv":
        parameters, count = truncated_by_steps(parameters, left)
        if not count:
            raise InexpressibleError(
                "erfinv of a uniform draw, not by the numbers of a truncated normal", left[0].where
            )
        kind, left = "truncated_normal", left[count:]
    for step in left:
        kind, parameters = _after(kind, parameters, step, alone)
    return kind, parameters


def _after(kind: str, parameters: dict[str, Any], step: Step, alone: bool) -> Initializer:
    if step.name in ("_to_copy", "clone"):
        return kind, parameters
    if step.name.startswith("clamp"):
        if _is_within(kind, parameters, step):
            return kind, parameters
        raise InexpressibleError(f"{step.name} of a {kind} draw", step.where)
    found = affine(step)
    if found is None or not all(map(math.isfinite, found)):
        raise InexpressibleError(f"{step.name} of a {kind} draw", step.where)
    by, over, plus = found
    if by == 0:
        return "constant", {"value": plus}
    mirrored = (by < 0) != (over < 0)
    if mirrored and not alone:
        raise InexpressibleError("the negative of a draw that another tensor has, too", step.where)

    def at(number: float) -> float:
        return number * by / over + plus  # also makes 0.0 of -0.0

    if kind == "constant":
        return kind, {"value": at(parameters["value"])}
    if kind == "uniform":
        low, high = sorted((at(parameters["low"]), at(parameters["high"])))
        return kind, {"low": low, "high": high}
    if kind in ("normal", "truncated_normal"):
        changed = parameters | {"mean": at(parameters["mean"]), "std": abs(parameters["std"] * by / over)}
        if kind == "truncated_normal" and mirrored:
            changed |= {"lower": -parameters["upper"], "upper": -parameters["lower"]}
        return kind, changed
    name = {"orthogonal": "gain", "eye": "gain", "sparse": "std"}.get(kind)
    if name is None or plus or (kind == "sparse" and mirrored and not alone):
        raise InexpressibleError(f"{step.name} of {kind}", step.where)
    number = parameters[name] * by / over
    return kind, parameters | {name: abs(number) if kind == "sparse" else number}


def _is_within(kind: str, parameters: dict[str, Any], step: Step) -> bool:
    """Whether a clamp changes nothing."""
    low, high = bounds_of(step)
    if kind == "uniform":
        return low <= parameters["low"] and parameters["high"] <= high
    if kind == "truncated_normal":
        mean, std = parameters["mean"], parameters["std"]
        return low <= mean + parameters["lower"] * std and mean + parameters["upper"] * std <= high
    return kind == "constant" and low <= parameters["value"] <= high
