"""Steps that code takes with all elements of a tensor, by numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch


class Step(NamedTuple):
    """A function of each element: its name, the other arguments in order, which of them the elements are."""

    name: str
    numbers: tuple[float, ...]
    position: int
    options: dict[str, Any]
    dtype: torch.dtype  # of the result
    where: str


def affine(step: Step) -> tuple[float, float, float] | None:
    """By what a step multiplies, what it divides by, and what it adds then; None for other steps."""
    if step.name == "neg":
        return -1.0, 1.0, 0.0
    if len(step.numbers) != 1 or step.options.keys() - {"alpha"}:
        return None
    number, alpha = step.numbers[0], float(step.options.get("alpha", 1))
    if step.name in ("mul", "multiply"):
        return number, 1.0, 0.0
    if step.name in ("div", "divide", "true_divide") and step.position == 0 and number:
        return 1.0, number, 0.0
    if step.name == "add":
        return (1.0, 1.0, alpha * number) if step.position == 0 else (alpha, 1.0, number)
    if step.name in ("sub", "subtract"):
        return (1.0, 1.0, -alpha * number) if step.position == 0 else (-alpha, 1.0, number)
    if step.name == "rsub":
        return -alpha, 1.0, number
    return None


def bounds_of(step: Step) -> tuple[float, float]:
    """The interval to which a step of the clamp family confines."""
    names = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(step.name, ("min", "max"))
    given = dict(zip(names, step.numbers)) | step.options
    low, high = given.get("min"), given.get("max")
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)
