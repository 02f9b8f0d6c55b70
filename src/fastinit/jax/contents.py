"""What an array of a program is made of while nothing is made: recipes, and arithmetic on them element by element.

A content is a recipe or a part of one, a `Computed`, or an array that exists. The functions here rearrange contents
without making a value. They raise `NotLazy` where that cannot be done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import DTYPES
from ..functions import concatenate, literal, paste, stack
from ..initializers import init
from ..recipe import Part, Recipe

Region = tuple[slice, ...]


class NotLazy(Exception):
    """This array has to be made as a whole; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Computed:
    """What one of JAX's operations makes of contents, element by element.

    The arguments have this shape, or lengths of 1 in it, or no axes.
    """

    primitive: Any
    params: dict[str, Any]
    args: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


def is_lazy(content: Any) -> bool:
    """Whether a content's values have not been made."""
    return isinstance(content, (Part, Computed))


def read(content: Any, region: Region, device: Any = None) -> Any:
    """The values of a region, as an array of NumPy or JAX; arithmetic is done on `device`."""
    if not isinstance(content, Computed):
        return content[region]
    with jax.default_device(device):
        args = [jnp.asarray(read(arg, _region_of(arg, content, region), device)) for arg in content.args]
        return content.primitive.bind(*args, **content.params)


def _region_of(arg: Any, content: Computed, region: Region) -> Region:
    """The region of an argument that is needed for a region of what is computed from it."""
    if arg.ndim == 0:
        return ()
    return tuple(slice(0, 1) if n == 1 != whole else along for n, whole, along in zip(arg.shape, content.shape, region))


# ---- constants -------------------------------------------------------------------------------------------------


def full(value: Any, shape: Sequence[int], dtype: Any) -> Recipe:
    """The recipe of a tensor whose elements are all `value`, a scalar of that dtype."""
    name = np.dtype(dtype).name
    if name not in DTYPES:
        raise NotLazy(f"there are no recipes of {name}")
    number = np.asarray(value)
    bits = number.tobytes()
    for which in (init("zeros"), init("ones"), init("constant", value=float(number))):
        if Recipe(which, (), dtype=name, seed=0)[()].tobytes() == bits:
            return Recipe(which, tuple(shape), dtype=name, seed=0)
    raise NotLazy(f"no recipe has the bits of the constant {number}")


def constant_of(content: Any) -> Any:
    """The one value that all elements have, as a scalar array, or None."""
    if isinstance(content, Recipe) and content.initializer is not None:
        if content.initializer.name in ("zeros", "ones", "constant"):
            return Recipe(content.initializer, (), dtype=content.dtype, seed=0)[()]
    elif not is_lazy(content) and content.ndim == 0:
        return content
    return None


# ---- rearranged ------------------------------------------------------------------------------------------------


def transposed(content: Any, axes: Sequence[int]) -> Any:
    """With the axes in that order."""
    shape = tuple(content.shape[axis] for axis in axes)
    return _rearranged(
        content, shape, lambda arg: arg.transpose(tuple(axes)) if isinstance(arg, Part) else jnp.transpose(arg, axes)
    )


def reshaped(content: Any, shape: Sequence[int]) -> Any:
    """The same elements, in C order, in that shape."""
    if tuple(shape) == tuple(content.shape):
        return content
    return _rearranged(content, shape, lambda arg: arg.reshape(tuple(shape)))


def cut(content: Any, region: Region) -> Any:
    """That region, whose slices may have steps."""
    shape = tuple(len(range(*along.indices(n))) for along, n in zip(region, content.shape))
    if shape == tuple(content.shape) and all(along.step in (None, 1) for along in region):
        return content
    return _rearranged(content, shape, lambda arg: arg.part(region) if isinstance(arg, Part) else arg[region])


