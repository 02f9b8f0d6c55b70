"""A model's folder in Hugging Face's layout: written in OUT.partial, by one process or several, then renamed.

A file that has its own name in OUT.partial is complete. Whoever finds that all are there, adds the index and renames.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..progress import advancing
from . import writing
from .comparing import verify
from .layout import INDEX, WEIGHTS, File, index_of
from .partial import check_space, foreign, in_the_way, left_over, lock, sync_folder, write_synced
from .writing import Options


def save(out: Path, files: list[File], share: int, shares: int, options: Options) -> None:
    """Write every `shares`-th of the files from number `share` on, and finish the folder if it has them all."""
    if os.path.lexists(out) and not out.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
    if out.is_dir() and any(out.iterdir()) and not options.overwrite:
        if options.resume and verify(out, {t.name: t.recipe for file in files for t in file.tensors}):
            return
        raise in_the_way(out)
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(exist_ok=True)
    if shares == 1 and not options.resume:
        _start_again(partial, options.overwrite)
    _refuse_others(partial, files)
    mine = files[share::shares]
    check_space(partial, sum(_bytes_to_come(partial, file) for file in mine))
    with advancing(options.progress, sum(file.size for file in mine), out.name, "B") as advance:
        for file in mine:
            if (partial / file.name).exists():
                _check_head(partial, file)
                advance(file.size)
            else:
                writing.write(partial / file.name, file, options, advance)
    with _alone(partial) as still_there:
        if still_there and all((partial / file.name).exists() for file in files):
            _finish(partial, out, files, options.overwrite)


def _bytes_to_come(partial: Path, file: File) -> int:
    if (partial / file.name).exists():
        return 0
    begun = partial / f"{file.name}.partial"
    return file.size - (begun.stat().st_size if begun.exists() else 0)


def _start_again(partial: Path, overwrite: bool) -> None:
    """Remove what an interrupted call has left, if that is wanted."""
    left = [path for path in partial.iterdir() if WEIGHTS.fullmatch(path.name)]
    if left and not overwrite:
        raise left_over(partial)
    for path in left:
        with open(path, "rb") as file:
            lock(file.fileno(), path)
            path.unlink()


def _refuse_others(partial: Path, files: list[File]) -> None:
    """ValueError where the folder has weights that are not among these files."""
    names = {INDEX, *(file.name for file in files)}
    for path in partial.iterdir():
        name = path.name
        for ending in (".new", ".journal", ".partial"):
            name = name.removesuffix(ending)
        if WEIGHTS.fullmatch(path.name) and name not in names:
            raise foreign(path)


def _check_head(partial: Path, file: File) -> None:
    if not writing.has_head(partial / file.name, file):
        raise foreign(partial / file.name)


@contextmanager
def _alone(partial: Path) -> Iterator[bool]:
    """While no other process is in here; False where another one has finished the folder."""
    try:
        fd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield partial.exists() and os.path.samestat(os.stat(partial), os.fstat(fd))
    finally:
        os.close(fd)


def _finish(partial: Path, out: Path, files: list[File], overwrite: bool) -> None:
    for file in files:  # other processes' too
        _check_head(partial, file)
    for path in partial.iterdir():  # of a call that was killed between a file's rename and the end
        if WEIGHTS.fullmatch(path.name) and path.suffix != ".safetensors":
            path.unlink()
    if len(files) > 1:
        write_synced(partial / INDEX, index_of(files))
    if out.is_dir() and overwrite:
        _keep_others(out, partial)
    replace_folder(partial, out, overwrite)


def _keep_others(out: Path, partial: Path) -> None:
    """Everything in `out` but a model's weights is in `partial` too."""

    def weights(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) == out and WEIGHTS.fullmatch(name)]

    def link(source: str, target: str) -> None:
        Path(target).unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copy2(source, target)

    shutil.copytree(out, partial, ignore=weights, copy_function=link, symlinks=True, dirs_exist_ok=True)


def replace_folder(partial: Path, out: Path, overwrite: bool) -> None:
    """`partial` becomes `out`; what was there goes, if that is wanted."""
    sync_folder(partial)
    old = out.with_name(f".{out.name}.replaced")
    if overwrite:
        if old.exists() and out.exists():  # killed while removing it
            shutil.rmtree(old)
        if out.exists():
            os.rename(out, old)
    try:
        os.rename(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise in_the_way(out) from None
        raise
    sync_folder(out.parent)
    if overwrite and old.exists():
        shutil.rmtree(old)
