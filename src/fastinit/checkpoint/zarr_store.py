"""Zarr format 3: an array or a group of them, written chunk by chunk in OUT.partial, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..progress import advancing
from ..recipe import Recipe
from .comparing import verify
from .folder import replace_folder
from .header import RECIPES, compact
from .partial import check_space, foreign, in_the_way, left_over, lock, read_journal, write_synced
from .pieces import Piece, made_together, pieces, rows_of_piece
from .writing import STRETCH, Options

#: Bytes of a chunk at most. Random numbers do not compress, so chunks are stored as they are.
CHUNK = 1 << 24


def import_zarr() -> Any:
    """The library; ImportError that says what to install."""
    try:
        import zarr
    except ImportError:
        raise ImportError(".zarr needs zarr 3: pip install 'zarr>=3'") from None
    return zarr


def save(out: Path, recipes: Mapping[str, Recipe] | Recipe, options: Options) -> None:
    """Write a single recipe as an array, a dict of them as a group."""
    zarr = import_zarr()
    arrays = {"": recipes} if isinstance(recipes, Recipe) else recipes
    for recipe in arrays.values():
        if recipe.to_dict()["dtype"] == "bfloat16":
            raise ValueError(f"{recipe.name!r} is bfloat16, and zarr has no such type: use .safetensors")
    partial, journal = (out.with_name(out.name + ending) for ending in (".partial", ".journal"))
    if os.path.lexists(out) and not options.overwrite:
        if options.resume and out.is_dir() and verify(out, recipes):
            journal.unlink(missing_ok=True)
            return
        raise in_the_way(out)
    if os.path.lexists(out) and not out.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
    if out.is_dir() and any(out.iterdir()) and not (out / "zarr.json").exists():
        raise FileExistsError(errno.EEXIST, "it is no zarr folder, and is not overwritten", str(out))
    partial.mkdir(exist_ok=True)
    fd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(fd, partial)
        text = compact({name: recipe.to_dict() for name, recipe in arrays.items()})
        identity = hashlib.blake2b(text.encode(), digest_size=16, person=b"fastinit-zarr").hexdigest()
        done = _done_before(partial, journal, identity, options)
        total = sum(recipe.nbytes for recipe in arrays.values())
        check_space(partial, total - done)
        _journal(journal, identity, done)
        with advancing(options.progress, total, out.name, "B") as advance:
            advance(done)
            unsynced: list[Path] = []
            recorded = position = done
            for array, recipe, piece, position in _pieces(zarr, partial, recipes, done):
                array[piece.at] = recipe.part(piece.at)[...]
                unsynced.append(_file_of(partial, array, piece))
                advance(piece.size * recipe.dtype.itemsize)
                if position - recorded >= STRETCH:
                    _sync(unsynced)
                    unsynced.clear()
                    _journal(journal, identity, position)
                    recorded = position
        _sync(unsynced)
        _sync(path for path in partial.rglob("*") if path.is_dir() or path.name == "zarr.json")
        replace_folder(partial, out, options.overwrite)
        journal.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _done_before(partial: Path, journal: Path, identity: str, options: Options) -> int:
    """Bytes that an interrupted call has written; what it left is removed if it is to be started again."""
    if not any(partial.iterdir()):
        return 0
    if options.resume:
        found = read_journal(journal) or {}
        if found.get("identity") != identity:
            raise foreign(partial)
        for path in partial.rglob("*.partial"):  # zarr's own, of a chunk that was being written
            if path.is_file():
                path.unlink()
        return found["done"] if type(found.get("done")) is int else 0
    if not options.overwrite:
        raise left_over(partial)
    for path in partial.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return 0


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


def _journal(journal: Path, identity: str, done: int) -> None:
    write_synced(journal, json.dumps({"identity": identity, "done": done}).encode() + b"\n")


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
