"""Who may read what is replaced, may read what replaces it, and no one else."""

from __future__ import annotations

import os
import stat

from .opening import Directory


def carry_mode(old: os.stat_result, fd: int) -> None:
    """The file or folder that is open gets the mode of the one it replaces, and its owner and group as far as may be.

    Where the group cannot be the same, the group gets no rights: they were another group's.
    """
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        for owner in (old.st_uid, -1):  # root may give it to its owner, others to a group of theirs
            try:
                os.fchown(fd, owner, old.st_gid)
                break
            except OSError:
                continue
        new = os.fstat(fd)
    if new.st_gid != old.st_gid:
        mode &= ~0o2070
    if not stat.S_ISDIR(new.st_mode):
        mode &= 0o777  # set-user-ID is for programs
    if stat.S_IMODE(new.st_mode) != mode:
        os.fchmod(fd, mode)


def carry_modes(old: Directory, new: Directory) -> None:
    """Every file and folder in `new` that is also in `old`, each in turn, gets the mode it has there."""
    for name in new.names():
        there, here = old.status(name), new.status(name)
        if there is None or here is None or stat.S_IFMT(there.st_mode) != stat.S_IFMT(here.st_mode):
            continue
        if os.path.samestat(there, here):  # a link to the same file
            continue
        if stat.S_ISDIR(here.st_mode):
            with old.folder(name) as before, new.folder(name) as after:
                carry_modes(before, after)
                carry_mode(os.fstat(before.fd), after.fd)
        elif stat.S_ISREG(here.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=new.fd)
            try:
                carry_mode(there, fd)
            finally:
                os.close(fd)


def umask() -> int:
    """The bits that new files of this process do not get. A file made meanwhile, by another thread, is private."""
    now = os.umask(0o077)
    os.umask(now)
    return now
