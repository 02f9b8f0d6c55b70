"""Recipes to families of like tensors, whose names follow each other: the first half of writing a manifest.

Tensors are one family where they differ in numbers of their names alone, and where every name within them follows their
own: a number of a name within is either the same for all of them, or the one at its place in the tensor's own name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..families import NUMBER, fold
from ..outline import form_of, within
from ..recipe import Part, Recipe
from ..stream import STREAM_VERSION
from .composing import CONSTANT
from .header import check_tensor_name
from .names import expand
from .ranges import word_for

Dict = Mapping[str, Any]
#: A name in parts: its texts, with its numbers between them. A number that the tensor's own name has at the same place
#: is that place.
Parts = list[str | int]


class Family(NamedTuple):
    """Tensors of one table.

    `name` is theirs, with ranges. `inserted` has, for each number of the name, what names within have in its place.
    `spec` is a recipe's dict whose names are `Parts`; the tensor itself has a name only if that is not its own.
    """

    name: str
    inserted: list[str]
    spec: Dict

    def written(self, parts: Parts) -> str:
        """A name within the tensor."""
        return "".join(self.inserted[part] if isinstance(part, int) else part for part in parts)

    @property
    def words(self) -> list[str]:
        """The names of the ranges."""
        return [inserted[1:-1] for inserted in self.inserted if inserted.startswith("{")]


def families_of(dicts: Mapping[str, Dict], literals: Literals) -> list[Family]:
    """The families of tensors that have those dicts; ValueError for a name that no manifest can have."""
    for name, d in dicts.items():
        check_tensor_name(name)
        for inner in (name, *(leaf.get("name", "") for leaf in leaves_of(d))):
            if "{" in inner or "}" in inner:
                raise ValueError(f"{name!r}: a manifest has no name with braces, and {inner!r} has some")
    unlike = _unlike(dicts)
    specs = {name: _Spec(name, literals, unlike).of(d) for name, d in dicts.items()}
    names = list(specs)
    families = []
    for _, members in fold([(name, json.dumps(spec)) for name, spec in specs.items()]):
        family = _family([names[member] for member in members], specs[names[members[0]]])
        if family is None:
            families += [Family(names[member], _numbers(names[member]), specs[names[member]]) for member in members]
        else:
            families.append(family)
    return families


def dict_of(recipe: Part) -> dict[str, Any]:
    """`Part.to_dict` without the version of the stream."""
    return {key: value for key, value in recipe.to_dict().items() if key != "stream"}


def leaves_of(d: Dict) -> Iterator[Dict]:
    """The dicts within one that are of no others, in their order."""
    waiting = [d]
    while waiting:
        this = waiting.pop()
        inner = within(this)
        if not inner:
            yield this
        waiting.extend(reversed(inner))


def is_drawn(leaf: Dict) -> bool:
    """Whether its values depend on its name."""
    return "init" in leaf and leaf["init"] not in CONSTANT


class Literals:
    """The literals of all tensors: equal ones once, under the name of the first tensor that has them.

    Attributes
    ----------
    recipes : dict of str to Recipe
        The literals.
    """

    def __init__(self, dicts: Mapping[str, Dict]) -> None:
        self.recipes: dict[str, Recipe] = {}
        self._names: dict[tuple[str, str, tuple[int, ...]], str] = {}
        self._uses: Counter[str] = Counter()
        for tensor, d in dicts.items():
            for leaf in leaves_of(d):
                if "literal" in leaf:
                    self._uses[self._add(tensor, leaf)] += 1

    def _add(self, tensor: str, leaf: Dict) -> str:
        key = _identity(leaf)
        if key not in self._names:
            name, number = tensor, 0
            while name in self.recipes:
                number += 1
                name = f"{tensor}/{number}"
            self._names[key] = name
            self.recipes[name] = Recipe.from_dict({"stream": STREAM_VERSION, **leaf})
        return self._names[key]

    def name(self, leaf: Dict) -> tuple[str, bool]:
        """The name of a literal, and whether it is in several places."""
        name = self._names[_identity(leaf)]
        return name, self._uses[name] > 1


def _identity(literal: Dict) -> tuple[str, str, tuple[int, ...]]:
    return literal["literal"], literal["dtype"], tuple(literal["shape"])


def _unlike(dicts: Mapping[str, Dict]) -> set[tuple[Any, str]]:
    """Seeds and names that stand for several shapes or initializers."""
    seen: dict[tuple[Any, str], str] = {}
    unlike = set()
    for d in dicts.values():
        for leaf in filter(is_drawn, leaves_of(d)):
            which = leaf["seed"], leaf["name"]
            what = json.dumps({key: value for key, value in leaf.items() if key not in ("name", "seed", "dtype")})
            if seen.setdefault(which, what) != what:
                unlike.add(which)
    return unlike


class _Spec:
    """The spec of one tensor's dict.

    A part says `again` where another part, or a tensor, has the same random numbers: a manifest must, too.
    """

    def __init__(self, tensor: str, literals: Literals, unlike: set[tuple[Any, str]]) -> None:
        self._tensor, self._numbers = tensor, _numbers(tensor)
        self._literals, self._unlike = literals, unlike
        self._drawn: set[tuple[Any, str]] = set()

    def of(self, d: Dict) -> dict[str, Any]:
        if "init" not in d:
            return self._inner(d)
        own = d["name"] == self._tensor
        return {**d, "name": None if own else self._parts(d["name"])}

    def _inner(self, d: Dict) -> dict[str, Any]:
        form = form_of(d)
        if form == "literal":
            name, shared = self._literals.name(d)
            return {**d, form: [name] if shared else self._parts(name)}
        if form == "init":
            which, spec = (d["seed"], d["name"]), {**d, "name": self._parts(d["name"])}
            if is_drawn(d):
                if which in self._unlike or which in self._drawn:
                    spec["again"] = True
                self._drawn.add(which)
            return spec
        inner = d[form]
        spec = {**d, form: [self._inner(e) for e in inner] if isinstance(inner, list) else self._inner(inner)}
        return spec | ({"onto": self._inner(d["onto"])} if form == "paste" else {})

    def _parts(self, name: str) -> Parts:
        parts: Parts = list(NUMBER.split(name))
        for place, number in enumerate(parts[1::2]):
            if place < len(self._numbers) and self._numbers[place] == number:
                parts[2 * place + 1] = place
        return parts


def _numbers(name: str) -> list[str]:
    return NUMBER.split(name)[1::2]


def _family(names: list[str], spec: Dict) -> Family | None:
    """The family of those names; None where no ranges stand for just these."""
    texts, columns = NUMBER.split(names[0])[::2], zip(*map(_numbers, names))
    name, inserted = texts[0], list[str]()
    for before, column, after in zip(texts, columns, texts[1:]):
        distinct = sorted(set(column), key=lambda text: (len(text), text))
        if len(distinct) > 1:
            word = word_for(before, [text[1:-1] for text in inserted])
            inserted.append(f"{{{word}}}")
            name += f"{{{word}:{distinct[0]}..{distinct[-1]}}}{after}"
        else:
            inserted.append(distinct[0])
            name += distinct[0] + after
    try:
        found = Family(name, inserted, spec)
        return found if sorted(expand(name)) == sorted(names) else None
    except ValueError:  # numbers that no range can have
        return None
