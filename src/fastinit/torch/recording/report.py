"""What a recorded model is made of."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ...families import fold
from ...outline import described, outline
from ...questions import dtype_of
from ...recipe import Recipe
from ...tables import percent, plain_lines


class Lost(NamedTuple):
    """Elements of a tensor that are values as they are, why, and the line of code that made them."""

    name: str
    elements: int
    why: str
    where: str


class Early(NamedTuple):
    """A draw that had to be made early: its name, the line of code that drew it, and what looked at it."""

    name: str
    where: str
    looked_at: str


class Report:
    """What each tensor of a recorded model is made of; prints as a text.

    Attributes
    ----------
    recipes : dict of str to Recipe
        As `Recording.recipes` gives them.
    literals : list of Lost
        Every literal in them: the tensor's name, how many elements, why, and the line of code.
    early : list of Early
        Draws that something looked at before it was known which parameter they are of. Their names, and with them
        their values, depend on the order of construction.
    left_out : list of str
        Parameters and persistent buffers of dtypes that recipes do not have, integers above all.
    elements, literal_elements : int
        Of all recipes together.
    """

    def __init__(
        self, recipes: dict[str, Recipe], literals: list[Lost], early: list[Early], left_out: list[str]
    ) -> None:
        self.recipes = recipes
        self.literals = literals
        self.early = early
        self.left_out = left_out
        self.elements = sum(recipe.size for recipe in recipes.values())
        self.literal_elements = sum(lost.elements for lost in literals)

    def __str__(self) -> str:
        share = percent(self.literal_elements / self.elements if self.elements else 0.0)
        lines = [f"{len(self.recipes)} tensors of {self.elements:,} elements, {share} of them literals", ""]
        lines += self._tensors()
        if self.literals:
            lines += ["", "Literals, for want of a recipe:"]
            lines += self._literals()
        if self.early:
            lines += ["", "Drawn early, so that values depend on the order of construction or on a generator:"]
            lines += [f"  {draw.name!r} of {draw.where}: {draw.looked_at}" for draw in self.early]
        if self.left_out:
            lines += [
                "",
                f"No recipes, for their dtypes: {', '.join(name for name, _ in fold([(n, 0) for n in self.left_out]))}",
            ]
        return "\n".join(lines)

    __repr__ = __str__

    def _tensors(self) -> list[str]:
        dicts = {name: recipe.to_dict() for name, recipe in self.recipes.items()}
        outlines = [outline(d) for d in dicts.values()]
        alike = [
            (name, (recipe.shape, dtype_of(recipe), like))
            for (name, recipe), like in zip(self.recipes.items(), outlines)
        ]
        rows = [("tensor", "of", "shape", "dtype", "made of")]
        names = list(self.recipes)
        for family, members in fold(alike):
            first, last = names[members[0]], names[members[-1]]
            recipe = self.recipes[first]
            shape = " x ".join(map(str, recipe.shape)) or "()"
            rows.append((family, str(len(members)), shape, dtype_of(recipe), described(dicts[first], dicts[last])))
        return plain_lines(rows, (1,))

    def _literals(self) -> list[str]:
        counts = Counter((lost.why, lost.where) for lost in self.literals)
        lines = []
        for (why, where), _ in counts.most_common():
            lost = [found for found in self.literals if (found.why, found.where) == (why, where)]
            names = ", ".join(name for name, _ in fold([(name, 0) for name in dict.fromkeys(f.name for f in lost)]))
            elements = sum(found.elements for found in lost)
            lines.append(f"  {names}: {elements:,} elements, {why}" + (f", {where}" if where else ""))
        return lines
