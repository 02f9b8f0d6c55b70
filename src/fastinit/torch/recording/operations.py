"""What torch's operations do to recorded tensors: most are noted, the rest are given values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_map

from ...recipe import Recipe
from ..fill import check_fillable, fill_checked
from ..memory import DTYPES
from ..seeds import drawn_seed
from .evaluating import Evaluation, without_modes
from .expressions import Call, Computed, Draw, Expression, Geometry, Literal, Write, draws_in
from .pages import Pages, give_memory
from .storage import STORES, Store, geometry_of, tensor_over

#: Values that are there are kept for later up to this many elements; with more, an operation is done at once.
SMALL = 1 << 20
#: How deep expressions are nested.
DEEPEST = 256

_UNREAD = """
    alias detach detach_ lift lift_fresh set_ resize_ resize_as_ view _unsafe_view _reshape_alias reshape transpose t
    expand split unsafe_split unsafe_split_with_sizes unsafe_chunk split_with_sizes chunk unbind as_strided
    is_same_size is_set_to is_pinned _has_compatible_shallow_copy_type sym_size sym_stride sym_numel sym_storage_offset
    size stride numel dim storage_offset is_contiguous is_strides_like_format is_non_overlapping_and_dense
    _assert_tensor_metadata result_type _version requires_grad_ rename_ _fw_primal _make_dual
