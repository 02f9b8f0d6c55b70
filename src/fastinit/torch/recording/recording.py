"""`record`: code that builds a model runs, and what it would fill is noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ...recipe import Recipe
from ...stream import check_seed
from ..fill import fill_
from ..memory import DTYPES
from . import generator
from .evaluating import without_modes
from .expressions import Expression, Literal, draws_in
from .handlers import HANDLERS
from .modes import Functions, Operations
from .naming import Making, Names
from .objects import NewObjects
from .operations import SMALL, Recorder
from .report import Early, Lost, Report
from .storage import STORES, Store, geometry_of, tensor_over


def record(seed: int = 0) -> Recording:
    """Record code that builds models in this thread, instead of filling anything.

    ``with record(seed=0) as recording: model = Model()``; then `Recording.recipes`, `Recording.report` and
    `Recording.fill_`.

    Parameters
    ----------
    seed : int, optional
        The seed of all draws.

    Returns
    -------
    Recording
        A context manager, to be entered once.
    """
    return Recording(check_seed(seed))


class Recording:
    """What code has built within ``with record(seed) as recording:``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._recorder = Recorder(seed, HANDLERS)
        self._modes = Functions(self._recorder), Operations(self._recorder)
        self._objects = NewObjects()
        self._state = "new"

    def __enter__(self) -> Recording:
        if self._state != "new":
            raise RuntimeError("a recording is entered once: call record() again")
        self._state = "open"
        self._objects.begin()
        generator.begin(self, self.seed)
        functions, operations = self._modes
        operations.__enter__()
        functions.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        functions, operations = self._modes
        functions.__exit__(*error)
        operations.__exit__(*error)
        self._state = "ended"
        generator.end(self)
        with without_modes():
            _let_go(self._recorder, [*self._objects.end(), *self._recorder.changed])
        self._recorder.changed = []

    def recipes(self, model: torch.nn.Module) -> dict[str, Recipe]:
        """The recipe of every parameter and persistent buffer, by its name in ``model.state_dict()``."""
        return self.report(model).recipes

    def report(self, model: torch.nn.Module) -> Report:
        """What each of the `recipes` is made of; which parts are literals, why, and by which line of code."""
        expressions = self._expressions(dict(named_tensors(model, everything=True)))
        names = Names(expressions)
        making = Making(names, self.seed)
        recipes, literals, left_out = {}, [], []
        seen: set[int] = set()
        for name, tensor in named_tensors(model):
            if name in expressions:
                recipes[name] = making.recipe(name, expressions[name])
                literals += [Lost(name, *lost) for lost in making.literals]
            elif tensor.dtype not in DTYPES and id(tensor) not in seen:
                left_out.append(name)
            seen.add(id(tensor))
        early = [Early(draw.key[1], draw.where, draw.looked_at) for draw in names.early if draw.key is not None]
        return Report(recipes, literals, early, left_out)

    def fill_(self, model: torch.nn.Module) -> torch.nn.Module:
        """Give the recorded model its memory and values."""
        if self._state != "ended":
            raise RuntimeError("the recording has not ended: fill the model after the block")
        tensors = dict(named_tensors(model, everything=True))
        expressions = self._expressions(tensors)
        making = Making(Names(expressions), self.seed)
        memory: dict[int, torch.UntypedStorage] = {}
        stores: list[Store] = []
        seen: set[int] = set()
        for name, tensor in tensors.items():
            store = STORES.get(tensor)
            if store is None or store.exposed or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            with without_modes():
                if id(store) not in memory:
                    memory[id(store)] = torch.UntypedStorage(store.nbytes)
                    stores.append(store)
                made = tensor_over(memory[id(store)], geometry_of(tensor))
                if name in expressions:
                    fill_(made, making.recipe(name, expressions[name]))
                _swap(tensor, made)
        for store in stores:
            store.exposed = store.filled = True
            STORES.add(memory[id(store)], store)
        return model

    def _expressions(self, tensors: dict[str, torch.Tensor]) -> dict[str, Expression]:
        """What each tensor is, those of the same elements once; without the dtypes that recipes do not have."""
        found: dict[str, Expression] = {}
        seen: set[Any] = set()
        with without_modes():
            for name, tensor in tensors.items():
                if tensor.dtype not in DTYPES or not isinstance(tensor, torch.Tensor):
                    continue
                which = tensor.untyped_storage()._cdata, geometry_of(tensor)
                if which in seen:
                    continue
                seen.add(which)
                found[name] = self._expression(name, tensor)
        return found

    def _expression(self, name: str, tensor: torch.Tensor) -> Expression:
        store = STORES.get(tensor)
        if store is not None and not store.exposed:
            return store.view(geometry_of(tensor))
        if tensor.is_meta:
            raise ValueError(f"{name} is on meta, and not of this recording: was it moved or cast after the block?")
        if store is not None and store.filled:
            return store.view(geometry_of(tensor))
        found = self._recorder.unchanged(tensor)
        return found or Literal(tensor.detach().cpu(), *self._recorder.origin(tensor))


def named_tensors(model: torch.nn.Module, *, everything: bool = False) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and persistent buffers, by their names in a state dict, in its order.

    With `everything`, then buffers that are not persistent, and tensors that are attributes of modules.
    """
    rest: list[tuple[str, torch.Tensor]] = []
    for prefix, module in model.named_modules(remove_duplicate=False):
        before = prefix + "." if prefix else ""
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                kept = name in module._parameters or name not in module._non_persistent_buffers_set
                if kept:
                    yield before + name, tensor
                else:
                    rest.append((before + name, tensor))
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                rest.extend((before + which, tensor) for which, tensor in _within(name, value))
    if everything:
        yield from rest


def _within(name: str, value: Any, depth: int = 3) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in an attribute: itself, or in lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif depth and isinstance(value, (list, tuple)):
        for k, other in enumerate(value):
            yield from _within(f"{name}.{k}", other, depth - 1)
    elif depth and isinstance(value, dict):
        for key, other in value.items():
            yield from _within(f"{name}.{key}", other, depth - 1)


def _let_go(recorder: Recorder, tensors: Iterable[torch.Tensor]) -> None:
    """Put every tensor that a recorder knows, and that has no values, on the meta device; ties and views stay.

    But small ones of which no parameter has any element, and in which nothing is drawn, get their values: buffers that
    are in no checkpoint, above all, which nobody could set later.
    """
    found: dict[Store, list[torch.Tensor]] = {}
    for tensor in tensors:
        store = recorder.recorded(tensor)
        if store is not None and store.owner is recorder:
            found.setdefault(store, []).append(tensor)
    for store, sharing in found.items():
        if _is_left(store, sharing):
            storage = torch.UntypedStorage(store.nbytes)
            recorder.fill_storage(storage, store)
            store.exposed = True
        else:
            storage = torch.UntypedStorage(store.nbytes, device="meta")
        STORES.add(storage, store)
        for tensor in sharing:
            _swap(tensor, tensor_over(storage, geometry_of(tensor)))


def _is_left(store: Store, sharing: Iterable[torch.Tensor]) -> bool:
    if any(isinstance(tensor, torch.nn.Parameter) for tensor in sharing):
        return False
    return store.nbytes <= SMALL and not any(True for write in store.writes for _ in draws_in(write.values))


def _swap(tensor: torch.Tensor, other: torch.Tensor) -> None:
    """Let a tensor be another one: whoever has it has the other from then on."""
    torch._C._swap_tensor_impl(tensor, other.requires_grad_(tensor.requires_grad))