def broadcast(content: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """In that shape, whose axes `axes` are the content's own; along the others, and where it has length 1, repeated."""
    between = [1] * len(shape)
    for axis, n in zip(axes, content.shape):
        between[axis] = n
    value = constant_of(content)
    if value is not None:
        return full(value, shape, content.dtype)
    content = reshaped(content, between)
    for axis, (n, wanted) in enumerate(zip(between, shape)):
        if n != wanted:
            content = joined([content] * wanted, axis) if wanted else cut(content, _first(shape, axis, 0))
    return content


def _first(shape: Sequence[int], axis: int, n: int) -> Region:
    """The first n elements along an axis."""
    return tuple(slice(0, n) if k == axis else slice(None) for k in range(len(shape)))


def _rearranged(content: Any, shape: Sequence[int], rearrange: Callable[[Any], Any]) -> Any:
    """What `rearrange` makes of a recipe or array; of what is computed, of each of its arguments."""
    if not isinstance(content, Computed):
        value = constant_of(content) if isinstance(content, Recipe) else None
        return rearrange(content) if value is None else full(value, shape, content.dtype)
    args = tuple(
        arg if arg.ndim == 0 else _rearranged(_as_large(arg, content.shape), shape, rearrange) for arg in content.args
    )
    return dataclasses.replace(content, args=args, shape=tuple(shape))


def _as_large(arg: Any, shape: Sequence[int]) -> Any:
    return arg if tuple(arg.shape) == tuple(shape) else broadcast(arg, shape, range(len(shape)))


# ---- put together ----------------------------------------------------------------------------------------------


def joined(contents: Sequence[Any], axis: int) -> Any:
    """One behind the other along an axis of theirs."""
    lengths = [content.shape[axis] for content in contents]
    shape = (*contents[0].shape[:axis], sum(lengths), *contents[0].shape[axis + 1 :])
    return _together(contents, shape, lambda parts: concatenate(parts, axis))


def piled(contents: Sequence[Any], axis: int = 0) -> Any:
    """Along a new axis."""
    shape = (*contents[0].shape[:axis], len(contents), *contents[0].shape[axis:])
    return _together(contents, shape, lambda parts: stack(parts, axis))


def _together(contents: Sequence[Any], shape: Sequence[int], put: Callable[[list[Part]], Recipe]) -> Any:
    """What `put` makes of the contents' recipes; of contents that are computed alike, of each of their arguments."""
    if len(contents) == 1 and tuple(contents[0].shape) == tuple(shape):
        return contents[0]
    first = contents[0]
    values = [constant_of(content) for content in contents]
    if values[0] is not None and len({None if v is None else np.asarray(v).tobytes() for v in values}) == 1:
        return full(values[0], shape, first.dtype)
    if not any(isinstance(content, Computed) for content in contents):
        return put([as_recipe(content) for content in contents])
    if not all(isinstance(content, Computed) and _alike(content, first) for content in contents):
        raise NotLazy("arrays that are computed in different ways are put together")
    args = []
    for each in zip(*(content.args for content in contents)):
        scalars = {np.asarray(arg).tobytes() for arg in each if not is_lazy(arg) and arg.ndim == 0}
        if len(scalars) == 1 and all(arg.ndim == 0 for arg in each):
            args.append(each[0])
        else:
            whole = [broadcast(arg, c.shape, range(arg.ndim)) for arg, c in zip(each, contents)]
            args.append(_together(whole, shape, put))
    return dataclasses.replace(first, args=tuple(args), shape=tuple(shape))


def _alike(a: Computed, b: Computed) -> bool:
    return a.primitive is b.primitive and a.params == b.params and a.dtype == b.dtype and len(a.args) == len(b.args)


def pasted(onto: Any, region: Region, what: Any) -> Any:
    """`onto`, but for a region that is `what`."""
    if isinstance(onto, Computed) or isinstance(what, Computed):
        raise NotLazy("a region of an array is replaced, and one of the two is computed")
    return paste(as_recipe(onto), region, as_recipe(what))


def as_recipe(content: Any) -> Part:
    """A recipe as it is, an array that exists as a literal."""
    if isinstance(content, Part):
        return content
    array = np.asarray(content)
    if array.dtype.name not in DTYPES:
        raise NotLazy(f"there are no recipes of {array.dtype.name}")
    return literal(array)
