"""Names that differ in numbers alone, as one name with ranges: ``layers.{0..21}.weight``."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

#: The numbers of a name; `split` gives the texts and, between them, the numbers.
NUMBER = re.compile(r"(\d+)")

#: Of fewer rows than this it says nothing that their numbers rise or fall.
_FEWEST = 3
#: Rows that differ in more numbers of their names than this stay apart: every one of these numbers is tried.
_MOST_VARYING = 8


class _Row(NamedTuple):
    """A family: the texts between the numbers of its names, the number or range in each gap, and its members."""

    texts: tuple[str, ...]
    gaps: tuple[str, ...]
    members: list[int]
    runs: bool = False  # whether the values of its members differ


def fold(
    named: Sequence[tuple[str, Hashable]], values: Sequence[tuple[float, ...]] | None = None
) -> list[tuple[str, list[int]]]:
    """Families of equal things.

    Parameters
    ----------
    named : sequence of (name, what)
        Names fold where they differ in numbers alone and what they name is equal.
    values : sequence of tuple of float, optional
        Numbers that belong to each. Where they differ, names fold only if one number of the names runs through
        three values or more and each of `values` stays, or only rises, or only falls with it: then the first and the
        last member tell how. Everything else stays apart.

    Returns
    -------
    list of (name, positions)
        In the order of each family's first member. ``{0..21}`` stands for every number between, ends included; with
        several ranges, for every combination. A name that is alone stays as it is, braces and all.
    """
    alike: dict[tuple[tuple[str, ...], Hashable], list[int]] = {}
    numbers = []
    for position, (name, what) in enumerate(named):
        parts = NUMBER.split(name)
        key = what if values is None else (what, repr(values[position]))
        alike.setdefault((tuple(parts[::2]), key), []).append(position)
        numbers.append(parts[1::2])
    rows = []
    for (texts, _), members in alike.items():
        for family in _families(members, numbers):
            ranges = [_range([numbers[m][k] for m in family]) or "" for k in range(len(texts) - 1)]
            rows.append(_Row(texts, tuple(ranges), family))
    if values is not None:
        groups: dict[tuple[tuple[str, ...], Hashable], list[_Row]] = {}
        for row in rows:
            groups.setdefault((row.texts, named[row.members[0]][1]), []).append(row)
        rows = [row for group in groups.values() for row in _joined(group, values)]
    folded = [
        (row.texts[0] + "".join(f"{number}{text}" for number, text in zip(row.gaps, row.texts[1:])), row.members)
        for row in rows
    ]
    return sorted(folded, key=lambda family: family[1][0])


def _joined(rows: list[_Row], values: Sequence[tuple[float, ...]]) -> list[_Row]:
    """Rows of equal texts, of which those are one that differ in one number alone with which their values run."""
    varying = [gap for gap, column in enumerate(zip(*(row.gaps for row in rows))) if len(set(column)) > 1]
    if len(rows) < _FEWEST or len(varying) > _MOST_VARYING:
        return rows
    for gap in varying:
        rows = _joined_by(rows, gap, values)
    return rows


def _joined_by(rows: list[_Row], gap: int, values: Sequence[tuple[float, ...]]) -> list[_Row]:
    alike: dict[tuple[str, ...], list[_Row]] = {}
    joined = []
    for row in rows:
        if not row.runs and row.gaps[gap].isdecimal():
            alike.setdefault((*row.gaps[:gap], *row.gaps[gap + 1 :]), []).append(row)
        else:
            joined.append(row)
    for group in alike.values():
        group.sort(key=lambda row: int(row.gaps[gap]))
        run = _range([row.gaps[gap] for row in group])
        columns = zip(*(values[row.members[0]] for row in group))
        if len(group) >= _FEWEST and run is not None and all(map(_runs, columns)):
            first = group[0]
            gaps = (*first.gaps[:gap], run, *first.gaps[gap + 1 :])
            joined.append(_Row(first.texts, gaps, [member for row in group for member in row.members], True))
        else:
            joined.extend(group)
    return joined


def _runs(column: tuple[float, ...]) -> bool:
    """Whether the numbers are all equal, or each is above, or each below, the one before it."""
    pairs = list(zip(column, column[1:]))
    if all(repr(a) == repr(b) for a, b in pairs):  # it tells 0.0 from -0.0, and takes NaN for itself
        return True
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def _families(members: list[int], numbers: list[list[str]]) -> list[list[int]]:
    """`members` in as few groups as are found quickly whose numbers are all combinations of ranges."""
    columns = [[numbers[m][k] for m in members] for k in range(len(numbers[members[0]]))]
    ranges = [_range(column) for column in columns]
    if None not in ranges and len(members) == math.prod(len(set(column)) for column in columns):
        return [members]
    # those with equal numbers but for the last that varies; then runs of that
    varying = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    groups: dict[str, list[int]] = {}
    if len(varying) > 1:
        for member in members:
            groups.setdefault(numbers[member][varying[0]], []).append(member)
        return [family for group in groups.values() for family in _families(group, numbers)]
    (last,) = varying
    runs: list[list[int]] = []
    for member in sorted(members, key=lambda m: (len(numbers[m][last]), numbers[m][last])):
        if runs and _range([numbers[m][last] for m in (*runs[-1], member)]):
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs


def _range(texts: list[str]) -> str | None:
    """One number, or ``{first..last}`` where every number between is there; None otherwise."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    first, last = distinct[0], distinct[-1]
    if first == last:
        return first
    padded = any(len(text) > 1 and text[0] == "0" for text in distinct)
    if padded and len(first) != len(last):
        return None
    return f"{{{first}..{last}}}" if int(last) - int(first) == len(distinct) - 1 else None
