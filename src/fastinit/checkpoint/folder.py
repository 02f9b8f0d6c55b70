"""A model's folder in Hugging Face's layout: written in OUT.partial, by one process or several, then renamed.

A file that has its own name in OUT.partial is complete. Writers hold a shared lock on that folder; whoever finds all
files there, and can lock it alone, adds the index and renames.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..progress import advancing
from . import writing
from .comparing import holds
from .layout import INDEX, WEIGHTS, File, index_of
from .partial import (
    InTheWay,
    LeftOver,
    allocated,
    beside,
    check_space,
    foreign,
    remove_replaced,
    replace_folder,
    write_synced,
)
from .writing import Options


def save(out: Path, files: list[File], share: int, shares: int, options: Options) -> bool:
    """Write every `shares`-th of the files from number `share` on, and finish the folder if it has them all.

    Whether the folder is complete.
    """
    mine = files[share::shares]
    if not mine:
        return False
    if os.path.lexists(out) and not out.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
    if _is_done(out, files, options):
        return True
    partial = beside(out, ".partial")
    with _locked(partial) as fd:
        if _is_done(out, files, options):  # finished by another process meanwhile
            return True
        if shares == 1 and not options.resume:
            _start_again(partial, fd, options.overwrite)
        _refuse_others(partial, files)
        check_space(partial, sum(_bytes_to_come(partial, file) for file in mine))
        with advancing(options.progress, sum(file.size for file in mine), out.name, "B") as advance:
            for file in mine:
                if (partial / file.name).exists():
                    _check_head(partial, file)
                    advance(file.size)
                else:
                    writing.write(partial / file.name, file, options, advance)
        return _finish(partial, out, files, fd, shares, options.overwrite)


def _is_done(out: Path, files: list[File], options: Options) -> bool:
    """Whether there is nothing left to do; InTheWay where something else is in the folder."""
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if options.resume and all((out / file.name).exists() and writing.has_head(out / file.name, file) for file in files):
        recipes = {tensor.name: tensor.recipe for file in files for tensor in file.tensors}
        if holds(out, recipes, options.threads, options.progress):
            _remove_partial(beside(out, ".partial"), files)
            remove_replaced(out)
            return True
    if not options.overwrite:
        raise InTheWay(out)
    return False


def _remove_partial(partial: Path, files: list[File]) -> None:
    """What restarted parts of a folder that is complete have left, unless someone is at it or it is another's."""
    with suppress(OSError, ValueError):
        _refuse_others(partial, files)
        fd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _alone(fd):
                for path in partial.iterdir():
                    if WEIGHTS.fullmatch(path.name):
                        path.unlink()
                partial.rmdir()
        finally:
            os.close(fd)


@contextmanager
def _locked(partial: Path) -> Iterator[int]:
    """The folder, made and open, with other writers in it but no one who finishes it or starts it again."""
    fd = None
    while fd is None:
        partial.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process has finished it since
            fd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(fd, fcntl.LOCK_SH)
            if not _is_still(partial, fd):
                os.close(fd)
                fd = None
    try:
        yield fd
    finally:
        os.close(fd)
        with suppress(OSError):  # nothing was written
            partial.rmdir()


def _is_still(partial: Path, fd: int) -> bool:
    """Whether the open folder has not been renamed."""
    return partial.exists() and os.path.samestat(os.fstat(fd), os.stat(partial))


def _alone(fd: int, patience: float = 0) -> bool:
    """Whether no other process is at work in the folder; with True none can begin. Gives up the shared lock."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError:  # a file system without locks
            return True
        else:
            return True


def _start_again(partial: Path, fd: int, overwrite: bool) -> None:
    """Remove what an interrupted call has left, if that is wanted."""
    left = [path for path in partial.iterdir() if WEIGHTS.fullmatch(path.name)]
    if not left:
        return
    if not overwrite:
        raise LeftOver(partial)
    if not _alone(fd):
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(partial))
    for path in left:
        path.unlink()
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH)


def _refuse_others(partial: Path, files: list[File]) -> None:
    """ValueError where the folder has weights that are not among these files."""
    names = {INDEX, *(file.name for file in files)}
    for path in partial.iterdir():
        name = path.name
        for ending in (".new", ".journal", ".partial"):
            name = name.removesuffix(ending)
        if WEIGHTS.fullmatch(path.name) and name not in names:
            raise foreign(path)


def _bytes_to_come(partial: Path, file: File) -> int:
    if (partial / file.name).exists():
        return 0
    begun = beside(partial / file.name, ".partial")
    return file.size - (allocated(begun.stat(), file.size) if begun.exists() else 0)


def _check_head(partial: Path, file: File) -> None:
    if not writing.has_head(partial / file.name, file):
        raise foreign(partial / file.name)


def _finish(partial: Path, out: Path, files: list[File], fd: int, shares: int, overwrite: bool) -> bool:
    """Make the folder `out`, unless other processes are still to bring files, or have done the same. Whether it is."""
    names = {path.name for path in partial.iterdir()}
    missing = [file.name for file in files if file.name not in names]
    if missing and shares == 1:
        raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(partial / missing[0]))
    if missing:
        return False
    if not _alone(fd, patience=2):
        raise BlockingIOError(errno.EWOULDBLOCK, "complete, but another process is in it: resume", str(partial))
    if not _is_still(partial, fd):
        return True
    names = {path.name for path in partial.iterdir()}
    for file in files:  # other processes' too
        _check_head(partial, file)
    for name in names - {file.name for file in files}:  # of a call that was killed between a file's rename and the end
        if WEIGHTS.fullmatch(name):
            (partial / name).unlink()
    if len(files) > 1:
        write_synced(partial / INDEX, index_of(files))
    if out.is_dir() and overwrite:
        for source in out.iterdir():
            if not WEIGHTS.fullmatch(source.name):
                _keep(source, partial / source.name)
    replace_folder(partial, out, overwrite)
    return True


def _keep(source: Path, target: Path) -> None:
    """The same file, link or folder at `target` too."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir(exist_ok=True)
        for inner in source.iterdir():
            _keep(inner, target / inner.name)
        return
    target.unlink(missing_ok=True)
    if source.is_symlink():
        os.symlink(os.readlink(source), target)
        return
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
