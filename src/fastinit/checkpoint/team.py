"""Some threads that take turns at jobs: as many as were asked for, or as the system lets there be."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Team:
    """Threads that do jobs in the order in which they come.

    Unlike `concurrent.futures.ThreadPoolExecutor` it makes its threads at once and is content with those that can be
    made: under a limit of processes the caller does the jobs itself, as in a fill.

    Parameters
    ----------
    threads : int
        At most this many. With one, the caller does the jobs.
    """

    def __init__(self, threads: int, *, background: bool = False) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(threads if threads > 1 or background else 0):
            thread = threading.Thread(target=self._work, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads
                break
            self._threads.append(thread)

    def submit(self, job: Callable[[], R]) -> Future[R]:
        """Have it done; by the caller, now, if there is no thread."""
        future: Future[R] = Future()
        if self._threads:
            self._jobs.put((future, job))
        else:
            _do(future, job)
        return future

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The function of every item, in their order."""
        if not self._threads:
            yield from map(function, items)
            return
        futures = [self.submit(functools.partial(function, item)) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _work(self) -> None:
        while (taken := self._jobs.get()) is not None:
            _do(*taken)
            del taken  # what it holds may be large

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *details: object) -> None:
        """Waits for the jobs that have begun."""
        for _ in range(len(self._threads)):
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
