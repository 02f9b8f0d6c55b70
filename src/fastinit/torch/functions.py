"""The functions of torch.nn.init: same names, arguments, defaults, errors, warnings and return values.

Beyond torch's own arguments they take `seed` and `name`, which fix the values as everywhere in fastinit. Without a
seed it comes from `generator`, or from torch's default generator, so ``torch.manual_seed`` governs.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn.init import _calculate_correct_fan, _calculate_fan_in_and_fan_out, calculate_gain

from ..initializers import Initializer, cached_init
from ..recipe import Recipe, redrawn
from .fill import Place, check_fillable, check_lasting, fill_checked
from .memory import dtype_name
from .seeds import check_key, key
from .shards import global_shape
from .watching import is_transformed, is_watched

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

#: Axes of a torch weight.
AXES = {"in_axis": 1, "out_axis": 0}

Generator: TypeAlias = "torch.Generator | None"


def uniform_(
    tensor: torch.Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill with U[a, b); ``torch.nn.init.uniform_``.

    Parameters
    ----------
    tensor : Tensor
        float32, float64, float16 or bfloat16 in the CPU's memory or on a CUDA device, of any strides; or a DTensor, of
        which this process fills its shard.
    a, b : float, optional
        Ends of the interval; b is never returned.
    generator : Generator, optional
        Where the seed comes from, of any device; torch's default generator of the CPU unless given.
    seed : int, optional
        Fixes the values together with `name`; see `fastinit.recipe`.
    name : str, optional
        Name of the tensor. Equal seed and name share bits.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    RuntimeError
        torch's own, for arguments that it refuses.
    TypeError, ValueError
        A dtype, device or layout that cannot be filled, overlapping memory; before a byte is written.
    """
    _refused_by_torch(tensor, "uniform_", a, b, generator=generator)
    return _fill(tensor, "uniform", generator, seed, name, low=float(a), high=float(b))


