"""What the command line shows: tables, histograms, JSON, bars; for people, or for a pipe."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click
from rich.bar import Bar
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from .tables import jsonable, plain_lines

#: Rows of a table that rich lays out.
LONGEST_TABLE = 1000
#: Columns of the longest bar of a histogram.
BAR = 48


@contextmanager
def streams() -> Iterator[None]:
    """Standard output and error as they may be: closed, full, of an encoding without the letters of a name.

    What was closed leads nowhere from now on: the next file to be opened would have its number, and get the text.
    """
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # said already, or nowhere to say it
                _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    """What is still to be flushed goes nowhere; else the interpreter fails in the end, with a code of its own."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def complain(text: str) -> None:
    """A line on standard error, if anyone listens."""
    with suppress(OSError, ValueError):
        click.echo(text, err=True)


@contextmanager
def cut_short() -> Iterator[None]:
    """What is printed may be cut short by its reader, as by `fastinit plan m.toml | head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _lead_nowhere(sys.stdout)
    except OSError as error:
        _lead_nowhere(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from None


def print_histogram(counts: list[int], edges: list[float]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for count, low, high in zip(counts, edges, edges[1:]):
        bar = Bar(max(counts), 0, count, width=BAR)
        table.add_row(Text(f"{low:.4g}", justify="right"), Text(f"{high:.4g}", justify="right"), bar, str(count))
    _print_rich(table)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> None:
    """A line a row where lines may be long, as in a pipe; on a terminal that is too narrow, a few lines a row."""
    if not sys.stdout.isatty():
        _print_plain([head, *rows], right)
        return
    columns = shutil.get_terminal_size().columns
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    if sum(widths) + 2 * len(widths) > columns:
        _print_blocks(head, rows, columns)
    elif len(rows) > LONGEST_TABLE:
        _print_plain([head, *rows], right)
    else:
        table = Table(box=None, pad_edge=False)
        for column, name in enumerate(head):
            table.add_column(name, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        _print_rich(table)


def _print_blocks(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], columns: int) -> None:
    """The first cell of each row on a line of its own, the others under it with their names, wrapped."""
    for first, *others in rows:
        click.echo(first)
        line = ""
        for name, cell in zip(head[1:], others):
            if cell:
                words = f"  {name} {cell}"
                if line and len(line) + len(words) > columns:
                    click.echo(line)
                    line = ""
                line += words
        click.echo(line)


def _print_plain(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> None:
    """The same for a pipe, whose lines may be long, and for tables that rich would take seconds for."""
    for line in plain_lines(rows, right):
        click.echo(line)


def print_sparklines(columns: Mapping[str, Sequence[str]], labels: Sequence[str]) -> None:
    """A row for each label, a column of sparklines for each title."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for title, lines in columns.items():
        table.add_column(title, width=max(map(len, lines)))
    for row in zip(labels, *columns.values()):
        table.add_row(*map(Text, row))
    _print_rich(table)


def _print_rich(table: Table) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as captured:  # rich itself would end the process where the reader has gone
        console.print(table)
    click.echo(captured.get(), nl=False)


def print_json(value: Any) -> None:
    click.echo(json.dumps(jsonable(value), allow_nan=False))


@contextmanager
def progress_of(name: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar where someone looks at it, a line each tenth where not."""
    if quiet:
        yield None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name)
        return
    speed = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), *speed)
    with _bar(columns, console) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(columns: tuple[ProgressColumn, ...], console: Console) -> Progress:
    """A bar that moves by itself, or, where no thread can be made, whenever it is told of progress."""
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return Progress(*columns, console=console, transient=True, auto_refresh=False)
    return Progress(*columns, console=console, transient=True)


def _lines(name: str) -> Callable[[int, int], None]:
    start, before = time.perf_counter(), 0
    told, told_at = 0, start

    def report(done: int, total: int) -> None:
        nonlocal before, told, told_at
        before = before or done  # what was there already says nothing about the rate
        now, tenth = time.perf_counter(), 10 * done // total if total else 10
        if tenth > told and now - told_at >= 1:
            told, told_at = tenth, now
            rate = (done - before) / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            share = f"{100 * done // total} %, {decimal(done)} of {decimal(total)}"
            complain(f"{name}: {share}, {decimal(int(rate))}/s{left}")  # that nobody reads it is no reason to stop

    return report
