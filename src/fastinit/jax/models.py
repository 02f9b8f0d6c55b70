"""Whole models: their initialising functions run with every fill made where it lives, or turned into recipes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core.primitives import convert_element_type_p

from ..arrays import DTYPES
from ..functions import literal
from ..recipe import Part
from .arrays import array, placement
from .contents import full, is_lazy
from .reading import Value
from .shards import computed
from .tracing import Program

#: A table that depends on no draw may be made whole without a word up to so many bytes.
TABLE = 1 << 16


class MadeWholeWarning(UserWarning):
    """Arrays were made as a whole that `init` or `recipes` could not read as recipes.

    Attributes
    ----------
    arrays : dict of str to str
        The name of each in what the function returns, and why.
    """

    def __init__(self, message: str, arrays: dict[str, str]) -> None:
        super().__init__(message)
        self.arrays = arrays


def init(
    fn: Callable[..., Any],
    *args: Any,
    out_shardings: Any = None,
    substitute: bool = False,
    strict: bool = False,
) -> Any:
    """What ``fn(*args)`` returns, the same bits, with every fill made shard by shard where it lives.

    Parameters
    ----------
    fn : callable
        An initialising function: ``model.init`` of Flax linen, a function that makes an nnx or Equinox module, any
        function of keys. It is traced, as by `jax.jit`, and not compiled.
    *args
        Its arguments. Arrays of JAX are traced, or `jax.ShapeDtypeStruct` where no value is needed; everything else,
        numbers and NumPy's arrays too, is passed as it is. Give keyword arguments by ``functools.partial``.
    out_shardings : pytree of jax.sharding.Sharding, optional
        Where the results go, as in `jax.jit`: for all of them, or a tree that is a prefix of what `fn` returns. None,
        for all or for some, means where the eager call would put them.
    substitute : bool, optional
        Take draws of jax.random (`normal`, `uniform`, `truncated_normal`, `orthogonal`, and the initializers made of
        them) for fastinit's, with the key as the seed. Values are other ones than JAX's, of the same distribution.
    strict : bool, optional
        Refuse to make an array as a whole.

    Returns
    -------
    pytree
        What `fn` returns.

    Warns
    -----
    MadeWholeWarning
        Draws that had to be made as a whole, and tables above 64 KiB: which, and why.

    Raises
    ------
    ValueError
        The same arrays, where `strict`; shardings that do not fit what `fn` returns. Before anything large is made.

    Notes
    -----
    Fills of this package's initializers and constants are followed through `jit`, `vmap`, `scan`, `cond`,
    `checkpoint`, custom derivatives, casts, reshape, transpose, broadcast, slice, concatenate, stack, split, pad,
    ``.at[].set`` of a region, and one step of arithmetic at a time. See docs/frameworks.md.

    Examples
    --------
    >>> import jax, fastinit.jax as init
    >>> make = init.he_normal()
    >>> w = init.init(lambda key: make(key, (64, 32)).T, jax.random.key(0))
    >>> bool((w == make(jax.random.key(0), (64, 32)).T).all())
    True
    """
    program = Program(fn, args)
    shardings = _shardings(out_shardings, program)
    values = program.read(substitute)
    _report("init", program, values, strict)
    beside = next((given for given in program.inputs if isinstance(given, jax.Array)), None)
    made: list[Any] = []
    arrays: dict[tuple[int, Any], Any] = {}  # one array may be several leaves
    for leaf, sharding in zip(program.leaves, shardings):
        if leaf.number is None:
            made.append(leaf.value if sharding is None else jax.device_put(leaf.value, sharding))
            continue
        which = program.first[leaf.number], sharding
        if which not in arrays:
            value = values[leaf.number]
            content = program.run(leaf) if value.content is None else value.content
            if is_lazy(content) and sharding is None:
                sharding = placement(beside if value.random else None, _explicit_spec(program.avals[leaf.number]))
            arrays[which] = _typed(_placed(content, sharding), program.avals[leaf.number])
        made.append(arrays[which])
    return jax.tree.unflatten(program.tree, made)


def recipes(fn: Callable[..., Any], *args: Any, substitute: bool = False, strict: bool = False) -> Any:
    """What ``fn(*args)`` returns, with a recipe in the place of every floating-point array: nothing large is made.

    Parameters
    ----------
    fn, *args, substitute, strict
        As for `init`.

    Returns
    -------
    pytree
        Recipes, or parts of recipes, with the bits of the eager call. Values that no recipe makes are literals.
        Arrays of other dtypes, such as counters and keys, are there themselves.

    Warns
    -----
    MadeWholeWarning
        Draws that became literals, and literals above 64 KiB: which, and why.

    Raises
    ------
    ValueError
        The same arrays, where `strict`.

    Examples
    --------
    >>> import jax, fastinit.jax as init
    >>> init.recipes(lambda key: {"w": init.normal(0.02)(key, (64, 32))}, jax.random.key(7))["w"].initializer
    init('normal', std=0.02)
    """
    program = Program(fn, args)
    values = program.read(substitute)
    _report("recipes", program, values, strict)
    found = []
    for leaf in program.leaves:
        if leaf.number is None:
            found.append(leaf.value)
            continue
        content = values[leaf.number].content
        if content is None:
            content = program.run(leaf)
        elif is_lazy(content) and not isinstance(content, Part):
            content = _placed(content, None)
        if not isinstance(content, Part):
            content = _described(jnp.asarray(content))
        found.append(content)
    return jax.tree.unflatten(program.tree, found)


def _described(made: Any) -> Any:
    """An array that exists as a recipe, where it is of a dtype that recipes have."""
    if made.dtype.name not in DTYPES:
        return made
    return full(made, (), made.dtype) if made.ndim == 0 else literal(np.asarray(made))


def _shardings(given: Any, program: Program) -> list[Any]:
    """The sharding of each leaf, or None."""
    if given is None:
        return [None] * len(program.leaves)
    whole = jax.tree.unflatten(program.tree, range(len(program.leaves)))
    try:
        spread = jax.tree.broadcast(given, whole, is_leaf=_is_sharding)
    except ValueError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"out_shardings is no prefix of what the function returns: {line}") from None
    found = []
    for leaf, each in zip(program.leaves, jax.tree.leaves(spread, is_leaf=_is_sharding)):
        if not _is_sharding(each):
            raise TypeError(f"out_shardings is made of shardings or None, not {type(each).__name__}")
        found.append(None if each is None else _devices_of(each))
        shape = np.shape(leaf.value) if leaf.number is None else program.avals[leaf.number].shape
        try:
            if found[-1] is not None:
                found[-1].shard_shape(shape)
        except ValueError as error:
            raise ValueError(f"{leaf.name} of shape {shape} does not fit its sharding: {error}") from None
    return found


def _is_sharding(given: Any) -> bool:
    return given is None or isinstance(given, (jax.sharding.Sharding, jax.sharding.PartitionSpec))


def _devices_of(given: Any) -> Any:
    """A sharding that says which devices: of a PartitionSpec, the mesh in use."""
    named = isinstance(given, (jax.sharding.PartitionSpec, jax.sharding.NamedSharding))
    return placement(None, given) if named else given


def _explicit_spec(aval: Any) -> Any:
    """Where an array lies in a mesh of explicit axes that is in use; None without one."""
    sharding = getattr(aval, "sharding", None)
    return None if sharding is None or sharding.mesh.empty else sharding.spec


def _report(what: str, program: Program, values: list[Value], strict: bool) -> None:
    """Say what cannot be read as a recipe; ValueError where it is to be refused."""
    whole = {}
    for leaf in program.leaves:
        if leaf.number is None:
            continue
        value, aval = values[leaf.number], program.avals[leaf.number]
        read = isinstance(value.content, Part) or (is_lazy(value.content) and what == "init")
        if read or aval.ndim == 0 or not _is_made(value) or jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
            continue
        large = aval.size * aval.dtype.itemsize > TABLE
        if large or (value.random and jnp.issubdtype(aval.dtype, jnp.inexact)):
            whole[leaf.name] = value.why
    if not whole:
        return
    several = f"{len(whole)} of {len(program.leaves)} arrays"
    shown = "; ".join(f"{name or 'the result'} ({why})" for name, why in list(whole.items())[:4])
    shown += f"; and {len(whole) - 4} more" if len(whole) > 4 else ""
    if any(why.startswith("jax.random.") for why in whole.values()):
        shown += "; substitute=True takes the draws of jax.random for fastinit's"
    if strict:
        raise ValueError(f"fastinit.jax.{what}, strict: {several} would have to be made whole: {shown}")
    message = f"fastinit.jax.{what} makes {several} whole: {shown}"
    warnings.warn(MadeWholeWarning(message, whole), stacklevel=3)


def _is_made(value: Value) -> bool:
    """Whether an array is made here: not one that was an argument."""
    return value.content is None or is_lazy(value.content) or bool(value.why)


def _typed(array: Any, aval: Any) -> Any:
    """The array with JAX's weak type, where the function returns one: of numbers that gave no dtype."""
    if not getattr(aval, "weak_type", False) or array.weak_type:
        return array
    return convert_element_type_p.bind(array, new_dtype=aval.dtype, weak_type=True, sharding=None)


def _placed(content: Any, sharding: Any) -> Any:
    """An array where the sharding says, shard by shard where its values are not there yet."""
    if not is_lazy(content):
        return jnp.asarray(content) if sharding is None else jax.device_put(content, sharding)
    if not isinstance(content, Part):
        return computed(content, sharding)
    if sharding is None:
        return jax.device_put(content[...], may_alias=True)  # nobody else has the array
    return array(content, sharding)
