"""Progress of long fills: a bar, or a callable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What `progress=` takes: a bar, or a function of what is done and of the total.
Report = bool | Callable[[int, int], Any] | None


def unheard(share: int) -> None:
    """What is called with each share where nobody wants to know."""


def check_report(report: Any) -> None:
    """TypeError for what is no progress=, ImportError for a bar without tqdm."""
    if report is True:
        _tqdm()
    elif not (report is None or report is False or callable(report)):
        raise TypeError(f"progress must be True or a callable of (done, total), not {report!r}")


@contextmanager
def advancing(report: Report, total: int, name: str, unit: str = "term") -> Iterator[Callable[[int], None]]:
    """A function to call with each share of `total`, in `unit`s, that is done."""
    if report is None or report is False:
        yield unheard
        return
    if report is True:
        with _tqdm()(total=total, desc=name or None, unit=unit, unit_scale=True) as bar:
            yield lambda share: bar.update(share) and None
        return
    done = 0

    def advance(share: int) -> None:
        nonlocal done
        done += share
        report(done, total)

    yield advance


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm, or pass a callable of (done, total)") from None
    return tqdm
