"""`record`: code that builds a model runs, and what it would fill is noted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from ...recipe import Recipe
from ...stream import check_seed
from ..fill import fill_
from ..memory import DTYPES
from . import generator
from .evaluating import without_modes
from .expressions import Expression, Literal, draws_in
from .handlers import HANDLERS
from .models import tensors_of
from .modes import Functions, Operations
from .naming import Making, Names
from .objects import NewObjects
from .operations import SMALL, Recorder
from .report import Early, Lost, Report
from .storage import STORES, Store, geometry_of, tensor_over


def record(seed: int = 0) -> Recording:
    """Record code of this thread that builds models, instead of filling anything.

    ``with record(seed=0) as recording: model = Model()``. Then `Recording.recipes` are the recipes of the model's
    parameters, `Recording.report` says what each is made of, and `Recording.fill_` gives the model its values.

    Parameters
    ----------
    seed : int, optional
        The seed of all draws; see `fastinit.recipe`.

    Returns
    -------
    Recording
        A context manager, to be entered once.

    Notes
    -----
    Within the block tensors of float32, float64, float16 and bfloat16 on the CPU take no memory. Draws, constants, what
    is computed of them, views and copies are noted; values are made only for what looks at them, and are right then.

    After the block parameters without values are on ``meta``, so a model that has not been filled cannot be taken for
    one that has. Buffers and other tensors in which nothing is drawn have their values.

    `intercept` fills nothing within the block, and a `record` around it nothing that is made in this one. torch's
    default generator, which draws what no recipe has, is seeded by `seed` in the block, and as before after it. Other
    threads are not affected, but must not touch tensors of the block before it ends.
    """
    return Recording(check_seed(seed))


class Recording:
    """What code has built within ``with record(seed=seed) as recording:``.

    Attributes
    ----------
    seed : int
        The seed of all draws.
    """

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
        """The recipe of every parameter and persistent buffer.

        Parameters
        ----------
        model : Module
            Built within the block, or a part of what was.

        Returns
        -------
        dict of str to Recipe
            By the names and in the order of ``model.state_dict()``, tied tensors once, by the first of their names.
            A parameter that one draw made, and steps by numbers after it, is exactly
            ``fastinit.recipe(initializer, shape, dtype=..., seed=seed, name=name)``; further draws that show in it are
            named ``name#1``, ``name#2``, ...

        Raises
        ------
        ValueError
            A tensor on ``meta`` that is not of this recording, such as one that was cast after the block.

        Notes
        -----
        What is done to the model after the block is not recorded. Integers have no recipes: the report names them.
        """
        return self.report(model).recipes

    def report(self, model: torch.nn.Module) -> Report:
        """What each of the `recipes` is made of; which parts are literals, why, and by which line of code.

        Parameters
        ----------
        model : Module
            As for `recipes`.

        Returns
        -------
        Report
            Prints as a text.
        """
        with without_modes():  # which are in force within the block
            expressions = self._expressions(model)
            names = Names(expressions)
            making = Making(names, self.seed)
            recipes, literals, left_out = {}, [], []
            for name, (tensor, kept) in tensors_of(model).items():
                if kept and tensor.dtype not in DTYPES:
                    left_out.append(name)
                elif kept and name in expressions:
                    recipes[name] = making.recipe(name, expressions[name])
                    literals += [Lost(name, *lost) for lost in making.literals]
            early = [Early(draw.key[1], draw.where, draw.looked_at) for draw in names.early if draw.key is not None]
            return Report(recipes, literals, early, left_out)

    def fill_(self, model: torch.nn.Module) -> torch.nn.Module:
        """Give the recorded model its memory and values.

        Parameters
        ----------
        model : Module
            As for `recipes`, after the block. Its tensors stay the same objects, so whoever holds them, such as an
            optimizer, has their values, too.

        Returns
        -------
        Module
            `model`. What has been filled before stays as it is.

        Raises
        ------
        RuntimeError
            Within the block.
        ValueError
            As for `recipes`; the model is left as it was.
        """
        if self._state != "ended":
            raise RuntimeError("the recording has not ended: fill the model after the block")
        expressions = self._expressions(model)
        making = Making(Names(expressions), self.seed)
        memory: dict[Store, torch.UntypedStorage] = {}
        filled: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        with without_modes():
            for name, (tensor, _) in tensors_of(model).items():
                store = STORES.get(tensor)
                if store is None or store.exposed or id(tensor) in filled:
                    continue
                if store not in memory:
                    memory[store] = torch.UntypedStorage(store.nbytes)
                made = tensor_over(memory[store], geometry_of(tensor))
                if name in expressions and tensor.dtype in DTYPES:
                    once = tuple(slice(None) if stride else slice(0, 1) for stride in made.stride())  # elements repeat
                    fill_(made[once], making.recipe(name, expressions[name]).part(once))
                elif name in expressions:
                    made.copy_(making.values(expressions[name]))
                filled[id(tensor)] = tensor, made
            for tensor, made in filled.values():
                _swap(tensor, made)
        for store, storage in memory.items():
            store.exposed = store.filled = True
            STORES.add(storage, store)
        return model

    def _expressions(self, model: torch.nn.Module) -> dict[str, Expression]:
        """What each tensor is, those of the same elements once; without what is recorded in no way."""
        found: dict[str, Expression] = {}
        seen: set[Any] = set()
        with without_modes():
            for name, (tensor, kept) in tensors_of(model).items():
                store = STORES.get(tensor)
                if store is None and not (kept and tensor.dtype in DTYPES):
                    continue
                which = tensor.untyped_storage()._cdata, geometry_of(tensor)
                if which not in seen:
                    seen.add(which)
                    found[name] = self._expression(name, tensor, store)
        return found

    def _expression(self, name: str, tensor: torch.Tensor, store: Store | None) -> Expression:
        if store is not None and (store.filled or not store.exposed):
            return store.view(geometry_of(tensor))
        if tensor.is_meta:
            raise ValueError(f"{name} is on meta, and not of this recording: was it moved or cast after the block?")
        found = self._recorder.unchanged(tensor)
        return found or Literal(tensor.detach().cpu(), *self._recorder.origin(tensor))


def _let_go(recorder: Recorder, tensors: Iterable[torch.Tensor]) -> None:
    """Put every tensor that a recorder knows, and that has no values, on the meta device; ties and views stay.

    But small ones of which no parameter has any element, and in which nothing is drawn, get their values: buffers that
    are in no checkpoint, above all, which nobody could set later.
    """
    found: dict[Store, list[torch.Tensor]] = {}
    for tensor in tensors:
        store = recorder.recorded(tensor)
        if store is not None and store.owner is recorder:
            if store in found:
                found[store].append(tensor)
            else:
                found[store] = [tensor]
    before = [(store, StorageWeakRef(sharing[0].untyped_storage())) for store, sharing in found.items()]
    for store, sharing in found.items():
        if _is_left(store, sharing):
            storage = torch.UntypedStorage(store.nbytes)
            recorder.fill_storage(storage, store)
            store.exposed = store.filled = True
        else:
            one = sharing[0]
            if len(sharing) == 1 and one.nbytes == store.nbytes and one.is_contiguous():  # half the time of below
                _swap(one, torch.empty_strided(one.size(), one.stride(), dtype=one.dtype, device="meta"))
                STORES.add(one.untyped_storage(), store)
                continue
            storage = torch.UntypedStorage(store.nbytes, device="meta")
        STORES.add(storage, store)
        for tensor in sharing:
            _swap(tensor, tensor_over(storage, geometry_of(tensor)))
    for store, reference in before:
        if not reference.expired():  # C++ holds it, as scripted modules do
            recorder.keep_memory(torch.UntypedStorage._new_with_weak_ptr(reference.cdata), store)


def _is_left(store: Store, sharing: Iterable[torch.Tensor]) -> bool:
    if any(isinstance(tensor, torch.nn.Parameter) for tensor in sharing):
        return False
    return store.nbytes <= SMALL and not any(True for write in store.writes for _ in draws_in(write.values))


def _swap(tensor: torch.Tensor, other: torch.Tensor) -> None:
    """Let a tensor be another one: whoever has it has the other from then on."""
    if tensor.requires_grad:
        other.requires_grad_()
    hooks = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    torch._C._swap_tensor_impl(tensor, other)
    if hooks[0]:  # set anew, they go to what is under the object now
        tensor._backward_hooks = hooks[0]
    if hooks[1]:
        tensor._post_accumulate_grad_hooks = hooks[1]
