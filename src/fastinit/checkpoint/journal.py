"""OUT.journal: what a partial file or folder is to become, and how much of it is on the disk.

Lines of JSON, of which the last whole one counts, so that a line half written says nothing. Each is synced before the
next step is taken.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from .opening import Directory, NotOurs, naming

_START = '{"fastinit": "journal", '
#: Longer files are no journals: an entry is written for some MiB of output at least.
_LONGEST = 1 << 24


class Replaced(NamedTuple):
    """A folder that has been moved aside: its name beside the output, and its number on the disk."""

    name: str
    inode: int


class Journal:
    """The journal of that name in a folder, found or yet to be made.

    Parameters
    ----------
    directory : Directory
        Where it is.
    name : str
        Its name there.

    Attributes
    ----------
    identity : str or None
        What the partial file or folder is to become; None without a journal.
    inode : int or None
        The number on the disk of what `begin` was called for.
    done : object
        How much of it was right when that was last said.
    replaced : list of Replaced
        Folders moved aside for it, which are to be removed.

    Raises
    ------
    NotOurs
        Something else has that name. A file that is no journal is found when `begin` is called.
    """

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory, self._name = directory, name
        self._fd: int | None = None
        self.look()

    def look(self) -> None:
        """Read it, as it is now."""
        self.close()
        self.identity: str | None = None
        self.inode: int | None = None
        self.done: Any = 0
        self.replaced: list[Replaced] = []
        self._end = 0
        self._foreign = False
        self._fd = self._directory.open_own(self._name)
        if self._fd is not None:
            try:
                self._read(self._fd)
            except BaseException:
                self.close()
                raise

    def _read(self, fd: int) -> None:
        with naming(self._directory.path(self._name)):
            text = os.pread(fd, _LONGEST + 1, 0) if os.fstat(fd).st_size <= _LONGEST else b"?"
        whole, newline, _ = text.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        head = _parsed(lines[0]) if lines and lines[0].startswith(_START.encode()) else {}
        if not isinstance(head.get("identity"), str):
            start = _START.encode()
            self._foreign = bool(lines) or not (text.startswith(start) or start.startswith(text))
            return
        self.identity, self.inode = head["identity"], head.get("inode")
        self._end = len(lines[0]) + 1
        for line in lines[1:]:
            entry = _parsed(line)
            if not entry:
                break
            self._end += len(line) + 1
            self.done = entry.get("done", self.done)
            if "replaced" in entry:
                self.replaced.append(Replaced(str(entry["replaced"]), entry.get("inode", -1)))

    def is_of(self, fd: int) -> bool:
        """Whether it was begun for the file or folder that is open."""
        return self.identity is not None and self.inode == os.fstat(fd).st_ino

    def check(self) -> None:
        """NotOurs where the file of its name is no journal."""
        if self._foreign:
            raise NotOurs(self._directory.path(self._name), "a file that is no journal")

    def check_and_close(self) -> None:
        """The same of one that is not needed yet."""
        try:
            self.check()
        finally:
            self.close()

    def begin(self, identity: str, fd: int) -> None:
        """It is about that now, and of the file or folder that is open; nothing of it is done."""
        self.check()
        if self._fd is None:
            try:
                self._fd = self._directory.create(self._name)
            except FileExistsError:  # by another part of the same folder, which writes the same
                self._fd = self._directory.open_own(self._name)
                if self._fd is None:
                    raise
        inode = os.fstat(fd).st_ino
        line = f'{_START}"identity": {json.dumps(identity)}, "inode": {inode}}}\n'.encode()
        with naming(self._directory.path(self._name)):
            if not line.startswith(os.pread(self._fd, len(line) + 1, 0)):  # else another part is writing the same
                os.ftruncate(self._fd, 0)
        self.identity, self.inode, self.done, self.replaced, self._end = identity, inode, 0, [], 0
        self._append(line)
        self._directory.sync()

    def record(self, done: int) -> None:
        """That many bytes are right."""
        self._append(json.dumps({"done": done}).encode() + b"\n")
        self.done = done

    def moves_aside(self, name: str, inode: int) -> None:
        """A folder is about to have that name, and is then to be removed."""
        self._append(json.dumps({"replaced": name, "inode": inode}).encode() + b"\n")
        self.replaced.append(Replaced(name, inode))

    def _append(self, line: bytes) -> None:
        assert self._fd is not None
        with naming(self._directory.path(self._name)):
            if self._end:
                os.ftruncate(self._fd, self._end)  # a line half written
            os.lseek(self._fd, self._end, os.SEEK_SET)
            rest = line
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            os.fsync(self._fd)
        self._end += len(line)

    def remove(self) -> None:
        """What it was for is done. Nothing happens where it is no journal, or not the one that was opened."""
        if self._fd is not None and not self._foreign and self._directory.is_still(self._name, self._fd):
            self._directory.unlink(self._name)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _parsed(line: bytes) -> dict[str, Any]:
    """A line; nothing for one that is damaged."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}
