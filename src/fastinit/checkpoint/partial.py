"""OUT.partial and OUT.journal: a file on its way to OUT, whatever kills the process.

The partial file is locked while it is written. The journal says what it is to become and how much of it is on the disk,
and only after that much has been synced. In the end the partial file is renamed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from .journal import Journal
from .modes import carry_mode
from .opening import Directory, InTheWay, LeftOver, NotOurs, naming

#: What systems and file systems say that cannot set bytes aside.
_NO_RESERVE = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}


class Partial:
    """The file that is to become `name` in `directory`, opened and locked.

    Parameters
    ----------
    directory : Directory
        Where it is.
    name : str
        What it will be called.
    identity : str
        What it will hold: a partial file of another identity is refused.
    resume : bool
        Go on with a partial file that is there.
    overwrite : bool
        Start again where there is one, and replace what has the name in the end.
    size : int
        Bytes that it will have.

    Attributes
    ----------
    done : int
        Bytes from its start that hold what they should.

    Raises
    ------
    FileExistsError
        A partial file, and neither `resume` nor `overwrite`; something else at its name or at its journal's.
    ValueError
        A partial file of another identity.
    OSError
        Locked by another process, or whatever the disk says.
    """

    def __init__(
        self, directory: Directory, name: str, identity: str, size: int, *, resume: bool, overwrite: bool
    ) -> None:
        self._directory, self._name = directory, name
        self._partial = name + ".partial"
        self.path = directory.path(self._partial)
        self._size, self._overwrite = size, overwrite
        self.fd = self._opened()
        try:
            lock(self.fd, self.path)
            self._check_same()
            self._journal = Journal(directory, name + ".journal")
        except BaseException:
            os.close(self.fd)
            raise
        try:
            self.done = self._found(identity, resume, overwrite)
            check_space(self.fd, self.path, size - allocated(os.fstat(self.fd), size))
            self._make_private()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> int:
        """The partial file, which is there already or is made now."""
        there, out = self._directory.status(self._partial), self._directory.status(self._name)
        if there is not None and out is not None and os.path.samestat(there, out):  # killed within rename_new
            self._directory.unlink(self._partial)
        fd = self._directory.open_own(self._partial)
        if fd is None:
            Journal(self._directory, self._name + ".journal").check_and_close()
            fd = self._directory.create(self._partial, 0o666 if out is None else 0o600)
        return fd

    def _found(self, identity: str, resume: bool, overwrite: bool) -> int:
        """How much of what is there counts; the journal is about this file from now on."""
        size = os.fstat(self.fd).st_size
        if size and not resume:
            if not self._journal.is_of(self.fd):
                raise NotOurs(self.path, "a file that no journal speaks of")
            if not overwrite:
                raise LeftOver(self.path)
            os.ftruncate(self.fd, 0)
        elif size:
            done = self._journal.done
            if self._journal.identity != identity or (not done and not self._journal.is_of(self.fd)):
                raise foreign(self.path)
            if type(done) is int and 0 <= done <= min(size, self._size):
                return done
        self._journal.begin(identity, self.fd)
        return 0

    def _make_private(self) -> None:
        """What is to replace a file gets that file's mode and owner in the end, and until then is this user's alone.

        So this user can go on with it, even where the file is another user's, or may not be written to.
        """
        if self._overwrite and self._directory.status(self._name) is not None:
            with suppress(OSError):  # only root has given it away
                os.fchown(self.fd, os.geteuid(), -1)
            os.fchmod(self.fd, 0o600)

    def _carry_mode(self) -> None:
        """What is replaced keeps its mode."""
        out = self._directory.status(self._name)
        if self._overwrite and out is not None and stat.S_ISREG(out.st_mode):
            carry_mode(out, self.fd)

    def write(self, data: Any, offset: int) -> None:
        """All of `data` at that position."""
        write_all(self.fd, data, offset, self.path)

    def reserve(self, offset: int, nbytes: int) -> None:
        """Have the disk set those bytes aside."""
        with naming(self.path):
            if hasattr(os, "posix_fallocate"):  # macOS has none
                try:
                    return os.posix_fallocate(self.fd, offset, nbytes)
                except OSError as error:
                    if error.errno not in _NO_RESERVE:
                        raise
            for start in range(0, nbytes, 1 << 20):
                self.write(bytes(min(1 << 20, nbytes - start)), offset + start)

    def record(self, done: int) -> None:
        """Sync, then say so: the first `done` bytes are as they should be."""
        with naming(self.path):
            getattr(os, "fdatasync", os.fsync)(self.fd)  # macOS has the second only
        self._journal.record(done)
        self.done = done

    def commit(self) -> None:
        """Sync everything and give the file its name; nothing that is there by now is replaced without `overwrite`."""
        with naming(self.path):
            os.ftruncate(self.fd, self._size)  # nothing behind the end
            os.fsync(self.fd)
        self._check_same()
        self._carry_mode()  # right before the rename: in between, it cannot be gone on with
        try:
            self._rename()
        except OSError:  # in a folder with the sticky bit, say
            self._make_private()
            raise
        if not self._directory.is_still(self._name, self.fd):
            raise FileNotFoundError(
                errno.ENOENT, "replaced by another file meanwhile", str(self._directory.path(self._name))
            )
        self._directory.sync()
        self._journal.remove()

    def _rename(self) -> None:
        if self._overwrite:
            out = self._directory.status(self._name)
            if out is not None and not stat.S_ISREG(out.st_mode):
                raise InTheWay(self._directory.path(self._name))
            self._directory.rename(self._partial, self._name)
        else:
            self._directory.rename_new(self._partial, self._name)

    def _check_same(self) -> None:
        """FileNotFoundError where someone has removed or renamed the file that is open here."""
        if not self._directory.is_still(self._partial, self.fd):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file meanwhile", str(self.path))

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self.fd)
        self._journal.close()


def write_all(fd: int, data: Any, offset: int, path: Path) -> None:
    """All of `data` at that position of an open file."""
    view = memoryview(data)
    with naming(path):
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written


def lock(fd: int, path: Path) -> None:
    """BlockingIOError where another process writes the same; where nothing can be locked, nothing is."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(path)) from None
    except OSError:  # a file system without locks
        pass


