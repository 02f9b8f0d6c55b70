"""A folder on its way to its name: OUT.partial begun and finished, what was at OUT moved aside and removed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .journal import Journal, Replaced
from .modes import carry_mode, carry_modes, umask
from .opening import Directory, InTheWay, LeftOver, NotOurs
from .partial import foreign

#: Bytes of a name that leave room in 255 for what is put around it.
LONGEST_NAME_ASIDE = 200


class NotRemoved(OSError):
    """All is written, but the folder that was replaced is still there, under another name."""


class FolderOnItsWay:
    """OUT.partial and OUT.journal, made or found by `opened`; one writer, or several that share the lock.

    Attributes
    ----------
    partial : Directory
        The folder, which only this user may enter until it has its name.
    journal : Journal
        What it is to become.
    """

    def __init__(self, parent: Directory, name: str, shared: bool, partial: Directory, journal: Journal) -> None:
        self._parent, self._name, self._shared = parent, name, shared
        self.partial, self.journal = partial, journal
        self._not_removed: NotRemoved | None = None

    @classmethod
    @contextmanager
    def opened(cls, parent: Directory, name: str, shared: bool) -> Iterator[FolderOnItsWay]:
        """The folder, made and locked: by this process alone, or with others that write to it too."""
        Journal(parent, name + ".journal").check_and_close()
        partial = None
        while partial is None:
            with suppress(FileExistsError):
                parent.make_folder(name + ".partial")
            partial = parent.open_own_folder(name + ".partial")
            if partial is None:  # another process has finished it since
                continue
            try:
                _lock(partial, shared)
                if not parent.is_still(name + ".partial", partial.fd):
                    partial.close()
                    partial = None
            except BaseException:
                if partial is not None:
                    partial.close()
                raise
        with partial:
            journal = Journal(parent, name + ".journal")
            try:
                yield cls(parent, name, shared, partial, journal)
            finally:
                with suppress(OSError):  # others are in it, or files are
                    if parent.is_still(name + ".partial", partial.fd) and not partial.names() and alone(partial):
                        if not journal.replaced:
                            journal.remove()
                        parent.rmdir(name + ".partial")
                journal.close()

    def begin(self, identity: str, go_on: bool, overwrite: bool, clear: Callable[[Directory], None]) -> int:
        """How many bytes of it are right, by the journal, which is about this folder from now on.

        What is there is gone on with, or removed by `clear` if it may be overwritten.
        """
        journal, partial = self.journal, self.partial
        if not partial.names():
            partial.make_private()
            if journal.identity != identity or not journal.is_of(partial.fd) or journal.done:
                self._settle()
                journal.begin(identity, partial.fd)
            return 0
        if go_on:
            if journal.identity != identity:
                journal.look()  # another part may have begun it since
            if journal.identity != identity:
                raise foreign(partial.path())
            partial.make_private()
            return journal.done if type(journal.done) is int and journal.done >= 0 else 0
        if not journal.is_of(partial.fd):
            raise NotOurs(partial.path(), "a folder that no journal speaks of")
        if not overwrite:
            raise LeftOver(partial.path())
        if not alone(partial):
            raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(partial.path()))
        partial.make_private()
        journal.record(0)  # first: it must not be taken for whole when half of it is gone
        clear(partial)
        self._settle()
        journal.begin(identity, partial.fd)
        if self._shared:
            with suppress(OSError):
                fcntl.flock(partial.fd, fcntl.LOCK_SH)
        return 0

    def _settle(self) -> None:
        """Folders that a killed call had moved aside go back where nothing has taken their place, or are removed."""
        for moved in self.journal.replaced:
            if self._parent.status(self._name) is None and _is_moved(self._parent, self._name, moved):
                self._parent.rename(moved.name, self._name)
        try:
            _remove_moved(self._parent, self._name, self.journal)
        except NotRemoved as error:
            self._not_removed = error  # to be said in the end

    def finish(self, overwrite: bool) -> None:
        """The folder gets its name, and the mode of what had it; what was there goes, if that is wanted."""
        parent, partial, journal = self._parent, self.partial, self.journal
        old = parent.status(self._name)
        if old is not None and not stat.S_ISDIR(old.st_mode):
            raise InTheWay(parent.path(self._name))
        if old is not None and overwrite:
            with parent.folder(self._name) as before:
                carry_modes(before, partial)
        partial.sync()
        self._take_name(old, overwrite)
        if not parent.is_still(self._name, partial.fd):
            raise FileNotFoundError(errno.ENOENT, "replaced by another folder meanwhile", str(partial.path()))
        parent.sync()
        try:
            _remove_moved(parent, self._name, journal)
        finally:
            journal.remove()
        if self._not_removed is not None:
            raise self._not_removed

    def _take_name(self, old: os.stat_result | None, overwrite: bool) -> None:
        """Rename it, and what is there before it; where that cannot be, leave both as they were."""
        parent, partial, aside = self._parent, self.partial, ""
        try:
            if old is not None and overwrite:
                aside = f"{_prefix_aside(self._name)}{secrets.token_hex(8)}"  # a name that nobody can have taken
                self.journal.moves_aside(aside, old.st_ino)
                parent.rename(self._name, aside)
            if old is not None:
                carry_mode(old, partial.fd)
            else:
                os.fchmod(partial.fd, os.fstat(partial.fd).st_mode & stat.S_ISGID | 0o777 & ~umask())
            parent.rename(self._name + ".partial", self._name)
        except OSError as error:
            with suppress(OSError):
                partial.make_private()
            with suppress(OSError):
                if aside and parent.status(self._name) is None:
                    parent.rename(aside, self._name)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise InTheWay(parent.path(self._name)) from None
            raise


def _remove_moved(parent: Directory, name: str, journal: Journal) -> None:
    """Remove what was moved aside for `name`, where that has its own again. NotRemoved for what stays."""
    left: list[OSError] = []
    for moved in journal.replaced:
        if parent.status(name) is None or not _is_moved(parent, name, moved):
            continue
        try:
            shutil.rmtree(moved.name, dir_fd=parent.fd)
        except OSError as error:
            path, why = parent.path(moved.name), error.strerror or error
            text = f"{parent.path(name)} is complete, but the folder that it replaced could not be removed: {why}"
            left.append(NotRemoved(error.errno, text, os.path.abspath(path)))
    if left:
        raise left[0]


def _prefix_aside(name: str) -> str:
    """How the names begin that `name` is moved aside to; never longer than the system allows."""
    return f".{name}.replaced-" if len(os.fsencode(name)) <= LONGEST_NAME_ASIDE else ".replaced-"


def _is_moved(parent: Directory, name: str, moved: Replaced) -> bool:
    """Whether the folder that was moved aside for `name` is still there.

    A journal may have come with files of someone else's, so it is not believed where it speaks of any other folder.
    """
    if not re.fullmatch(re.escape(_prefix_aside(name)) + "[0-9a-f]{16}", moved.name):
        return False
    status = parent.status(moved.name)
    return status is not None and stat.S_ISDIR(status.st_mode) and status.st_ino == moved.inode


def remove_finished(parent: Directory, name: str, identity: str, clear: Callable[[Directory], None]) -> None:
    """What calls that were killed have left beside a folder that is complete; nothing that someone is at."""
    journal = Journal(parent, name + ".journal")
    try:
        if journal.identity != identity:
            return
        partial = parent.open_own_folder(name + ".partial")
        if partial is not None:
            with partial:
                if not journal.is_of(partial.fd) or not alone(partial):
                    return
                clear(partial)
                with suppress(OSError):
                    parent.rmdir(name + ".partial")
        try:
            _remove_moved(parent, name, journal)
        finally:
            journal.remove()
    finally:
        journal.close()


def _lock(partial: Directory, shared: bool) -> None:
    try:
        fcntl.flock(partial.fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(partial.path())) from None
    except OSError:  # a file system without locks
        pass


def alone(partial: Directory, patience: float = 0) -> bool:
    """Whether no other process is at work in the folder; with True none can begin. Gives up the shared lock."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(partial.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError:  # a file system without locks
            return True
        else:
            return True
