"""The tensors of a checkpoint of any kind, without reading them: names, dtypes, shapes, and arrays on demand."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..arrays import check_shape, numpy_dtype
from ..recipe import Recipe
from ..stream import check_name
from .header import CODES, RECIPES, Entry, HeaderError, parse, read_header
from .layout import INDEX, SINGLE
from .literals import Hashed
from .opening import open_regular, read_whole
from .stored import Checkpoint, Stored, name_of, on_disk, reading, recipes_of
from .zarr_reading import open_zarr

#: The format's dtypes that NumPy has too; bfloat16 is added below.
_NUMPY = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"},
    **{"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"},
}
_OURS = {code: name for name, code in CODES.items()}

#: Longer index files are of no model.
_LONGEST_INDEX = 100_000_000
#: The longest header that NumPy takes from strangers.
_LONGEST_NPY_HEADER = 10_000
#: Bytes of a file that is mapped as a whole.
MAPPED_WHOLE = 1 << 28
#: Files that stay mapped.
MOST_MAPPED = 1000


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """A .safetensors or .npy file, a .zarr folder, or a model's folder or index in Hugging Face's layout.

    Raises
    ------
    HeaderError
        A header that no honest writer makes.
    OSError
        What is not there, or cannot be read.
    """
    path = Path(path)
    if path.suffix == ".zarr":
        return open_zarr(path)
    if path.is_dir():
        if (path / INDEX).exists():
            return _index(path / INDEX)
        if not (path / SINGLE).exists():
            raise HeaderError(f"{path}: neither {SINGLE} nor {INDEX} is in it")
        return _safetensors(path / SINGLE)
    if path.suffix == ".json":
        return _index(path)
    if path.suffix == ".npy":
        return _npy(path)
    return _safetensors(path)


def _safetensors(path: Path, keep: bool = True) -> Checkpoint:
    entries, metadata = read_header(path)
    mapped, held = _Mapped(path, keep), lambda: on_disk(path)
    tensors = {e.name: Stored(_OURS.get(e.dtype, e.dtype), e.shape, _opener(mapped, e), held) for e in entries}

    def recipes() -> dict[str, Recipe | Hashed]:
        with reading(path, "the recipes in its metadata"):
            return recipes_of(parse(metadata[RECIPES].encode())) if RECIPES in metadata else {}

    return Checkpoint(tensors, recipes)


class _Mapped:
    """A file in memory while someone looks at it: small ones as a whole, so that many tensors share a mapping.

    With `keep` that stays: not for thousands of files, of which a process cannot map so many at once.
    """

    def __init__(self, path: Path, keep: bool = False) -> None:
        self.path = path
        self._keep = keep
        self._kept: mmap.mmap | None = None
        self._whole: weakref.ref[mmap.mmap] | None = None

    def view(self, offset: int, nbytes: int) -> np.ndarray:
        """Those bytes. HeaderError where the file no longer has them."""
        whole = self._whole() if self._whole else None
        start = 0
        if whole is None:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if offset + nbytes > size:
                    raise HeaderError(f"{self.path}: it has become shorter")
                if size <= MAPPED_WHOLE:
                    whole = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
                    self._whole = weakref.ref(whole)
                    self._kept = whole if self._keep else None
                else:
                    start = offset - offset % mmap.ALLOCATIONGRANULARITY
                    length = offset + nbytes - start
                    whole = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        return np.frombuffer(whole, np.uint8, nbytes, offset - start)


def _opener(mapped: _Mapped, entry: Entry) -> Callable[[], np.ndarray]:
    def array() -> np.ndarray:
        dtype = numpy_dtype("bfloat16") if entry.dtype == "BF16" else np.dtype(_NUMPY.get(entry.dtype, "V"))
        if dtype.kind == "V" and entry.dtype != "BF16":
            raise ValueError(f"{mapped.path}: NumPy has no dtype for {entry.dtype}")
        if entry.nbytes == 0:  # nothing can be mapped
            return np.empty(entry.shape, dtype)
        return mapped.view(entry.offset, entry.nbytes).view(dtype).reshape(entry.shape)

    return array


def _index(path: Path) -> Checkpoint:
    with open_regular(path) as file, reading(path, "no index"):
        table = parse(read_whole(file, _LONGEST_INDEX))
    places = table.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise HeaderError(f"{path}: no weight_map from tensors to files")
    for place in set(places.values()):
        with reading(path, "weight_map"):
            check_name(place)
        if Path(place).name != place or place in ("", ".", "..") or "\\" in place or "\0" in place:
            raise HeaderError(f"{path}: {place!r} is not a file of its folder")
    tensors: dict[str, Stored] = {}
    own_recipes: list[Callable[[], dict[str, Recipe | Hashed]]] = []
    others, count = [], 0  # the first few, and how many: files can hold any number of them
    files = sorted(set(places.values()))
    for place in files:
        held = _safetensors(path.parent / place, keep=len(files) <= MOST_MAPPED)
        own_recipes.append(held.recipes)
        for name, stored in held.tensors.items():
            if places.get(name) == place:
                tensors[name] = stored
            else:  # published models have such; what loads them goes by the index
                count += 1
                if count <= 3:
                    others.append(f"{name!r} of {place}")
    for name in places.keys() - tensors.keys():
        raise HeaderError(f"{path}: tensor {name!r} is not in {places[name]}")
    more = f" and {count - 3} others" if count > 3 else ""
    notes = (f"{path}: it leaves out {', '.join(others)}{more}, which are not looked at",) if others else ()

    def recipes() -> dict[str, Recipe | Hashed]:
        return {name: recipe for read in own_recipes for name, recipe in read().items()}

    return Checkpoint({name: tensors[name] for name in places}, recipes, notes)


def _npy(path: Path) -> Checkpoint:
    with open_regular(path) as file, reading(path, "no .npy"):
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise HeaderError(f"its version, {version}, is not read")
        here, width = file.tell(), 2 * version[0]
        length = int.from_bytes(file.read(width), "little")
        if length > _LONGEST_NPY_HEADER:  # NumPy would read it first
            raise HeaderError(f"its header has {length} bytes")
        file.seek(here)
        shape, fortran, dtype = readers[version](file)
        check_shape(shape)
        start, nbytes = file.tell(), math.prod(shape) * dtype.itemsize
        if dtype.hasobject or os.fstat(file.fileno()).st_size < start + nbytes:
            raise HeaderError(f"it has no {nbytes} bytes of {dtype}")

    def array() -> np.ndarray:
        if not nbytes:
            return np.empty(shape, dtype)
        return _Mapped(path).view(start, nbytes).view(dtype).reshape(shape, order="F" if fortran else "C")

    return Checkpoint({path.stem: Stored(name_of(dtype), shape, array, lambda: on_disk(path))}, dict)
