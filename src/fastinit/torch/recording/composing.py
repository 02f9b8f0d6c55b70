"""Expressions as recipes: initializers with what was done to their values, and tensors composed of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...functions import concatenate, stack
from ...recipe import Part, Recipe
from ..memory import DTYPES
from .canvas import MOST_COPIES, overlap, part_in_pieces
from .expressions import Computed, Constant, Draw, Expression, Literal, Unset, View, draws_in
from .folding import ONE_BY_ONE, InexpressibleError, fold
from .shapes import constant, in_shape, initializer_of, is_constant
from .steps import Step

_ELEMENTWISE = """
    abs acos add asin atan ceil clamp clamp_max clamp_min clone cos cosh div erf erfc erfinv exp exp2 expm1 floor log
    log10 log1p log2 logit mul neg pow reciprocal round rsqrt rsub sigmoid sign sin sinh softplus sqrt square sub tan
    tanh trunc _to_copy
"""
#: Functions of each element.
ELEMENTWISE = frozenset(_ELEMENTWISE.split())


class Composer:
    """Makes recipes of expressions.

    Parameters
    ----------
    key : callable
        Seed and name of a draw.
    alone : callable
        Whether no other tensor has values of a draw.
    literal : callable
        The recipe of an expression that is no initializer's, with the steps that follow and the reason.
    """

    def __init__(
        self,
        key: Callable[[Draw], tuple[int, str]],
        alone: Callable[[Draw], bool],
        literal: Callable[[Expression, Sequence[Step], InexpressibleError], Part],
        seed: int = 0,
    ) -> None:
        self._key = key
        self._alone = alone
        self._literal = literal
        self._seed = seed

    def part(self, expression: Expression, steps: Sequence[Step] = ()) -> Part:
        """The recipe of an expression's values after these steps."""
        expression, steps = chain(expression, steps)
        try:
            if isinstance(expression, Draw):
                return self._drawn(expression, steps, expression.shape)
            if isinstance(expression, Constant):
                return constant(
                    after(torch.full((), expression.value, dtype=expression.dtype), steps), expression.shape, self._seed
                )
            if isinstance(expression, Unset):
                return constant(after(torch.zeros((), dtype=expression.dtype), steps), expression.shape, self._seed)
            if isinstance(expression, View):
                return self._view(expression, steps)
            if isinstance(expression, Computed):
                return self._computed(expression, steps)
            assert isinstance(expression, Literal)
            raise InexpressibleError(expression.why, expression.where)
        except InexpressibleError as reason:
            return self._literal(expression, steps, reason)

    def _drawn(self, draw: Draw, steps: Sequence[Step], shape: Sequence[int]) -> Recipe:
        dtype = steps[-1].dtype if steps else draw.dtype
        alone = self._alone(draw)
        _check_casts(draw.dtype, steps, alone)
        kind, parameters = fold(draw.kind, draw.parameters, steps, alone=alone)
        if dtype not in DTYPES:
            raise InexpressibleError(f"{dtype}, which recipes do not have")
        if kind == "constant":
            return constant(torch.full((), parameters["value"], dtype=dtype), shape, self._seed)
        seed, name = self._key(draw)
        try:
            return Recipe(kind, shape, dtype=DTYPES[dtype], seed=seed, name=name, **parameters)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise InexpressibleError(f"{kind}: {error}", draw.where) from None

    def _computed(self, expression: Computed, steps: Sequence[Step]) -> Part:
        call = expression.call
        if call.name in ("cat", "stack"):
            axis = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
            others = [other for other in call.args[0] if math.prod(other.shape)]
            parts = [self.part(other, self._cast(other, expression, steps)) for other in others]
            if all(map(is_constant, parts)) and len(set(map(initializer_of, parts))) == 1:
                return in_shape(parts[0], expression.shape)
            return concatenate(parts, axis) if call.name == "cat" else stack(parts, axis)
        if call.name == "repeat":
            return self._repeated(expression, steps)
        raise InexpressibleError(f"computed by {call.name}", call.where)

    @staticmethod
    def _cast(other: Expression, whole: Expression, steps: Sequence[Step]) -> Sequence[Step]:
        """The steps after a tensor of another dtype became part of this one."""
        if other.dtype is whole.dtype:
            return steps
        return [Step("_to_copy", (), 0, {}, whole.dtype, ""), *steps]

    def _repeated(self, expression: Computed, steps: Sequence[Step]) -> Part:
        operand, repeats = expression.call.args
        if math.prod(repeats) > MOST_COPIES:
            raise InexpressibleError("repeat of many copies", expression.call.where)
        part = self.part(operand, steps)
        if is_constant(part):
            return in_shape(part, expression.shape)
        part = in_shape(part, (1,) * (len(repeats) - part.ndim) + part.shape)
        for axis, count in enumerate(repeats):
            part = concatenate([part] * count, axis) if count > 1 else part
        return part

    def _view(self, view: View, steps: Sequence[Step]) -> Part:
        near = [write for write in view.writes if overlap(write.geometry, view.geometry)]
        if not near:
            return self.part(Unset(view.shape, view.dtype), steps)
        if near[-1].geometry == view.geometry:
            return self.part(near[-1].values, steps)
        return part_in_pieces(view, near, steps, self.part, self._drawn_as)

    def _drawn_as(self, expression: Expression, steps: Sequence[Step], shape: tuple[int, ...]) -> Part | None:
        draw, taken = chain(expression, steps)
        if isinstance(draw, Draw) and draw.kind in ONE_BY_ONE and self._alone(draw):
            return self._drawn(draw, taken, shape)
        return None


