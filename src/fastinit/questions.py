"""What other modules ask of a recipe or a part of one, besides its methods: its dtype's name, its form, its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import plan
from .kinds.kind import Named
from .pieces import Piece, pieces
from .recipe import Part


def made_together(part: Part) -> bool:
    """Whether a piece of the tensor may cost as much as all of it, so that it is better made at once."""
    return part.recipe._kind.made_together


def pieces_of(part: Part, largest: int) -> Iterator[Piece]:
    """Pieces that are contiguous in C order: of at most `largest` elements, or of what is better made at once."""
    kind = part.recipe._kind
    if kind.made_together:
        largest = kind.together if part._region == kind.region else part.size
    return pieces(part.shape, largest)


def form(part: Part) -> str:
    """What the tensor is, in a word: its initializer's name, or how it is composed of others."""
    kind = part._recipe._kind
    return kind.initializer.name if isinstance(kind, Named) else next(iter(kind.described()))


def dtype_of(part: Part) -> str:
    """The name in `DTYPES` of a recipe's dtype; `Part.dtype` is uint16 for bfloat16 without ml_dtypes."""
    return part._recipe._kind.dtype


def region_of(part: Part, index: Any = ...) -> plan.Region:
    """The region of the whole tensor that an index of a part of it is."""
    return part._region if index is ... else plan.select(part._region, index)


def write_region(part: Part, region: plan.Region, memory: Any, rows: np.ndarray | None = None) -> None:
    """Have a region of the whole tensor, or those rows of it, written to a device's memory, which has been checked."""
    part._recipe._fill(region, memory, rows, 1)
