"""What JAX's operations make of contents: which rearrange, which compute element by element, which change the dtype.

A rule is called with an equation's parameters, the contents of its inputs, of which one at least is lazy, and the
abstract values of its outputs; it returns the contents of the outputs. What has no rule is made as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..arrays import DTYPES
from ..recipe import Part
from . import contents
from .contents import Computed, NotLazy, constant_of, is_lazy
from .rewriting import with_dtype

Rule = Callable[[dict[str, Any], list[Any], Sequence[Any]], list[Any]]

#: Operations whose result is one of their inputs, or exact: they may follow each other in compiled code.
EXACT = frozenset({
    "abs", "and", "ceil", "clamp", "eq", "floor", "ge", "gt", "is_finite", "le", "lt", "max", "min", "ne", "neg", "not",
    "or", "round", "select_n", "sign", "xor",
})  # fmt: skip
#: Operations that round once, and do so exactly, whatever the shape: XLA may merge two of them in compiled code.
ROUNDED = frozenset({"add", "div", "mul", "sub"})
#: Operations that leave an array as it is.
NOTHING = frozenset({
    "copy", "copy_p", "mesh_cast", "name", "optimization_barrier", "reshard", "sharding_constraint", "stop_gradient",
})  # fmt: skip


def elementwise(primitive: Any, params: dict[str, Any], args: list[Any], out: Any) -> Any:
    """One operation of `EXACT` or `ROUNDED`; of constants, another constant."""
    computed = Computed(primitive, {**params, **_UNPLACED.get(primitive.name, {})}, tuple(args), out.shape, out.dtype)
    values = [constant_of(arg) for arg in args]
    if out.dtype.name in DTYPES and all(value is not None for value in values):
        scalar = Computed(primitive, computed.params, tuple(values), (), out.dtype)
        return contents.full(contents.read(scalar, ()), out.shape, out.dtype)
    return computed


#: Parameters that would place what is computed of a shard like the whole.
_UNPLACED: dict[str, dict[str, Any]] = {"convert_element_type": {"sharding": None}}


def converted(primitive: Any, params: dict[str, Any], args: list[Any], out: Any, free: bool) -> Any:
    """In another dtype; a recipe of it where that has the same bits, or where nobody has asked for certain bits."""
    (content,) = args
    if content.dtype == out.dtype:
        return content
    if isinstance(content, Part) and out.dtype.name in DTYPES:
        made = with_dtype(content, out.dtype.name, free)
        if made is not None:
            return made
    return elementwise(primitive, params, args, out)


def narrows(source: Any, target: Any) -> bool:
    """Whether a conversion may round."""
    if not (jnp.issubdtype(source, jnp.floating) and jnp.issubdtype(target, jnp.floating)):
        return not np.can_cast(source, target, "safe")
    before, after = jnp.finfo(source), jnp.finfo(target)
    return after.nmant < before.nmant or after.maxexp < before.maxexp


# ---- rearrangements ----------------------------------------------------------------------------------------------


def _transpose(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.transposed(args[0], params["permutation"])]


def _reshape(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    if params.get("dimensions") is not None:
        raise NotLazy("reshape in another order than C's")
    return [contents.reshaped(args[0], outs[0].shape)]


def _squeeze(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.reshaped(args[0], outs[0].shape)]


def _broadcast(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.broadcast(args[0], outs[0].shape, params["broadcast_dimensions"])]


def _slice(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    steps = params["strides"] or (1,) * len(params["start_indices"])
    region = zip(params["start_indices"], params["limit_indices"], steps)
    return [contents.cut(args[0], tuple(slice(*map(int, along)) for along in region))]


def _dynamic_slice(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.cut(args[0], _window(args[0].shape, outs[0].shape, args[1:]))]


def _dynamic_update_slice(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    onto, what, *starts = args
    return [contents.pasted(onto, _window(onto.shape, what.shape, starts), what)]


def _window(shape: Sequence[int], size: Sequence[int], starts: Sequence[Any]) -> contents.Region:
    """The region of that size, moved inwards where it would leave the array."""
    if any(map(is_lazy, starts)):
        raise NotLazy("a position is drawn")
    first = [max(0, min(int(start), n - length)) for start, n, length in zip(starts, shape, size)]
    return tuple(slice(at, at + length) for at, length in zip(first, size))


def _rev(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    backwards = [slice(None, None, -1 if axis in params["dimensions"] else 1) for axis in range(args[0].ndim)]
    return [contents.cut(args[0], tuple(backwards))]


def _split(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    found, start, axis = [], 0, params["axis"]
    for n in map(int, params["sizes"]):
        found.append(contents.cut(args[0], _along(args[0], axis, slice(start, start + n))))
        start += n
    return found


def _along(content: Any, axis: int, part: slice) -> contents.Region:
    return tuple(part if k == axis else slice(None) for k in range(content.ndim))


def _concatenate(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.joined(args, params["dimension"])]


def _stack(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    return [contents.piled(args, params["axis"])]


def _tile(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    content = args[0]
    for axis, times in enumerate(params["reps"]):
        if times == 0:
            content = contents.cut(content, _along(content, axis, slice(0, 0)))
        else:
            content = contents.joined([content] * times, axis)
    return [content]


def _pad(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    content, value = args
    low, high, between = (list(map(int, numbers)) for numbers in zip(*params["padding_config"]))
    if any(between) or is_lazy(value):
        raise NotLazy("pad between elements, or with what is drawn")
    inside = tuple(slice(max(0, -a), n - max(0, -b)) for a, b, n in zip(low, high, content.shape))
    hole = tuple(slice(max(0, a), n - max(0, b)) for a, b, n in zip(low, high, outs[0].shape))
    return [contents.pasted(contents.full(value, outs[0].shape, outs[0].dtype), hole, contents.cut(content, inside))]


def _scatter(params: dict[str, Any], args: list[Any], outs: Sequence[Any]) -> list[Any]:
    """One window replaced, as ``w.at[0].set(0)`` does."""
    onto, indices, what = args
    numbers = params["dimension_numbers"]
    if is_lazy(indices) or indices.ndim != 1 or numbers.operand_batching_dims:
        raise NotLazy("scatter of more than one region")
    lengths = iter(what.shape)
    size = [1 if axis in numbers.inserted_window_dims else next(lengths) for axis in range(onto.ndim)]
    starts = [0] * onto.ndim
    for axis, start in zip(numbers.scatter_dims_to_operand_dims, np.asarray(indices)):
        starts[axis] = int(start)
    if any(not 0 <= start <= n - length for start, n, length in zip(starts, onto.shape, size)):
        raise NotLazy("scatter outside the array")
    region = tuple(slice(start, start + length) for start, length in zip(starts, size))
    return [contents.pasted(onto, region, contents.reshaped(what, size))]


RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "expand_dims": _squeeze,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "scatter": _scatter,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
