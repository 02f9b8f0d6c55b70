"""Numbers that run with a number of the tensors' names, as formulas: 0.02 / sqrt(2 * (layer + 1))."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..outline import form_of, within
from .formula import Formula, Tensor

#: What codes make of a layer's number n, with a constant a to be found.
SHAPES = (
    "{a} / sqrt(2 * ({n} + 1))",
    "{a} / sqrt({n} + 1)",
    "{a} / ({n} + 1)",
    "{a} / (2 * ({n} + 1))",
    "{a} / sqrt(2 * {n})",
    "{a} / sqrt({n})",
    "{a} / {n}",
    "{a} * sqrt(2 * ({n} + 1))",
    "{a} * sqrt({n} + 1)",
    "{a} * ({n} + 1)",
    "{a} * {n}",
)
#: Of fewer numbers than this any formula could be found.
FEWEST = 3

#: The keys of a leaf that are no parameters of its initializer.
_OWN = ("name", "seed", "shape", "dtype", "init", "again", "literal")

Spec = dict[str, Any]


def without_numbers(spec: Mapping[str, Any]) -> Spec:
    """The same spec with zeros for its numbers."""
    return _renumbered(spec, lambda leaf: dict.fromkeys(_keys(leaf), 0.0))


def with_formulas(specs: Sequence[Mapping[str, Any]], numbers: Sequence[int], word: str) -> Spec | None:
    """One spec for several that differ in their numbers alone, by formulas of the number that each has in its name.

    None where no formula is found that is right to the last bit.
    """
    if len(set(numbers)) < FEWEST:
        return None
    leaves = iter(list(zip(*(_leaves(spec) for spec in specs))))
    failed = False

    def formulas(leaf: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal failed
        alike, found = next(leaves), dict[str, Any]()
        for key in _keys(leaf):
            values = [other[key] for other in alike]
            if len(set(map(repr, values))) > 1:
                known = [text for text in found.values() if isinstance(text, str)]
                found[key] = _formula(values, numbers, word, known)
                failed |= found[key] is None
        return found

    made = _renumbered(specs[0], formulas)
    return None if failed else made


def _formula(values: Sequence[float], numbers: Sequence[int], word: str, known: Sequence[str]) -> str | None:
    shapes = [shape.format(a="{a}", n=word) for shape in SHAPES]
    shapes += [sign.format(a="{a}", other=other) for other in known for sign in ("{a} / ({other})", "{a} * ({other})")]
    places = list(dict(zip(numbers, values)).items())
    found = []
    for shape in shapes:
        for constant in _constants(shape, places, word):
            text = shape.format(a=constant)
            if all(_value(text, word, number) == value for number, value in places):
                found.append(text)
                break
    return min(found, key=len, default=None)


def _constants(shape: str, places: Sequence[tuple[int, float]], word: str) -> Iterator[str]:
    """Constants that give the last value, the one of the fewest digits first."""
    number, value = places[-1]
    unit = _value(shape.format(a="1"), word, number)
    if not unit or not math.isfinite(value / unit):
        return
    constant = value / unit
    rounded = [float(f"{constant:.{digits}g}") for digits in range(1, 17)]
    rounded += [math.nextafter(constant, towards) for towards in (constant, -math.inf, math.inf)]
    yield from dict.fromkeys(str(int(c)) if c.is_integer() and abs(c) < 1e6 else repr(c) for c in rounded)


def _value(text: str, word: str, number: int) -> float | None:
    try:
        return Formula("", text, [word]).value(Tensor((), {word: number}))
    except ValueError:  # a division by zero, a result beyond float64
        return None


# ---- the numbers of a spec ---------------------------------------------------------------------------------------


def _leaves(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    inner = within(spec)
    if not inner:
        yield spec
    for other in inner:
        yield from _leaves(other)


def _keys(leaf: Mapping[str, Any]) -> list[str]:
    return [key for key, value in leaf.items() if key not in _OWN and isinstance(value, float)]


def _renumbered(spec: Mapping[str, Any], numbers: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Spec:
    """The same spec with other numbers, asked for leaf by leaf in the order of `_leaves`."""
    form = form_of(spec)
    if form in ("init", "literal"):
        return {**spec, **numbers(spec)}
    inner = spec[form]
    made = {
        **spec,
        form: [_renumbered(e, numbers) for e in inner] if isinstance(inner, list) else _renumbered(inner, numbers),
    }
    return made | ({"onto": _renumbered(spec["onto"], numbers)} if form == "paste" else {})
