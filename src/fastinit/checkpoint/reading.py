"""The tensors of a checkpoint of any kind, without reading them: names, dtypes, shapes, and arrays on demand."""

from __future__ import annotations

import errno
import functools
import importlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arrays import DTYPES, check_shape, numpy_dtype
from ..recipe import Recipe
from ..stream import check_name
from .header import CODES, RECIPES, Entry, HeaderError, check_tensor_name, parse, read_header
from .layout import INDEX, SINGLE

#: The format's dtypes that NumPy has too; bfloat16 is added below.
_NUMPY = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"},
    **{"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"},
}
_OURS = {code: name for name, code in CODES.items()}

#: Longer index files are of no model.
_LONGEST_INDEX = 100_000_000


class Stored(NamedTuple):
    """A tensor on disk: its dtype, by our name or by its format's, its shape, and how to open it as an array."""

    dtype: str
    shape: tuple[int, ...]
    open: Callable[[], Any]


class Checkpoint(NamedTuple):
    """What a path holds; `recipes` reads those that it brings itself, if any."""

    tensors: dict[str, Stored]
    recipes: Callable[[], dict[str, Recipe]]


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
        return _zarr(path)
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


def _safetensors(path: Path) -> Checkpoint:
    entries, metadata = read_header(path)
    tensors = {e.name: Stored(_OURS.get(e.dtype, e.dtype), e.shape, _opener(path, e)) for e in entries}

    def recipes() -> dict[str, Recipe]:
        with _reading(path, "the recipes in its metadata"):
            return _recipes(parse(metadata[RECIPES].encode())) if RECIPES in metadata else {}

    return Checkpoint(tensors, recipes)


def _recipes(described: dict[str, Any]) -> dict[str, Recipe]:
    for name, description in described.items():
        if not isinstance(description, dict):
            raise HeaderError(f"that of {name!r} must be a table")
    return {name: Recipe.from_dict(description) for name, description in described.items()}


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Whatever a library makes of a file that is not as it should be, is a HeaderError; but not what the disk says."""
    try:
        yield
    except Exception as error:
        if isinstance(error, HeaderError) and str(error).startswith(str(path)):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = str(error)[:300]
        raise HeaderError(f"{path}: {what}: {text if text.isprintable() else repr(text)}") from None


def _opener(path: Path, entry: Entry) -> Callable[[], np.ndarray]:
    def array() -> np.ndarray:
        dtype = numpy_dtype("bfloat16") if entry.dtype == "BF16" else np.dtype(_NUMPY.get(entry.dtype, "V"))
        if dtype.kind == "V" and entry.dtype != "BF16":
            raise ValueError(f"{path}: NumPy has no dtype for {entry.dtype}")
        if entry.nbytes == 0:  # nothing can be mapped
            return np.empty(entry.shape, dtype)
        raw = np.memmap(path, np.uint8, "r", entry.offset, (entry.nbytes,))
        return np.ndarray.view(raw, np.ndarray).view(dtype).reshape(entry.shape)

    return array


def _index(path: Path) -> Checkpoint:
    if path.stat().st_size > _LONGEST_INDEX:
        raise HeaderError(f"{path}: too long for an index")
    with _reading(path, "no index"):
        table = parse(path.read_bytes())
    places = table.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise HeaderError(f"{path}: no weight_map from tensors to files")
    for place in set(places.values()):
        with _reading(path, "weight_map"):
            check_name(place)
        if Path(place).name != place or place in ("", ".", "..") or "\\" in place or "\0" in place:
            raise HeaderError(f"{path}: {place!r} is not a file of its folder")
    tensors: dict[str, Stored] = {}
    members: list[Checkpoint] = []
    for place in sorted(set(places.values())):
        held = _safetensors(path.parent / place)
        for name in held.tensors.keys() - {name for name, where in places.items() if where == place}:
            raise HeaderError(f"{path}: tensor {name!r} of {place} is not in the index, or is in another file there")
        tensors |= held.tensors
        members.append(held)
    for name in places.keys() - tensors.keys():
        raise HeaderError(f"{path}: tensor {name!r} is not in {places[name]}")

    def recipes() -> dict[str, Recipe]:
        return {name: recipe for held in members for name, recipe in held.recipes().items()}

    return Checkpoint({name: tensors[name] for name in places}, recipes)


def _npy(path: Path) -> Checkpoint:
    with open(path, "rb") as file, _reading(path, "no .npy"):
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise HeaderError(f"its version, {version}, is not read")
        shape, fortran, dtype = readers[version](file)
        check_shape(shape)
        start, nbytes = file.tell(), math.prod(shape) * dtype.itemsize
        if dtype.hasobject or os.fstat(file.fileno()).st_size < start + nbytes:
            raise HeaderError(f"it has no {nbytes} bytes of {dtype}")

    def array() -> np.ndarray:
        order: Any = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", start, shape, order) if nbytes else np.empty(shape, dtype)

    return Checkpoint({path.stem: Stored(_name(dtype), shape, array)}, dict)


def import_zarr() -> Any:
    """The library; ImportError that says what to install."""
    try:
        zarr = importlib.import_module("zarr")
    except ImportError:
        zarr = None
    if zarr is None or int(zarr.__version__.partition(".")[0]) < 3:
        raise ImportError(".zarr needs zarr 3: pip install 'zarr>=3'")
    return zarr


def _zarr(path: Path) -> Checkpoint:
    zarr = import_zarr()
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
    with _reading(path, "no zarr"):
        node = zarr.open(path, mode="r")
        alone = isinstance(node, zarr.Array)
        arrays = {path.stem: node} if alone else dict(sorted(_arrays_of(node)))
        tensors = {
            check_tensor_name(name): Stored(_name(array.dtype), array.shape, functools.partial(_same, array))
            for name, array in arrays.items()
        }

    def recipes() -> dict[str, Recipe]:
        with _reading(path, "the recipes in its attributes"):
            return _recipes({name: array.attrs[RECIPES] for name, array in arrays.items() if RECIPES in array.attrs})

    return Checkpoint(tensors, recipes)


def _same(array: Any) -> Any:
    return array


def _arrays_of(group: Any) -> Any:
    """Arrays of a group and of the groups within, by their path."""
    for _, member in group.members(max_depth=None):
        if hasattr(member, "chunks"):
            yield member.path[len(group.path) :].lstrip("/"), member


def _name(dtype: np.dtype) -> str:
    return dtype.name if dtype.name in DTYPES else dtype.str
