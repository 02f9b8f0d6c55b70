"""Zarr format 3: an array or a group of them, written chunk by chunk in OUT.partial, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..pieces import Piece, made_together, pieces, rows_of_piece
from ..progress import advancing
from ..recipe import Recipe
from .comparing import holds
from .header import RECIPES, compact
from .partial import (
    InTheWay,
    LeftOver,
    beside,
    check_space,
    foreign,
    lock,
    naming,
    read_journal,
    remove_leftovers,
    replace_folder,
    write_journal,
)
from .reading import import_zarr
from .writing import STRETCH, Options

#: Bytes of a chunk at most. Random numbers do not compress, so chunks are stored as they are.
CHUNK = 1 << 24


def save(out: Path, recipes: Mapping[str, Recipe] | Recipe, options: Options) -> None:
    """Write a single recipe as an array, a dict of them as a group."""
    zarr = import_zarr()
    arrays = {"": recipes} if isinstance(recipes, Recipe) else recipes
    _check(arrays)
    if os.path.lexists(out) and not out.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
    text = compact({name: recipe.to_dict() for name, recipe in arrays.items()})
    identity = hashlib.blake2b(text.encode(), digest_size=16, person=b"fastinit-zarr").hexdigest()
    if out.is_dir() and any(out.iterdir()):
        if options.resume and holds(out, recipes, options.threads, options.progress):
            remove_leftovers(out, identity)
            return
        if not options.overwrite:
            raise InTheWay(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "zarr.json").exists():
        raise FileExistsError(errno.EEXIST, "it is no zarr folder, and is not overwritten", str(out))
    partial, journal = beside(out, ".partial"), beside(out, ".journal")
    partial.mkdir(exist_ok=True)
    fd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(fd, partial)
        done = _done_before(partial, journal, identity, options)
        total = sum(recipe.nbytes for recipe in arrays.values())
        held = sum(path.stat().st_blocks * 512 for path in partial.rglob("*") if path.is_file())
        check_space(partial, total - held)
        with advancing(options.progress, total, out.name, "B") as advance, naming(partial):
            advance(done)
            unsynced: list[Path] = []
            recorded = position = done
            for array, recipe, piece, position in _pieces(zarr, partial, recipes, done):
                part = recipe.part(piece.at)
                made = np.empty(part.shape, part.dtype)
                array[piece.at] = part.fill(made, threads=options.threads)
                unsynced.append(_file_of(partial, array, piece))
                advance(made.nbytes)
                if position - recorded >= STRETCH:
                    _sync(unsynced)
                    unsynced.clear()
                    write_journal(journal, identity, position)
                    recorded = position
        _sync(unsynced)
        _sync(path for path in partial.rglob("*") if path.is_dir() or path.name == "zarr.json")
        replace_folder(partial, out, options.overwrite)
        remove_leftovers(out, identity)
    finally:
        os.close(fd)


def _check(arrays: Mapping[str, Recipe]) -> None:
    """ValueError for what zarr cannot hold: bfloat16, and names that are no path of their own."""
    for name, recipe in arrays.items():
        if recipe.to_dict()["dtype"] == "bfloat16":
            raise ValueError(f"{recipe.name!r} is bfloat16, and zarr has no such type: use .safetensors")
        words = name.split("/")
        if name and any(word in ("", ".", "zarr.json") or word.startswith("__") for word in words):
            raise ValueError(f"{name!r} is no name of a zarr array")
        above = ["/".join(words[:n]) for n in range(1, len(words))]
        if any(other in arrays for other in above) or (not name and len(arrays) > 1):
            raise ValueError(f"{name!r} lies in another tensor, which a zarr array cannot hold")


def _done_before(partial: Path, journal: Path, identity: str, options: Options) -> int:
    """Bytes that an interrupted call has written; what it left is removed if it is to be started again."""
    done = 0
    if options.resume and any(partial.iterdir()):
        found = read_journal(journal) or {}
        if found.get("identity") != identity:
            raise foreign(partial)
        done = found["done"] if type(found.get("done")) is int else 0
    elif any(partial.iterdir()) and not options.overwrite:
        raise LeftOver(partial)
    write_journal(journal, identity, done)
    for path in list(partial.iterdir()) if done == 0 else _interrupted_chunks(partial):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return done


def _interrupted_chunks(partial: Path) -> list[Path]:
    """Files of zarr's own, of chunks that were being written."""
    return [path for path in partial.rglob("*.partial") if path.is_file()]


def _file_of(partial: Path, array: Any, piece: Piece) -> Path:
    """Where zarr puts the chunk."""
    starts = [at.start if isinstance(at, slice) else at for at in piece.at]
    starts += [0] * (len(array.shape) - len(starts))
    key = array.metadata.encode_chunk_key(tuple(start // n for start, n in zip(starts, array.chunks)))
    return partial / array.path / key


def _sync(paths: Iterable[Path]) -> None:
    """Those of them that there are; a chunk of zeros has no file."""
    for path in paths:
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _pieces(
    zarr: Any, partial: Path, recipes: Mapping[str, Recipe] | Recipe, done: int
) -> Iterator[tuple[Any, Recipe, Piece, int]]:
    """Array, recipe and piece of everything from byte `done` on, and the byte that it ends at; makes the arrays."""
    if isinstance(recipes, Recipe):
        arrays = {"": recipes}
    else:
        arrays = dict(recipes)
        zarr.open_group(partial, mode="a", zarr_format=3)
    opened = [_array(zarr, partial, name, recipe) for name, recipe in arrays.items()]
    position = 0
    for array, recipe in zip(opened, arrays.values()):
        itemsize = recipe.dtype.itemsize
        for piece in pieces(recipe.shape, recipe.size if made_together(recipe) else CHUNK // itemsize):
            position += piece.size * itemsize
            if position > done:
                yield array, recipe, piece, position


def _array(zarr: Any, partial: Path, name: str, recipe: Recipe) -> Any:
    """The array of a recipe: the one that is there, or a new one."""
    with suppress(FileNotFoundError):
        return zarr.open_array(partial, path=name, mode="r+")
    axis, rows = rows_of_piece(recipe.shape, CHUNK // recipe.dtype.itemsize)
    chunks = (*(1,) * axis, rows, *recipe.shape[axis + 1 :])[: len(recipe.shape)]
    return zarr.create_array(
        store=partial,
        name=name or None,
        shape=recipe.shape,
        dtype=recipe.dtype,
        chunks=tuple(max(1, n) for n in chunks),
        compressors=None,
        fill_value=0,
        zarr_format=3,
        attributes={RECIPES: recipe.to_dict()},
    )
