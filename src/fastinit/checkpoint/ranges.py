"""Parts of a tensor that differ in a running number alone, as one with a range: ``experts.{expert:0..63}.up``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from .formula import RESERVED

#: Braces, which stay as they are, and the numbers outside them.
_TOKEN = re.compile(r"(\{[^{}]*\})|([0-9]+)")
_WORD = re.compile(r"([A-Za-z]+)[^A-Za-z]*$")
#: Digits that a range can have.
_LONGEST = 9

Table = dict[str, Any]


def word_for(before: str, taken: Collection[str]) -> str:
    """A name for the range that follows that text: ``layer`` after ``model.layers.``."""
    found = _WORD.search(before)
    word = found[1] if found else "n"
    if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    while word in taken or word in RESERVED:
        word += "_"
    return word


def folded_parts(parts: list[Table], taken: Collection[str]) -> list[Table]:
    """The same parts in as few tables as are found quickly; no range is called as one that is taken."""
    numbered = [_numbered(part) for part in parts]
    folded = []
    first = 0
    while first < len(parts):
        last, running = _run(numbered, first, "init" in parts[first])
        if last > first:
            number = numbered[last].numbers[running[0]]
            folded.append(_ranged(parts[first], numbered[first], running, number, taken))
        else:
            folded.append(parts[first])
        first = last + 1
    return folded


class _Numbered(NamedTuple):
    """What a part's table is but for the numbers in its names; the numbers; the text before each of them."""

    outline: str
    numbers: list[str]
    before: list[str]


def _numbered(part: Table) -> _Numbered:
    numbers: list[str] = []
    before: list[str] = []

    def outline(name: str) -> str:
        for found in _TOKEN.finditer(name):
            if found[2]:
                numbers.append(found[2])
                before.append(name[: found.start()])
        return _TOKEN.sub(lambda found: found[1] or "{}", name)

    return _Numbered(json.dumps(_renamed(part, outline)), numbers, before)


def _renamed(part: Table, rename: Callable[[str], str]) -> Table:
    """The table with other names in it."""

    def renamed(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return _renamed(value, rename)
        if isinstance(value, list):
            return [renamed("", item) for item in value]
        return rename(value) if key in ("name", "literal") else value

    return {key: renamed(key, value) for key, value in part.items()}


def _run(numbered: list[_Numbered], first: int, single: bool) -> tuple[int, list[int]]:
    """The last part of the run that begins with `first`, and which of its numbers run.

    The name of a single part, which an initializer fills, can have a range of its own once only.
    """
    here = numbered[first]
    running: list[int] = []
    last = first
    for last, other in enumerate(numbered[first + 1 :], start=first):
        if other.outline != here.outline:
            break
        differing = [k for k, (one, another) in enumerate(zip(here.numbers, other.numbers)) if one != another]
        running = running or differing
        text = here.numbers[running[0]] if running else ""
        if differing != running or not running or (single and len(running) > 1):
            break
        wanted = _counted(text, last + 1 - first)
        if len(wanted) > _LONGEST or any((here.numbers[k], other.numbers[k]) != (text, wanted) for k in running):
            break
    else:
        last = len(numbered) - 1
    return last, running


def _counted(text: str, further: int) -> str:
    """The number so much further on, as a range that begins with `text` writes it."""
    width = len(text) if text.startswith("0") and len(text) > 1 else 0
    return f"{int(text) + further:0{width}d}"


def _ranged(part: Table, numbered: _Numbered, running: list[int], last: str, taken: Collection[str]) -> Table:
    """The table for a run: it begins with the part, and ends with the number `last`."""
    used = {word for name in _names(part) for word in re.findall(r"\{([A-Za-z_]+)", name)}
    word = word_for(numbered.before[running[0]], {*taken, *used})
    own = f"{{{word}:{numbered.numbers[running[0]]}..{last}}}"
    inserted = own if "init" in part else f"{{{word}}}"
    position = -1

    def rename(name: str) -> str:
        def token(found: re.Match[str]) -> str:
            nonlocal position
            position += found[2] is not None
            return inserted if found[2] is not None and position in running else found[0]

        return _TOKEN.sub(token, name)

    renamed = _renamed(part, rename)
    return renamed if "init" in part else {"name": own, **renamed}


def _names(part: Table) -> list[str]:
    names: list[str] = []
    _renamed(part, lambda name: names.append(name) or name)  # type: ignore[func-returns-value]
    return names
