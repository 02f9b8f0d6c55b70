"""Names -> distribution and scale: the maths, without arrays, seeds or memory."""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from . import _kernels
from .wording import near_match

#: Standard deviation of the standard normal cut at -2 and 2:
#: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)). JAX and Keras use the same digits.
TRUNCATED_STD = 0.87962566103423978

#: How far an element of a unit vector may lie beyond 1 by rounding, generously.
ORTHOGONAL_SLACK = 2.0**-14

_SCALING = {
    "in_axis": (-2,),
    "out_axis": (-1,),
    "batch_axis": (),
    "fan_in": None,
    "fan_out": None,
    "gain": 1.0,
}
_REQUIRED = object()

#: Every initializer: its parameters with their defaults, in the order of `to_dict`.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "uniform": {"low": 0.0, "high": 1.0},
    "normal": {"mean": 0.0, "std": 1.0},
    "truncated_normal": {"mean": 0.0, "std": 1.0, "lower": -2.0, "upper": 2.0},
    "constant": {"value": _REQUIRED},
    "zeros": {},
    "ones": {},
    "eye": {"gain": 1.0},
    "variance_scaling": {"scale": _REQUIRED, "mode": _REQUIRED, "distribution": _REQUIRED, **_SCALING},
    "glorot_uniform": _SCALING,
    "glorot_normal": {**_SCALING, "truncated": False},
    "he_uniform": {**_SCALING, "negative_slope": 0.0},
    "he_normal": {**_SCALING, "truncated": False, "negative_slope": 0.0},
    "lecun_uniform": _SCALING,
    "lecun_normal": {**_SCALING, "truncated": False},
    "orthogonal": {"gain": 1.0, "in_axis": None, "out_axis": (-1,)},
    "delta_orthogonal": {"gain": 1.0, "in_axis": (-2,), "out_axis": (-1,)},
}
_ALIASES = {
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
}
_AXES = ("in_axis", "out_axis", "batch_axis")
_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("uniform", "normal", "truncated_normal")
#: Half the smallest positive value of the dtypes whose range is less than float32's, or that are rounded from it.
_FLUSHED = {"float16": 2.0**-25, "bfloat16": 2.0**-134}
_CHOICES = {"mode": _MODES, "distribution": _DISTRIBUTIONS}


class Distribution(NamedTuple):
    """What the kernels draw: one of their distributions with its parameters, and the theoretical std."""

    kind: str
    parameters: tuple[float, ...]
    std: float


