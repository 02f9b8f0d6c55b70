"""JAX's own draws, taken for fastinit's: which they are, and the recipe in the place of each.

JAX's values are not reproduced. The seed is the key, as in the factories of this package.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..arrays import DTYPES
from ..initializers import Initializer, init
from .contents import is_lazy
from .drawing import Drawn

#: JAX's functions of a key and numbers, by the name under which each is compiled, and how many numbers each takes.
_DRAWS = {"_normal": 0, "_uniform": 2, "_truncated_normal": 2, "_orthogonal": 0}


def is_jaxs_draw(eqn: Any) -> bool:
    """Whether an equation is a call of one of JAX's functions that `substitute` has a recipe for."""
    if eqn.params.get("name") not in _DRAWS or len(eqn.invars) != 1 + _DRAWS[eqn.params["name"]]:
        return False
    key, drawn, where = eqn.invars[0].aval, eqn.outvars[0].aval, eqn.params["jaxpr"].jaxpr.debug_info
    return (
        jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        and drawn.shape[: key.ndim] == key.shape
        and drawn.dtype.name in DTYPES
        and "random" in str(getattr(where, "func_src_info", ""))
    )


def substitute(eqn: Any, contents: list[Any]) -> tuple[Drawn, Any] | None:
    """What is drawn in the place of JAX's draw, and the words of its seeds; None where its numbers are not known."""
    key, *numbers = contents
    if is_lazy(key) or any(is_lazy(number) or number.ndim for number in numbers):
        return None
    drawn, batch = eqn.outvars[0].aval, key.ndim
    description = _description(eqn.params["name"], [float(number) for number in numbers])
    words = np.asarray(jax.random.key_data(key))
    return Drawn(description, tuple(drawn.shape[batch:]), np.dtype(drawn.dtype)), words


def _description(name: str, numbers: list[float]) -> Initializer:
    if name == "_uniform":
        return init("uniform", low=numbers[0], high=numbers[1])
    if name == "_truncated_normal":
        return init("truncated_normal", lower=numbers[0], upper=numbers[1])
    return init("normal" if name == "_normal" else "orthogonal")
