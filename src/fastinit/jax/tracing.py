"""An initialising function as a program: traced once, nothing made; any of its results made by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jec
from jax.interpreters.partial_eval import dce_jaxpr

from .reading import Reader, Value


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """One leaf of what the function returns: an array, `number` among the program's outputs, or something else."""

    name: str
    number: int | None
    value: Any = None


class Program:
    """A function of arrays, traced.

    Arrays of JAX among the arguments, and shapes in their place, are traced; whatever else is there, numbers and
    NumPy's arrays too, is passed to the function as it is.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        leaves, tree = jax.tree.flatten(args)
        where = [k for k, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))]
        self.inputs = [leaves[k] for k in where]
        if any(isinstance(given, jax.core.Tracer) for given in self.inputs):
            raise TypeError("an argument is traced: init and recipes are called outside of jit, vmap and grad")
        self.leaves: list[Leaf] = []
        self.tree: Any = None

        def traced(arrays: Sequence[Any]) -> list[Any]:
            given = list(leaves)
            for k, array in zip(where, arrays):
                given[k] = array
            found, self.tree = jax.tree_util.tree_flatten_with_path(fn(*jax.tree.unflatten(tree, given)))
            outputs: list[Any] = []
            for path, leaf in found:
                name = jax.tree_util.keystr(path)
                if isinstance(leaf, jax.Array):  # tracers count as such
                    self.leaves.append(Leaf(name, len(outputs)))
                    outputs.append(leaf)
                else:
                    self.leaves.append(Leaf(name, None, leaf))
            return outputs

        closed = jax.make_jaxpr(traced)(self.inputs)
        self.consts = closed.consts
        self.avals = closed.out_avals
        #: which outputs are one array: the number of the first of them
        self.first = [closed.jaxpr.outvars.index(var) for var in closed.jaxpr.outvars]
        self._jaxpr = closed.jaxpr

    def read(self, substitute: bool) -> list[Value]:
        """What each of the outputs is made of."""
        inputs = [
            Value(None, "an argument without values") if isinstance(given, jax.ShapeDtypeStruct) else Value(given)
            for given in self.inputs
        ]
        jaxpr, _ = dce_jaxpr(self._jaxpr, [True] * len(self.avals), True)
        return Reader(substitute).outputs(jaxpr, self.consts, inputs)

    def run(self, leaf: Leaf) -> Any:
        """One output, made as the function itself makes it."""
        jaxpr, used = dce_jaxpr(self._jaxpr, [k == leaf.number for k in range(len(self.avals))])
        inputs = [given for given, needed in zip(self.inputs, used) if needed]
        if any(isinstance(given, jax.ShapeDtypeStruct) for given in inputs):
            raise ValueError(f"{leaf.name} depends on the values of an argument of which only the shape is given")
        (made,) = jec.jaxpr_as_fun(jec.ClosedJaxpr(jaxpr, self.consts))(*inputs)
        return made