class Initializer:
    """A named initializer with its parameters: no shape, dtype or seed.

    Immutable and hashable; made by `init`. ``to_dict`` gives plain JSON with every default resolved.

    Examples
    --------
    >>> import fastinit as fi
    >>> fi.init("kaiming_normal", in_axis=1, out_axis=0)
    init('he_normal', in_axis=(1,), out_axis=(0,))
    """

    __slots__ = ("_hash", "_items", "_name")

    _name: str
    _items: tuple[tuple[str, Any], ...]
    _hash: int
    _repr_html_: ClassVar[Callable[[Initializer], str]]  # set by the package: `notebook` makes a recipe for it

    def __init__(self, name: str, /, **parameters: Any) -> None:
        canonical, defaults = known_parameters(name)
        for key in parameters:
            if key not in defaults:
                raise TypeError(f"{canonical} has no parameter {key!r}; {near_match(key, defaults)}")
        items = []
        for key, default in defaults.items():
            value = parameters.get(key, default)
            if value is _REQUIRED:
                raise TypeError(f"{canonical} needs {key}=")
            items.append((key, check_parameter(key, value)))
        object.__setattr__(self, "_name", canonical)
        object.__setattr__(self, "_items", tuple(items))
        object.__setattr__(self, "_hash", hash((canonical, repr(items))))
        self._check()

    @property
    def name(self) -> str:
        """Canonical name."""
        return self._name

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return dict(self._items)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: ``{"init": name, ...}``."""
        return {"init": self._name, **{key: to_json(value) for key, value in self._items}}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Initializer:
        """The inverse of `to_dict`; defaults may be left out."""
        rest = dict(d)
        if "init" not in rest:
            raise ValueError("an initializer's dict needs 'init'")
        return cls(rest.pop("init"), **rest)

    def _check(self) -> None:
        """ValueError for parameters that no dtype and no shape could mend."""
        p = self.parameters
        tiny = self._name == "uniform" and 0 < p["high"] - p["low"] < 2.0**-960  # float32 may round it to 0
        if self._name in ("uniform", "normal", "truncated_normal") and not tiny:
            _prepare(self._name, "float64", tuple(p.values()), self)
        gain = p.get("gain", 1.0)
        signed = self._name == "eye" or "orthogonal" in self._name  # the others are standard deviations
        if not math.isfinite(gain) or (gain < 0 and not signed):
            raise ValueError(f"{self._name}: gain must be finite{'' if signed else ' and not negative'}, got {gain}")
        if self._name == "variance_scaling" and not 0 <= p["scale"] < math.inf:
            raise ValueError(f"variance_scaling: scale must be finite and not negative, got {p['scale']}")
        if not math.isfinite(p.get("negative_slope", 0.0)):
            raise ValueError(f"{self._name}: negative_slope must be finite, got {p['negative_slope']}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Initializer):
            return NotImplemented
        return self._name == other._name and repr(self._items) == repr(other._items)

    def __hash__(self) -> int:
        return self._hash

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError("an Initializer is immutable")

    def __delattr__(self, key: str) -> None:
        raise AttributeError("an Initializer is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return Initializer.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        defaults = _PARAMETERS[self._name]
        given = "".join(f", {k}={v!r}" for k, v in self._items if v != defaults[k])
        return f"init({self._name!r}{given})"


def init(name: str | Initializer, /, **parameters: Any) -> Initializer:
    """The initializer of that name.

    Parameters
    ----------
    name : str or Initializer
        Any of the initializing functions' names; ``xavier_*`` and ``kaiming_*`` are aliases of ``glorot_*`` and
        ``he_*``. An `Initializer` is returned as it is.
    **parameters
        The function's own keywords, without shape, dtype, seed, name and threads.

    Raises
    ------
    ValueError
        Unknown name, or parameters outside their range.
    TypeError
        Unknown, missing or mistyped parameters.
    """
    if isinstance(name, Initializer):
        if parameters:
            raise TypeError("parameters go with a name; this Initializer has its own")
        return name
    return Initializer(name, **parameters)


def cached_init(name: str, parameters: Mapping[str, Any]) -> Initializer:
    """`init` for calls that repeat: the same object for the same parameters."""
    items = tuple(parameters.items())
    try:
        # repr tells 0.0 from -0.0 and 1 from True, which are equal as keys
        return _cached_by_repr(name, items, repr(items))
    except TypeError:  # unhashable: a list of axes, or an error to report
        return Initializer(name, **parameters)


@functools.lru_cache(maxsize=256)
def _cached_by_repr(name: str, items: tuple[tuple[str, Any], ...], _: str) -> Initializer:
    return Initializer(name, **dict(items))


# ---- parameters ---------------------------------------------------------------------------------------


def known_parameters(name: Any) -> tuple[str, Mapping[str, Any]]:
    """An initializer's canonical name, and its parameters with their defaults; ValueError for an unknown one."""
    if not isinstance(name, str):
        raise TypeError(f"an initializer's name is a str, not {type(name).__name__}")
    canonical = _ALIASES.get(name, name)
    if canonical not in _PARAMETERS:
        raise ValueError(f"unknown initializer {name!r}; {near_match(name, [*_PARAMETERS, *_ALIASES])}")
    return canonical, _PARAMETERS[canonical]


def every_parameter() -> set[str]:
    """The names of all parameters of all initializers."""
    return {key for defaults in _PARAMETERS.values() for key in defaults}


def check_parameter(key: str, value: Any) -> Any:
    """One parameter in its canonical type; TypeError or ValueError for what it cannot be."""
    if key in _AXES:
        if value is None and key == "in_axis":  # all axes that are not out_axis
            return None
        axes = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(_integer(key, axis) for axis in axes)
    if key in ("fan_in", "fan_out"):
        if value is None:
            return None
        fan = _integer(key, value)
        if not 1 <= fan < 1 << 128:
            raise ValueError(f"{key} must be at least 1 and below 2**128, got {fan}")
        return fan
    if key == "truncated":
        if type(value).__name__ not in ("bool", "bool_"):
            raise TypeError(f"truncated must be True or False, not {value!r}")
        return bool(value)
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise ValueError(f"unknown {key} {value!r}; {near_match(value, _CHOICES[key])}")
        return value
    return _number(key, value)


