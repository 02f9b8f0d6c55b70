"""Recipes to families of like tensors, whose names follow each other: the first half of writing a manifest.

Tensors are one family where they differ in numbers of their names alone, and where every name within them follows their
own: a number of a name within is either the same for all of them, or the one at its place in the tensor's own name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from ..families import NUMBER, fold
from ..outline import form_of, within
from ..recipe import Part, Recipe
from ..stream import STREAM_VERSION
from .composing import CONSTANT
from .fitting import FEWEST, with_formulas, without_numbers
from .header import check_tensor_name
from .names import expand
from .ranges import word_for

Dict = Mapping[str, Any]
#: A name in parts: its texts, with its numbers between them. A number that the tensor's own name has at the same place
#: is that place.
Parts = list[str | int]


class Family(NamedTuple):
    """Tensors of one table.

    `name` is theirs, with ranges. `gaps` has what stands there for each number of a member's name, the number itself or
    a range, and `inserted` what names within have in its place.
    `spec` is a recipe's dict whose names are `Parts`; the tensor itself has a name only if that is not its own. Numbers
    in it may be formulas. `members` are the tensors' names.
    """

    name: str
    gaps: list[str]
    inserted: list[str]
    spec: Dict
    members: list[str]

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
    families = list[Family]()
    for _, members in fold([(name, json.dumps(spec)) for name, spec in specs.items()]):
        alike = [names[k] for k in members]
        family = _family(alike, specs[alike[0]])
        families += [family] if family is not None else [_alone(name, specs[name]) for name in alike]
    places = {name: place for place, name in enumerate(names)}
    return sorted(_joined(families), key=lambda family: min(places[name] for name in family.members))


def _joined(families: list[Family]) -> list[Family]:
    """The same with one family for those that differ in a number of their names, and in others that follow from it."""
    for place in range(max(len(family.gaps) for family in families)):
        groups: dict[Hashable, list[Family]] = {}
        for number, family in enumerate(families):
            key: Hashable = number
            if len(family.gaps) > place and not family.gaps[place].startswith("{"):
                gaps = (*family.gaps[:place], *family.gaps[place + 1 :])
                texts = tuple(NUMBER.split(family.members[0])[::2])
                key = texts, gaps, json.dumps(without_numbers(family.spec))
            groups.setdefault(key, []).append(family)
        families = [family for group in groups.values() for family in _by_formulas(group, place)]
    return families


def _by_formulas(group: list[Family], place: int) -> list[Family]:
    """The group as one family, if its numbers follow from the one at that place of the names by formulas."""
    if len(group) >= FEWEST:
        found = _family([name for family in group for name in family.members], group[0].spec)
        if found is not None:
            numbers = [int(family.gaps[place]) for family in group]
            spec = with_formulas([family.spec for family in group], numbers, found.inserted[place][1:-1])
            if spec is not None:
                return [found._replace(spec=spec)]
    return group


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


def _alone(name: str, spec: Dict) -> Family:
    return Family(name, _numbers(name), _numbers(name), spec, [name])


def _family(names: list[str], spec: Dict) -> Family | None:
    """The family of those names; None where no ranges stand for just these."""
    texts, columns = NUMBER.split(names[0])[::2], zip(*map(_numbers, names))
    gaps, inserted = list[str](), list[str]()
    before = ""
    for text, column in zip(texts, columns):
        before += text
        distinct = sorted(set(column), key=lambda text: (len(text), text))
        if len(distinct) > 1:
            word = word_for(before, [text[1:-1] for text in inserted])
            gaps.append(f"{{{word}:{distinct[0]}..{distinct[-1]}}}")
            inserted.append(f"{{{word}}}")
        else:
            gaps.append(distinct[0])
            inserted.append(distinct[0])
        before += column[0]
    name = texts[0] + "".join(gap + after for gap, after in zip(gaps, texts[1:]))
    try:
        return Family(name, gaps, inserted, spec, names) if sorted(expand(name)) == sorted(names) else None
    except ValueError:  # numbers that no range can have
        return None
