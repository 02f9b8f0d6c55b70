"""Tables within tables: a manifest's tensors that are made of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..arrays import check_shape
from ..functions import concatenate, paste, stack
from ..questions import dtype_of
from ..recipe import Recipe, cut
from ..wording import near_match
from .keys import Defaults, Keys
from .names import Family, Names, inserted, numbers_of
from .template import Template

#: The keys that say what a tensor is made of, and which others a table with them may have.
FORMS = {
    "concatenate": ("axis", "groups"),
    "stack": ("axis",),
    "transpose": ("axes",),
    "reshape": (),
    "paste": ("onto", "at"),
    "part": ("at",),
    "literal": (),
}
_COMPOSED = ("name", "shape", "seed", "dtype", "in_axis", "out_axis")
_SINGLE = ("name", "shape", "init", "seed", "dtype", "again")

#: Initializers whose values depend on neither name nor seed: any number of parts filled by them may share a name.
CONSTANT = ("zeros", "ones", "constant", "eye", "dirac")


class Scope(NamedTuple):
    """The ranges of the tables around a part.

    `words` maps each named range to the text of its first number. `varying` has the names of the ranges with more than
    one number, and "" if one of those has no name. `times` is how often the part is made.
    """

    words: Mapping[str, str]
    varying: frozenset[str]
    times: int

    def within(self, family: Family) -> Scope:
        """The scope of what is in a table of that name."""
        return Scope({**self.words, **next(family.words())}, self.varying | family.varying, self.times * family.count)


NOWHERE = Scope({}, frozenset(), 1)


class _Single(NamedTuple):
    """A part that an initializer fills; with `again`, it may have the random numbers of another one."""

    where: str
    name: str
    template: Template
    shape: tuple[int, ...]
    seed: int | None
    dtype: str
    again: bool


class _Given(NamedTuple):
    """Values in the file of literals: under which name, in which insertions are still to be made."""

    where: str
    name: str


class Composed(NamedTuple):
    """A tensor of others. `name` is the part's own, or empty: the parts within it may use the ranges in it."""

    where: str
    name: str
    parts: list[_Single | _Given | Composed]
    compose: Callable[[list[Recipe]], Recipe]
    shape: tuple[int, ...] | None
    dtype: str | None