def _check_casts(dtype: torch.dtype, steps: Sequence[Step], alone: bool) -> None:
    """Values that were rounded to a dtype and made wider again are those of no initializer of the wider one."""
    for step in steps:
        if step.dtype is not dtype:
            if torch.promote_types(dtype, step.dtype) is not dtype:
                raise InexpressibleError(f"rounded to {dtype} and cast to {step.dtype} then", step.where)
            if dtype is torch.float64 and not alone:
                raise InexpressibleError("a cast from float64 of a draw that another tensor has, too", step.where)
            dtype = step.dtype


# ---- steps -------------------------------------------------------------------------------------------------------


def step_of(expression: Computed) -> tuple[Expression, Step] | None:
    """The tensor of which an expression is a function of each element by numbers, and that function."""
    call = expression.call
    options = {key: value for key, value in call.kwargs.items() if key not in ("dtype", "memory_format", "out")}
    if call.name not in ELEMENTWISE or any(isinstance(value, Expression) for value in options.values()):
        return None
    operand: Expression | None = None
    position = 0
    numbers: list[Any] = []
    for place, given in enumerate(call.args):
        if isinstance(given, Expression) and given.shape == expression.shape and operand is None:
            operand, position = given, place
        elif isinstance(given, Expression):
            number = number_of(given)
            if number is None:
                return None
            numbers.append(number)
        elif isinstance(given, (int, float)) or given is None:
            numbers.append(given)
        else:
            return None
    if operand is None:
        return None
    second = number_of(operand) if math.prod(operand.shape) == 1 else None
    if second is not None and any(isinstance(given, Draw) for given in call.args):
        return None
    return operand, Step(call.name, tuple(numbers), position, options, expression.dtype, call.where)


def chain(expression: Expression, steps: Sequence[Step]) -> tuple[Expression, list[Step]]:
    """What is under functions of each element, and these before the steps that are given."""
    under: list[Step] = []
    while isinstance(expression, Computed) and (taken := step_of(expression)) is not None:
        expression = taken[0]
        under.append(taken[1])
    return expression, [*under[::-1], *steps]


def number_of(expression: Expression) -> float | None:
    """The number that an expression of one element is, if nothing in it is drawn."""
    if math.prod(expression.shape) != 1 or any(True for _ in draws_in(expression)):
        return None
    if isinstance(expression, Constant):
        return float(torch.full((), expression.value, dtype=expression.dtype).item())
    if isinstance(expression, Literal):
        return float(expression.values.item())
    return None


def after(values: torch.Tensor, steps: Sequence[Step]) -> torch.Tensor:
    """The steps, taken with values."""
    for step in steps:
        if step.name == "_to_copy":
            values = values.to(step.dtype)
            continue
        args = list(step.numbers)
        args.insert(step.position, values)
        function = getattr(torch.ops.aten, step.name)
        values = function(*args, **step.options).to(step.dtype)
    return values
