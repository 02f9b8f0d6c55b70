"""The operations that make recorded tensors and write to them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from ..memory import DTYPES
from .expressions import Call, Computed, Constant, Draw, Expression, Geometry, Unset
from .operations import PASS, Handler, Recorder, line_of_code
from .storage import geometry_of

Arguments = tuple[Any, ...]
Options = dict[str, Any]

#: Options of operations that make tensors, with which the result is certainly a contiguous one.
PLAIN_OPTIONS = {"dtype", "device", "layout", "pin_memory"}
#: Rows that are set one by one: at most so many in one call.
MOST_ROWS = 64


# ---- new tensors -------------------------------------------------------------------------------------------------


def _creation(values: Callable[[Recorder, Geometry, Arguments, Options], Expression], *, like: bool = False) -> Handler:
    """A handler of an operation that makes a tensor, whose values are told by `values`."""

    def create(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
        device = options.get("device")
        if device is None:
            elsewhere = like and not args[0].is_cpu
        else:
            elsewhere = (device if isinstance(device, torch.device) else torch.device(device)).type != "cpu"
        if elsewhere or options.get("layout") not in (None, torch.strided) or "out" in options:
            return PASS
        if like and args[0].layout is not torch.strided:
            return PASS
        if not like and set(options) <= PLAIN_OPTIONS and func._overloadname in ("memory_format", "default", ""):
            dtype = options.get("dtype") or torch.get_default_dtype()
            if dtype in DTYPES and func._schema.name != "aten::full" and 0 not in args[0]:  # as it is nearly always
                geometry = contiguous(tuple(args[0]), dtype)
                return recorder.new(geometry, values(recorder, geometry, args, options))
        shadow = {key: value for key, value in options.items() if key not in ("generator", "pin_memory", "names")}
        if func._overloadname.startswith("generator"):
            shadow["generator"] = None
        made = func(*args, **shadow | {"device": "meta"})
        if made.dtype not in DTYPES or not made.numel():
            return PASS
        geometry = geometry_of(made)
        return recorder.new(geometry, values(recorder, geometry, args, options))

    return create


def _constant(value: Callable[[Arguments], Any]) -> Any:
    return lambda recorder, g, args, options: Constant(value(args), g.size, g.dtype)


def _unset(recorder: Recorder, g: Geometry, args: Arguments, options: Options) -> Expression:
    return Unset(g.size, g.dtype)


def _drawn(kind: str, **parameters: float) -> Any:
    return lambda recorder, g, args, options: recorder.draw(
        kind, dict(parameters), g.size, g.dtype, options.get("generator")
    )


def _normal(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    """``torch.normal`` of two numbers and a size."""
    if func._overloadname != "float_float":
        return PASS

    def values(recorder: Recorder, g: Geometry, args: Arguments, options: Options) -> Expression:
        return _normal_or_constant(recorder, args[0], args[1], g.size, g.dtype, options)

    return _creation(values)(recorder, func, args, options)


# ---- draws into tensors ----------------------------------------------------------------------------------------


def _normal_or_constant(
    recorder: Recorder, mean: float, std: float, shape: tuple[int, ...], dtype: torch.dtype, options: Options
) -> Expression:
    if std == 0:
        return Constant(mean, shape, dtype)
    return recorder.draw("normal", {"mean": float(mean), "std": float(std)}, shape, dtype, options.get("generator"))


def _normal_(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    tensor, mean, std = _given(args, options, ("mean", "std"), (0.0, 1.0))
    return _draw_into(
        recorder,
        func,
        args,
        options,
        lambda: _normal_or_constant(recorder, mean, std, tuple(tensor.shape), tensor.dtype, options),
        0 <= std < 1e4,
    )


def _uniform_(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    tensor, low, high = _given(args, options, ("from", "to"), (0.0, 1.0))

    def values() -> Expression:
        shape = tuple(tensor.shape)
        if low == high:
            return Constant(low, shape, tensor.dtype)
        numbers = {"low": float(low), "high": float(high)}
        return recorder.draw("uniform", numbers, shape, tensor.dtype, options.get("generator"))

    return _draw_into(recorder, func, args, options, values, -1e4 < low < high < 1e4)


def _given(args: Arguments, options: Options, names: tuple[str, ...], defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments in order, whether they came by position, by name or not at all."""
    numbers = [
        args[k + 1] if len(args) > k + 1 else options.get(name, default)
        for k, (name, default) in enumerate(zip(names, defaults))
    ]
    return args[0], *numbers


