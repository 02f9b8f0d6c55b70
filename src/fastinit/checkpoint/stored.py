"""What a checkpoint of any kind is read as, and how its errors are said."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arrays import DTYPES
from ..initializers import cached_init
from ..recipe import Recipe
from .header import HeaderError
from .literals import Hashed, has_hashes

#: The keys of a recipe's dict that are not its initializer's parameters.
_OWN = ("stream", "name", "seed", "shape", "dtype", "init")


class Stored(NamedTuple):
    """A tensor on disk: its dtype, by our name or by its format's, its shape, and how to open it as an array.

    `held` says how many bytes the disk really has for it, or for the file that it is in.
    """

    dtype: str
    shape: tuple[int, ...]
    open: Callable[[], Any]
    held: Callable[[], int]


class Checkpoint(NamedTuple):
    """What a path holds; `recipes` reads those that it brings itself, if any. `notes` are for who reads it."""

    tensors: dict[str, Stored]
    recipes: Callable[[], dict[str, Recipe | Hashed]]
    notes: tuple[str, ...] = ()


def recipes_of(described: dict[str, Any]) -> dict[str, Recipe | Hashed]:
    """Recipes from their dicts; or what can only be compared."""
    for name, description in described.items():
        if not isinstance(description, dict):
            raise HeaderError(f"that of {name!r} must be a table")
    return {
        name: Hashed(description) if has_hashes(description) else _recipe(description)
        for name, description in described.items()
    }


def _recipe(description: dict[str, Any]) -> Recipe:
    """`Recipe.from_dict`; many tensors share an initializer."""
    own = {key: description[key] for key in _OWN if key in description}
    if not isinstance(own.get("init"), str):
        return Recipe.from_dict(description)
    parameters = {
        key: tuple(value) if isinstance(value, list) else value for key, value in description.items() if key not in own
    }
    return Recipe.from_dict(own | {"init": cached_init(own["init"], parameters)})


def name_of(dtype: np.dtype) -> str:
    """Our name of a dtype, or NumPy's."""
    return dtype.name if dtype.name in DTYPES else dtype.str


def on_disk(path: Path) -> int:
    """Bytes that the disk has for a file: a sparse one may say that it is larger."""
    return os.stat(path).st_blocks * 512


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Python's collector rests while many objects are made and none is dropped: a third of the time, measured."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever a library makes of a file that is not as it should be, is a HeaderError; not what the system says."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if "can't start new thread" in str(error):
            raise
        if isinstance(error, HeaderError) and str(error).startswith(str(path)):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = str(error)[:300]
        raise HeaderError(f"{path}: {what}: {text if text.isprintable() else repr(text)}") from None
