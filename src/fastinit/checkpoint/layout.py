"""Which tensors lie in which file, and where."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..questions import dtype_of
from ..recipe import Part
from ..wording import near_match
from .header import compact, make_header
from .literals import metadata_of

#: Names that Hugging Face's libraries look for in a model's folder.
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
WEIGHTS = re.compile(r"model(-\d{5,}-of-\d{5,})?\.safetensors(\.index\.json|\.partial|\.journal)?")

_UNITS = {"B": 1, **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate("KMGT")}}
_UNITS |= {f"{p}iB": 1024 ** (i + 1) for i, p in enumerate("KMGT")}


class Placed(NamedTuple):
    """A tensor and the position of its first byte in its file."""

    name: str
    recipe: Part
    offset: int


class File(NamedTuple):
    """A file to be written: what comes before the tensors, and the tensors."""

    name: str
    head: bytes
    tensors: tuple[Placed, ...]
    size: int
    identity: str


def parse_size(size: int | str) -> int:
    """Bytes of "5GB" (powers of 1000, as Hugging Face reads it), "5GiB" (of 1024) or an integer."""
    if isinstance(size, str):
        found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", size)
        units = {unit.upper(): factor for unit, factor in _UNITS.items()}
        if found is None:
            raise ValueError(f"a size is written like '5GB' or '512MiB', not {size!r}")
        number, unit = found[1], found[2].upper() or "B"
        if unit not in units:
            raise ValueError(f"unknown unit {found[2]!r} in size {size!r}; {near_match(found[2], _UNITS)}")
        size = int(float(number) * units[unit]) if "." in number else int(number) * units[unit]
    elif isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"max_shard_size must be bytes or a text like '5GB', not {size!r}")
    if size < 1:
        raise ValueError(f"max_shard_size must be at least one byte, got {size}")
    return int(size)


def safetensors_file(name: str, tensors: Mapping[str, Part]) -> File:
    """One .safetensors file. Larger elements come first, so that every tensor is aligned."""
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    return _file(name, make_header(ordered), ordered, "")


def npy_file(name: str, tensors: Mapping[str, Part]) -> File:
    """One .npy file of one tensor."""
    if len(tensors) != 1:
        raise ValueError(f".npy holds one tensor, not {len(tensors)}: use .safetensors")
    ((key, recipe),) = tensors.items()
    if dtype_of(recipe) == "bfloat16":
        raise ValueError(f"{key!r} is bfloat16, which the .npy format does not have: use .safetensors")
    head = io.BytesIO()
    dtype = recipe.dtype.newbyteorder("<")
    np.lib.format.write_array_header_1_0(head, {"descr": dtype.str, "fortran_order": False, "shape": recipe.shape})
    return _file(name, head.getvalue(), list(tensors.items()), compact(metadata_of(recipe)))


def shards(tensors: Mapping[str, Part], largest: int) -> list[File]:
    """Files of at most `largest` bytes of tensors, in Hugging Face's layout, cut as huggingface_hub cuts them.

    A larger tensor has a file of its own, before the one that is being filled.
    """
    groups: list[dict[str, Part]] = []
    filling: dict[str, Part] = {}
    held = 0
    for name, recipe in tensors.items():
        if recipe.nbytes > largest:
            groups.append({name: recipe})
            continue
        if held + recipe.nbytes > largest:
            groups.append(filling)
            filling, held = {}, 0
        filling[name] = recipe
        held += recipe.nbytes
    if filling:
        groups.append(filling)
    if len(groups) == 1:
        return [safetensors_file(SINGLE, groups[0])]
    count = len(groups)
    return [
        safetensors_file(f"model-{i:05d}-of-{count:05d}.safetensors", group) for i, group in enumerate(groups, start=1)
    ]


def index_of(files: list[File]) -> bytes:
    """model.safetensors.index.json, as transformers writes it."""
    placed = [(tensor, file.name) for file in files for tensor in file.tensors]
    table: dict[str, Any] = {
        "metadata": {
            "total_parameters": sum(tensor.recipe.size for tensor, _ in placed),
            "total_size": sum(tensor.recipe.nbytes for tensor, _ in placed),
        },
        "weight_map": {tensor.name: name for tensor, name in placed},
    }
    return (json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _file(name: str, head: bytes, tensors: list[tuple[str, Part]], more: str) -> File:
    placed, at = [], len(head)
    for key, recipe in tensors:
        placed.append(Placed(key, recipe, at))
        at += recipe.nbytes
    identity = hashlib.blake2b(head + more.encode(), digest_size=16, person=b"fastinit-file").hexdigest()
    return File(name, head, tuple(placed), at, identity)
