"""What can be asked of one equation of a traced program; and one equation run by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.extend.core as jec
import jax.extend.source_info_util as source

from ..arrays import DTYPES

source.register_exclusion(str(Path(__file__).parent))  # the line that an equation comes from is the caller's


def inner_programs(params: Mapping[str, Any]) -> Iterator[Any]:
    """The programs among an equation's parameters, without their constants."""
    for value in params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (jec.Jaxpr, jec.ClosedJaxpr)):
                yield getattr(each, "jaxpr", each)


def run(eqn: Any, args: Sequence[Any]) -> list[Any]:
    """The outputs of one equation, by JAX."""
    if next(inner_programs(eqn.params), None) is None:
        made = eqn.primitive.bind(*args, **eqn.params)
        return list(made) if eqn.primitive.multiple_results else [made]
    given = {var: arg for var, arg in zip(eqn.invars, args) if not isinstance(var, jec.Literal)}
    names = {"arg_names": ("",) * len(given), "result_paths": ("",) * len(eqn.outvars)}
    where = next(inner_programs(eqn.params)).debug_info._replace(**names)
    jaxpr = jec.Jaxpr((), list(given), eqn.outvars, [eqn], eqn.effects, where)
    return list(jec.jaxpr_as_fun(jec.ClosedJaxpr(jaxpr, ()))(*given.values()))


def draws(eqn: Any) -> bool:
    """Whether JAX's own generator draws in an equation, or a callback that may."""
    if eqn.primitive.name in ("random_bits", "random_gamma", "rng_bit_generator", "rng_uniform", "pure_callback"):
        return True
    return any(draws(each) for inner in inner_programs(eqn.params) for each in inner.eqns)


def is_constant(eqn: Any) -> bool:
    """Whether an equation spreads one number over an array that a recipe can describe."""
    if eqn.primitive.name != "broadcast_in_dim":
        return False
    number, spread = eqn.invars[0].aval, eqn.outvars[0].aval
    return number.ndim == 0 and spread.size != 1 and spread.dtype.name in DTYPES


def place(eqn: Any) -> str:
    """The line of the caller's code that an equation comes from, as far as JAX knows it."""
    where = str(source.summarize(eqn.source_info)).partition(" (")[0]
    parts = where.rsplit("/", 1)[-1].split(":")
    return f", {parts[0]}:{parts[1]}" if len(parts) > 1 else ""
