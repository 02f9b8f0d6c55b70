"""OUT.partial and OUT.journal: a file on its way to OUT, whatever kills the process.

The partial file is locked while it is written. The journal says what it is to become and how much of it is on the disk:
it is replaced, never changed, and only after that much has been synced. In the end the partial file is renamed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InTheWay(FileExistsError):
    """Something is where the output should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "it is there, and is not overwritten", str(path))


class LeftOver(FileExistsError):
    """A partial file or folder that `save` was not told to resume."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "left by an interrupted write: resume it, or overwrite it", str(path))


class Partial:
    """The file that is to become `out`, opened and locked.

    Parameters
    ----------
    out : Path
        What it will be called.
    identity : str
        What it will hold: a partial file of another identity is refused.
    resume : bool
        Go on with a partial file that is there.
    overwrite : bool
        Start again where there is one, and replace `out` in the end.
    size : int
        Bytes that it will have.

    Attributes
    ----------
    done : int
        Bytes from its start that hold what they should.

    Raises
    ------
    FileExistsError
        A partial file, and neither `resume` nor `overwrite`.
    ValueError
        A partial file of another identity.
    OSError
        Locked by another process, or whatever the disk says.
    """

    def __init__(self, out: Path, identity: str, size: int, *, resume: bool, overwrite: bool) -> None:
        self.out = out
        self.path, self.journal = beside(out, ".partial"), beside(out, ".journal")
        self._identity, self._size = identity, size
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(self.path))
        if self.path.exists() and out.exists() and self.path.samefile(out):  # killed within rename_new
            self.path.unlink()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            lock(self.fd, self.path)
            self._check_same()
            self.done = self._found(resume, overwrite)
            check_space(self.path, size - allocated(os.fstat(self.fd), size))
            self._write_journal(self.done)
        except BaseException:
            self.close()
            raise

    def _found(self, resume: bool, overwrite: bool) -> int:
        """How much of what is there counts."""
        size = os.fstat(self.fd).st_size
        if size == 0:
            return 0
        if not resume:
            if not overwrite:
                raise LeftOver(self.path)
            os.ftruncate(self.fd, 0)
            return 0
        journal = read_journal(self.journal)
        if journal is None or journal.get("identity") != self._identity:
            raise foreign(self.path)
        done = journal.get("done")
        return done if type(done) is int and 0 <= done <= min(size, self._size) else 0

    def write(self, data: Any, offset: int) -> None:
        """All of `data` at that position."""
        view = memoryview(data)
        with naming(self.path):
            while view:
                written = os.pwrite(self.fd, view, offset)
                view, offset = view[written:], offset + written

    def reserve(self, offset: int, nbytes: int) -> None:
        """Have the disk set those bytes aside."""
        if hasattr(os, "posix_fallocate"):
            with naming(self.path):
                os.posix_fallocate(self.fd, offset, nbytes)
        else:  # macOS
            for start in range(0, nbytes, 1 << 20):
                self.write(bytes(min(1 << 20, nbytes - start)), offset + start)

    def record(self, done: int) -> None:
        """Sync, then say so: the first `done` bytes are as they should be."""
        with naming(self.path):
            getattr(os, "fdatasync", os.fsync)(self.fd)  # macOS has the second only
        self._write_journal(done)
        self.done = done

    def _write_journal(self, done: int) -> None:
        write_journal(self.journal, self._identity, done)

    def commit(self, overwrite: bool) -> None:
        """Sync everything and give the file its name; nothing that is there by now is replaced without `overwrite`."""
        with naming(self.path):
            os.ftruncate(self.fd, self._size)  # nothing behind the end
            os.fsync(self.fd)
        self._check_same()
        if overwrite:
            os.replace(self.path, self.out)
        else:
            rename_new(self.path, self.out)
        sync_folder(self.out.parent)
        self.journal.unlink(missing_ok=True)

    def _check_same(self) -> None:
        """FileNotFoundError where someone has removed or renamed the file that is open here."""
        mine = os.fstat(self.fd)
        there = os.stat(self.path)
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file meanwhile", str(self.path))

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self.fd)


def lock(fd: int, path: Path) -> None:
    """BlockingIOError where another process writes the same; where nothing can be locked, nothing is."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(path)) from None
    except OSError:  # a file system without locks
        pass


def read_journal(path: Path) -> dict[str, Any] | None:
    """What the journal says; None without one that can be read."""
    try:
        journal = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return journal if isinstance(journal, dict) else None


def write_journal(path: Path, identity: str, done: int) -> None:
    """Say what a partial file is to become and how much of it is there."""
    journal = {"identity": identity, "done": done}
    if read_journal(path) != journal:  # which may be there already, on a full disk
        write_synced(path, json.dumps(journal).encode() + b"\n")


def beside(out: Path, ending: str) -> Path:
    """The partial file or the journal of `out`."""
    return out.with_name(out.name + ending)


def allocated(status: os.stat_result, size: int) -> int:
    """Bytes of a file of that size that the disk has already."""
    return min(size, status.st_blocks * 512)


def check_space(path: Path, needed: int) -> None:
    """OSError before the first byte where the file system says that there is no room for all of them."""
    status = os.statvfs(path)
    free = (status.f_bfree if os.geteuid() == 0 else status.f_bavail) * status.f_frsize
    if status.f_blocks and needed > free:
        raise OSError(errno.ENOSPC, f"no room on the disk: {needed} bytes are needed, {free} are free", str(path))


def write_synced(path: Path, data: bytes) -> None:
    """A small file, whole or as it was before."""
    new = path.with_name(path.name + ".new")
    with naming(path):
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)


def rename_new(path: Path, out: Path) -> None:
    """Rename, but not onto something."""
    try:
        os.link(path, out)  # unlike a rename it fails where `out` has come to be
    except FileExistsError:
        raise InTheWay(out) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(out):
            raise InTheWay(out) from None
        os.rename(path, out)
    else:
        path.unlink(missing_ok=True)


def replace_folder(partial: Path, out: Path, overwrite: bool) -> None:
    """`partial` becomes `out`; what was there goes, if that is wanted."""
    sync_folder(partial)
    old = _replaced(out)
    if overwrite and out.exists():
        if old.exists():  # killed while removing it
            shutil.rmtree(old)
        os.rename(out, old)
    try:
        os.rename(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InTheWay(out) from None
        raise
    sync_folder(out.parent)
    if old.exists():
        shutil.rmtree(old)


def _replaced(out: Path) -> Path:
    """Where the folder that was at `out` is until it is removed."""
    return out.with_name(f".{out.name}.replaced")


def remove_replaced(out: Path) -> None:
    """The folder that was at `out`, where a call was killed while it removed it."""
    shutil.rmtree(_replaced(out), ignore_errors=True)


def remove_leftovers(out: Path, identity: str) -> None:
    """What a call that was killed after its last rename has left beside `out`; not what is to become another file."""
    partial, journal = beside(out, ".partial"), beside(out, ".journal")
    if partial.exists() and partial.samefile(out):
        partial.unlink()
    if (read_journal(journal) or {}).get("identity") == identity:
        journal.unlink()
        if partial.is_file():
            partial.unlink()
    remove_replaced(out)


def sync_folder(folder: Path) -> None:
    """Names in a folder reach the disk, where that can be asked for."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def foreign(path: Path) -> ValueError:
    """What `save` says of a partial file or folder that is to become something else."""
    return ValueError(
        f"{path} is of another manifest, seed, dtype or layout, and is not mixed with this one: "
        "remove it, or overwrite it without resuming (parts cannot)"
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system say which file they are about."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None
