"""A fill within JAX: at once, or as part of what is being traced, where the program's reader finds it again."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..initializers import Initializer
from ..recipe import Recipe
from ..stream import seed_from_words
from .arrays import array, check_dtype, placement


def filled(
    description: Initializer,
    words: Any,
    shape: tuple[int, ...],
    dtype: Any,
    beside: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """The values of a description on the seed that `words` make: at once, or as part of what is being traced.

    They lie where `out_sharding` says, or where JAX would put what it draws from the key `beside`.
    """
    drawn = Drawn(description, tuple(shape), jnp.dtype(dtype))
    check_dtype(drawn.dtype)
    drawn.recipe(0)  # refuses parameters now, not when a compiled program runs
    words = jnp.asarray(words, jnp.uint32) | np.uint32(0)  # traced wherever anything is
    if isinstance(words, jax.core.Tracer) or _within_a_transform_over_a_mesh():
        made = _later(drawn, words)
        return made if out_sharding is None else jax.sharding.reshard(made, out_sharding)
    recipe, sharding = drawn.recipe_of(np.asarray(words)), placement(beside, out_sharding)
    if sharding is None:
        return jax.device_put(recipe[...], may_alias=True)  # nobody else has the array
    return array(recipe, sharding)


def _within_a_transform_over_a_mesh() -> bool:
    """Where nothing is traced, as within grad, and yet JAX does not say over which devices the mesh is."""
    if jax.sharding.get_abstract_mesh().empty:
        return False
    try:
        jax.sharding.get_mesh()
    except ValueError:
        return True
    return False


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A tensor without its seed. Equal ones hash alike, so that JAX compiles their callbacks once."""

    description: Initializer
    shape: tuple[int, ...]
    dtype: Any

    def recipe(self, seed: int) -> Recipe:
        return Recipe(self.description, self.shape, dtype=self.dtype, seed=seed)

    def recipe_of(self, words: np.ndarray) -> Recipe:
        """The tensor on the seed that a key's words make."""
        return self.recipe(seed_from_words(words))

    def __call__(self, words: Any) -> np.ndarray:
        """The callback: a tensor for each key, whose words are along the last axis."""
        words = np.asarray(words)
        batch = words.shape[:-1]
        if not batch:
            made = self.recipe_of(words)[...]
        else:
            made = np.empty((*batch, *self.shape), self.dtype)
            for at in np.ndindex(batch):
                self.recipe_of(words[at]).fill(made[at])
        return made.view(np.uint32).reshape(*made.shape, 2) if self.dtype == np.float64 else made


@functools.partial(jax.jit, static_argnums=0)
def _later(drawn: Drawn, words: jax.Array) -> jax.Array:
    """The fill as part of a traced computation."""
    wide = drawn.dtype == np.float64  # as pairs of words: a callback may run where 64-bit types are off
    shape, dtype = ((*drawn.shape, 2), np.dtype(np.uint32)) if wide else (drawn.shape, drawn.dtype)
    made = jax.pure_callback(drawn, jax.ShapeDtypeStruct(shape, dtype), words, vmap_method="broadcast_all")
    # the barrier, since a callback that is all of a program would leave its result on one device only
    made = jax.lax.optimization_barrier(made)
    return jax.lax.bitcast_convert_type(made, drawn.dtype) if wide else made


def drawn_by(eqn: Any) -> Drawn | None:
    """What an equation of a traced program draws: that of the callback which `_later` has put there, else None."""
    if eqn.primitive.name != "pure_callback":
        return None
    # JAX wraps the function; where a version of JAX keeps it elsewhere, fills are made whole, and said to be
    called = getattr(eqn.params.get("callback"), "callback_func", None)
    return called if isinstance(called, Drawn) else None