class Composer:
    """Reads tables and makes their recipes; what is wrong is noted, and None is returned."""

    def __init__(self, keys: Keys, names: Names) -> None:
        self._keys, self._names = keys, names
        #: The manifest's literals, by their names; None where it has none.
        self.literals: Mapping[str, Recipe] | None = None
        #: Every part whose values are drawn, by seed and name, with its place.
        self.drawn: dict[tuple[int, str], tuple[Recipe, str]] = {}

    # ---- reading -------------------------------------------------------------------------------------------------

    def read(
        self, where: str, table: Mapping[str, Any], scope: Scope, outer: Defaults, name: str = ""
    ) -> Composed | None:
        """A table with one of the keys of `FORMS`; the scope is that of its parts."""
        before = len(self._keys.mistakes)
        form, *others = [key for key in FORMS if key in table] or ["paste"]
        if "init" in table:
            others.append("init")
        if others:
            self._keys.note(where, f"a tensor is one of {', '.join([form, *others])}, not all of them")
        known = {key for this in (form, *others) for key in FORMS.get(this, ())}
        self._keys.check(where, table, [*_COMPOSED, form, *others, *sorted(known)])
        shape = self._shape(where, table)
        defaults = self._keys.defaults(where, table, outer)
        parts: list[_Single | _Given | Composed | None]
        if form == "literal":
            parts = [self._given(where, table[form], scope)]
        else:
            parts = [
                self._part(inner, part, scope, defaults, form in ("concatenate", "stack"))
                for inner, part in self._tables(where, form, table)
            ]
        compose = self._compose(where, form, table)
        complete = [part for part in parts if part is not None]
        if len(self._keys.mistakes) > before or compose is None or len(complete) < len(parts):
            return None
        return Composed(where, name, complete, compose, shape, defaults.dtype if "dtype" in table else None)

    def _tables(self, where: str, form: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The tables of the parts, each with its place."""
        if form == "paste":
            for key in ("paste", "onto"):
                if key in table:
                    yield _inner(where, key, table[key]), table[key]
                else:
                    self._keys.note(where, f"{key} is missing")
        elif form in ("transpose", "reshape", "part"):
            yield _inner(where, form, table[form]), table[form]
        elif not isinstance(table[form], list) or not table[form]:
            self._keys.note(where, f"{form} must be a list of tables")
        else:
            for number, part in enumerate(table[form], start=1):
                yield _inner(where, f"{form} {number}", part), part

    def _part(self, where: str, table: Any, scope: Scope, outer: Defaults, several: bool) -> _Single | Composed | None:
        if not isinstance(table, dict):
            self._keys.note(where, "a part is a table, as in { name = 'q.weight', shape = [8, 8], init = 'normal' }")
            return None
        composed = is_composed(table)
        name = table.get("name", "" if composed else None)
        if not isinstance(name, str):
            self._keys.note(where, "name is missing" if name is None else f"name must be text, not {name!r}")
        elif self._names.too_many:
            return None
        family = self._keys.attempt(where, lambda: self._family(name, scope)) if isinstance(name, str) else None
        if family is not None and family.count > 1 and not several:
            self._keys.note(where, f"this is one tensor, and the name {name!r} stands for {family.count}")
        if composed:
            within = scope if family is None else scope.within(family)
            made = self.read(where, table, within, outer, name if isinstance(name, str) else "")
            return None if family is None else made
        return self._single(where, table, scope, outer, name if family else None, family)

    def _single(
        self,
        where: str,
        table: Mapping[str, Any],
        scope: Scope,
        outer: Defaults,
        name: str | None,
        family: Family | None,
    ) -> _Single | None:
        shape = self._shape(where, table)
        if "shape" not in table:
            self._keys.note(where, "shape is missing")
        seed, dtype = self._keys.seed(where, table, outer.seed), self._keys.dtype(where, table, outer.dtype)
        ranges = None if family is None else [*scope.words, *family.ranges]
        template = self._keys.template(where, table, _SINGLE, outer.axes, ranges)
        again = table.get("again", False)
        if not isinstance(again, bool):
            self._keys.note(where, f"again must be true or false, not {again!r}")
            return None
        if name is None or shape is None or template is None:
            return None
        if template.name not in CONSTANT and not again:
            for missing in sorted(scope.varying):
                if f"{{{missing}}}" not in name:
                    self._keys.note(where, _unused(missing))
                    return None
        return _Single(where, name, template, shape, seed, dtype or "float32", again)

    def _given(self, where: str, name: Any, scope: Scope) -> _Given | None:
        if not isinstance(name, str):
            self._keys.note(where, f"literal must be the name of a tensor in the file of literals, not {name!r}")
            return None
        if self.literals is None:
            self._keys.note(where, "literals is missing at the top: the file that has its values, and its SHA-256")
            return None
        return None if self._keys.attempt(where, lambda: inserted(name, scope.words)) is None else _Given(where, name)

    def _family(self, name: str, scope: Scope) -> Family:
        family = self._names.family(inserted(name, scope.words), scope.times)
        for again in family.ranges:
            if again in scope.words:
                raise ValueError(f"name {name!r}: a table around it has a range {again!r} already")
        return family

    def _shape(self, where: str, table: Mapping[str, Any]) -> tuple[int, ...] | None:
        return self._keys.attempt(where, lambda: check_shape(table["shape"])) if "shape" in table else None

    def _compose(self, where: str, form: str, table: Mapping[str, Any]) -> Callable[[list[Recipe]], Recipe] | None:
        """What makes one recipe of those of the parts."""
        if form in ("paste", "part"):
            at = self._keys.attempt(where, lambda: _index(table["at"])) if "at" in table else None
            if "at" not in table:
                self._keys.note(where, "at is missing: an integer, [start, stop] or [start, stop, step] for each axis")
            if at is None:
                return None
            return (lambda parts: paste(parts[1], at, parts[0])) if form == "paste" else lambda parts: cut(parts[0], at)
        if form == "literal":
            return lambda parts: parts[0]
        if form == "reshape":
            shape = self._shape(where, table)
            if "shape" not in table:
                self._keys.note(where, "shape is missing")
            return None if shape is None else lambda parts: parts[0].reshape(shape)
        given = {key: table[key] for key in FORMS[form] if key in table}
        for key in ("axis", "groups"):
            if key in given and type(given[key]) is not int:
                self._keys.note(where, f"{key} must be an integer, not {given[key]!r}")
                return None
        if form == "concatenate":
            return partial(concatenate, **given)
        if form == "stack":
            return partial(stack, **given)
        axes = given.get("axes", [])
        if not isinstance(axes, list) or any(type(axis) is not int for axis in axes):
            self._keys.note(where, f"axes must be a list of integers, not {axes!r}")
            return None
        return lambda parts: parts[0].transpose(*axes)

    # ---- making --------------------------------------------------------------------------------------------------

    def make(self, composed: Composed, words: Mapping[str, str]) -> Recipe | None:
        """The recipe for one choice of the numbers of the ranges around it."""
        mine: set[tuple[int, str]] = set()
        return self._compose_parts(composed, words, mine)

    def _compose_parts(self, composed: Composed, words: Mapping[str, str], mine: set[tuple[int, str]]) -> Recipe | None:
        parts: list[Recipe] = []
        for part in composed.parts:
            if isinstance(part, _Given):
                found = self._make_given(part, words)
                if found is None:
                    return None
                parts.append(found)
                continue
            family = Family(inserted(part.name, words))
            for name, own in zip(family.names(), family.words()):
                within = {**words, **own}
                made = (
                    self._compose_parts(part, within, mine)
                    if isinstance(part, Composed)
                    else self._make_single(part, name, within, mine)
                )
                if made is None:
                    return None
                parts.append(made)
        recipe = self._keys.attempt(composed.where, lambda: composed.compose(parts))
        if recipe is None:
            return None
        if composed.shape not in (None, recipe.shape):
            self._keys.note(composed.where, f"its shape is {list(recipe.shape)}, not {list(composed.shape or ())}")
            return None
        if composed.dtype not in (None, dtype_of(parts[0])):
            self._keys.note(
                composed.where, f"its dtype is {dtype_of(parts[0])}, as its parts say, not {composed.dtype}"
            )
            return None
        return recipe

    def _make_given(self, part: _Given, words: Mapping[str, str]) -> Recipe | None:
        name = inserted(part.name, words)
        if self.literals is not None and name in self.literals:
            return self.literals[name]
        hint = near_match(name, self.literals or ())
        self._keys.note(part.where, f"the file of literals has no {name!r}; {hint}")
        return None

    def _make_single(
        self, part: _Single, name: str, words: Mapping[str, str], mine: set[tuple[int, str]]
    ) -> Recipe | None:
        where = f"{part.where}: {name}" if part.template.asks and name != part.name else part.where
        seed = part.seed or 0
        recipe = self._keys.recipe(where, name, part.template, part.shape, numbers_of(words), seed, part.dtype)
        if recipe is None or part.again or part.template.name in CONSTANT:
            return recipe
        if (seed, name) in mine:
            self._keys.note(
                where,
                f"part {name!r} is there already, and both would have the same values; again = true says it is meant",
            )
            return None
        mine.add((seed, name))
        before, place = self.drawn.setdefault((seed, name), (recipe, where))
        if before is not recipe and not alike(before, recipe):
            self._keys.note(where, unlike(name, place))
            return None
        return recipe


def is_composed(table: Mapping[str, Any]) -> bool:
    """Whether a table says what its tensor is made of."""
    return "onto" in table or not FORMS.keys().isdisjoint(table)


def alike(one: Recipe, other: Recipe) -> bool:
    """Whether two tensors of one seed and name have the same values, but for the dtype."""
    return one.shape == other.shape and one.initializer == other.initializer


def unlike(name: str, place: str) -> str:
    return f"tensor {name!r} has another shape or initializer in {place}: a name and a seed stand for one tensor"


def _unused(missing: str) -> str:
    if missing:
        return f"the part's name lacks {{{missing}}}, without which it would have the same values for all its numbers"
    return (
        "the tensor around this part has a range without a name: name it, as in {layer:0..21}, and put {layer} in the "
        "part's name; otherwise the part would have the same values for every number"
    )


def _inner(where: str, key: str, part: Any) -> str:
    """The place of a part; its middle is left out where it is long."""
    outer = where if len(where) <= 110 else f"{where[:60]}...{where[-45:]}"
    name = part.get("name") if isinstance(part, dict) else None
    if not isinstance(name, str):
        return f"{outer}: {key}"
    return f"{outer}: {key} ({name if len(name) <= 60 else name[:57] + '...'!r})"


def _index(at: Any) -> tuple[int | slice, ...]:
    """The index that the entries of `at` stand for."""
    if isinstance(at, list) and len(at) <= 64:
        entries = [
            slice(*entry) if isinstance(entry, list) and 2 <= len(entry) <= 3 else entry
            for entry in at
            if not isinstance(entry, list) or all(type(number) is int for number in entry)
        ]
        if len(entries) == len(at) and all(isinstance(entry, slice) or type(entry) is int for entry in entries):
            return tuple(entries)
    raise ValueError("at must be a list of an integer, [start, stop] or [start, stop, step] for each axis")