def allocated(status: os.stat_result, size: int) -> int:
    """Bytes of a file of that size that the disk has already."""
    return min(size, status.st_blocks * 512)


def check_space(fd: int, path: Path, needed: int) -> None:
    """OSError before the first byte where the file system says that there is no room for all of them."""
    status = os.statvfs(fd)
    free = (status.f_bfree if os.geteuid() == 0 else status.f_bavail) * status.f_frsize
    if status.f_blocks and needed > free:
        raise OSError(errno.ENOSPC, f"no room on the disk: {needed} bytes are needed, {free} are free", str(path))


def remove_leftovers(directory: Directory, name: str, identity: str) -> None:
    """What a call that was killed after its last rename has left beside a file; not what is to become another one."""
    partial = name + ".partial"
    there, out = directory.status(partial), directory.status(name)
    if there is not None and out is not None and os.path.samestat(there, out):
        directory.unlink(partial)
    journal = Journal(directory, name + ".journal")
    try:
        if journal.identity == identity:
            fd = directory.open_own(partial)
            if fd is not None:
                ours = journal.is_of(fd)
                os.close(fd)
                if ours:
                    directory.unlink(partial)
            journal.remove()
    finally:
        journal.close()


def foreign(path: Path) -> ValueError:
    """What `save` says of a partial file or folder that is to become something else."""
    return ValueError(
        f"{path} is of another manifest, seed, dtype or layout, and is not mixed with this one: "
        "remove it, or overwrite it without resuming (parts cannot)"
    )
