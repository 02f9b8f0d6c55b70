"""The same tensor in another dtype: a model that was described in float32, and is trained in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import numpy_dtype
from .functions import literal
from .outline import form_of
from .questions import dtype_of
from .recipe import Part, Recipe
from .stream import STREAM_VERSION


def with_dtype(part: Part, dtype: str) -> Recipe:
    """The recipe of a tensor in another dtype: its drawn values as that dtype has them, its literals rounded once.

    ValueError for parameters that the dtype cannot hold. float64 is drawn from other random words.
    """
    if dtype_of(part) != dtype:
        return Recipe.from_dict(_retyped(part.to_dict(), dtype))
    return part if isinstance(part, Recipe) else Recipe.from_dict(part.to_dict())


def _retyped(d: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    form = form_of(d)
    if form == "init":
        return {**d, "dtype": dtype}
    if form == "literal":
        values = Recipe.from_dict({"stream": STREAM_VERSION, **d})[...]
        made = literal(rounded(wide(values, d["dtype"]), dtype), dtype).to_dict()
        return {**d, "literal": made["literal"], "dtype": dtype}
    inner = d[form]
    composed = {**d, form: [_retyped(e, dtype) for e in inner] if isinstance(inner, list) else _retyped(inner, dtype)}
    return composed | ({"onto": _retyped(d["onto"], dtype)} if form == "paste" else {})


def wide(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values in float64, exactly."""
    if dtype != "bfloat16":
        return values.astype(np.float64)
    return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """float64 values in another dtype, each rounded once, to nearest, ties to even."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype)
        near = values.astype(np.float32)
        exact = near.astype(np.float64) == values
        beyond = np.abs(near) > np.abs(values)
    # what float32 cannot hold becomes the odd one of its two neighbours, which the second rounding takes for what it is
    bits = near.view(np.uint32) - beyond.astype(np.uint32) | ~exact
    halves = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1) >> 16).astype(np.uint16)
    nan = np.isnan(values)
    return np.where(nan, (near.view(np.uint32) >> 16).astype(np.uint16) | 0x40, halves).view(numpy_dtype("bfloat16"))
