"""Reads a traced program: what each of its arrays is made of, without making more than seeds and small numbers.

JAX compiles what a call of `jit`, `scan` or `cond` contains as one program, and may merge two steps of arithmetic there
into one rounding. Within such a call one step at a time is followed; what has been through more is not guessed but made
by running the call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core as jec
import jax.numpy as jnp
import numpy as np

from ..arrays import DTYPES
from . import contents
from .contents import NotLazy, is_lazy
from .drawing import Drawn, drawn_by
from .equations import draws, inner_programs, is_constant, place, run
from .rewriting import scaled, shifted
from .rules import EXACT, NOTHING, ROUNDED, RULES, converted, elementwise, narrows
from .substitutes import is_jaxs_draw, substitute

#: Arrays above so many bytes are not made while a program is read.
SMALL = 1 << 20
#: Calls of one program within another, by name, and which parameter has it.
_CALLS = {
    "checkpoint": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr", "jit": "jaxpr", "pjit": "jaxpr",
    "remat": "jaxpr", "remat2": "jaxpr",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """What is known of an array of the program.

    Attributes
    ----------
    content : recipe, Computed, array or None
        None where it has to be made by running the program; `why` says why.
    rounded : bool
        Whether it has been through arithmetic within the compiled call that is being read.
    free : bool
        Whether it stands for JAX's own draws, so that its bits are nobody's.
    random : bool
        Whether its values depend on a draw.
    """

    content: Any
    why: str = ""
    rounded: bool = False
    free: bool = False
    random: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class _Words:
    """A float64 tensor as pairs of 32-bit words, on the way from the callback that draws it."""

    recipe: Any


class Reader:
    """Reads one program, call by call."""

    def __init__(self, substitute: bool) -> None:
        self._substitute = substitute
        self._depth = 0  # how many compiled calls the equation is within
        self._ours: dict[int, tuple[Any, bool]] = {}

    def outputs(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        """What the outputs of a program are made of."""
        known = {var: Value(const) for var, const in zip(jaxpr.constvars, consts)}
        known.update(zip(jaxpr.invars, inputs))

        def value_of(var: Any) -> Value:
            return Value(np.asarray(var.val, var.aval.dtype)) if isinstance(var, jec.Literal) else known[var]

        for eqn in jaxpr.eqns:
            known.update(zip(eqn.outvars, self._equation(eqn, [value_of(var) for var in eqn.invars])))
        return [value_of(var) for var in jaxpr.outvars]

    def _equation(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        name = eqn.primitive.name
        drawn = drawn_by(eqn)
        if drawn is not None:
            return [self._drawn(drawn, inputs[0])]
        if self._substitute and name in ("jit", "pjit") and is_jaxs_draw(eqn):
            return [self._substituted(eqn, inputs)]
        lazy = any(is_lazy(value.content) or isinstance(value.content, _Words) for value in inputs)
        if lazy or self._has_ours(eqn):
            if name in _CALLS:
                return self._compiled(eqn, lambda: self._call(eqn.params[_CALLS[name]], inputs))
            if name == "scan":
                return self._compiled(eqn, lambda: self._scan(eqn, inputs))
            if name == "cond":
                return self._compiled(eqn, lambda: self._cond(eqn, inputs))
        random = any(value.random for value in inputs) or draws(eqn)
        try:
            for value in inputs:
                if value.content is None:
                    found = [Value(None, value.why)] * len(eqn.outvars)
                    break
            else:
                if lazy:
                    found = self._lazily(eqn, inputs)
                elif is_constant(eqn):
                    found = [dataclasses.replace(inputs[0], content=_constant(eqn, inputs[0].content))]
                else:
                    found = self._made(eqn, inputs)
        except (NotLazy, ValueError) as error:  # ValueError: too many tensors in one, or nested too deep
            found = self._unknown(eqn, str(error))
        return [dataclasses.replace(value, random=value.random or random) for value in found]

    # ---- draws ---------------------------------------------------------------------------------------------------

    def _drawn(self, drawn: Drawn, words: Value) -> Value:
        if words.content is None or is_lazy(words.content) or words.rounded:
            return Value(None, words.why or "the key of a draw is computed from what is drawn", random=True)
        made = _recipe_of(drawn, np.asarray(words.content))
        return Value(_Words(made) if drawn.dtype == np.float64 else made, random=True)

    def _substituted(self, eqn: Any, inputs: list[Value]) -> Value:
        for value in inputs:
            if value.content is None:
                return Value(None, value.why, random=True)
        found = substitute(eqn, [value.content for value in inputs])
        if found is None:
            return Value(None, f"bounds that are arrays{place(eqn)}", random=True)
        return Value(_recipe_of(*found), free=True, random=True)

    # ---- equations -----------------------------------------------------------------------------------------------

    def _lazily(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """What an operation makes of arrays that do not exist."""
        name, args = eqn.primitive.name, [value.content for value in inputs]
        outs = [var.aval for var in eqn.outvars]
        lazies = [value for value in inputs if is_lazy(value.content)]
        free = bool(lazies) and all(value.free for value in lazies)
        rounded, why = any(value.rounded for value in inputs), f"{name}{place(eqn)}"
        if name in NOTHING:
            return list(inputs)
        if any(isinstance(arg, _Words) for arg in args):
            if name == "bitcast_convert_type" and outs[0].dtype == np.float64:
                return [Value(args[0].recipe)]
            raise NotLazy(f"{name} of the words of float64")
        if name in RULES:
            made = RULES[name](eqn.params, args, outs)
            why = lazies[0].why  # as before: rearranging is no reason
            return [Value(content, why, rounded=rounded, free=free) for content in made]
        if name in ("mul", "div", "add", "sub") and free and len(lazies) == 1:
            content = _folded(name, args)
            if content is not None:
                return [dataclasses.replace(lazies[0], content=content)]
        if name == "convert_element_type":
            if free and outs[0].dtype.name in DTYPES:
                return [Value(converted(eqn.primitive, eqn.params, args, outs[0], True), free=True)]
            if rounded and self._depth:
                raise NotLazy("arithmetic and then a cast in compiled code")
            made = converted(eqn.primitive, eqn.params, args, outs[0], False)
            return [Value(made, why, rounded=self._depth > 0 and narrows(args[0].dtype, outs[0].dtype))]
        if name in EXACT or name in ROUNDED:
            if name in ROUNDED and self._depth and (rounded or name == "div"):
                raise NotLazy("more than one step of arithmetic in compiled code")
            made = elementwise(eqn.primitive, eqn.params, args, outs[0])
            return [Value(made, why, rounded=rounded or (name in ROUNDED and self._depth > 0))]
        raise NotLazy(name)

    def _made(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """What an operation makes of arrays that exist: keys, counters and small numbers."""
        for var in eqn.outvars:
            aval = var.aval
            if not jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key) and aval.size * aval.dtype.itemsize > SMALL:
                return self._unknown(eqn, _title(eqn))
        why = next((value.why for value in inputs if value.random and value.why), f"{_title(eqn)}{place(eqn)}")
        made = run(eqn, [value.content for value in inputs])
        merged = self._depth > 0 and eqn.primitive.name not in RULES
        return [
            Value(
                content,
                why,
                rounded=any(value.rounded for value in inputs)
                or (merged and jnp.issubdtype(var.aval.dtype, jnp.inexact)),
            )
            for content, var in zip(made, eqn.outvars)
        ]

    def _unknown(self, eqn: Any, why: str) -> list[Value]:
        return [Value(None, f"{why}{place(eqn)}")] * len(eqn.outvars)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _compiled(self, eqn: Any, read: Any) -> list[Value]:
        """What a call makes, whose inside JAX compiles as one program."""
        self._depth += 1
        try:
            found = read()
        except (NotLazy, ValueError) as error:
            found = [dataclasses.replace(value, random=True) for value in self._unknown(eqn, str(error))]
        finally:
            self._depth -= 1
        if self._depth:
            return found
        settled = []
        for value in found:
            if value.content is not None and value.rounded and not is_lazy(value.content):
                value = Value(None, f"arithmetic in compiled code{place(eqn)}", random=value.random)
            settled.append(dataclasses.replace(value, rounded=False))
        return settled

    def _call(self, jaxpr: Any, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a program within this one, which may be closed or not."""
        return self.outputs(getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ()), inputs)

    def _cond(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        which, branches = inputs[0], eqn.params["branches"]
        if which.content is None or is_lazy(which.content) or which.rounded:
            raise NotLazy(which.why or "cond on what is drawn")
        position = min(max(int(which.content), 0), len(branches) - 1)
        return self._call(branches[position], inputs[1:])

    def _scan(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """A scan, step by step; what its steps return is stacked."""
        params = eqn.params
        consts, carries = params["num_consts"], params["num_carry"]
        fixed, carried, rows = inputs[:consts], inputs[consts : consts + carries], inputs[consts + carries :]
        columns: list[list[Value]] = [[] for _ in eqn.outvars[carries:]]
        steps = range(params["length"])
        for step in reversed(steps) if params["reverse"] else steps:
            made = self._call(params["jaxpr"], [*fixed, *carried, *(_row(value, step) for value in rows)])
            carried = made[:carries]
            for column, value in zip(columns, made[carries:]):
                column.append(value)
        if params["reverse"]:
            for column in columns:
                column.reverse()
        return [*carried, *(_piled(column, var.aval) for column, var in zip(columns, eqn.outvars[carries:]))]

    def _has_ours(self, eqn: Any) -> bool:
        """Whether a call contains a draw of ours, or an array of one number, which a recipe can describe."""
        return any(map(self._program_has_ours, inner_programs(eqn.params)))

    def _program_has_ours(self, jaxpr: Any) -> bool:
        if id(jaxpr) not in self._ours:  # kept together with the program, whose id nothing else can take then
            found = any(
                drawn_by(eqn) is not None
                or (self._substitute and is_jaxs_draw(eqn))
                or is_constant(eqn)
                or self._has_ours(eqn)
                for eqn in jaxpr.eqns
            )
            self._ours[id(jaxpr)] = jaxpr, found
        return self._ours[id(jaxpr)][1]


def _recipe_of(drawn: Drawn, words: np.ndarray) -> Any:
    """A tensor, or for several keys a stack of them along the keys' axes."""
    batch = words.shape[:-1]
    if not batch:
        return drawn.recipe_of(words)
    if 0 in batch:
        return contents.full(np.zeros((), drawn.dtype), (*batch, *drawn.shape), drawn.dtype)
    made = contents.piled([drawn.recipe_of(each) for each in words.reshape(-1, words.shape[-1])])
    return contents.reshaped(made, (*batch, *drawn.shape))


def _constant(eqn: Any, number: Any) -> Any:
    spread = eqn.outvars[0].aval
    return contents.full(number, spread.shape, spread.dtype)


def _folded(name: str, args: list[Any]) -> Any:
    """Arithmetic with a number, taken into the parameters of what is drawn; None where it cannot be."""
    first, second = args
    content, number = (first, second) if is_lazy(first) else (second, first)
    if number.ndim or isinstance(content, contents.Computed):
        return None
    value = float(number)
    if name == "mul" or (name == "div" and content is first and value):
        return scaled(content, value if name == "mul" else 1 / value)
    if name == "add":
        return shifted(content, value)
    if name == "sub":
        flipped = content if content is first else scaled(content, -1.0)
        return None if flipped is None else shifted(flipped, -value if content is first else value)
    return None


def _row(value: Value, step: int) -> Value:
    """One of the rows of a scan's input."""
    if value.content is None:
        return value
    if not is_lazy(value.content):
        return dataclasses.replace(value, content=value.content[step])
    row = contents.cut(value.content, (slice(step, step + 1), *[slice(None)] * (value.content.ndim - 1)))
    return dataclasses.replace(value, content=contents.reshaped(row, row.shape[1:]))


def _piled(column: list[Value], aval: Any) -> Value:
    """What the steps of a scan return, as one array."""
    for value in column:
        if value.content is None:
            return value
    rounded, random = any(value.rounded for value in column), any(value.random for value in column)
    if not any(is_lazy(value.content) for value in column):
        made = jnp.stack([value.content for value in column]) if column else jnp.zeros(aval.shape, aval.dtype)
        return Value(made, rounded=rounded, why=column[0].why if column else "", random=random)
    free = all(value.free for value in column if is_lazy(value.content))
    why = next((value.why for value in column if value.why), "")
    try:
        return Value(contents.piled([value.content for value in column]), why, rounded, free, random)
    except (NotLazy, ValueError) as error:
        return Value(None, str(error), random=random)


def _title(eqn: Any) -> str:
    """An operation by the name that its caller knows."""
    name = str(eqn.params.get("name", eqn.primitive.name))
    return f"jax.random.{name.removeprefix('_')}" if is_jaxs_draw(eqn) else name
