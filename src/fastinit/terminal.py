"""What the command line shows: tables, histograms, JSON, bars; for people, or for a pipe."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click
from rich.bar import Bar
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from .tables import jsonable, plain_lines

#: Rows of a table that rich lays out.
LONGEST_TABLE = 1000
#: Columns of a terminal below which its cells would be broken.
NARROW = 100
#: Columns of the longest bar of a histogram.
BAR = 48


@contextmanager
def cut_short() -> Iterator[None]:
    """What is printed may be cut short by its reader, as by `fastinit plan m.toml | head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_histogram(counts: list[int], edges: list[float]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for count, low, high in zip(counts, edges, edges[1:]):
        bar = Bar(max(counts), 0, count, width=BAR)
        table.add_row(Text(f"{low:.4g}", justify="right"), Text(f"{high:.4g}", justify="right"), bar, str(count))
    _print_rich(table)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> None:
    if len(rows) > LONGEST_TABLE or not sys.stdout.isatty() or shutil.get_terminal_size().columns < NARROW:
        _print_plain([head, *rows], right)
        return
    table = Table(box=None, pad_edge=False)
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _print_rich(table)


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
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
            with suppress(BrokenPipeError):  # no reason to stop
                click.echo(f"{name}: {share}, {decimal(int(rate))}/s{left}", err=True)

    return report
