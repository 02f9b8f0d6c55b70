"""One file of tensors: pieces made by several threads, each written as soon as it is made, and journalled."""

from __future__ import annotations

import errno
import mmap
import os
import queue
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..pieces import Piece, batches
from ..progress import Report, advancing
from ..questions import made_together, pieces_of
from ..recipe import Part
from .comparing import holds
from .layout import File
from .opening import Directory, InTheWay, NotOurs, kind_of, naming, open_regular
from .partial import Partial, lock, remove_leftovers, write_all
from .team import Team

#: Bytes that one thread makes and writes at once: they stay in its cache on the way.
PIECE = 1 << 20
#: Bytes between two entries of the journal, and pieces at most: each costs some memory while it waits.
STRETCH = 1 << 28
MOST_PIECES = 4096
#: More threads would only wait for the file.
MOST_WRITERS = 32
#: Threads that wait for small files to reach the disk.
SYNCING = 8

Advance = Callable[[int], None]


class Options(NamedTuple):
    """What `save` was told besides what to write, checked."""

    threads: int
    progress: Report
    resume: bool
    overwrite: bool


def save(out: Path, file: File, options: Options) -> None:
    """Write one file, unless something is in its way."""
    with open_parent(out) as directory:
        there = directory.status(out.name)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a folder is where the file should be", str(out))
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise NotOurs(out, kind_of(there))
        recipes = {tensor.name: tensor.recipe for tensor in file.tensors}
        complete = options.resume and there is not None and has_head(out, file)
        if complete and holds(out, recipes, options.threads, options.progress):
            remove_leftovers(directory, out.name, file.identity)  # the last call was killed after its rename
            return
        if there is not None and not options.overwrite:
            raise InTheWay(out)
        with advancing(options.progress, file.size, out.name, "B") as advance:
            write(directory, file, options, advance)


def open_parent(out: Path) -> Directory:
    """The folder in which the output is to be."""
    try:
        return Directory.open(out.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(out)) from None


def has_head(path: Path, file: File) -> bool:
    """Whether the file at `path` has the size and the header, recipes included, of `file`."""
    with open_regular(path) as there:
        return os.fstat(there.fileno()).st_size == file.size and there.read(len(file.head)) == file.head


def write(directory: Directory, file: File, options: Options, advance: Advance) -> None:
    """The file in its folder, by way of its partial file."""
    partial = Partial(
        directory, file.name, file.identity, file.size, resume=options.resume, overwrite=options.overwrite
    )
    threads = min(options.threads, MOST_WRITERS)
    try:
        if partial.done < len(file.head):
            partial.write(file.head, 0)
        start = max(partial.done, len(file.head))
        advance(start)
        with _Recorder(partial) as recorder, Team(threads) as team:
            write_piece = _PieceWriter(partial, threads)
            for stretch in _stretches(file, start):
                if stretch.together:
                    _write_together(partial, stretch.jobs[0], options.threads, advance)
                else:
                    for nbytes in team.map(write_piece, stretch.jobs):
                        advance(nbytes)
                recorder.record(stretch.stop)
        partial.commit()
    finally:
        partial.close()


def write_small(directory: Directory, files: Sequence[File], threads: int, advance: Advance) -> None:
    """Files of at most a piece in a folder of ours, each made at once: nothing of one is worth a journal."""

    def write_one(file: File) -> int:
        fd = _opened_afresh(directory, file.name + ".partial")
        try:
            write_all(fd, _made(file), 0, directory.path(file.name))
            with naming(directory.path(file.name)):
                os.fsync(fd)
            directory.rename(file.name + ".partial", file.name)
        finally:
            os.close(fd)
        return file.size

    with Team(max(threads, SYNCING)) as team:  # most of the time they wait for the disk
        for batch in batches(files, MOST_PIECES):
            for nbytes in team.map(write_one, batch):
                advance(nbytes)


def _opened_afresh(directory: Directory, name: str) -> int:
    """A new file, locked, in the place of one that was begun and left."""
    begun = directory.open_own(name)
    if begun is not None:
        try:
            lock(begun, directory.path(name))
            directory.unlink(name)
        finally:
            os.close(begun)
    fd = directory.create(name)
    lock(fd, directory.path(name))
    return fd


