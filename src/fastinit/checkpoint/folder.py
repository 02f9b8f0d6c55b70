"""A model's folder in Hugging Face's layout: written in OUT.partial, by one process or several, then renamed.

A file that has its own name in OUT.partial is complete. Writers hold a shared lock on that folder; whoever finds all
files there, and can lock it alone, adds the index and renames.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from ..progress import advancing
from . import writing
from .comparing import holds
from .layout import INDEX, WEIGHTS, File, index_of
from .opening import Directory, InTheWay, naming
from .partial import allocated, check_space, foreign, write_all
from .replacing import FolderOnItsWay, alone, remove_finished
from .writing import Options


def save(out: Path, files: list[File], share: int, shares: int, options: Options) -> bool:
    """Write every `shares`-th of the files from number `share` on, and finish the folder if it has them all.

    Whether the folder is complete.
    """
    mine = files[share::shares]
    if not mine:
        return False
    joined = "".join(file.identity for file in files).encode()
    identity = hashlib.blake2b(joined, digest_size=16, person=b"fastinit-folder").hexdigest()
    with writing.open_parent(out) as parent:
        there = parent.status(out.name)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "a file is where the folder should be", str(out))
        if _is_done(parent, out, files, identity, options):
            return True
        with FolderOnItsWay.opened(parent, out.name, shared=True) as coming:
            if _is_done(parent, out, files, identity, options):  # finished by another process meanwhile
                return True
            coming.begin(identity, options.resume or shares > 1, options.overwrite, _remove_weights)
            _write_files(coming.partial, mine, options, out.name)
            return _finish(coming, parent, out, files, shares, options.overwrite)


def _is_done(parent: Directory, out: Path, files: list[File], identity: str, options: Options) -> bool:
    """Whether there is nothing left to do; InTheWay where something else is in the folder."""
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if options.resume and all((out / file.name).exists() and writing.has_head(out / file.name, file) for file in files):
        recipes = {tensor.name: tensor.recipe for file in files for tensor in file.tensors}
        if holds(out, recipes, options.threads, options.progress):
            remove_finished(parent, out.name, identity, _remove_weights)
            return True
    if not options.overwrite:
        raise InTheWay(out)
    return False


def _remove_weights(partial: Directory) -> None:
    """What has been written into the folder, and is to be written again; not what the user may have put there."""
    for name in partial.names():
        status = partial.status(name)
        if WEIGHTS.fullmatch(name) and status is not None and stat.S_ISREG(status.st_mode):
            partial.unlink(name)


def _write_files(partial: Directory, files: list[File], options: Options, name: str) -> None:
    """Those that are not there yet."""
    there = set(partial.names())
    to_come = [file for file in files if file.name not in there]
    begun = {file.name: partial.status(file.name + ".partial") for file in to_come if file.name + ".partial" in there}
    held = sum(allocated(status, file.size) for file in to_come if (status := begun.get(file.name)) is not None)
    check_space(partial.fd, partial.path(), sum(file.size for file in to_come) - held)
    with advancing(options.progress, sum(file.size for file in files), name, "B") as advance:
        for file in files:
            if file.name in there:
                _check_head(partial, file)
                advance(file.size)
        small = [file for file in to_come if file.size <= writing.PIECE]
        writing.write_small(partial, small, options.threads, advance)
        for file in to_come:
            if file.size > writing.PIECE:
                writing.write(partial, file, options, advance)


def _check_head(partial: Directory, file: File) -> None:
    if not writing.has_head(partial.path(file.name), file):
        raise foreign(partial.path(file.name))


def _finish(
    coming: FolderOnItsWay, parent: Directory, out: Path, files: list[File], shares: int, overwrite: bool
) -> bool:
    """Make the folder `out`, unless other processes are still to bring files, or have done the same. Whether it is."""
    partial = coming.partial
    names = set(partial.names())
    missing = [file.name for file in files if file.name not in names]
    if missing and shares == 1:
        raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(partial.path(missing[0])))
    if missing:
        return False
    if not alone(partial, patience=2):
        raise BlockingIOError(errno.EWOULDBLOCK, "complete, but another process is in it: resume", str(partial.path()))
    if parent.is_still(out.name, partial.fd):  # another process was faster
        return True
    if not parent.is_still(partial.path().name, partial.fd):
        raise FileNotFoundError(errno.ENOENT, "replaced by another folder meanwhile", str(partial.path()))
    for file in files:  # other processes' too
        _check_head(partial, file)
    for name in set(partial.names()) - {file.name for file in files}:  # of calls that were killed
        if WEIGHTS.fullmatch(name):
            partial.unlink(name)
    if len(files) > 1:
        _write_index(partial, files)
    if overwrite and out.is_dir():
        with parent.folder(out.name) as old:
            for name in old.names():
                if not WEIGHTS.fullmatch(name):
                    _keep(old, partial, name)
    coming.finish(overwrite)
    return True


def _write_index(partial: Directory, files: list[File]) -> None:
    fd = partial.create(INDEX)
    try:
        with naming(partial.path(INDEX)):
            write_all(fd, index_of(files), 0, partial.path(INDEX))
            os.fsync(fd)
    finally:
        os.close(fd)


def _keep(old: Directory, new: Directory, name: str) -> None:
    """The same file, link or folder in the new folder too."""
    status, there = old.status(name), new.status(name)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        if there is None:
            new.make_folder(name)  # it gets its mode in the end
        with old.folder(name) as source, new.folder(name) as target:
            for inner in source.names():
                _keep(source, target, inner)
        return
    if there is not None:
        new.unlink(name)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=old.fd), name, dir_fd=new.fd)
        return
    try:
        with naming(old.path(name)):
            os.link(name, name, src_dir_fd=old.fd, dst_dir_fd=new.fd, follow_symlinks=False)
    except OSError:  # a file system without hard links, or another user's file
        if not stat.S_ISREG(status.st_mode):
            raise
        _copy(old, new, name, status)


def _copy(old: Directory, new: Directory, name: str, status: os.stat_result) -> None:
    with naming(old.path(name)):
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=old.fd)
    with os.fdopen(source, "rb") as before, os.fdopen(new.create(name, 0o600), "wb") as after:
        shutil.copyfileobj(before, after)
        after.flush()
        with suppress(OSError):
            os.utime(after.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
