"""Truncated normals that code makes step by step: by the inverse of the distribution function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..functions import cuts
from .steps import Step, affine, bounds_of

#: What the numbers of such steps may be off, in shares of what they cut out.
TOLERANCE = 1e-6


def truncated_by_steps(parameters: dict[str, Any], steps: Sequence[Step]) -> tuple[dict[str, Any], int]:
    """The truncated normal that ``uniform_(2 l - 1, 2 u - 1)`` and these steps make, and how many of them.

    They are ``erfinv_()``, ``mul_(std * sqrt(2))``, ``add_(mean)`` (which may be missing) and ``clamp_(a, b)``, where
    l and u are the distribution function at the cuts a and b. The numbers must say so; 0 steps where they do not.
    """
    by, plus, count = 1.0, 0.0, 1
    for step in steps[1:]:
        if step.name.startswith("clamp"):
            break
        found = affine(step)
        if found is None:
            return {}, 0
        by, plus, count = by * found[0] / found[1], plus * found[0] / found[1] + found[2], count + 1
    else:
        return {}, 0
    mean, std = plus, _std(by)
    if not (std > 0 and math.isfinite(std) and math.isfinite(mean)):
        return {}, 0
    a, b = bounds_of(steps[count])
    lower, upper = (a - mean) / std, (b - mean) / std
    ends = [math.erf(cut / math.sqrt(2)) for cut in (lower, upper)]
    given = [parameters["low"], parameters["high"]]
    allowed = TOLERANCE * (given[1] - given[0])
    if any(abs(end - number) > allowed for end, number in zip(ends, given)):
        return {}, 0
    lower, upper = cuts(mean, std, a, b)
    return {"mean": mean, "std": std, "lower": lower, "upper": upper}, count + 1


def _std(number: float) -> float:
    """The plainest number of which ``std * sqrt(2)`` is this one."""
    std = number / math.sqrt(2)
    plain = float(f"{std:.14g}")
    return plain if plain * math.sqrt(2) == number else std
