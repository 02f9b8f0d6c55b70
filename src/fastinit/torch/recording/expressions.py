"""What a tensor's values are, as far as they have been recorded: draws, constants, and what was made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves


class Geometry(NamedTuple):
    """Which elements of a storage a tensor has: offset and strides in elements."""

    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Expression:
    """Values of a shape and dtype that have not been made."""

    __slots__ = ("depth", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, depth: int = 1) -> None:
        self.shape = shape
        self.dtype = dtype
        self.depth = depth


class Draw(Expression):
    """The values of an initializer, random or not.

    `key` is fixed as soon as something has looked at them; `looked_at` says what.
    """

    __slots__ = ("key", "kind", "looked_at", "parameters", "seed", "where")

    def __init__(
        self, kind: str, parameters: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype, seed: int, where: str
    ) -> None:
        super().__init__(shape, dtype)
        self.kind = kind
        self.parameters = parameters
        self.seed = seed
        self.where = where
        self.key: tuple[int, str] | None = None
        self.looked_at = ""


class Constant(Expression):
    """One number."""

    __slots__ = ("value",)

    def __init__(self, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__(shape, dtype)
        self.value = value


class Unset(Expression):
    """Memory that nobody has written to, as ``torch.empty`` gives it."""

    __slots__ = ()


class Literal(Expression):
    """Values that have been made; `why` they are no recipe, and the line of code."""

    __slots__ = ("values", "where", "why")

    def __init__(self, values: torch.Tensor, why: str, where: str) -> None:
        super().__init__(tuple(values.shape), values.dtype)
        self.values = values
        self.why = why
        self.where = where


class Call:
    """A function of torch and its arguments, in which expressions stand for tensors."""

    __slots__ = ("args", "depth", "func", "kwargs", "where", "written")

    def __init__(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], written: tuple[int | str, ...], where: str
    ) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.written = written  # arguments that it changes: their positions, or names
        self.where = where
        self.depth = 1 + max((other.depth for other in self.expressions()), default=0)

    @property
    def name(self) -> str:
        """The function's name, without the underscore of one that works in place."""
        name = str(self.func._schema.name).partition("::")[2]
        return name[:-1] if name.endswith("_") else name

    def expressions(self) -> Iterator[Expression]:
        return (leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Expression))


class Computed(Expression):
    """One of the tensors that a call makes or, from `Call.written`, changes."""

    __slots__ = ("call", "which")

    def __init__(self, call: Call, which: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__(shape, dtype, call.depth)
        self.call = call
        self.which = which


class Write(NamedTuple):
    """Values written to some elements of a storage."""

    geometry: Geometry
    values: Expression


class View(Expression):
    """Elements of a storage after some writes to it."""

    __slots__ = ("geometry", "nbytes", "writes")

    def __init__(self, writes: tuple[Write, ...], nbytes: int, geometry: Geometry) -> None:
        depth = 1 + max((write.values.depth for write in writes), default=0)
        super().__init__(geometry.size, geometry.dtype, depth)
        self.writes = writes
        self.nbytes = nbytes
        self.geometry = geometry


def draws_in(expression: Expression) -> Iterator[Draw]:
    """The draws that an expression is made of, in the order in which they are met; each once."""
    return (found for found in _within(expression) if isinstance(found, Draw))


def calls_in(expression: Expression) -> set[Call]:
    """The calls that an expression is made of."""
    return {found.call for found in _within(expression) if isinstance(found, Computed)}


def _within(expression: Expression) -> Iterator[Expression]:
    """An expression and all that it is made of, each once."""
    seen: set[int] = set()
    waiting = [expression]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, Computed):
            waiting.extend(reversed(list(found.call.expressions())))
        elif isinstance(found, View):
            waiting.extend(write.values for write in reversed(found.writes))


def where_made(expression: Expression) -> str:
    """The line of code that made an expression, if that is known."""
    found: Any = expression.call if isinstance(expression, Computed) else expression
    return str(getattr(found, "where", ""))
