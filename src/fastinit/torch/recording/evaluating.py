"""The values of expressions, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from ...recipe import Part
from ...stream import stream_key
from ..fill import tensor
from .composing import ELEMENTWISE, Composer, after, chain, step_of
from .expressions import Call, Computed, Constant, Draw, Expression, Geometry, Literal, Unset, View, calls_in
from .folding import InexpressibleError
from .steps import Step
from .storage import tensor_over

#: Expressions nested no deeper than this are evaluated from the top.
SHALLOW = 16

Key = Callable[[Draw], tuple[int, str]]


@contextmanager
def without_modes() -> Iterator[None]:
    """Plain torch: no modes, no gradients."""
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
        yield


class Evaluation:
    """Makes values of expressions; those of one object agree with each other, and with recipes of the same keys.

    Parameters
    ----------
    key : callable
        Seed and name of a draw.
    alone : callable
        Whether no other tensor has values of a draw.
    """

    def __init__(self, key: Key, alone: Callable[[Draw], bool]) -> None:
        self._key = key
        self._composer = Composer(key, alone, _refused)
        self._made: dict[Call, list[torch.Tensor]] = {}

    def values(self, expression: Expression) -> torch.Tensor:
        """The values of an expression; not to be written to."""
        if expression.depth > SHALLOW:  # from the bottom upwards, or Python's stack might not do
            for call in sorted(calls_in(expression), key=lambda call: call.depth):
                if call not in self._made and not self._is_recipe(call):
                    self._called(call)
        return self._values(expression)

    def _is_recipe(self, call: Call) -> bool:
        shapes = list(call.expressions())
        if not shapes or call.name not in ELEMENTWISE:
            return False
        return step_of(Computed(call, 0, shapes[0].shape, shapes[0].dtype)) is not None

    def _values(self, expression: Expression) -> torch.Tensor:
        if isinstance(expression, Literal):
            return expression.values
        if isinstance(expression, (Constant, Unset)):
            value = expression.value if isinstance(expression, Constant) else 0
            return torch.full(expression.shape, value, dtype=expression.dtype)
        if not isinstance(expression, Computed) or expression.call not in self._made:
            try:
                part = self._composer.part(expression)
            except InexpressibleError:
                pass
            else:
                return tensor(part)
        if isinstance(expression, Draw):
            return self._by_torch(expression)
        if isinstance(expression, View):
            return self._replayed(expression)
        assert isinstance(expression, Computed)
        under, steps = chain(expression, [])
        if steps:
            return after(self._values(under), steps)
        return self._called(expression.call)[expression.which]

    def forget(self) -> None:
        """Let go of values that have been made on the way."""
        self._made = {}

    def _replayed(self, view: View) -> torch.Tensor:
        storage = torch.UntypedStorage(view.nbytes)
        if not any(
            w.geometry == Geometry(0, w.geometry.size, w.geometry.stride, w.geometry.dtype) for w in view.writes[:1]
        ):
            storage.fill_(0)
        for write in view.writes:
            tensor_over(storage, write.geometry).copy_(self._values(write.values))
        return tensor_over(storage, view.geometry)

    def _called(self, call: Call) -> list[torch.Tensor]:
        if call not in self._made:
            args = [self._argument(k, given, call) for k, given in enumerate(call.args)]
            kwargs = {key: self._argument(key, given, call) for key, given in call.kwargs.items()}
            made = call.func(*args, **kwargs)
            outputs = list(made) if isinstance(made, (tuple, list)) else [made]
            self._made[call] = outputs + [args[w] if isinstance(w, int) else kwargs[w] for w in call.written]
        return self._made[call]

    def _argument(self, which: int | str, given: Any, call: Call) -> Any:
        def real(leaf: Any) -> Any:
            if not isinstance(leaf, Expression):
                return leaf
            values = self._values(leaf)
            return values.clone() if which in call.written else values

        return tree_map(real, given, is_leaf=lambda leaf: isinstance(leaf, Expression))

    def _by_torch(self, draw: Draw) -> torch.Tensor:
        """What no recipe has, such as numbers beyond float32: by torch, from the key's bits."""
        key, _ = stream_key(*self._key(draw))
        generator = torch.Generator().manual_seed(key & (1 << 63) - 1)
        made = torch.empty(draw.shape, dtype=draw.dtype)
        given = draw.parameters
        if draw.kind == "uniform":
            return made.uniform_(given["low"], given["high"], generator=generator)
        if draw.kind == "normal":
            return made.normal_(given["mean"], given["std"], generator=generator)
        raise InexpressibleError(f"{draw.kind} with {given}", draw.where)


def _refused(expression: Expression, steps: Sequence[Step], reason: InexpressibleError) -> Part:
    raise reason
