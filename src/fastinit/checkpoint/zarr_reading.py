"""The arrays of a .zarr folder, which may be hostile: bounds are checked before the library takes memory."""

from __future__ import annotations

import errno
import functools
import importlib
import math
import os
from pathlib import Path
from typing import Any

from ..recipe import Recipe
from .header import RECIPES, HeaderError, check_tensor_name
from .literals import Hashed
from .opening import kind_of
from .stored import Checkpoint, Stored, name_of, reading, recipes_of

#: Names that zarr has for its own files, in version 3 and 2.
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
#: Bytes of such a file.
_LONGEST_METADATA = 100_000_000
#: Bytes of a chunk, or of a shard's index, unless the disk has as many, but for compression.
_LARGEST_CHUNK = 1 << 28
_COMPRESSION = 4


def import_zarr() -> Any:
    """The library; ImportError that says what to install."""
    try:
        zarr = importlib.import_module("zarr")
    except ImportError:
        zarr = None
    if zarr is None or int(zarr.__version__.partition(".")[0]) < 3:
        raise ImportError(".zarr needs zarr 3: pip install 'zarr>=3'")
    return zarr


def open_zarr(path: Path) -> Checkpoint:
    """An array, or a group of them."""
    zarr = import_zarr()
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
    with reading(path, "no zarr"):
        _check_files(path)
        node = zarr.open(path, mode="r")
        alone = isinstance(node, zarr.Array)
        arrays = {path.stem: node} if alone else dict(sorted(_arrays_of(node)))
        tensors = {}
        for name, array in arrays.items():
            held = functools.partial(_bytes_in, path if alone else path / name)
            _check_chunks(name, array, held)
            opened = functools.partial(_Array, array, path if alone else path / name)
            tensors[check_tensor_name(name)] = Stored(name_of(array.dtype), array.shape, opened, held)

    def recipes() -> dict[str, Recipe | Hashed]:
        with reading(path, "the recipes in its attributes"):
            return recipes_of({name: array.attrs[RECIPES] for name, array in arrays.items() if RECIPES in array.attrs})

    return Checkpoint(tensors, recipes)


def _check_files(path: Path) -> None:
    """HeaderError for what would be waited for, or read without end."""
    seen, folders = set(), [path]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # a link that leads nowhere
                    continue
                if entry.is_dir():
                    place = (status.st_dev, status.st_ino)
                    if place in seen:
                        raise HeaderError(f"{entry.path} is a folder that is in it twice")
                    seen.add(place)
                    folders.append(Path(entry.path))
                elif not entry.is_file():
                    raise HeaderError(f"{entry.path} is {kind_of(status)}, and no file")
                elif entry.name in METADATA and status.st_size > _LONGEST_METADATA:
                    raise HeaderError(f"{entry.path} is too long")


def _check_chunks(name: str, array: Any, held: Any) -> None:
    """HeaderError for chunks of nothing, and for those that take room, though there is nothing to put in."""
    shards = getattr(array, "shards", None)
    if not all(array.chunks):
        raise HeaderError(f"array {name!r} has chunks of {tuple(array.chunks)}, which hold nothing")
    nbytes = math.prod(shards or array.chunks) * array.dtype.itemsize
    index = 16 * math.prod(-(-outer // inner) for outer, inner in zip(shards, array.chunks)) if shards else 0
    if max(nbytes, index) > _LARGEST_CHUNK and max(nbytes, index) > _COMPRESSION * held():
        raise HeaderError(f"array {name!r} has chunks of {nbytes} bytes, which are not on the disk")


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


class _Array:
    """An array of the library's, but what its many codecs say of damaged chunks is a HeaderError."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array, self._path = array, path
        self.chunks, self.shards = array.chunks, getattr(array, "shards", None)

    def __getitem__(self, at: Any) -> Any:
        with reading(self._path, "a chunk of it cannot be read"):
            return self._array[at]


def _arrays_of(group: Any) -> Any:
    """Arrays of a group and of the groups within, by their path."""
    for _, member in group.members(max_depth=None):
        if hasattr(member, "chunks"):
            yield member.path[len(group.path) :].lstrip("/"), member
