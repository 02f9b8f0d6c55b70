"""Every initializer's name and parameters: their defaults, their types, their form in JSON."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from .. import _kernels
from ..wording import near_match
from .scales import AXES

_SCALING = {
    "in_axis": (-2,),
    "out_axis": (-1,),
    "batch_axis": (),
    "fan_in": None,
    "fan_out": None,
    "gain": 1.0,
}
REQUIRED = object()

#: Every initializer: its parameters with their defaults, in the order of `to_dict`.
PARAMETERS: dict[str, dict[str, Any]] = {
    "uniform": {"low": 0.0, "high": 1.0},
    "normal": {"mean": 0.0, "std": 1.0},
    "truncated_normal": {"mean": 0.0, "std": 1.0, "lower": -2.0, "upper": 2.0},
    "constant": {"value": REQUIRED},
    "zeros": {},
    "ones": {},
    "eye": {"gain": 1.0},
    "dirac": {"groups": 1, "in_axis": (1,), "out_axis": (0,)},
    "sparse": {"sparsity": REQUIRED, "std": 0.01},
    "variance_scaling": {"scale": REQUIRED, "mode": REQUIRED, "distribution": REQUIRED, **_SCALING},
    "glorot_uniform": _SCALING,
    "glorot_normal": {**_SCALING, "truncated": False},
    "he_uniform": {**_SCALING, "negative_slope": 0.0},
    "he_normal": {**_SCALING, "truncated": False, "negative_slope": 0.0},
    "lecun_uniform": _SCALING,
    "lecun_normal": {**_SCALING, "truncated": False},
    "orthogonal": {"gain": 1.0, "in_axis": None, "out_axis": (-1,)},
    "delta_orthogonal": {"gain": 1.0, "in_axis": (-2,), "out_axis": (-1,)},
}
ALIASES = {
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
}
_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("uniform", "normal", "truncated_normal")
_CHOICES = {"mode": _MODES, "distribution": _DISTRIBUTIONS}


def known_parameters(name: Any) -> tuple[str, Mapping[str, Any]]:
    """An initializer's canonical name, and its parameters with their defaults; ValueError for an unknown one."""
    if not isinstance(name, str):
        raise TypeError(f"an initializer's name is a str, not {type(name).__name__}")
    canonical = ALIASES.get(name, name)
    if canonical not in PARAMETERS:
        raise ValueError(f"unknown initializer {name!r}; {near_match(name, [*PARAMETERS, *ALIASES])}")
    return canonical, PARAMETERS[canonical]


def every_parameter() -> set[str]:
    """The names of all parameters of all initializers."""
    return {key for defaults in PARAMETERS.values() for key in defaults}


def check_parameter(key: str, value: Any) -> Any:
    """One parameter in its canonical type; TypeError or ValueError for what it cannot be."""
    if key in AXES:
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
    if key == "groups":
        groups = _integer(key, value)
        if groups < 1:
            raise ValueError(f"groups must be at least 1, got {groups}")
        return groups
    if key == "truncated":
        if type(value).__name__ not in ("bool", "bool_"):
            raise TypeError(f"truncated must be True or False, not {value!r}")
        return bool(value)
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise ValueError(f"unknown {key} {value!r}; {near_match(value, _CHOICES[key])}")
        return value
    return _number(key, value)


def check_values(name: str, p: Mapping[str, Any]) -> None:
    """ValueError for parameters that no dtype and no shape could mend."""
    tiny = name == "uniform" and 0 < p["high"] - p["low"] < 2.0**-960  # float32 may round it to 0
    if name in ("uniform", "normal", "truncated_normal") and not tiny:
        kernel_values(name, name, "float64", tuple(p.values()))
    if name == "sparse":
        kernel_values(name, "normal", "float64", (0.0, p["std"]))
        if not 0 <= p["sparsity"] <= 1:
            raise ValueError(f"sparse: sparsity must be from 0 to 1, got {p['sparsity']}")
    gain = p.get("gain", 1.0)
    signed = name == "eye" or "orthogonal" in name  # where the gain is no standard deviation
    if not math.isfinite(gain) or (gain < 0 and not signed):
        raise ValueError(f"{name}: gain must be finite{'' if signed else ' and not negative'}, got {gain}")
    if name == "variance_scaling" and not 0 <= p["scale"] < math.inf:
        raise ValueError(f"variance_scaling: scale must be finite and not negative, got {p['scale']}")
    if not math.isfinite(p.get("negative_slope", 0.0)):
        raise ValueError(f"{name}: negative_slope must be finite, got {p['negative_slope']}")


def kernel_values(
    name: str, distribution: str, dtype: str, parameters: tuple[float, ...], key: int = 0, stream: int = 0
) -> _kernels.Values:
    """The kernels' form of what the initializer `name` draws; ValueError where the dtype cannot hold the parameters."""
    try:
        return _kernels.Values(distribution, dtype, parameters, key, stream)
    except ValueError as error:
        shown = ", ".join(f"{value:.17g}" for value in parameters)
        raise ValueError(f"{name}: {error} ({distribution} of {shown} in {dtype})") from None


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
