"""What existing code initializes, filled by fastinit: a torch function mode."""

from __future__ import annotations

import functools
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from ..arrays import DefaultFloatEnvironment
from . import functions
from .fill import check_lasting
from .memory import DTYPES, fills_on, is_filled_there
from .seeds import BLOCKS, Count
from .shards import held_by, is_dtensor
from .watching import is_transformed, is_watched

_INIT: dict[str, Callable[..., Any]] = {
    "uniform_": functions.uniform_,
    "normal_": functions.normal_,
    "trunc_normal_": functions.trunc_normal_,
    "xavier_uniform_": functions.xavier_uniform_,
    "xavier_normal_": functions.xavier_normal_,
    "kaiming_uniform_": functions.kaiming_uniform_,
    "kaiming_normal_": functions.kaiming_normal_,
    "orthogonal_": functions.orthogonal_,
    "sparse_": functions.sparse_,
}
#: Functions of these modules that are called as in `_INIT` are filled; by name, since both modules replace functions
#: of torch.nn.init by their own now and then, and each keeps some of the other's from before.
_MODULES = ("torch.nn.init", "transformers.initialization")

#: Functions of torch.nn.init that draw in several steps, after asking whether the tensor is on the meta device.
_ASKING = {"_no_grad_trunc_normal_": "trunc_normal_", "orthogonal_": "orthogonal_", "sparse_": "sparse_"}


@contextmanager
def intercept(seed: int | None = None) -> Iterator[Count]:
    """Fill by fastinit what code in this thread initializes by torch.

    ``with intercept(): model = Model()``: ``torch.nn.init.*`` whoever calls it, ``Tensor.normal_`` and ``uniform_``,
    ``torch.randn``, ``rand``, ``normal`` of a size, ``randn_like`` and ``rand_like``, hence the constructors of torch,
    of transformers, and of whatever uses these.

    Parameters
    ----------
    seed : int, optional
        The k-th fill, counted from 0, has the values of ``fastinit.recipe(..., seed=seed, name=str(k))``; where a
        call gives a `generator`, the seed comes from that. Without a seed, it is drawn from torch's default
        generator when the block is entered, so that ``torch.manual_seed`` before it governs.

    Yields
    ------
    Count
        `seed`, and `fills`, the number of fills so far.

    Notes
    -----
    Distributions are torch's, but for `uniform_`, which never gives exactly its lower end: the next float instead.
    Values are not torch's, and depend on neither threads nor CPU. Plain tensors, parameters and
    DTensors of float32, float64, float16 and bfloat16 in the CPU's memory are filled, and on CUDA devices where
    `fastinit.cuda` can fill. All else is left to torch: other devices, ``meta`` and fake
    tensors, subclasses, other dtypes, what torch refuses, constants, and other random functions.
    A fill of nothing does not count; nor does one of what keeps no values, such as a weight that is computed from
    others or a placeholder of ZeRO-3, which is left to torch with a warning.

    For building models, not for training them: what resets torch's generators within the block (``manual_seed``,
    activation checkpointing) does not reset the count. Only this thread is affected, and no process that is forked in
    the block. Of nested blocks the innermost fills.
    """
    count = Count(seed)
    marking = register_module_forward_hook(_mark_computed)
    BLOCKS.open.append(count)
    try:
        with _Filling(count):
            yield count
    finally:
        BLOCKS.open.pop()
        marking.remove()


