"""The keys of a manifest's tables: each read and checked, every mistake noted with its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..arrays import DTYPES
from ..initializers import check_parameter, every_parameter, known_parameters
from ..recipe import Recipe
from ..stream import seed_from_text
from ..wording import near_match
from .formula import FANS, Formula, Tensor
from .template import FAN_KEYS, Template, is_formula

#: A manifest is read no further than its mistake of this number.
MOST_MISTAKES = 10_000

T = TypeVar("T")


class ManifestError(ValueError):
    """All mistakes of a manifest, a line each; `mistakes` has them as a list."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Defaults(NamedTuple):
    """What a table has where it does not say otherwise; None for a seed or dtype that was a mistake, or unsaid."""

    seed: int | None
    dtype: str | None
    axes: Mapping[str, Any]


class Keys:
    """Reads keys, and keeps the mistakes found so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.mistakes: list[str] = []

    def note(self, where: str, mistake: str) -> None:
        """One more mistake, at that place; ManifestError where there are too many."""
        shown = where if len(where) <= 200 else where[:200] + "..."
        self.mistakes.append(f"{self._path}: {shown}: {mistake if len(mistake) <= 1000 else mistake[:1000] + '...'}")
        if len(self.mistakes) >= MOST_MISTAKES:
            raise ManifestError([*self.mistakes, f"{self._path}: there may be more mistakes; these are enough"])

    def attempt(self, where: str, function: Callable[[], T]) -> T | None:
        """What the function returns; its error is noted."""
        try:
            return function()
        except (TypeError, ValueError, IndexError, ArithmeticError) as error:
            self.note(where, str(error))
            return None

    def check(self, where: str, table: Iterable[str], known: Iterable[str]) -> None:
        """Notes every key that is not known."""
        known = list(known)
        for key in table:
            if key not in known:
                self.note(where, f"unknown key {key!r}; {near_match(key, known)}")

    def defaults(self, where: str, table: Mapping[str, Any], outer: Defaults) -> Defaults:
        """What a table states of seed, dtype and axes, for all that is in it; the rest is the outer table's."""
        stated = [key for key in ("in_axis", "out_axis") if key in table]
        axes = {key: table[key] for key in stated if self.parameter(where, key, table[key])}
        seed, dtype = self.seed(where, table, outer.seed), self.dtype(where, table, outer.dtype)
        return Defaults(seed, dtype, {**outer.axes, **axes})

    def seed(self, where: str, table: Mapping[str, Any], default: int | None) -> int | None:
        return self.attempt(where, lambda: seed_from_text(table["seed"])) if "seed" in table else default

    def dtype(self, where: str, table: Mapping[str, Any], default: str | None) -> str | None:
        if "dtype" not in table:
            return default
        dtype = table["dtype"]
        if dtype not in DTYPES:  # by name only: NumPy would read all sorts of text
            self.note(where, f"unknown dtype {dtype!r}; {near_match(dtype, DTYPES)}"[:200])
            return None
        return str(dtype)

    def parameter(self, where: str, key: str, value: Any) -> bool:
        """Whether a parameter can have that value."""
        before = len(self.mistakes)
        self.attempt(where, lambda: check_parameter(key, value))
        return len(self.mistakes) == before

    def template(
        self,
        where: str,
        table: Mapping[str, Any],
        own: Collection[str],
        axes: Mapping[str, Any],
        ranges: Collection[str] | None,
        hint: str = "",
    ) -> Template | None:
        """What fills the tensors of a table with those keys of its own; see `Formula` for ranges and hint."""
        if "init" not in table:
            self.note(where, "init is missing")
        known = self.attempt(where, lambda: known_parameters(table["init"])) if "init" in table else None
        if known is None:
            self.check(where, table, (*own, *every_parameter()))
            return None
        name, defaults = known
        before = len(self.mistakes)
        given = {key: value for key, value in table.items() if key not in own}
        formulas: dict[str, Formula] = {}
        of_fans = False
        for key, value in list(given.items()):
            if key not in defaults:
                continue
            if not is_formula(key, value):
                self.parameter(where, key, value)
                continue
            formula = self.attempt(where, partial(Formula, key, value, ranges, hint))
            of_fans |= formula is None or bool(formula.asks & FANS)
            if formula is not None and formula.asks:
                formulas[key] = formula
                del given[key]
            elif formula is not None:
                given[key] = self.attempt(where, partial(formula.value, Tensor((), {})))
        of_axes = [key for key in FAN_KEYS if of_fans and key not in defaults]
        self.check(where, table, (*own, *defaults, *of_axes))
        for key in of_axes:
            if key in given:
                self.parameter(where, key, given[key])
        if len(self.mistakes) > before:
            return None
        given = {**axes, **given}
        template = Template(
            name,
            {key: value for key, value in given.items() if key in defaults},
            formulas,
            {key: value for key, value in given.items() if key in FAN_KEYS},
        )
        if not formulas and self.attempt(where, lambda: template.initializer({})) is None:
            return None
        return template

    def recipe(
        self,
        where: str,
        name: str,
        template: Template,
        shape: tuple[int, ...],
        numbers: Mapping[str, int],
        seed: int | None,
        dtype: str | None,
    ) -> Recipe | None:
        """The recipe of a tensor, of those ranges; every formula that has no value for it is noted."""
        tensor = self.attempt(where, lambda: template.tensor(shape, numbers))
        if tensor is None:
            return None
        found = {key: self.attempt(where, partial(formula.value, tensor)) for key, formula in template.formulas.items()}
        values = {key: value for key, value in found.items() if value is not None}
        if len(values) < len(found):
            return None
        return self.attempt(
            where, lambda: Recipe(template.initializer(values), shape, dtype=dtype, seed=seed or 0, name=name)
        )