def _made(file: File) -> bytearray:
    """All of a small file."""
    data = bytearray(file.size)
    data[: len(file.head)] = file.head
    for _, recipe, offset in file.tensors:
        if recipe.size:
            made = np.frombuffer(data, np.uint8, recipe.nbytes, offset)
            recipe.fill(made.view(recipe.dtype).reshape(recipe.shape), threads=1)
            _to_little_endian(made, recipe.dtype.itemsize)
    return data


class _Job(NamedTuple):
    """A piece of a tensor and where it goes."""

    recipe: Part
    piece: Piece
    offset: int
    nbytes: int


class _Stretch(NamedTuple):
    """Jobs between two entries of the journal, up to byte `stop`; or one whose elements are made together."""

    jobs: list[_Job]
    stop: int
    together: bool = False


def _stretches(file: File, done: int) -> Iterator[_Stretch]:
    """Everything of the file from byte `done` on, in the order of its bytes."""
    jobs: list[_Job] = []
    held = stop = 0
    for job in _jobs(file):
        together = made_together(job.recipe)
        if job.offset + job.nbytes <= done:
            continue
        if jobs and (together or held >= STRETCH or len(jobs) >= MOST_PIECES):
            yield _Stretch(jobs, stop)
            jobs, held = [], 0
        stop = job.offset + job.nbytes
        if together:
            yield _Stretch([job], stop, together)
        else:
            jobs.append(job)
            held += job.nbytes
    if jobs:
        yield _Stretch(jobs, stop)


def _jobs(file: File) -> Iterator[_Job]:
    for tensor in file.tensors:
        recipe, itemsize = tensor.recipe, tensor.recipe.dtype.itemsize
        for piece in pieces_of(recipe, PIECE // itemsize):
            yield _Job(recipe, piece, tensor.offset + piece.first * itemsize, piece.size * itemsize)


class _PieceWriter:
    """Makes a piece on one thread and writes it; in as many buffers as there are threads."""

    def __init__(self, partial: Partial, threads: int) -> None:
        self._partial = partial
        self._buffers: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        for _ in range(threads):
            self._buffers.put(np.empty(PIECE, np.uint8))

    def __call__(self, job: _Job) -> int:
        buffer = self._buffers.get()
        try:
            made = buffer[: job.nbytes]
            part = job.recipe.part(job.piece.at)
            part.fill(made.view(part.dtype).reshape(part.shape), threads=1)
            _to_little_endian(made, part.dtype.itemsize)
            self._partial.write(made, job.offset)
        finally:
            self._buffers.put(buffer)
        return job.nbytes


def _write_together(partial: Partial, job: _Job, threads: int, advance: Advance) -> None:
    """What is made together, in the mapped file itself."""
    told = 0

    def report(done: int, total: int) -> None:
        nonlocal told
        now = job.nbytes * done // total
        advance(now - told)
        told = now

    partial.reserve(job.offset, job.nbytes)  # a full disk is an error here, and a signal in the fill
    mapped = mmap.mmap(partial.fd, job.offset + job.nbytes)  # not closed after an error: it would hide the error
    made = np.frombuffer(mapped, np.uint8, job.nbytes, job.offset)
    part = job.recipe.part(job.piece.at)
    part.fill(made.view(part.dtype).reshape(part.shape), threads=threads, progress=report)
    _to_little_endian(made, part.dtype.itemsize)
    del made
    mapped.close()
    advance(job.nbytes - told)


def _to_little_endian(made: np.ndarray, itemsize: int) -> None:
    """Turn the bytes round where the machine has them the other way: every format here is little-endian."""
    if sys.byteorder == "big":
        made.view(f"u{itemsize}").byteswap(inplace=True)


class _Recorder:
    """Syncs and keeps the journal while the next stretch is being made."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._team = Team(1, background=True)
        self._pending: Future[None] | None = None

    def record(self, done: int) -> None:
        """Have it recorded that the file is right up to `done`; waits for the entry before."""
        self._wait()
        self._pending = self._team.submit(lambda: self._partial.record(done))

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._team.__exit__()
        if kind is None:
            self._wait()
