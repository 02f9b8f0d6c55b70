"""Which name each draw of a model goes by, and the recipes that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch

from ...functions import literal
from ...questions import dtype_of
from ...recipe import Part, Recipe
from ..memory import DTYPES, array_of
from .composing import Composer, after
from .evaluating import Evaluation, without_modes
from .expressions import Draw, Expression, draws_in
from .folding import InexpressibleError
from .operations import same_bits
from .shapes import as_recipe, constant, is_constant
from .steps import Step


class Names:
    """The keys of all draws of a model's tensors, whatever the order in which they were made.

    The first draw that shows in a tensor has the tensor's name, further ones ``name#1``, ``name#2``, ...; a draw that
    shows in several tensors goes by the first one's. Draws that nothing but literals depend on come after.

    Parameters
    ----------
    tensors : mapping of str to Expression
        By their names, in order.
    """

    def __init__(self, tensors: Mapping[str, Expression]) -> None:
        self.keys: dict[Draw, tuple[int, str]] = {}
        counts: Counter[Draw] = Counter()
        found = {name: _shown(expression, lambda draw: True) for name, expression in tensors.items()}
        for shown, buried in found.values():
            counts.update(shown)
            counts.update([*buried, *buried])  # what a literal is made of has to keep its values
        self._alone = {draw for draw, count in counts.items() if count == 1 and draw.key is None}
        for name, (shown, _) in found.items():
            if not self._alone.issuperset(shown):  # what could be mirrored so far may become a literal
                found[name] = _shown(tensors[name], self.alone)
        sorted_draws = {name: tuple(map(dict.fromkeys, draws)) for name, draws in found.items()}
        #: Draws that had their names before: something looked at them, or a generator was given.
        self.early = list(dict.fromkeys(d for draws in sorted_draws.values() for d in (*draws[0], *draws[1]) if d.key))
        numbers: Counter[str] = Counter()
        for which in (0, 1):
            for name, draws in sorted_draws.items():
                for draw in draws[which]:
                    if draw.key is None and draw not in self.keys:
                        self.keys[draw] = draw.seed, self._next(name, numbers, tensors)

    def key(self, draw: Draw) -> tuple[int, str]:
        return draw.key or self.keys[draw]

    def alone(self, draw: Draw) -> bool:
        return draw in self._alone

    @staticmethod
    def _next(name: str, numbers: Counter[str], taken: Iterable[str]) -> str:
        while True:
            number = numbers[name]
            numbers[name] += 1
            if not number:
                return name
            if f"{name}#{number}" not in taken:
                return f"{name}#{number}"


def _shown(expression: Expression, alone: object) -> tuple[list[Draw], list[Draw]]:
    """The draws that show in an expression's recipe, as often as they do, and those that its literals are made of."""
    shown: list[Draw] = []
    buried: list[Draw] = []

    def key(draw: Draw) -> tuple[int, str]:
        shown.append(draw)
        return 0, ""

    def stand_in(found: Expression, steps: Sequence[Step], reason: InexpressibleError) -> Part:
        buried.extend(draws_in(found))
        dtype = DTYPES.get(steps[-1].dtype if steps else found.dtype, "float32")
        return Recipe("zeros", found.shape, dtype=dtype, seed=0)

    Composer(key, alone, stand_in).part(expression)  # type: ignore[arg-type]
    return shown, buried


class Making:
    """Makes the recipes of a model's tensors, and says which parts of them are literals."""

    def __init__(self, names: Names, seed: int) -> None:
        self._names = names
        self._evaluation = Evaluation(names.key, names.alone)
        self._seed = seed
        self.literals: list[tuple[int, str, str]] = []  # of the last tensor: elements, why, where

    def recipe(self, name: str, expression: Expression) -> Recipe:
        self.literals = []
        with without_modes():
            composer = Composer(self._names.key, self._names.alone, self._literal, self._seed)
            made = composer.part(expression)
            self._evaluation.forget()
        if is_constant(made):
            return Recipe(made.recipe.initializer, made.shape, dtype=dtype_of(made), seed=self._seed, name=name)  # type: ignore[arg-type]
        return as_recipe(made)

    def values(self, expression: Expression) -> torch.Tensor:
        """The values of what has no recipe, for its dtype."""
        made = self._evaluation.values(expression)
        self._evaluation.forget()
        return made

    def _literal(self, expression: Expression, steps: Sequence[Step], reason: InexpressibleError) -> Part:
        values = after(self._evaluation.values(expression), steps)
        simple = plain(values, self._seed)
        if simple is not None:
            return simple
        self.literals.append((values.numel(), reason.why, reason.where))
        return literal_of(values)


def literal_of(values: torch.Tensor) -> Recipe:
    return literal(array_of(values.contiguous()), DTYPES[values.dtype])


def plain(values: torch.Tensor, seed: int) -> Recipe | None:
    """The recipe of values that are one number, or an identity; None for others."""
    if values.dtype not in DTYPES:
        return None
    shape, dtype = tuple(values.shape), DTYPES[values.dtype]
    if not values.numel():
        return Recipe("zeros", shape, dtype=dtype, seed=seed)
    first = values[(0,) * values.dim()]
    if same_bits(values, first.expand(shape)):
        return None if bool(first.isnan()) else constant(first, shape, seed)
    if values.dim() == 2 and bool(first) and same_bits(values, torch.eye(*shape, dtype=values.dtype) * first + 0.0):
        return Recipe("eye", shape, dtype=dtype, seed=seed, gain=float(first.item()))
    return None
