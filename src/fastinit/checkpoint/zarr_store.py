"""Zarr format 3: an array or a group of them, written chunk by chunk in OUT.partial, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..pieces import Piece, rows_of_piece
from ..progress import advancing
from ..questions import dtype_of, pieces_of
from ..recipe import Part
from .comparing import holds
from .header import RECIPES, compact
from .literals import metadata_of
from .opening import Directory, InTheWay, NotOurs, naming
from .partial import check_space, foreign
from .replacing import FolderOnItsWay, remove_finished
from .writing import STRETCH, Options, open_parent
from .zarr_reading import METADATA, import_zarr

#: Bytes of a chunk at most. Random numbers do not compress, so chunks are stored as they are.
CHUNK = 1 << 24
#: Bytes of a file's name.
LONGEST_WORD = 255


def save(out: Path, recipes: Mapping[str, Part] | Part, options: Options) -> None:
    """Write a single recipe as an array, a dict of them as a group."""
    zarr = import_zarr()
    arrays = {"": recipes} if isinstance(recipes, Part) else recipes
    _check(arrays, alone=isinstance(recipes, Part))
    text = compact({name: metadata_of(recipe) for name, recipe in arrays.items()})
    identity = hashlib.blake2b(text.encode(), digest_size=16, person=b"fastinit-zarr").hexdigest()
    with open_parent(out) as parent:
        there = parent.status(out.name)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
        if there is not None and any(out.iterdir()):
            if options.resume and holds(out, recipes, options.threads, options.progress):
                remove_finished(parent, out.name, identity, _clear)
                return
            if not options.overwrite:
                raise InTheWay(out)
            if not (out / "zarr.json").exists():
                raise FileExistsError(errno.EEXIST, "it is no zarr folder, and is not overwritten", str(out))
        with FolderOnItsWay.opened(parent, out.name, shared=False) as coming:
            done = _begun(coming, arrays, identity, options)
            _write(zarr, coming, recipes, done, options, out.name)
            coming.finish(options.overwrite)


def _write(
    zarr: Any,
    coming: FolderOnItsWay,
    recipes: Mapping[str, Part] | Part,
    done: int,
    options: Options,
    name: str,
) -> None:
    """The arrays, from byte `done` on."""
    partial, root = coming.partial, _root(coming.partial)
    total = sum(recipe.nbytes for recipe in ([recipes] if isinstance(recipes, Part) else recipes.values()))
    held = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file()) if done else 0
    check_space(partial.fd, partial.path(), total - held)
    with advancing(options.progress, total, name, "B") as advance, naming(partial.path()):
        advance(done)
        unsynced: list[Path] = []
        recorded = done
        for array, recipe, piece, position in _pieces(zarr, root, recipes, done):
            part = recipe.part(piece.at)
            made = np.empty(part.shape, part.dtype)
            array[piece.at] = part.fill(made, threads=options.threads)
            unsynced.append(_file_of(root, array, piece))
            advance(made.nbytes)
            if position - recorded >= STRETCH:
                _sync(unsynced)
                unsynced.clear()
                coming.journal.record(position)
                recorded = position
        _sync(unsynced)
        _sync(path for path in root.rglob("*") if path.is_dir() or path.name == "zarr.json")


def _root(partial: Directory) -> Path:
    """A path that leads to the open folder, whatever its name is by now, for a library that takes paths only."""
    through = Path(f"/proc/self/fd/{partial.fd}")
    return through if through.is_dir() else partial.path()  # Linux only


# ---- names -------------------------------------------------------------------------------------------------


def _check(arrays: Mapping[str, Part], alone: bool) -> None:
    """ValueError for what zarr cannot hold: bfloat16, and names that are no path of their own."""
    for name, recipe in arrays.items():
        if dtype_of(recipe) == "bfloat16":
            raise ValueError(
                f"{name or recipe.name or 'it'!r} is bfloat16, and zarr has no such type: use .safetensors"
            )
        words = name.split("/")
        if not alone and not all(map(_is_word, words)):
            raise ValueError(f"{name!r} is no name of a zarr array")
        above = ["/".join(words[:n]) for n in range(1, len(words))]
        if any(other in arrays for other in above):
            raise ValueError(f"{name!r} lies in another tensor, which a zarr array cannot hold")


def _is_word(word: str) -> bool:
    """Whether it can be the name of a folder, as it is: zarr takes a backslash for a slash, and keeps some names."""
    return bool(
        word.strip(".")
        and "\\" not in word
        and not word.startswith("__")
        and word not in METADATA
        and len(word.encode()) <= LONGEST_WORD
    )


def _make_folders(partial: Directory, names: Iterable[str]) -> None:
    """A folder for every array, so that it is seen whether this file system keeps their names apart.

    ValueError where it takes two for one, as those do that fold cases, or gives one back in another form.
    """
    children: dict[str, set[str]] = {}
    for name in filter(None, names):
        folder = ""
        for word in name.split("/"):
            inner = f"{folder}/{word}" if folder else word
            if word not in children.setdefault(folder, set()):
                children[folder].add(word)
                try:
                    with naming(partial.path(inner)):
                        os.mkdir(inner, dir_fd=partial.fd)
                except FileExistsError:
                    raise ValueError(f"this file system does not tell {name!r} from another tensor's name") from None
            folder = inner
    for folder, words in children.items():
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=partial.fd)
        try:
            changed = words.difference(os.listdir(fd))
        finally:
            os.close(fd)
        if changed:
            raise ValueError(f"this file system changes the name of {min(changed)!r}, which would not be found again")


# ---- what is there already ---------------------------------------------------------------------------------


def _begun(coming: FolderOnItsWay, arrays: Mapping[str, Part], identity: str, options: Options) -> int:
    """Bytes that an interrupted call has written; what else it left is removed."""
    partial = coming.partial
    done = coming.begin(identity, options.resume, options.overwrite, _clear)
    if done:
        for path in list(_root(partial).rglob("*")):
            if path.is_symlink():  # the library would follow it
                raise NotOurs(partial.path(str(path.relative_to(_root(partial)))), "a symbolic link")
            if path.suffix == ".partial" and path.is_file():
                path.unlink()  # zarr's own, of chunks that were being written
        return done
    if partial.names():
        if not coming.journal.is_of(partial.fd):
            raise foreign(partial.path())
        _clear(partial)
    try:
        _make_folders(partial, arrays)
    except BaseException:
        _clear(partial)
        raise
    return 0


def _clear(partial: Directory) -> None:
    """Everything in the folder."""
    for name in partial.names():
        status = partial.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            shutil.rmtree(name, dir_fd=partial.fd)
        elif status is not None:
            partial.unlink(name)


# ---- chunks ------------------------------------------------------------------------------------------------


def _file_of(root: Path, array: Any, piece: Piece) -> Path:
    """Where zarr puts the chunk."""
    starts = [at.start if isinstance(at, slice) else at for at in piece.at]
    starts += [0] * (len(array.shape) - len(starts))
    key = array.metadata.encode_chunk_key(tuple(start // n for start, n in zip(starts, array.chunks)))
    return root / array.path / key


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
    zarr: Any, root: Path, recipes: Mapping[str, Part] | Part, done: int
) -> Iterator[tuple[Any, Part, Piece, int]]:
    """Array, recipe and piece of everything from byte `done` on, and the byte that it ends at; makes the arrays."""
    if isinstance(recipes, Part):
        arrays = {"": recipes}
    else:
        arrays = dict(recipes)
        zarr.open_group(root, mode="a", zarr_format=3)
    opened = [_array(zarr, root, name, recipe, done > 0) for name, recipe in arrays.items()]
    position = 0
    for array, recipe in zip(opened, arrays.values()):
        itemsize = recipe.dtype.itemsize
        for piece in pieces_of(recipe, CHUNK // itemsize):
            position += piece.size * itemsize
            if position > done:
                yield array, recipe, piece, position


def _array(zarr: Any, root: Path, name: str, recipe: Part, begun: bool) -> Any:
    """The array of a recipe: the one that is there, or a new one."""
    if begun:
        with suppress(FileNotFoundError):
            return zarr.open_array(root, path=name, mode="r+")
    axis, rows = rows_of_piece(recipe.shape, CHUNK // recipe.dtype.itemsize)
    chunks = (*(1,) * axis, rows, *recipe.shape[axis + 1 :])[: len(recipe.shape)]
    return zarr.create_array(
        store=root,
        name=name or None,
        shape=recipe.shape,
        dtype=recipe.dtype,
        chunks=tuple(max(1, n) for n in chunks),
        compressors=None,
        fill_value=0,
        zarr_format=3,
        attributes={RECIPES: metadata_of(recipe)},
    )