def _draw_into(
    recorder: Recorder, func: Any, args: Arguments, options: Options, values: Callable[[], Expression], fine: bool
) -> Any:
    """Draw into a tensor; `fine` where the numbers are such as torch certainly takes."""
    tensor = args[0]
    if (
        tensor.dtype not in DTYPES
        or tensor.device.type != "cpu"
        or tensor.layout is not torch.strided
        or not tensor.numel()
    ):
        return PASS
    if not fine:
        given = {key: value for key, value in options.items() if key != "generator"}
        func(torch.empty(0, dtype=tensor.dtype), *args[1:], **given)  # raises torch's errors
    store = recorder.recorded(tensor)
    drawn = values()
    if store is not None:
        store.append(geometry_of(tensor), drawn)
        return tensor
    return recorder.fill_now(tensor, drawn) if isinstance(drawn, Draw) else PASS


# ---- writes ------------------------------------------------------------------------------------------------------


def _fill_(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    tensor = args[0]
    store = recorder.recorded(tensor)
    if store is None or tensor.dtype not in DTYPES:
        return PASS
    value: Any = args[1] if len(args) > 1 else 0
    if isinstance(value, torch.Tensor):
        value = (recorder.values(value, "a number") if recorder.recorded(value) else value).item()
    if isinstance(value, complex):
        return PASS
    geometry = geometry_of(tensor)
    store.append(geometry, Constant(value, geometry.size, geometry.dtype))
    return tensor


def _copy_(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    target, source = args[0], args[1]
    if recorder.recorded(target) is None or target.dtype not in DTYPES:
        return PASS
    if source.device.type != "cpu" or source.layout is not torch.strided or source.is_neg() or source.is_conj():
        return PASS
    source = source.expand(target.shape)
    if (
        recorder.recorded(source) is None
        and source.numel()
        and not any(s for n, s in zip(source.shape, source.stride()) if n > 1)
    ):
        number = source[(0,) * source.dim()].item()
        if not isinstance(number, complex):
            return recorder.write(target, Constant(number, tuple(target.shape), target.dtype))
    return recorder.write(target, cast(recorder.snapshot(source), target.dtype))


def _clone(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    """``clone``, and casts."""
    source, dtype = args[0], options.get("dtype") or args[0].dtype
    if recorder.recorded(source) is None or dtype not in DTYPES or source.dtype not in DTYPES or source.is_neg():
        return PASS
    device = torch.device(options.get("device") or "cpu")
    order = options.get("memory_format") or torch.preserve_format
    made = torch.empty_like(source, dtype=dtype, device="meta", memory_format=order)
    if device.type == "meta":
        return made
    if device.type != "cpu":
        return PASS
    return recorder.new(geometry_of(made), cast(recorder.snapshot(source), dtype))


def contiguous(shape: tuple[int, ...], dtype: torch.dtype) -> Geometry:
    """A tensor in C order."""
    strides, at = [], 1
    for n in shape[::-1]:
        strides.append(at)
        at *= n
    return Geometry(0, shape, tuple(strides[::-1]), dtype)


def cast(expression: Expression, dtype: torch.dtype) -> Expression:
    """The values in another dtype."""
    if expression.dtype is dtype:
        return expression
    call = Call(torch.ops.aten._to_copy.default, (expression,), {"dtype": dtype}, (), line_of_code())
    return Computed(call, 0, expression.shape, dtype)


def _index_put_(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    """``w[[1, 2]] = 5``: a constant in a few positions along one axis."""
    tensor, indices, value = args[:3]
    if recorder.recorded(tensor) is None or tensor.dtype not in DTYPES or (len(args) > 3 and args[3]):
        return PASS
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or value.numel() != 1:
        return PASS
    index = indices[given[0]]
    if index.dim() != 1 or recorder.recorded(index) is not None:
        return PASS
    positions = (index.nonzero()[:, 0] if index.dtype is torch.bool else index).tolist()
    if len(positions) > MOST_ROWS:
        return PASS
    number = (recorder.values(value, "a number") if recorder.recorded(value) else value).item()
    for position in positions:
        row = tensor.select(given[0], position)
        recorder.write(row, Constant(number, tuple(row.shape), row.dtype))
    return tensor


def _constant_pad_nd(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    source, pad = args[0], args[1]
    value = args[2] if len(args) > 2 else options.get("value", 0)
    if recorder.recorded(source) is None or source.dtype not in DTYPES or min(pad, default=-1) < 0 or source.is_neg():
        return PASS
    made = func(torch.empty_strided(source.size(), source.stride(), dtype=source.dtype, device="meta"), pad, value)
    geometry = geometry_of(made)
    padded = recorder.new(geometry, Constant(value, geometry.size, geometry.dtype))
    inside = padded
    for k in range(len(pad) // 2):
        axis = source.dim() - 1 - k
        inside = inside.narrow(axis, pad[2 * k], source.shape[axis])
    recorder.write(inside, recorder.snapshot(source))
    return padded


def _joined(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    """``cat`` and ``stack``. torch knows their results' shapes only after reading 70 MB of Python code."""
    tensors = [tensor for tensor in args[0] if tensor.numel()]
    new = func._schema.name == "aten::stack"
    if "out" in options or not any(recorder.recorded(tensor) for tensor in tensors):
        return PASS
    for tensor in tensors:
        if tensor.dtype not in DTYPES or not recorder.can_keep(tensor) or not tensor.is_contiguous():
            return PASS
    shape = list(tensors[0].shape)
    axis = args[1] if len(args) > 1 else options.get("dim", 0)
    axis %= len(shape) + new
    rest = [[n for k, n in enumerate(tensor.shape) if new or k != axis] for tensor in tensors]
    if any(other != rest[0] for other in rest):
        return PASS  # torch has an error for it
    if new:
        shape.insert(axis, len(tensors))
    else:
        shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    dtype = functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    call = Call(func, ([recorder.snapshot(tensor) for tensor in tensors], axis), {}, (), line_of_code())
    geometry = contiguous(tuple(shape), dtype)
    return recorder.new(geometry, Computed(call, 0, geometry.size, dtype))


def _eye(recorder: Recorder, func: Any, args: Arguments, options: Options) -> Any:
    out = options.get("out")
    if out is None or recorder.recorded(out) is None or out.dtype not in DTYPES or out.dim() != 2:
        return PASS
    shape = (args[0], args[1] if len(args) > 1 and args[1] is not None else args[0])
    if tuple(out.shape) != shape:
        return PASS
    return recorder.write(out, recorder.draw("eye", {"gain": 1.0}, shape, out.dtype, None))


_zero, _one, _second, _third = (
    _constant(value) for value in (lambda a: 0, lambda a: 1, lambda a: a[1], lambda a: a[2])
)
_from_0_to_1 = _drawn("uniform", low=0.0, high=1.0)
_standard = _drawn("normal", mean=0.0, std=1.0)

#: Handlers of operations of aten, by their names.
HANDLERS: dict[str, Handler] = {
    "empty": _creation(_unset),
    "empty_strided": _creation(_unset),
    "zeros": _creation(_zero),
    "ones": _creation(_one),
    "full": _creation(_second),
    "rand": _creation(_from_0_to_1),
    "randn": _creation(_standard),
    "empty_like": _creation(_unset, like=True),
    "zeros_like": _creation(_zero, like=True),
    "ones_like": _creation(_one, like=True),
    "full_like": _creation(_second, like=True),
    "rand_like": _creation(_from_0_to_1, like=True),
    "randn_like": _creation(_standard, like=True),
    "new_empty": _creation(_unset, like=True),
    "new_empty_strided": _creation(_unset, like=True),
    "new_zeros": _creation(_zero, like=True),
    "new_ones": _creation(_one, like=True),
    "new_full": _creation(_third, like=True),
    "normal": _normal,
    "normal_": _normal_,
    "uniform_": _uniform_,
    "zero_": _fill_,
    "fill_": _fill_,
    "copy_": _copy_,
    "clone": _clone,
    "_to_copy": _clone,
    "index_put_": _index_put_,
    "_index_put_impl_": _index_put_,
    "constant_pad_nd": _constant_pad_nd,
    "cat": _joined,
    "stack": _joined,
    "eye": _eye,
}