class _Filling(TorchFunctionMode):  # type: ignore[misc]
    """The mode of `intercept`: hands calls that draw to the functions of this package, which ask `count` for a key."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None and _is_init_function(func):
            handler = _Filling._init_function
        if handler is None or not self._count.is_here() or is_transformed():
            return func(*args, **(kwargs or {}))
        return handler(self, func, types, args, kwargs or {})

    # ---- what is filled -----------------------------------------------------------------------------------

    def _init_function(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0] if args else kwargs.get("tensor")
        if func.__module__.startswith("transformers") and getattr(tensor, "_is_hf_initialized", False):
            return tensor  # its values have been loaded
        return self._fill(tensor, func.__name__, args[1:], kwargs, otherwise=lambda: func(*args, **kwargs))

    def _method(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0]
        if tensor.requires_grad and torch.is_grad_enabled():  # torch refuses leaves, and records the rest
            return func(*args, **kwargs)
        renamed = {{"from": "a", "to": "b"}.get(key, key): value for key, value in kwargs.items()}
        return self._fill(tensor, func.__name__, args[1:], renamed, otherwise=lambda: func(*args, **kwargs))

    def _new(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``torch.randn`` and ``rand``: ``torch.empty`` of the same arguments, then filled."""
        return self._made(torch.empty, func, types, args, kwargs, (), lambda: func(*args, **kwargs))

    def _like(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``torch.randn_like`` and ``rand_like``."""
        if not args or not _is_plain(args[0]):
            return func(*args, **kwargs)
        return self._made(torch.empty_like, func, (), args, kwargs, (), lambda: func(*args, **kwargs))

    def _normal(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``torch.normal`` of two numbers and a size; of tensors it is no initializer."""
        given = dict(zip(("mean", "std", "size"), args)) | kwargs
        mean, std, size = (given.pop(key, None) for key in ("mean", "std", "size"))
        if size is None or not all(isinstance(number, (int, float)) for number in (mean, std)):
            return func(*args, **kwargs)
        return self._made(torch.empty, func, types, (size,), given, (mean, std), lambda: func(*args, **kwargs))

    def _made(
        self,
        empty: Any,
        func: Any,
        types: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parameters: tuple[Any, ...],
        otherwise: Callable[[], Any],
    ) -> Any:
        """A new tensor, filled; `types` are those of arguments that have their own idea of functions of torch."""
        options = dict(kwargs)
        generator = options.pop("generator", None)
        elsewhere = not fills_on(torch.device("cpu" if options.get("device") is None else options["device"]).type)
        if types or elsewhere or options.get("out") is not None or is_watched():
            return otherwise()
        return self._fill(empty(*args, **options), _MAKING[func], parameters, {"generator": generator}, otherwise)

    def _asked(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``tensor.is_meta``, asked by a function of `_ASKING`: filled at once, the answer is yes, and it is done."""
        frame = _caller()
        if frame is not None and frame.f_globals.get("__name__") == "torch.nn.init":
            name = _ASKING.get(frame.f_code.co_name)
            if name is not None and frame.f_locals.get("tensor") is args[0]:
                given = {key: value for key, value in frame.f_locals.items() if key in _PARAMETERS[name]}
                if _is_ours(args[0]) and _is_lost(args[0], name):  # its steps are no fills either
                    getattr(torch.nn.init, name)(args[0], **given)
                    return True
                nothing = object()
                if self._fill(args[0], name, (), given, otherwise=lambda: nothing) is not nothing:
                    return True
        return func(*args, **kwargs)

    def _fill(
        self, tensor: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], otherwise: Callable[[], Any]
    ) -> Any:
        """The fill by our function of that name; `otherwise` does what torch would, where we do not."""
        if not _is_ours(tensor) or _is_lost(tensor, name) or not _is_fillable(tensor):
            return otherwise()
        given = {name: value for name, value in kwargs.items() if name != "tensor"}
        before = self._count.fills
        try:
            filled = _INIT[name](tensor, *args, **given)
        except (TypeError, ValueError, RuntimeError, ArithmeticError):
            if self._count.fills != before:
                raise  # it was on its way
            return otherwise()  # refused before anything was drawn or written
        self._count.fills = before + 1  # also where a generator gave the seed
        if name == "uniform_":
            _leave_lower_end(filled, *_ends(args, given))
        return filled


#: What fills the tensors that these make.
_MAKING = {
    torch.randn: "normal_",
    torch.rand: "uniform_",
    torch.randn_like: "normal_",
    torch.rand_like: "uniform_",
    torch.normal: "normal_",
}
_HANDLERS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.normal_: _Filling._method,
    torch.Tensor.uniform_: _Filling._method,
    torch.randn: _Filling._new,
    torch.rand: _Filling._new,
    torch.randn_like: _Filling._like,
    torch.rand_like: _Filling._like,
    torch.normal: _Filling._normal,
    torch.Tensor.is_meta.__get__: _Filling._asked,
}
_PARAMETERS = {
    "trunc_normal_": ("mean", "std", "a", "b", "generator"),
    "orthogonal_": ("gain", "generator"),
    "sparse_": ("sparsity", "std", "generator"),
}


def _ends(args: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of the interval that a call of ``uniform_`` asks for."""
    ends = {**dict(zip(("a", "b"), args)), **given}
    return float(ends.get("a", 0.0)), float(ends.get("b", 1.0))


def _leave_lower_end(tensor: torch.Tensor, low: float, high: float) -> None:
    """Put the next float in the place of the interval's lower end, which code may not expect.

    What makes truncated normals by ``uniform_().erfinv_()`` gets minus infinity from it, and then its own lower cut,
    which may be 100 standard deviations away.
    """
    following = _next_in_interval(low, high, tensor.dtype)
    if following is not None:
        with torch._C.DisableTorchFunction():
            for held in held_by(tensor):
                held.local.detach().clamp_(min=following)


@functools.lru_cache(maxsize=256)
def _next_in_interval(low: float, high: float, dtype: torch.dtype) -> float | None:
    """The float of that dtype which follows the lower end of an interval; None if it is not within."""
    with torch._C.DisableTorchFunction(), DefaultFloatEnvironment():  # not torch.set_flush_denormal's
        ends = torch.tensor([low, high], dtype=dtype, device="cpu")
        following = float(torch.nextafter(ends[:1], ends[1:]).item())
        return following if following < ends[1].item() else None


def _is_init_function(func: Any) -> bool:
    return getattr(func, "__name__", None) in _INIT and getattr(func, "__module__", None) in _MODULES


def _caller() -> FrameType | None:
    """The code that called torch: the first frame that is no mode's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    return frame


def _mark_computed(module: torch.nn.Module, args: Any, output: Any) -> None:
    """Mark the memory of a weight that a parametrization has computed: without gradients, nothing else tells it.

    transformers initializes so (the convolution over positions of Wav2Vec2 is weight-normed), and so does older code,
    by ``module.weight.data.normal_()``. What shares the memory of a parameter or buffer keeps its values.
    """
    if not isinstance(module, ParametrizationList) or type(output) is not torch.Tensor:
        return
    storage = _storage(output)
    kept = (_storage(tensor) for tensor in itertools.chain(module.parameters(), module.buffers()))
    if storage is not None and all(storage is not other for other in kept):
        storage._fastinit_computed = True


def _storage(tensor: torch.Tensor) -> Any:
    """The memory that a tensor shares with its views and with what is detached from it; None if it has none."""
    try:
        return tensor.untyped_storage()
    except RuntimeError:  # a sparse tensor, say
        return None


def _is_lost(tensor: Any, name: str) -> bool:
    """Whether a fill of one that is ours would change nothing that lasts; warns of it."""
    try:
        check_lasting(tensor)
        base = tensor._base if tensor._is_view() else tensor
        if type(base) is torch.Tensor and getattr(_storage(base), "_fastinit_computed", False):
            raise ValueError("the tensor is a weight that a parametrization computes: fill its module by init_module_")
    except ValueError as error:
        warnings.warn(f"{name} changes nothing that lasts: {error}", stacklevel=_level())
        return True
    return False


def _level() -> int:
    """The stacklevel, for the function that asks, of the code that is neither torch's nor in this file."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "fastinit"):
        level, frame = level + 1, frame.f_back
    return level


def _is_plain(tensor: Any) -> bool:
    """Whether a tensor is one that torch treats like any other."""
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) or is_dtensor(tensor)


def _is_ours(tensor: Any) -> bool:
    """Whether it is a tensor like any other, and nothing else takes part in what torch does."""
    return _is_plain(tensor) and not is_watched()


def _is_fillable(tensor: Any) -> bool:
    """Whether one that is ours has elements that can be filled where they are."""
    return bool(
        tensor.numel()
        and tensor.dtype in DTYPES
        and is_filled_there(tensor)
        and (not tensor.is_inference() or torch.is_inference_mode_enabled())
    )