def normal_(
    tensor: torch.Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill with N(mean, std^2); ``torch.nn.init.normal_``. Parameters and errors as for `uniform_`."""
    _refused_by_torch(tensor, "normal_", mean, std, generator=generator)
    return _fill(tensor, "normal", generator, seed, name, mean=float(mean), std=float(std))


def trunc_normal_(
    tensor: torch.Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill with N(mean, std^2) cut at `a` and `b`; ``torch.nn.init.trunc_normal_``.

    In one pass, without rejection. `a` and `b` are absolute, as torch has them; those of
    `fastinit.truncated_normal` are in units of std. Other parameters and errors as for `uniform_`.

    Warns
    -----
    UserWarning
        torch's, where the mean is more than two std outside [a, b]. The values are right there too.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    _refused_by_torch(tensor, "normal_", mean, std, generator=generator)
    if a > b:
        _refused_by_torch(tensor, "uniform_", a, b)
    bounds = dict(zip(("lower", "upper"), cuts(float(mean), float(std), float(a), float(b))))
    return _fill(tensor, "truncated_normal", generator, seed, name, mean=float(mean), std=float(std), **bounds)


def xavier_uniform_(
    tensor: torch.Tensor, gain: float = 1.0, generator: Generator = None, *, seed: int | None = None, name: str = ""
) -> torch.Tensor:
    """Fill with Glorot's uniform; ``torch.nn.init.xavier_uniform_``.

    Fans are those of the global shape, so a DTensor's shards agree with the whole. Parameters and errors as for
    `uniform_`.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    return _xavier(tensor, "glorot_uniform", gain, generator, seed, name)


def xavier_normal_(
    tensor: torch.Tensor, gain: float = 1.0, generator: Generator = None, *, seed: int | None = None, name: str = ""
) -> torch.Tensor:
    """Fill with Glorot's normal, not truncated; ``torch.nn.init.xavier_normal_``. See `xavier_uniform_`."""
    return _xavier(tensor, "glorot_normal", gain, generator, seed, name)


def kaiming_uniform_(
    tensor: torch.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill with He's uniform; ``torch.nn.init.kaiming_uniform_``.

    Parameters
    ----------
    a : float, optional
        Negative slope of a leaky ReLU.
    mode : str, optional
        fan_in or fan_out, of the global shape.
    nonlinearity : str, optional
        What ``calculate_gain`` knows.

    Notes
    -----
    Other parameters and errors as for `uniform_`.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    return _kaiming(tensor, "uniform", a, mode, nonlinearity, generator, seed, name)


def kaiming_normal_(
    tensor: torch.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill with He's normal, not truncated; ``torch.nn.init.kaiming_normal_``. See `kaiming_uniform_`."""
    return _kaiming(tensor, "normal", a, mode, nonlinearity, generator, seed, name)


def orthogonal_(
    tensor: torch.Tensor, gain: float = 1, generator: Generator = None, *, seed: int | None = None, name: str = ""
) -> torch.Tensor:
    """Fill with a Haar-distributed (semi-)orthogonal matrix of shape[0] rows; ``torch.nn.init.orthogonal_``.

    In every dtype that `uniform_` takes; parameters and errors as there.

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014. Mezzadri, "How to generate random matrices from the classical compact groups", 2007.
    """
    check_lasting(tensor)
    if tensor.ndimension() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    _refused_by_torch(tensor, "normal_", 0, 1, generator=generator)
    return _fill(tensor, "orthogonal", generator, seed, name, gain=float(gain), out_axis=AXES["out_axis"])


def sparse_(
    tensor: torch.Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: Generator = None,
    *,
    seed: int | None = None,
    name: str = "",
) -> torch.Tensor:
    """Fill a matrix with N(0, std^2), then ``ceil(sparsity * rows)`` of each column with 0; ``torch.nn.init.sparse_``.

    The zeros are those of `fastinit.sparse`. Other parameters and errors as for `uniform_`.

    References
    ----------
    Martens, "Deep learning via Hessian-free optimization", ICML 2010.
    """
    check_lasting(tensor)
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    _refused_by_torch(tensor, "normal_", 0, std, generator=generator)
    share = share_of_zeros(float(sparsity), global_shape(tensor)[0])
    return _fill(tensor, "sparse", generator, seed, name, sparsity=share, std=float(std))


def share_of_zeros(sparsity: float, rows: int) -> float:
    """`sparsity`, or a share from 0 to 1 that makes as many zeros as torch's slice of a column's rows does."""
    if 0 <= sparsity <= 1:
        return sparsity
    zeros = len(range(rows)[: math.ceil(sparsity * rows)])
    return (zeros - 0.5) / rows if zeros else 0.0


# ---- constants -------------------------------------------------------------------------------------------------


def _torchs(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """torch's own function, but for tensors that would not keep the values."""

    @functools.wraps(function)
    def checked(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        check_lasting(tensor)
        return function(tensor, *args, **kwargs)

    return checked


constant_ = _torchs(torch.nn.init.constant_)
ones_ = _torchs(torch.nn.init.ones_)
zeros_ = _torchs(torch.nn.init.zeros_)
eye_ = _torchs(torch.nn.init.eye_)


def dirac_(tensor: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Fill a convolution's weight so that it copies its input channels; ``torch.nn.init.dirac_``.

    A DTensor's shard too. What fastinit cannot fill, such as integers, torch does.
    """
    check_lasting(tensor)
    places = _places(tensor)
    if tensor.ndimension() not in (3, 4, 5) or groups < 1 or tensor.shape[0] % groups or places is None:
        return torch.nn.init.dirac_(tensor, groups)  # or raises torch's own error
    described = cached_init("dirac", {"groups": groups})
    recipe = Recipe(described, global_shape(tensor), dtype=dtype_name(tensor), seed=0)
    return fill_checked(tensor, recipe, places)


def _places(tensor: torch.Tensor) -> list[Place] | None:
    """What `check_fillable` finds; None for a tensor that fastinit cannot fill."""
    try:
        return check_fillable(tensor)
    except (TypeError, ValueError, RuntimeError):
        return None


# ---- the deprecated names ------------------------------------------------------------------------------------


def _deprecated(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    new = function.__name__
    old = new[:-1]

    @functools.wraps(function)
    def deprecated(*args: Any, **kwargs: Any) -> torch.Tensor:
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    deprecated.__name__ = deprecated.__qualname__ = old
    deprecated.__doc__ = f"Deprecated in favour of `{new}`, as in torch."
    return deprecated


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)


# ---- what they share -------------------------------------------------------------------------------------------


def _fill(
    tensor: torch.Tensor, initializer: str, generator: Generator, seed: int | None, name: str, **parameters: Any
) -> torch.Tensor:
    check_key(generator, seed)
    places = check_fillable(tensor)
    described = _described(cached_init(initializer, parameters), global_shape(tensor), dtype_name(tensor))
    if tensor.numel() == 0:  # draws no seed
        return tensor
    seed, name = key(tensor, generator, seed, name)
    return fill_checked(tensor, redrawn(described, seed, name), places)


@functools.lru_cache(maxsize=256)
def _described(initializer: Initializer, shape: tuple[int, ...], dtype: str) -> Recipe:
    """A tensor but for its seed and name: refuses parameters before a generator has advanced."""
    return Recipe(initializer, shape, dtype=dtype, seed=0)


def _refused_by_torch(tensor: torch.Tensor, method: str, *args: Any, generator: Generator = None) -> None:
    """Lets torch raise its own errors: by the same call on no elements."""
    if generator is None and _NUMBERS.issuperset(map(type, args)) and not (is_watched() or is_transformed()):
        _accepted_by_torch(method, tensor.dtype, *args)
    else:
        device = generator.device if isinstance(generator, torch.Generator) else "cpu"  # torch wants them to agree
        _call_on_nothing(method, tensor.dtype, device, *args, generator=generator)


_NUMBERS = frozenset({float, int})


def _call_on_nothing(method: str, dtype: torch.dtype, device: Any, *args: Any, **kwargs: Any) -> None:
    with torch._C.DisableTorchFunction():
        getattr(torch.empty(0, dtype=dtype, device=device), method)(*args, **kwargs)


@functools.lru_cache(maxsize=256)
def _accepted_by_torch(method: str, dtype: torch.dtype, *args: float) -> None:
    """The same for numbers that torch has refused or not once and for all."""
    _call_on_nothing(method, dtype, "cpu", *args)


def cuts(mean: float, std: float, a: float, b: float) -> tuple[float, float]:
    """The cuts in units of std, to the nearest that does not lie outside [a, b] once it is multiplied back."""
    lower, upper = (a - mean) / std, (b - mean) / std
    while mean + lower * std < a:
        lower = math.nextafter(lower, math.inf)
    while mean + upper * std > b:
        upper = math.nextafter(upper, -math.inf)
    return lower, max(lower, upper)


def _xavier(
    tensor: torch.Tensor, initializer: str, gain: float, generator: Generator, seed: int | None, name: str
) -> torch.Tensor:
    check_lasting(tensor)
    _calculate_fan_in_and_fan_out(tensor)  # raises torch's error for fewer than two axes
    method, *numbers = ("uniform_", -gain, gain) if "uniform" in initializer else ("normal_", 0, gain)
    _refused_by_torch(tensor, method, *numbers, generator=generator)
    return _fill(tensor, initializer, generator, seed, name, gain=float(gain), **AXES)


def _kaiming(
    tensor: torch.Tensor,
    distribution: str,
    a: float,
    mode: str,
    nonlinearity: str,
    generator: Generator,
    seed: int | None,
    name: str,
) -> torch.Tensor:
    check_lasting(tensor)
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    gain = calculate_gain(nonlinearity, a)
    _refused_by_torch(tensor, f"{distribution}_", 0, 1, generator=generator)
    slope = 0.0 if nonlinearity == "relu" else 0.01 if a is None else float(a)
    if nonlinearity in ("relu", "leaky_relu") and math.isfinite(slope):
        return _fill(tensor, f"he_{distribution}", generator, seed, name, fan_in=fan, negative_slope=slope)
    return _fill(tensor, f"lecun_{distribution}", generator, seed, name, fan_in=fan, gain=float(gain))
