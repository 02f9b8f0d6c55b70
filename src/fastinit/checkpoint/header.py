"""The header of a .safetensors file: made for our tensors, and read from files that may be hostile.

The format is an 8-byte little-endian length, that many bytes of JSON, then the tensors without gaps. The safetensors
library has no writer of a header alone, and its reader lets duplicate names pass; hence this strict one.

References
----------
https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..arrays import MAX_SIZE, check_shape
from ..questions import dtype_of
from ..recipe import Part
from ..stream import check_name
from .literals import metadata_of
from .opening import open_regular

#: The library refuses longer headers.
LONGEST = 100_000_000

#: Our dtypes by the format's names.
CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

#: Bits of an element of every dtype that the format has.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **{"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}

_KEYS = {"dtype", "shape", "data_offsets"}
_CONTROL = re.compile("[\0-\x1f\x7f]")

#: The key of `__metadata__` that holds the recipes.
RECIPES = "fastinit"


class HeaderError(ValueError):
    """A file that is not what its format says, or that no honest writer makes."""


class Entry(NamedTuple):
    """A tensor of a file: the format's dtype, the shape, where its bytes start in the file and how many there are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def check_tensor_name(name: Any) -> str:
    """`name`; TypeError or ValueError for one that could not be a key of a file, or would lead out of a folder."""
    check_name(name)
    if ".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\")):
        raise ValueError(f"tensor name {name!r} leads out of a folder")
    if _CONTROL.search(name):
        raise ValueError(f"tensor name {name!r} has control characters")
    if name == "__metadata__":
        raise ValueError("a tensor cannot be called '__metadata__': the safetensors format takes that name")
    return name


def compact(value: Any) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def make_header(tensors: Sequence[tuple[str, Part]]) -> bytes:
    """The start of a file that holds these tensors in this order, up to their first byte.

    "format" is there because transformers refuses metadata without it; the recipes are the file's provenance.
    """
    recipes = {name: metadata_of(recipe) for name, recipe in tensors}
    table: dict[str, Any] = {"__metadata__": {"format": "pt", RECIPES: compact(recipes)}}
    start = 0
    for name, recipe in tensors:
        stop = start + recipe.nbytes
        code = CODES[dtype_of(recipe)]
        table[name] = {"dtype": code, "shape": list(recipe.shape), "data_offsets": [start, stop]}
        start = stop
    text = compact(table).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    if len(text) > LONGEST:
        raise ValueError(
            f"the header of {len(tensors)} tensors has {len(text)} bytes, and readers of safetensors refuse more than "
            f"{LONGEST}: give a max_shard_size, or a smaller one, so that each file holds fewer of them"
        )
    return len(text).to_bytes(8, "little") + text


def read_header(path: str | os.PathLike[str]) -> tuple[list[Entry], dict[str, str]]:
    """The tensors of a file, in the order of their bytes, and its metadata.

    Raises
    ------
    HeaderError
        Anything that an honest writer does not make: a length or an offset beyond the file, tensors that overlap or
        leave bytes over, duplicate names, names that lead out of a folder, sizes that no file has, text that is not
        UTF-8. Nothing of the tensors has been read by then.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            return header_of(file, os.fstat(file.fileno()).st_size)
    except HeaderError as error:
        raise HeaderError(f"{path}: {error}") from None


def header_of(file: BinaryIO, size: int) -> tuple[list[Entry], dict[str, str]]:
    """`read_header` of an open file of that size."""
    if size < 8:
        raise HeaderError(f"no safetensors file: {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, LONGEST):
        raise HeaderError(f"the header's length, {length}, is beyond the file's {size} bytes or the format's limit")
    text = file.read(length)
    table = parse(text)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError("__metadata__ must be a table of text")
    start = 8 + length
    entries = [_entry(name, value, start) for name, value in table.items()]
    entries.sort(key=operator.attrgetter("offset", "nbytes"))
    at = start
    for entry in entries:
        if entry.offset != at:
            ends = f"starts at byte {entry.offset - start}, but the one before ends at {at - start}"
            raise HeaderError(f"tensor {entry.name!r} {ends}")
        at += entry.nbytes
    if at != size:
        raise HeaderError(f"the tensors have {at - start} bytes, but the file has {size - start} for them")
    return entries, metadata


def parse(text: bytes) -> dict[str, Any]:
    """A JSON object, strictly: UTF-8, no name twice, no NaN."""
    try:
        table = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise HeaderError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise HeaderError("nested too deeply") from None
    except HeaderError:
        raise
    except ValueError as error:  # of json, and integers of thousands of digits
        raise HeaderError(f"no JSON: {error}") from None
    if not isinstance(table, dict):
        raise HeaderError("no JSON object")
    return table


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise HeaderError(f"{twice[:80]!r} is there twice")
    return table


def _no_constant(text: str) -> Any:
    raise HeaderError(f"{text} is no JSON number")


def _entry(name: str, value: Any, start: int) -> Entry:
    """One tensor of a file whose tensors begin at byte `start`."""
    try:
        check_tensor_name(name)
    except ValueError as error:
        raise HeaderError(str(error)) from None
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise HeaderError(f"tensor {name!r} needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise HeaderError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _integers(shape):
        raise HeaderError(f"tensor {name!r}: a shape is a list of lengths, not {str(shape)[:80]}")
    try:
        check_shape(shape)
    except ValueError as error:
        raise HeaderError(f"tensor {name!r}: {str(error)[:200]}") from None
    if not _integers(offsets) or len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1] < 8 * MAX_SIZE:
        raise HeaderError(f"tensor {name!r}: data_offsets must be two rising positions, not {str(offsets)[:80]}")
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise HeaderError(f"tensor {name!r}: {shape} of {dtype} does not fill bytes {offsets[0]} to {offsets[1]}")
    return Entry(name, dtype, tuple(shape), start + offsets[0], offsets[1] - offsets[0])


def _integers(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 64 and {int}.issuperset(map(type, value))