def _integer(key: str, value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{key} must be an integer, not a bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{key} must be an integer, not {type(value).__name__}") from None


def _number(key: str, value: Any) -> float:
    if isinstance(value, str) and (value in ("inf", "-inf") or (key == "value" and value == "nan")):
        return float(value)
    if (
        isinstance(value, (bool, str, bytes, complex))
        or getattr(value, "ndim", 0) != 0
        or not hasattr(value, "__float__")
    ):
        raise TypeError(f"{key} must be a number, not {value!r}")
    if getattr(value, "dtype", None) is not None and value.dtype.kind in "bc":
        raise TypeError(f"{key} must be a real number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{key} is beyond float64") from None
    if number != number and key != "value":
        raise ValueError(f"{key} must not be NaN")
    return number


def to_json(value: Any) -> Any:
    """A parameter in strict JSON: tuples as lists, infinities as "inf" and "-inf"."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# ---- scales -------------------------------------------------------------------------------------------


def fans(
    shape: tuple[int, ...],
    in_axis: tuple[int, ...] = (-2,),
    out_axis: tuple[int, ...] = (-1,),
    batch_axis: tuple[int, ...] = (),
) -> tuple[int, int]:
    """fan_in and fan_out of a weight's global shape, exact.

    The axes that are none of the three are the receptive field: its size multiplies both fans.
    """
    groups = [resolve_axes(shape, axes, key) for axes, key in zip((in_axis, out_axis, batch_axis), _AXES)]
    named = [axis for group in groups for axis in group]
    if len(set(named)) < len(named):
        raise ValueError(f"in_axis, out_axis and batch_axis share an axis of shape {shape}")
    field = math.prod(n for axis, n in enumerate(shape) if axis not in named)
    fan_in, fan_out, _ = (math.prod(shape[axis] for axis in group) * field for group in groups)
    return fan_in, fan_out


def resolve_axes(shape: tuple[int, ...], axes: tuple[int, ...], key: str) -> tuple[int, ...]:
    """The axes counted from 0; ValueError where the shape has none."""
    for axis in axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{key}={axis}: shape {shape} has {len(shape)} axes; give {key}=, or fan_in= and fan_out=")
    return tuple(axis % len(shape) for axis in axes)


def axes_that_matter(initializer: Initializer) -> tuple[str, ...]:
    """The axis parameters that the values depend on, whatever the shape; fans that are given make up for them."""
    p = initializer.parameters
    if initializer.name == "orthogonal":
        return ("out_axis",)
    if "fan_in" in p:
        mode = _mode(initializer.name, p)
        if (p["fan_in"] is not None or mode == "fan_out") and (p["fan_out"] is not None or mode == "fan_in"):
            return ()
    return tuple(key for key in ("in_axis", "out_axis") if key in p)


def resolved_parameters(initializer: Initializer, shape: tuple[int, ...]) -> dict[str, Any]:
    """All parameters for a tensor of that shape: axes counted from 0, those of `orthogonal` spelled out.

    Axes that the shape does not have stay as they are: with fans given, they do not matter.
    """
    p = initializer.parameters
    for key in _AXES:
        if p.get(key) is not None and all(-len(shape) <= axis < len(shape) for axis in p[key]):
            p[key] = resolve_axes(shape, p[key], key)
    if initializer.name == "orthogonal":
        p["in_axis"] = tuple(axis for axis in range(len(shape)) if axis not in p["out_axis"])
    return p


def _fan(shape: tuple[int, ...], mode: str, p: Mapping[str, Any]) -> float:
    """The fan of `mode`; overrides first, so that they also serve shapes without those axes."""
    fan_in, fan_out = p["fan_in"], p["fan_out"]
    if (fan_in is None and mode != "fan_out") or (fan_out is None and mode != "fan_in"):
        computed_in, computed_out = fans(shape, *(p[key] for key in _AXES))
        fan_in = computed_in if fan_in is None else fan_in
        fan_out = computed_out if fan_out is None else fan_out
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    if mode == "fan_avg":
        return (fan_in + fan_out) / 2
    return math.sqrt(float(fan_in) * float(fan_out))


def _scaled(shape: tuple[int, ...], scale: float, mode: str, distribution: str, p: Mapping[str, Any]) -> Distribution:
    """variance_scaling: DESIGN's order of operations, in float64."""
    fan = _fan(shape, mode, p)
    if fan == 0:  # only with size 0: nothing to draw
        return Distribution("constant", (0.0,), 0.0)
    var = scale / fan
    std = math.sqrt(var) * p["gain"]
    if distribution == "uniform":
        b = math.sqrt(3.0 * var) * p["gain"]
        return Distribution("uniform", (-b, b), std)
    if distribution == "truncated_normal":
        return Distribution("truncated_normal", (0.0, math.sqrt(var) / TRUNCATED_STD * p["gain"], -2.0, 2.0), std)
    return Distribution("normal", (0.0, std), std)


@functools.lru_cache(maxsize=256)
def distribution(initializer: Initializer, shape: tuple[int, ...]) -> Distribution:
    """What `initializer` draws for a tensor of that global shape.

    `eye` is not drawn: its kind is "eye", its parameter the gain.
    """
    with _kernels.DefaultFloatEnvironment():
        drawn = _distribution(initializer.name, initializer.parameters, shape)
    return drawn._replace(std=abs(drawn.std))  # gains can be negative, or -0.0


def _distribution(name: str, p: dict[str, Any], shape: tuple[int, ...]) -> Distribution:
    if name in ("constant", "zeros", "ones"):
        return Distribution("constant", (p.get("value", float(name == "ones")),), 0.0)
    if name == "eye":
        if len(shape) != 2:
            raise ValueError(f"eye needs two axes, got shape {shape}")
        size = shape[0] * shape[1]
        density = min(shape) / size if size else 0.0
        return Distribution("eye", (p["gain"],), p["gain"] * math.sqrt(density * (1 - density)))
    if name in ("orthogonal", "delta_orthogonal"):
        return _orthogonal(name, p, shape)
    if name == "uniform":
        return Distribution("uniform", (p["low"], p["high"]), (p["high"] / 2 - p["low"] / 2) / math.sqrt(3.0))
    if name == "normal":
        return Distribution("normal", (p["mean"], p["std"]), p["std"])
    if name == "truncated_normal":
        parameters = (p["mean"], p["std"], p["lower"], p["upper"])
        return Distribution("truncated_normal", parameters, p["std"] * truncated_std(p["lower"], p["upper"]))
    if name == "variance_scaling":
        return _scaled(shape, p["scale"], p["mode"], p["distribution"], p)
    family, kind = name.split("_")
    if p.get("truncated"):
        kind = "truncated_normal"
    scale = 1.0
    if family == "he":
        slope = p["negative_slope"]
        scale = 2.0 / (1.0 + slope * slope)
    return _scaled(shape, scale, _mode(name, p), kind, p)


def _mode(name: str, p: Mapping[str, Any]) -> str:
    """Which fan a scaled initializer divides by."""
    if name == "variance_scaling":
        return p["mode"]
    return "fan_avg" if name.startswith("glorot") else "fan_in"


def _orthogonal(name: str, p: dict[str, Any], shape: tuple[int, ...]) -> Distribution:
    """ValueError for axes that leave no matrix."""
    if name == "orthogonal" and len(shape) < 2:
        raise ValueError(f"orthogonal needs two axes or more, got shape {shape}")
    columns = resolve_axes(shape, p["out_axis"], "out_axis")
    rows = resolve_axes(shape, p["in_axis"], "in_axis") if p["in_axis"] is not None else ()
    if len({*rows, *columns}) < len(rows) + len(columns):
        raise ValueError(f"{name}: in_axis and out_axis share an axis of shape {shape}")
    others = [axis for axis in range(len(shape)) if axis not in columns]
    if not columns or not others:
        raise ValueError(f"{name}: out_axis={p['out_axis']} leaves no matrix of shape {shape}")
    n, size = math.prod(shape[axis] for axis in columns), math.prod(shape)
    if name == "orthogonal":
        longer = max(n, size // n if n else 0)
        return Distribution("orthogonal", (p["gain"],), p["gain"] / math.sqrt(longer) if size else 0.0)
    m = math.prod(shape[axis] for axis in rows)
    if not rows or len(rows) + len(columns) == len(shape):
        raise ValueError(f"delta_orthogonal needs in, out and spatial axes, got shape {shape}; see orthogonal")
    if m > n:
        raise ValueError(f"delta_orthogonal needs in <= out channels, got {m} and {n}")
    return Distribution("orthogonal", (p["gain"],), p["gain"] * math.sqrt(m / size) if size else 0.0)


def truncated_std(lower: float, upper: float) -> float:
    """Standard deviation of the standard normal cut at `lower` and `upper`, to about 1e-9.

    By quadrature from the cut next to 0, where the textbook formula cancels in the tails. No value of a
    tensor depends on it.
    """
    if upper < 0 or (upper == 0 and lower < 0):
        lower, upper = -upper, -lower
    start = max(lower, -40.0) if lower < 0 else lower
    reach = 40.0 - start if start < 0 else min(40.0, 80.0 / max(start, 1.0))  # beyond it the density is below 1e-17
    width = min(upper - start, reach)
    if not width > 0:
        return 0.0
    panels, nodes, weights = 64, *_gauss_legendre()
    samples = []  # distance from `start`, and weight times density relative to that at `start` (at 0, if it is inside)
    for panel in range(panels):
        for x, w in zip(nodes, weights):
            s = width * (panel + x) / panels
            samples.append((s, w * math.exp(-s * (start + s / 2) if start >= 0 else -((start + s) ** 2) / 2)))
    total = sum(density for _, density in samples)
    mean = sum(s * density for s, density in samples) / total
    second = sum((s - mean) ** 2 * density for s, density in samples)
    return math.sqrt(second / total)


@functools.cache
def _gauss_legendre() -> tuple[list[float], list[float]]:
    """Nodes and weights of ten points on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(10)
    return list((nodes + 1) / 2), list(weights / 2)


def prepare(initializer: Initializer, shape: tuple[int, ...], dtype: str, key: int, stream: int) -> _kernels.Values:
    """The kernels' form of a tensor's values; ValueError where the dtype cannot hold the parameters."""
    kind, parameters, _ = distribution(initializer, shape)
    if kind == "orthogonal":  # the Gaussian that it is made of, and the gain in its own dtype
        gain = parameters[0]
        if math.isinf(gain * (1 + ORTHOGONAL_SLACK)):
            raise ValueError(f"{initializer.name}: gain={gain} overflows the dtype")
        _prepare("constant", dtype, (gain * (1 + ORTHOGONAL_SLACK),), initializer)
        if gain != 0 and dtype != "float64" and _kernels.Values("constant", "float32", (gain,), 0, 0).bounds[0] == 0:
            raise ValueError(f"{initializer.name}: gain={gain} vanishes in float32")
        return _prepare("normal", "float64" if dtype == "float64" else "float32", (0.0, 1.0), initializer, key, stream)
    if "normal" in kind and 0 < parameters[1] <= _FLUSHED.get(dtype, 0.0):
        warnings.warn(
            f"{initializer.name}: {dtype} flushes std={parameters[1]} to zero: most values will be the mean, rounded",
            RuntimeWarning,
            stacklevel=2,
        )
    return _prepare("constant" if kind == "eye" else kind, dtype, parameters, initializer, key, stream)


def _prepare(
    kind: str, dtype: str, parameters: tuple[float, ...], initializer: Initializer, key: int = 0, stream: int = 0
) -> _kernels.Values:
    try:
        return _kernels.Values(kind, dtype, parameters, key, stream)
    except ValueError as error:
        shown = ", ".join(f"{value:.17g}" for value in parameters)
        raise ValueError(f"{initializer.name}: {error} ({kind} of {shown} in {dtype})") from None
