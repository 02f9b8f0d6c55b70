"""An initializer of which some numbers are formulas: what it is for one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..initializers import Initializer, axes_that_matter, check_parameter, fans, init, known_parameters
from .formula import FANS, Formula, Tensor

#: The keys of a table that decide what `fan_in` and `fan_out` are in its formulas; and the axes' defaults.
FAN_KEYS = ("in_axis", "out_axis", "batch_axis", "fan_in", "fan_out")
_AXES = {"in_axis": (-2,), "out_axis": (-1,), "batch_axis": ()}


class Template:
    """What fills the tensors of a table or of a rule.

    Parameters
    ----------
    name : str
        The initializer's.
    parameters : mapping
        Its parameters, but for the formulas.
    formulas : mapping of str to Formula
        Its other parameters.
    fan_keys : mapping
        What the manifest says of `FAN_KEYS`, in the table or at the top.
    """

    def __init__(
        self, name: str, parameters: Mapping[str, Any], formulas: Mapping[str, Formula], fan_keys: Mapping[str, Any]
    ) -> None:
        self.name, self.formulas = name, formulas
        self._parameters = parameters
        self._fan_keys = _AXES | {key: check_parameter(key, value) for key, value in fan_keys.items()}
        #: What the formulas need to know of a tensor.
        self.asks = frozenset[str]().union(*(formula.asks for formula in formulas.values()))
        self._made: dict[str, Initializer] = {}

    def tensor(self, shape: tuple[int, ...], ranges: Mapping[str, int]) -> Tensor:
        """What the formulas may ask for; ValueError where the shape has not the axes of a fan that they ask for."""
        given = {key: self._fan_keys[key] for key in FANS if key in self._fan_keys}
        if not (self.asks & FANS) <= given.keys():
            fan_in, fan_out = fans(shape, *(self._fan_keys[key] for key in _AXES))
            given = {"fan_in": fan_in, "fan_out": fan_out} | given
        return Tensor(shape, {**given, **ranges})

    def initializer(self, numbers: Mapping[str, float]) -> Initializer:
        """The initializer with those values of its formulas; one object for equal values."""
        key = repr(numbers)  # it tells 0.0 from -0.0
        if key not in self._made:
            self._made[key] = init(self.name, **self._parameters, **numbers)
        return self._made[key]

    def axes_that_matter(self) -> tuple[str, ...]:
        """The axis parameters that a formula or the initializer depends on, whatever the numbers are."""
        if (self.asks & FANS) - self._fan_keys.keys():
            return "in_axis", "out_axis"
        if "out_axis" not in known_parameters(self.name)[1]:
            return ()
        return axes_that_matter(init(self.name, **self._parameters, **dict.fromkeys(self.formulas, 1.0)))


def is_formula(key: str, value: Any) -> bool:
    """Whether that value of a parameter is a text that computes a number.

    Infinities, and "nan" where it may be, are no formulas; nor are texts for parameters that take no fractions.
    """
    if not isinstance(value, str):
        return False
    try:
        check_parameter(key, 0.5)
    except (TypeError, ValueError):
        return False
    try:
        check_parameter(key, value)
    except (TypeError, ValueError):
        return True
    return False
