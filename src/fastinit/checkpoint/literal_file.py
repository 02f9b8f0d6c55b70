"""The .safetensors beside a manifest that holds its literals: written once, found by its hash, read as a whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import numpy_dtype
from ..functions import literal
from ..recipe import Recipe
from . import writing
from .header import CODES, HeaderError, header_of
from .layout import File, safetensors_file
from .opening import InTheWay, open_regular, read_whole
from .writing import Options

#: Bytes of all literals together: values that nobody can make again belong in a checkpoint, not beside a manifest.
LARGEST = 1 << 32

_OURS = {code: name for name, code in CODES.items()}


def file_of(stem: str, literals: Mapping[str, Recipe]) -> tuple[File, str]:
    """The file of those literals, for a manifest of that stem; and its SHA-256, of which its name has the beginning.

    So literals of another manifest never take the place of a file that is still needed.
    """
    held = sum(recipe.nbytes for recipe in literals.values())
    if held > LARGEST:
        raise ValueError(f"the literals have {held:,} bytes together, and a manifest has at most {LARGEST:,} of them")
    file = safetensors_file("", literals)
    digest = hashlib.sha256(file.head)
    for _, recipe, _ in file.tensors:
        values = np.ascontiguousarray(recipe[...]).view(f"u{recipe.dtype.itemsize}")
        digest.update(values.astype(f"<u{values.itemsize}", copy=False).tobytes())
    found = digest.hexdigest()
    return file._replace(name=f"{stem}.literals-{found[:16]}.safetensors"), found


def write_literals(folder: Path, file: File, digest: str) -> None:
    """Write the file, unless it is there already. InTheWay where its name is another file's."""
    out = folder / file.name
    try:
        if hashlib.sha256(_read(out)).hexdigest() == digest:
            return
        raise InTheWay(out)
    except FileNotFoundError:
        writing.save(out, file, Options(1, None, resume=True, overwrite=False))


def read_literals(folder: Path, given: Any) -> dict[str, Recipe]:
    """The literals of the file that a manifest names; ValueError or OSError where they are not to be had."""
    if not isinstance(given, dict) or given.keys() != {"file", "sha256"}:
        raise ValueError("it is a table of file and sha256, and nothing else")
    name, digest = given["file"], given["sha256"]
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise ValueError(f"file must be the name of a file beside the manifest, not {str(name)[:200]!r}")
    held = _read(folder / name)
    if hashlib.sha256(held).hexdigest() != digest:
        raise ValueError(f"{folder / name} is not the file that belongs to the manifest, by its SHA-256")
    try:
        entries, _ = header_of(io.BytesIO(held), len(held))
    except HeaderError as error:
        raise HeaderError(f"{folder / name}: {error}") from None
    literals: dict[str, Recipe] = {}
    for entry in entries:
        if entry.dtype not in _OURS:
            raise HeaderError(f"{folder / name}: {entry.name!r} has dtype {entry.dtype}, which no literal has")
        dtype = _OURS[entry.dtype]
        itemsize = numpy_dtype(dtype).itemsize
        raw = np.frombuffer(held, f"<u{itemsize}", entry.nbytes // itemsize, entry.offset)
        values = raw.astype(f"u{itemsize}").view(numpy_dtype(dtype)).reshape(entry.shape)
        literals[entry.name] = literal(values, dtype)
    return literals


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        return read_whole(file, 2 * LARGEST)
