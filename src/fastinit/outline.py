"""Recipes in few words, by their dicts: what fills a tensor or what it is made of, and which recipes are alike."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from .initializers import Initializer, fans, known_parameters

#: The keys that say what a dict describes where it has no "init": each such dict has one of them.
FORMS = ("concatenate", "stack", "transpose", "reshape", "paste", "part", "literal")

#: The initializers of the parts are shown if they take at most this many letters.
_LONGEST = 60

Dict = Mapping[str, Any]


class Outline(NamedTuple):
    """What tensors have in common that differ in names, seeds and numbers alone; and their numbers."""

    alike: Hashable
    numbers: tuple[float, ...]


def outline(d: Dict) -> Outline:
    """The outline of a recipe's dict. Equal tensors beside each other within it count as one."""
    form = form_of(d)
    given = {key: value for key, value in d.items() if key not in ("stream", "name", "seed", form)}
    if form == "init" or form == "literal":
        numbers = tuple(value for value in given.values() if isinstance(value, float))
        others = {key: value for key, value in given.items() if not isinstance(value, float)}
        return Outline((form, repr(d[form]), repr(others)), numbers)
    given.pop("onto", None)
    groups = [(same, len(list(group))) for same, group in itertools.groupby(map(outline, within(d)))]
    alike = (form, repr(given), tuple((same.alike, count) for same, count in groups))
    return Outline(alike, tuple(number for same, _ in groups for number in same.numbers))


def form_of(d: Dict) -> str:
    """The key that says what a recipe's dict describes: one of `FORMS`, or "init"."""
    return next((form for form in FORMS if form in d), "init")


def described(first: Dict, last: Dict) -> str:
    """What fills two alike tensors, the first and the last of many, or what they are made of.

    ``he_normal(in_axis=(1,), out_axis=(0,))`` has what differs from the defaults in either of them;
    ``concatenate of 3, groups=32: normal(std=0.02)`` how many tensors there are, and what they are if they are few.
    """
    form = form_of(first)
    if form == "init":
        return _initializer(first, last)
    within = dict.fromkeys(_described_within(first, last))
    joined = (" onto " if form == "paste" else ", ").join(within)
    head = f"{form} of {len(first[form])}" if form in ("concatenate", "stack") else form
    for key, default in (("axis", 0), ("groups", 1)):
        if first.get(key, default) != default:
            head += f", {key}={first[key]}"
    if form == "transpose" and first["axes"] != list(range(len(first["axes"])))[::-1]:
        head += f", axes={tuple(first['axes'])}"
    return f"{head}: {joined}" if within and len(within) <= 2 and len(joined) <= _LONGEST else head


def fans_of(d: Dict) -> tuple[int | None, int | None]:
    """fan_in and fan_out of a tensor whose initializer scales by them, or of all such tensors within it.

    None where no initializer does, or where they are not the same.
    """
    found = dict.fromkeys(_fans(leaf) for leaf in _distinct(d))
    found.pop((None, None), None)
    return next(iter(found)) if len(found) == 1 else (None, None)


def within(d: Dict) -> list[Dict]:
    """The tensors that one is made of."""
    form = form_of(d)
    if form in ("init", "literal"):
        return []
    if form == "paste":
        return [d["paste"], d["onto"]]
    return list(d[form]) if form in ("concatenate", "stack") else [d[form]]


def _described_within(first: Dict, last: Dict) -> Iterator[str]:
    before = None
    for pair in zip(within(first), within(last)):
        outlines = tuple(map(outline, pair))
        if outlines != before:  # there may be thousands like it
            before = outlines
            yield described(*pair)


def _distinct(d: Dict) -> list[Dict]:
    """The dicts of initializers in a dict, one for those of equal outlines."""
    found: dict[Outline, Dict] = {}
    waiting = [d]
    while waiting:
        this = waiting.pop()
        if form_of(this) == "init":
            found.setdefault(outline(this), this)
        waiting.extend(within(this))
    return list(found.values())


def _parameters(d: Dict) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An initializer's name, its parameters and their defaults."""
    name, defaults = known_parameters(d["init"])
    given = {key: value for key, value in d.items() if key in defaults}
    return name, Initializer(name, **given).parameters, dict(defaults)


def _initializer(first: Dict, last: Dict) -> str:
    name, given, defaults = _parameters(first)
    _, ends, _ = _parameters(last)
    shown = [
        f"{key}={value!r}" if value == ends[key] or value != value else f"{key}={from_to(value, ends[key], '{:.6g}')}"
        for key, value in given.items()
        if value != defaults[key] or ends[key] != defaults[key]
    ]
    return name + (f"({', '.join(shown)})" if shown else "")


def _fans(d: Dict) -> tuple[int | None, int | None]:
    _, given, _ = _parameters(d)
    if "fan_in" not in given:
        return None, None
    try:
        fan_in, fan_out = fans(tuple(d["shape"]), given["in_axis"], given["out_axis"], given["batch_axis"])
    except ValueError:  # both are given, and the axes do not matter
        return given["fan_in"], given["fan_out"]
    return given["fan_in"] or fan_in, given["fan_out"] or fan_out


def from_to(first: float, last: float, how: str) -> str:
    """`0.02`, or `0.02 to 0.0025` for the first tensor of a row and the last."""
    shown = how.format(first), how.format(last)
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)
