"""Initializers: a name with its parameters."""

from __future__ import annotations

import functools
import marshal
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..wording import near_match
from .parameters import PARAMETERS, REQUIRED, check_parameter, check_values, known_parameters, to_json
from .scales import fan_mode


class Initializer:
    """A named initializer with its parameters: no shape, dtype or seed.

    Immutable and hashable; made by `init`. ``to_dict`` gives plain JSON with every default resolved.

    Examples
    --------
    >>> import fastinit as fi
    >>> fi.init("kaiming_normal", in_axis=1, out_axis=0)
    init('he_normal', in_axis=(1,), out_axis=(0,))
    """

    __slots__ = ("_identity", "_items", "name")

    name: str  #: Canonical name.
    _items: tuple[tuple[str, Any], ...]
    _identity: str  #: What equality and hash see: it tells 0.0 from -0.0.
    _repr_html_: ClassVar[Callable[[Initializer], str]]  # set by the package: `notebook` makes a recipe for it

    def __init__(self, name: str, /, **parameters: Any) -> None:
        canonical, defaults = known_parameters(name)
        for key in parameters:
            if key not in defaults:
                raise TypeError(f"{canonical} has no parameter {key!r}; {near_match(key, defaults)}")
        items = []
        for key, default in defaults.items():
            value = parameters.get(key, default)
            if value is REQUIRED:
                raise TypeError(f"{canonical} needs {key}=")
            items.append((key, check_parameter(key, value)))
        object.__setattr__(self, "name", canonical)
        object.__setattr__(self, "_items", tuple(items))
        object.__setattr__(self, "_identity", f"{canonical}, {items}")
        check_values(canonical, dict(items))

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return dict(self._items)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: ``{"init": name, ...}``."""
        return {"init": self.name, **{key: to_json(value) for key, value in self._items}}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Initializer:
        """The inverse of `to_dict`; defaults may be left out."""
        rest = dict(d)
        if "init" not in rest:
            raise ValueError("an initializer's dict needs 'init'")
        return cls(rest.pop("init"), **rest)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Initializer):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError("an Initializer is immutable")

    def __delattr__(self, key: str) -> None:
        raise AttributeError("an Initializer is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return Initializer.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        defaults = PARAMETERS[self.name]
        given = "".join(f", {k}={v!r}" for k, v in self._items if v != defaults[k])
        return f"init({self.name!r}{given})"


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
    return cached_init(name, parameters)


#: Types that marshal writes, and reads again as what they were.
_PLAIN = frozenset({bool, float, int, str, tuple, type(None)})
#: NumPy's numbers; what checks make of one is what they make of its `item`.
_NUMPYS = frozenset(np.dtype(code).type for code in "efdbhilqBHILQ")


def cached_init(name: str, parameters: dict[str, Any]) -> Initializer:
    """`init` for calls that repeat: the same object for the same parameters."""
    plain = parameters
    if not _PLAIN.issuperset(map(type, parameters.values())):
        plain = {key: value.item() if type(value) in _NUMPYS else value for key, value in parameters.items()}
        if not _PLAIN.issuperset(map(type, plain.values())):  # a tensor, say, whose value may change
            return Initializer(name, **parameters)
    try:
        # marshal tells 0.0 from -0.0 and 1 from True, which are equal as keys, and takes a third of repr's time
        return _cached(name, marshal.dumps(plain, 2))
    except (TypeError, ValueError):  # an error to report, or an axis that is no int but stands for one
        return Initializer(name, **parameters)


@functools.lru_cache(maxsize=256)
def _cached(name: str, parameters: bytes) -> Initializer:
    return Initializer(name, **marshal.loads(parameters))


def axes_that_matter(initializer: Initializer) -> tuple[str, ...]:
    """The axis parameters that the values depend on, whatever the shape; fans that are given make up for them."""
    p = initializer.parameters
    if initializer.name == "orthogonal":
        return ("out_axis",)
    if "fan_in" in p:
        mode = fan_mode(initializer.name, p)
        if (p["fan_in"] is not None or mode == "fan_out") and (p["fan_out"] is not None or mode == "fan_in"):
            return ()
    return tuple(key for key in ("in_axis", "out_axis") if key in p)
