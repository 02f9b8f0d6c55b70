"""Files and folders opened where others may have put something else: no links followed, no waiting, owners checked.

What is written goes through `Directory`: an open folder, in which everything is reached by its name alone. Whatever
happens to the folder's own path meanwhile, nothing outside it can be meant.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

#: Links that lead to links, as many as the system follows.
MOST_LINKS = 40


class InTheWay(FileExistsError):
    """Something is where the output should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "it is there, and is not overwritten", str(path))


class LeftOver(FileExistsError):
    """A partial file or folder that `save` was not told to resume."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "left by an interrupted write: resume it, or overwrite it", str(path))


class NotOurs(FileExistsError):
    """Something that `save` has not made has the name of one of its own files, and stays as it is."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            errno.EEXIST, f"{what} is in the way, and is not touched: remove it, or write elsewhere", str(path)
        )


class Directory:
    """An open folder.

    Parameters
    ----------
    fd : int
        Its descriptor, which `close` closes.
    path : Path
        What it is called in messages.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self._path = path
        self._owner: int | None = None

    @classmethod
    def open(cls, path: Path) -> Directory:
        """The folder at `path`, which the user has named: links are followed."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return cls(os.open(path, flags), path)
        except PermissionError:  # it may be used, but not listed
            if not hasattr(os, "O_PATH"):
                raise
            return cls(os.open(path, flags | os.O_PATH), path)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, name: str = "") -> Path:
        """The path of a name in it, for messages and for reading."""
        return self._path / name if name else self._path

    def names(self) -> list[str]:
        """Everything in it."""
        with naming(self._path):
            return os.listdir(self.fd)

    def status(self, name: str) -> os.stat_result | None:
        """Of that name itself, links not followed; None where there is nothing."""
        try:
            with naming(self.path(name)):
                return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: str, mode: int = 0o666) -> int:
        """A new file, open for reading and writing; FileExistsError where there is anything of that name."""
        with naming(self.path(name)):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, mode, dir_fd=self.fd)

    def open_own(self, name: str, links: int = 1) -> int | None:
        """A file of this user with that many names, open for reading and writing; None where there is nothing.

        NotOurs for anything else: a link, a pipe, a device, a file of another user or with another name besides.
        """
        before = self.status(name)
        if before is None:
            return None
        self._check_own(name, before, links)  # before it is opened: to open a device can do things
        try:
            with naming(self.path(name)):
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(name, flags, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        try:
            self._check_own(name, os.fstat(fd), links)  # it may be another one by now
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check_own(self, name: str, status: os.stat_result, links: int) -> None:
        path = self.path(name)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise NotOurs(path, kind_of(status))
        if not self.is_own(status):
            raise NotOurs(path, f"a file of user {status.st_uid}")
        if status.st_nlink > links:
            raise NotOurs(path, "a file that has another name too")

    def is_own(self, status: os.stat_result) -> bool:
        """Whether something in it belongs to whom files belong that this process makes there.

        That is this user, but where the file system has owners of its own: over a network, in a container, on a stick.
        """
        return status.st_uid == os.geteuid() or status.st_uid == self._owner_of_new_files()

    def _owner_of_new_files(self) -> int | None:
        """By making a file; None where that cannot be done."""
        if self._owner is None:
            name = f".{secrets.token_hex(16)}.new"
            with suppress(OSError):
                fd = self.create(name, 0o600)
                try:
                    self._owner = os.fstat(fd).st_uid
                finally:
                    os.close(fd)
                    self.unlink(name)
        return self._owner

    def make_folder(self, name: str) -> None:
        """A new folder, for this user alone."""
        with naming(self.path(name)):
            os.mkdir(name, 0o700, dir_fd=self.fd)

    def open_own_folder(self, name: str) -> Directory | None:
        """A folder of this user; None where there is nothing."""
        path = self.path(name)
        before = self.status(name)
        if before is None:
            return None
        if not stat.S_ISDIR(before.st_mode):
            raise NotOurs(path, kind_of(before))
        try:
            fd = self._open_folder(name)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            if not self.is_own(status):
                raise NotOurs(path, f"a folder of user {status.st_uid}")
        except BaseException:
            os.close(fd)
            raise
        return Directory(fd, path)

    def make_private(self) -> None:
        """Only this user may enter it, from now on."""
        mode = os.fstat(self.fd).st_mode
        if mode & 0o777 != 0o700:
            os.fchmod(self.fd, mode & stat.S_ISGID | 0o700)

    def folder(self, name: str) -> Directory:
        """A folder in it, whoever it belongs to; links are not followed."""
        return Directory(self._open_folder(name), self.path(name))

    def _open_folder(self, name: str) -> int:
        with naming(self.path(name)):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, dir_fd=self.fd)

    def is_still(self, name: str, fd: int) -> bool:
        """Whether what is open has that name here."""
        there = self.status(name)
        return there is not None and os.path.samestat(there, os.fstat(fd))

    def rename(self, name: str, new: str) -> None:
        """Another name, in place of what had it."""
        with naming(self.path(new)):
            os.replace(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def rename_new(self, name: str, new: str) -> None:
        """Another name for a file, but not onto something: InTheWay."""
        try:
            # unlike a rename it fails where `new` has come to be
            os.link(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except FileExistsError:
            raise InTheWay(self.path(new)) from None
        except OSError:  # a file system without hard links
            if self.status(new) is not None:
                raise InTheWay(self.path(new)) from None
            self.rename(name, new)
        else:
            with suppress(FileNotFoundError):
                self.unlink(name)

    def unlink(self, name: str) -> None:
        with naming(self.path(name)):
            os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        with naming(self.path(name)):
            os.rmdir(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Names in it reach the disk, where that can be asked for."""
        with suppress(OSError):
            os.fsync(self.fd)


def kind_of(status: os.stat_result) -> str:
    """What something is, in words."""
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kinds |= {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def named(path: str | os.PathLike[str]) -> Path:
    """The file or folder to write at that path, or what a link there leads to. ValueError where the path names none."""
    out = Path(path)
    if out.name not in ("", ".."):
        out = resolved(out)
    if out.name in ("", ".."):
        raise ValueError(f"'{path}' names no file")
    return out


def resolved(path: Path) -> Path:
    """What a link at `path` leads to.

    PermissionError for a link that neither this user nor root has made.
    """
    for _ in range(MOST_LINKS):
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return path
        if not stat.S_ISLNK(status.st_mode):
            return path
        with Directory.open(path.parent) as parent:
            if status.st_uid != 0 and not parent.is_own(status):
                raise PermissionError(errno.EACCES, f"a link of user {status.st_uid}, and is not followed", str(path))
        path = path.parent / os.readlink(path)
        if path.name in ("", "..", "."):
            path = Path(os.path.realpath(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file to read. OSError for what is none: a pipe would be waited for, a device has no end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"{kind_of(status)}, and no file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_whole(file: BinaryIO, longest: int) -> bytes:
    """All of an open file of at most `longest` bytes; ValueError for more, before there is memory for it."""
    blocks, held = [], 0
    while block := file.read(1 << 20):
        blocks.append(block)
        held += len(block)
        if held > longest:
            raise ValueError(f"longer than {longest:,} bytes")
    return b"".join(blocks)


def read_file_or_pipe(path: Path, longest: int) -> bytes:
    """All of a file, or of a pipe that someone writes to, of at most `longest` bytes; ValueError for more."""
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        with open_regular(path) as file:
            return read_whole(file, longest)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        os.set_blocking(file.fileno(), True)  # without a writer it is at its end: to open it would have waited
        text = read_whole(file, longest)
    if not text:
        raise OSError(errno.EINVAL, "a pipe that nobody writes to", str(path))
    return text


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system say which file they are about."""
    try:
        yield
    except OSError as error:
        bare = error.filename is None or isinstance(error.filename, int) or os.sep not in os.fsdecode(error.filename)
        if error.errno is None or isinstance(error, (InTheWay, LeftOver, NotOurs)) or not bare:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None
