"""fastinit for Dask: a recipe as a lazy array, whose chunks any worker can make by itself.

Nothing is drawn or sent but the recipe. A chunk that was lost with its worker is made again, with the same values, and
every way of cutting the array into chunks gives the same array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .extras import require
from .recipe import Part

require("dask", "dask")

import dask.array as da
from dask.base import tokenize

__all__ = ["array"]


def array(recipe: Part, chunks: Any = "auto") -> da.Array:
    """A Dask array of a recipe's values.

    Parameters
    ----------
    recipe : Recipe or Part
        Gives shape and dtype; see `fastinit.recipe`.
    chunks : optional
        As for ``dask.array.from_array``.

    Returns
    -------
    dask.array.Array
        Equal recipes in equal chunks have equal names. Of a slice, Dask asks for what it needs of each chunk.

    Notes
    -----
    A worker with several threads makes several chunks at once: give it ``FASTINIT_NUM_THREADS=1`` or
    ``OMP_NUM_THREADS=1``, as ``distributed.LocalCluster`` does by itself. Every chunk of an orthogonal matrix makes
    the factor of the whole matrix again.
    """
    if not isinstance(recipe, Part):
        raise TypeError(f"a Recipe is needed, not {type(recipe).__name__}: see fastinit.recipe")
    meta = np.empty((0,) * recipe.ndim, recipe.dtype)
    chunks = da.core.normalize_chunks(chunks, recipe.shape, dtype=recipe.dtype)  # "auto" is not the same everywhere
    name = f"fastinit-{tokenize(recipe, chunks)}"
    return da.from_array(recipe, chunks=chunks, name=name, meta=meta, asarray=False)
