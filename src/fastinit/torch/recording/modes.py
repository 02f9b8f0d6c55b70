"""What a recording sees of torch: its operations, and the few functions that read memory without one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..functions import cuts, share_of_zeros
from ..memory import DTYPES
from .operations import Recorder


class Operations(TorchDispatchMode):  # type: ignore[misc]
    """Hands torch's operations to a recorder."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asked by torch: else it would read its compiler, which takes a second, and go through it each time."""
        return False

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(map(_is_foreign, types)):  # its own operations on plain tensors come here, too
            return NotImplemented
        with torch._C.DisableTorchFunction():
            return self._recorder.run(func, args, kwargs or {})


@functools.cache
def _is_foreign(kind: Any) -> bool:
    """Whether tensors of a class have their own idea of operations, as DTensor and fake tensors have."""
    return kind.__torch_dispatch__ not in (torch.Tensor.__torch_dispatch__, torch._C._disabled_torch_dispatch_impl)


class Functions(TorchFunctionMode):  # type: ignore[misc]
    """Sees functions of torch that no operation stands for."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        if handler is _other_memory:
            return handler(self._recorder, func, args, kwargs)
        with torch._C.DisableTorchFunction():
            recorded = self._recorder.recorded(args[0]) is not None
        return handler(self._recorder, func, args, kwargs) if recorded else func(*args, **kwargs)


def _read_or_written(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """What gives others the memory itself."""
    recorder.expose(args[0], func.__name__)
    return func(*args, **kwargs)


def _read(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """What reads the memory."""
    values = recorder.values(args[0], func.__name__).requires_grad_(args[0].requires_grad)
    return func(values, *args[1:], **kwargs)


def _other_memory(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """``tensor.data = other`` and ``tensor.set_(other)``."""
    made = func(*args, **kwargs)
    with torch._C.DisableTorchFunction():
        if recorder.recorded(args[0]) is not None:
            recorder.changed.append(args[0])
    return made


def _copied_deeply(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """``copy.deepcopy``: a storage with the same log, which torch takes for one that it has copied already."""
    tensor, memo = args[0], args[1]
    copies = memo.setdefault("torch", {})
    which = tensor.untyped_storage()._cdata
    if which not in copies and tensor.is_leaf:
        copies[which] = recorder.copy_of(tensor)
    return func(*args, **kwargs)


# ---- functions of torch.nn.init that draw in several steps ---------------------------------------------------------


def _truncated(tensor: torch.Tensor, given: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    mean, std, a, b = (float(given[name]) for name in ("mean", "std", "a", "b"))
    if not (std > 0 and a < b) or mean < a - 2 * std or mean > b + 2 * std:
        return None  # torch has an error or a warning for it
    lower, upper = cuts(mean, std, a, b)
    return "truncated_normal", {"mean": mean, "std": std, "lower": lower, "upper": upper}


def _orthogonal(tensor: torch.Tensor, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "orthogonal", {"gain": float(given["gain"]), "out_axis": 0}


def _sparse(tensor: torch.Tensor, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    share = share_of_zeros(float(given["sparsity"]), tensor.shape[0])
    return "sparse", {"sparsity": share, "std": float(given["std"])}


def _dirac(tensor: torch.Tensor, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dirac", {"groups": int(given["groups"])}


#: They first ask whether the tensor is on the meta device. Told so, they are done.
_ASKING: dict[str, Callable[[torch.Tensor, dict[str, Any]], tuple[str, dict[str, Any]] | None]] = {
    "_no_grad_trunc_normal_": _truncated,
    "orthogonal_": _orthogonal,
    "sparse_": _sparse,
    "dirac_": _dirac,
}


def _asked(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    tensor: Any = args[0]
    frame = _caller()
    if frame is None or frame.f_globals.get("__name__") != "torch.nn.init" or tensor.dtype not in DTYPES:
        return func(*args, **kwargs)
    described = _ASKING.get(frame.f_code.co_name)
    given: dict[str, Any] = frame.f_locals
    if described is None or id(given.get("tensor")) != id(tensor):
        return func(*args, **kwargs)
    found = described(tensor, given)
    if found is None:
        return func(*args, **kwargs)
    with torch._C.DisableTorchFunction():
        recorder.write(tensor, recorder.draw(*found, tuple(tensor.shape), tensor.dtype, given.get("generator")))
    return True


def _caller() -> FrameType | None:
    """The code that called torch: the first frame that is neither a mode's nor ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (
        frame.f_code.co_name == "__torch_function__" or frame.f_globals.get("__name__", "").startswith("fastinit.")
    ):
        frame = frame.f_back
    return frame


_HANDLERS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.is_meta.__get__: _asked,
    torch.Tensor.data.__set__: _other_memory,
    torch.Tensor.set_: _other_memory,
    torch.Tensor.data_ptr: _read_or_written,
    torch.Tensor.untyped_storage: _read_or_written,
    torch.Tensor.storage: _read_or_written,
    torch.Tensor.numpy: _read_or_written,
    torch.Tensor.__array__: _read_or_written,
    torch.Tensor.__dlpack__: _read_or_written,
    torch.Tensor.share_memory_: _read_or_written,
    torch.Tensor.__reduce_ex__: _read_or_written,
    torch.Tensor.tolist: _read,
    torch.Tensor.__repr__: _read,
    torch.Tensor.__format__: _read,
    torch.Tensor.__deepcopy__: _copied_deeply,
}