"""
#: Operations that give other tensors of the same memory, or look at no elements.
UNREAD = frozenset(_UNREAD.split())
#: Arguments that operations change without saying so.
HIDDEN = {"native_batch_norm": (3, 4), "cudnn_batch_norm": (3, 4), "miopen_batch_norm": (3, 4)}
#: Operations that overwrite all of their first argument, by numbers from torch's generators.
OVERWRITING = ("exponential_", "log_normal_", "cauchy_", "bernoulli_", "geometric_", "random_")

#: Packages whose lines tell nothing.
UNTOLD = frozenset(("torch", "fastinit", "typing_extensions", "contextlib", "copy", "functools"))

Handler = Callable[..., Any]
#: What a handler answers where it does not handle.
PASS = object()


class Plan(NamedTuple):
    """How an operation is dealt with."""

    handler: Handler | None
    unread: bool
    written: tuple[int | str, ...]
    random: bool


class Recorder:
    """Notes what operations do to tensors without memory; `seed` is that of all draws."""

    def __init__(self, seed: int, handlers: Mapping[str, Handler]) -> None:
        self.seed = seed
        self._handlers = handlers
        self._early = 0  # how many draws have been looked at
        self._looking = ""
        #: Tensors that got other memory, by ``tensor.data = ...``: they may be older than the recording.
        self.changed: list[torch.Tensor] = []
        self.open = True
        self._pages = Pages()
        self._plans: dict[Any, Plan] = {}
        self._evaluation = Evaluation(self.early_key, lambda draw: False)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call of an operation gives."""
        plan = self._plans.get(func)
        if plan is None:
            plan = self._plans[func] = plan_of(func, self._handlers)
        if plan.handler is not None:
            made = plan.handler(self, func, args, kwargs)
            if made is not PASS:
                return made
        if plan.unread:
            return func(*args, **kwargs)
        if not any(self.recorded(tensor) for tensor in tensors_in((args, kwargs.values()))):
            made = func(*args, **kwargs)
            self._note_real(func, made)
            return made
        if not plan.random:
            made = self._later(func, args, kwargs, plan)
            if made is not PASS:
                return made
        return self._at_once(func, args, kwargs, plan)

    # ---- tensors and their stores ------------------------------------------------------------------------------

    def recorded(self, tensor: torch.Tensor) -> Store | None:
        """The store of a tensor whose values are not in its memory; None for one without elements, too."""
        if not tensor.is_cpu or not tensor.numel():
            return None
        store = STORES.get(tensor)
        return None if store is None or store.exposed else store

    def new(self, geometry: Geometry, values: Expression) -> torch.Tensor:
        """A recorded tensor, the first in its storage."""
        length = 1 + sum((n - 1) * stride for n, stride in zip(geometry.size, geometry.stride))
        store = Store(length * geometry.dtype.itemsize, self)
        made = self._pages.tensor(store.nbytes, geometry.dtype)
        store.writes.append(Write(geometry, values))
        storage = made.untyped_storage()
        STORES.add(storage, store)
        return made.set_(storage, 0, geometry.size, geometry.stride)

    def write(self, tensor: torch.Tensor, values: Expression) -> torch.Tensor:
        store = self.recorded(tensor)
        assert store is not None
        store.append(geometry_of(tensor), values)
        return tensor

    def can_keep(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor's values can be noted for later."""
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_neg() or tensor.is_conj():
            return False
        return self.recorded(tensor) is not None or tensor.numel() <= SMALL

    def snapshot(self, tensor: torch.Tensor) -> Expression:
        """The values of a tensor as they are now."""
        store = self.recorded(tensor)
        if store is not None:
            return store.view(geometry_of(tensor))
        STORES.grown(tensor.nbytes)
        with without_modes():
            return Literal(tensor.detach().clone(), *self.origin(tensor))

    def values(self, tensor: torch.Tensor, by: str) -> torch.Tensor:
        """The values of a recorded tensor, in memory of their own: draws are made now, by keys that they keep.

        `by` says what looks at them.
        """
        self._looking = by
        expression = self.snapshot(tensor)
        with without_modes():
            made = laid_out(self._evaluation.values(expression), tensor.stride())
            if tensor.is_neg():
                made = torch._neg_view(made)
            self._evaluation.forget()
            return made

    def expose(self, tensor: torch.Tensor, by: str) -> None:
        """Give a recorded tensor's storage memory with the values: what follows may read and write it unseen."""
        store = self.recorded(tensor)
        if store is None:
            return
        self._looking = by
        store.origin = f"in memory, for {by}", line_of_code()
        storage = tensor.untyped_storage()
        give_memory(storage)
        self.fill_storage(storage, store)
        store.exposed = True

    def keep_memory(self, storage: torch.UntypedStorage, store: Store) -> None:
        """Give memory and values to a storage that somebody holds who cannot be given another one."""
        self._looking = "what holds it in C++"
        kept = Store(store.nbytes, self)
        kept.writes, kept.exposed = list(store.writes), True
        STORES.add(storage, kept)
        give_memory(storage)
        self.fill_storage(storage, kept)

    def fill_storage(self, storage: torch.UntypedStorage, store: Store) -> None:
        """Write what a store says to memory."""
        with without_modes():
            for write in store.writes:
                tensor_over(storage, write.geometry).copy_(self._evaluation.values(write.values))
            self._evaluation.forget()

    def unchanged(self, tensor: torch.Tensor) -> Expression | None:
        """What has been recorded of a tensor in memory, where that is still what it holds."""
        store = STORES.get(tensor)
        if store is None or not store.writes:
            return None
        expression = store.view(geometry_of(tensor))
        if any(draw.key is None for draw in draws_in(expression)):
            return None  # it has been written since, before anything was made
        made = self._evaluation.values(expression)
        self._evaluation.forget()
        return expression if same_bits(made, tensor.detach()) else None

    def copy_of(self, tensor: torch.Tensor) -> torch.UntypedStorage:
        """A storage of its own with what has been written to a recorded tensor's."""
        store = self.recorded(tensor)
        assert store is not None
        copy = Store(store.nbytes, self)
        copy.writes = list(store.writes)
        storage = self._pages.tensor(store.nbytes, torch.uint8).untyped_storage()
        STORES.add(storage, copy)
        return storage

    def early_key(self, draw: Draw) -> tuple[int, str]:
        """The key of a draw that something looks at before it is known which parameter it is of."""
        if draw.key is None:
            draw.key = draw.seed, f"#{self._early}"
            draw.looked_at = f"{self._looking}, {line_of_code()}"
            self._early += 1
        return draw.key

    def draw(
        self, kind: str, parameters: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype, generator: Any
    ) -> Draw:
        made = Draw(kind, parameters, shape, dtype, self.seed, line_of_code())
        if generator is not None:
            made.key = drawn_seed(generator), ""
            made.looked_at = "a generator gave the seed"
        return made

    # ---- the rest ------------------------------------------------------------------------------------------------

    def _later(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan) -> Any:
        """Note a call, to be made when its values are asked for; `PASS` where that cannot be."""
        options = dict(kwargs)
        if options.get("device") is not None:
            if torch.device(options["device"]).type != "cpu":
                return PASS
            options["device"] = "meta"
        written: list[Any] = [args[w] if isinstance(w, int) else kwargs.get(w) for w in plan.written]
        if any(not isinstance(w, torch.Tensor) or w.dtype not in DTYPES or self.recorded(w) is None for w in written):
            return PASS
        shadows: dict[int, torch.Tensor] = {}

        def shadow(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            if not self.can_keep(leaf):
                raise ValueError("values that cannot be kept for later")
            made = torch.empty_strided(leaf.size(), leaf.stride(), dtype=leaf.dtype, device="meta")
            return shadows.setdefault(id(leaf), made)

        try:
            meta_args, meta_options = tree_map(shadow, (args, options))
            made = func(*meta_args, **meta_options)
        except Exception:  # whatever it is, the call itself will tell
            return PASS
        if any(shadows[id(w)].shape != w.shape for w in written):
            return PASS
        outputs = list(made) if isinstance(made, (tuple, list)) else [made]
        if not all(isinstance(output, torch.Tensor) and output.is_meta for output in outputs):
            return PASS
        ours = {id(made): w for w in written for made in [shadows[id(w)]]}
        if not all(id(output) in ours or (output.dtype in DTYPES and output.numel()) for output in outputs):
            return PASS
        if any(id(output) not in ours and any(output is s for s in shadows.values()) for output in outputs):
            return PASS
        noted = tree_map(lambda leaf: self.snapshot(leaf) if isinstance(leaf, torch.Tensor) else leaf, (args, kwargs))
        noted[1].pop("device", None)
        noted[1].pop("pin_memory", None)
        call = Call(func, noted[0], noted[1], plan.written, line_of_code())
        if call.depth > DEEPEST:
            return PASS
        for k, w in enumerate(written):
            self.write(w, Computed(call, len(outputs) + k, tuple(w.shape), w.dtype))
        results = []
        for k, output in enumerate(outputs):
            if id(output) in ours:
                results.append(ours[id(output)])
            else:
                geometry = geometry_of(output)
                results.append(self.new(geometry, Computed(call, k, geometry.size, geometry.dtype)))
        return type(made)(results) if isinstance(made, (tuple, list)) else results[0]

    def _at_once(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan) -> Any:
        """Do a call with values. What it changes is recorded as the values that it leaves."""
        name = func._schema.name.partition("::")[2]
        temporaries: list[tuple[torch.Tensor, torch.Tensor]] = []

        def real(leaf: Any, which: int | str) -> Any:
            if not isinstance(leaf, torch.Tensor) or self.recorded(leaf) is None:
                return leaf
            if which not in plan.written:
                return self.values(leaf, name)
            overwritten = name in OVERWRITING or isinstance(which, str)  # as `out=`, nobody reads it
            with without_modes():
                made = torch.empty_like(leaf) if overwritten else self.values(leaf, name)
            temporaries.append((leaf, made))
            return made

        real_args = [tree_map(lambda leaf, k=k: real(leaf, k), given) for k, given in enumerate(args)]
        real_kwargs = {k: tree_map(lambda leaf, k=k: real(leaf, k), given) for k, given in kwargs.items()}
        with without_modes():
            made = func(*real_args, **real_kwargs)
        why, where = f"made by {name}", line_of_code()
        for tensor, temporary in temporaries:
            if temporary.shape != tensor.shape:
                raise RuntimeError(f"{name} changes the shape of a tensor within record(), which it cannot there")
            STORES.grown(tensor.nbytes)
            self.write(tensor, Literal(temporary, why, where))
        self._note_real(func, made)
        if isinstance(made, torch.Tensor):
            return next((tensor for tensor, temporary in temporaries if temporary is made), made)
        if isinstance(made, (tuple, list)):
            swapped = [next((t for t, temporary in temporaries if temporary is m), m) for m in made]
            return type(made)(swapped) if type(made) in (tuple, list) else made
        return made

    def fill_now(self, tensor: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Fill a tensor that has memory of its own, which others may read."""
        self._looking = "the memory that it had before"
        with without_modes():
            seed, name = self.early_key(draw)
            try:
                recipe = Recipe(
                    draw.kind, draw.shape, dtype=DTYPES[draw.dtype], seed=seed, name=name, **draw.parameters
                )
            except (TypeError, ValueError, ArithmeticError):
                tensor.copy_(self._evaluation.values(draw))
            else:
                plain = tensor.detach()
                fill_checked(plain, recipe, check_fillable(plain))
            storage = tensor.untyped_storage()
            store = STORES.get(tensor) or Store(storage.nbytes(), self)
            store.exposed = True
            store.append(geometry_of(tensor), draw)
            STORES.add(storage, store)
        return tensor

    # ---- where values come from ------------------------------------------------------------------------------

    def _note_real(self, func: Any, made: Any) -> None:
        """Remember which line of code made values that are no recipe."""
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype in DTYPES and tensor.device.type == "cpu":
                store = STORES.get(tensor)
                if store is None and tensor.layout is torch.strided:
                    storage = tensor.untyped_storage()
                    store = Store(storage.nbytes(), self)
                    store.exposed = True
                    STORES.add(storage, store)
                if store is not None:
                    store.origin = f"made by {func._schema.name.partition('::')[2]}", line_of_code()

    def origin(self, tensor: torch.Tensor) -> tuple[str, str]:
        """How a tensor with memory of its own came to its values, and where."""
        store = STORES.get(tensor)
        return ("values from outside the recording, such as loaded ones", "") if store is None else store.origin


def laid_out(values: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """A copy of values with these strides, which decide how results lie in memory."""
    once = values[tuple(slice(None) if stride else slice(0, 1) for stride in strides)]
    made = torch.empty_strided(once.shape, strides, dtype=values.dtype)
    return made.copy_(once).expand(values.shape)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same values, signs of zeros and NaN included."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return bool(torch.equal(one.contiguous().view(bits), other.contiguous().view(bits)))


def plan_of(func: Any, handlers: Mapping[str, Handler]) -> Plan:
    schema = func._schema
    name = schema.name.partition("::")[2]
    handler = handlers.get(name) if schema.name.startswith("aten::") else None
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
    unread = name in UNREAD or func.is_view or aliases or torch.Tag.inplace_view in func.tags
    written: list[int | str] = list(HIDDEN.get(name, ()))
    for place, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            written.append(argument.name if argument.kwarg_only else place)
    return Plan(handler, unread, tuple(written), torch.Tag.nondeterministic_seeded in func.tags)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors among arguments, and in lists of them."""
    for leaf in tree:
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif isinstance(leaf, (tuple, list)) or type(leaf).__name__ == "dict_values":
            yield from tensors_in(leaf)


def line_of_code() -> str:
    """The line of the code that is neither torch's nor ours: the innermost."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        told = _told.get(file)
        if told is None:
            told = _told[file] = frame.f_globals.get("__name__", "").partition(".")[0] not in UNTOLD
        if told:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('site-packages/')[2]}:{frame.f_lineno}"


#: Files -> whether their lines tell something.
_told: dict[str, bool] = {}
