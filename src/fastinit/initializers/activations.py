"""Which initializer and which gain an activation asks for."""

from __future__ import annotations

import math
from typing import Any

from ..wording import near_match
from .names import Initializer

_FOR_ACTIVATION: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("glorot_uniform", {}),
    "tanh": ("glorot_uniform", {}),
    "softmax": ("glorot_uniform", {}),
    "relu": ("he_normal", {}),
    "leaky_relu": ("he_normal", {"negative_slope": 0.01}),
    "prelu": ("he_normal", {"negative_slope": 0.25}),
    "gelu": ("he_normal", {}),
    "silu": ("he_normal", {}),
    "selu": ("lecun_normal", {}),
    "linear": ("lecun_normal", {}),
}


def for_activation(activation: str, /, **parameters: Any) -> Initializer:
    """The initializer recommended for weights that feed an activation.

    Parameters
    ----------
    activation : str
        One of sigmoid, tanh, relu, leaky_relu, prelu, gelu, silu, selu, linear, softmax.
    **parameters
        Passed to the initializer: axes, ``gain``, ``negative_slope`` of a leaky ReLU.

    Returns
    -------
    Initializer

    Raises
    ------
    ValueError
        Unknown activation.

    Notes
    -----
    ================================  =====================================  =====================================
    activation                        initializer                            why
    ================================  =====================================  =====================================
    sigmoid, tanh, softmax            glorot_uniform                         near 0 they are linear with slope
                                                                             (nearly) constant: variance is kept
                                                                             forwards by 1/fan_in and backwards by
                                                                             1/fan_out; 2/(fan_in + fan_out) is the
                                                                             compromise of Glorot & Bengio (2010)
    relu, gelu, silu                  he_normal                              a ReLU halves the second moment, so the
                                                                             variance doubles: 2/fan_in (He et al.
                                                                             2015); GELU and SiLU are ReLU-like
    leaky_relu, prelu                 he_normal, negative_slope 0.01, 0.25   2/((1 + slope^2) fan_in), the slopes
                                                                             that torch and He et al. start from
    selu                              lecun_normal                           self-normalisation is derived for
                                                                             variance 1/fan_in (Klambauer et al.
                                                                             2017)
    linear                            lecun_normal                           1/fan_in keeps the variance of a linear
                                                                             layer's output (LeCun et al. 1998)
    ================================  =====================================  =====================================

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998.
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """
    if activation not in _FOR_ACTIVATION:
        raise ValueError(f"unknown activation {activation!r}; {near_match(activation, _FOR_ACTIVATION)}")
    name, defaults = _FOR_ACTIVATION[activation]
    return Initializer(name, **{**defaults, **parameters})


_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that torch recommends for a nonlinearity: values and errors of ``torch.nn.init.calculate_gain``.

    Parameters
    ----------
    nonlinearity : str
        ``linear``, ``conv{1,2,3}d``, ``conv_transpose{1,2,3}d``, ``sigmoid``, ``tanh``, ``relu``,
        ``leaky_relu`` or ``selu``.
    param : int or float, optional
        Negative slope of ``leaky_relu``, 0.01 unless given.

    Raises
    ------
    ValueError
        Another nonlinearity, or a slope that is not a number.

    Notes
    -----
    The gain is 1/sqrt of the second moment that the activation leaves of a standard normal: 1 for linear ones and,
    by convention, the sigmoid (LeCun et al. 1998; Glorot and Bengio 2010), sqrt(2) for ReLU and
    sqrt(2/(1 + slope^2)) for its leaky form (He et al. 2015). 5/3 for tanh and 3/4 for SELU are empirical; with
    SELU, Klambauer et al. (2017) need variance 1/fan_in, that is "linear".
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
