"""Names that differ in numbers alone, as one name with ranges: ``layers.{0..21}.weight``."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence

_NUMBER = re.compile(r"(\d+)")


def fold(named: Sequence[tuple[str, Hashable]]) -> list[tuple[str, list[int]]]:
    """Families of equal things.

    Parameters
    ----------
    named : sequence of (name, what)
        Names fold where they differ in numbers alone and what they name is equal.

    Returns
    -------
    list of (name, positions)
        In the order of each family's first member. ``{0..21}`` stands for every number between, ends included; with
        several ranges, for every combination. A name that is alone stays as it is, braces and all.
    """
    alike: dict[tuple[tuple[str, ...], Hashable], list[int]] = {}
    numbers = []
    for position, (name, what) in enumerate(named):
        parts = _NUMBER.split(name)
        alike.setdefault((tuple(parts[::2]), what), []).append(position)
        numbers.append(parts[1::2])
    folded = []
    for (texts, _), members in alike.items():
        for family in _families(members, numbers):
            ranges = (_range([numbers[m][k] for m in family]) for k in range(len(texts) - 1))
            name = texts[0] + "".join(f"{number}{text}" for number, text in zip(ranges, texts[1:]))
            folded.append((name, family))
    return sorted(folded, key=lambda family: family[1][0])


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
