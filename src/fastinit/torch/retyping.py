"""The same tensor in another dtype: a model that was described in float32, and is trained in bfloat16."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import torch

from ..outline import form_of
from ..questions import dtype_of
from ..recipe import Part, Recipe
from .memory import DTYPES

_BY_NAME = {name: dtype for dtype, name in DTYPES.items()}


def with_dtype(part: Part, dtype: str) -> Part:
    """A recipe in another of the dtypes of at most 32 bits: its drawn values as that dtype has them, its literals
    rounded once.

    ValueError for float64, which is drawn from other random words, and for parameters that the dtype cannot hold.
    """
    own = dtype_of(part)
    if own == dtype:
        return part
    if "float64" in (own, dtype):
        raise ValueError(f"its recipe is {own}, and the module's tensor {dtype}: float64 has other random numbers")
    return Recipe.from_dict(_retyped(part.to_dict(), dtype))


def _retyped(d: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    form = form_of(d)
    if form == "init":
        return {**d, "dtype": dtype}
    if form == "literal":
        return {**d, "literal": _rounded(d["literal"], d["dtype"], dtype), "dtype": dtype}
    inner = d[form]
    made = {**d, form: [_retyped(e, dtype) for e in inner] if isinstance(inner, list) else _retyped(inner, dtype)}
    return made | ({"onto": _retyped(d["onto"], dtype)} if form == "paste" else {})


def _rounded(text: str, old: str, new: str) -> str:
    """A literal's text in another dtype, each value rounded to nearest, ties to even."""
    held = bytearray(base64.b64decode(text))
    if not held:
        return text
    values = torch.frombuffer(held, dtype=_BY_NAME[old]).to(_BY_NAME[new])
    return base64.b64encode(values.view(torch.uint8).numpy().tobytes()).decode()
