"""Names to distribution and scale: the maths, without arrays, seeds or memory."""

from .activations import calculate_gain, for_activation
from .names import Initializer, axes_that_matter, cached_init, init
from .parameters import check_parameter, every_parameter, known_parameters, to_json
from .scales import fans

__all__ = [
    "Initializer",
    "axes_that_matter",
    "cached_init",
    "calculate_gain",
    "check_parameter",
    "every_parameter",
    "fans",
    "for_activation",
    "init",
    "known_parameters",
    "to_json",
]
