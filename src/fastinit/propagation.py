"""`propagate`: what an initializer does to signals and gradients on their way through a deep network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .activation_functions import activation_function, finite
from .comparison import Comparison, Curve, Panel, at_least_one, initializers
from .initializers import init as initializer_of
from .networks import NETWORKS, POSITIONS, Architecture
from .signals import Signal, measure
from .stream import check_seed, fresh_seed
from .wording import near_match

#: Text that stands for 1/sqrt(depth).
BY_DEPTH = "1/sqrt(depth)"


class Propagation(Comparison[Signal]):
    """What ``propagate`` found: a sequence of ``Signal``, one for each initializer.

    It prints as a table of some of the layers; ``to_dict`` has all of them; ``plot`` draws them. In the tables `mean`
    and `std` are those of the activations, `gradient` and `weight gradient` the std of those.
    """

    def panels(self) -> list[Panel]:
        """Activations, gradients, dead or saturated units, singular values; what there is of these."""

        def panel(title: str, y_label: str, scale: str, key: str) -> Panel:
            arrays = {signal.label: getattr(signal, key) for signal in self.results}
            curves = [Curve(name, np.arange(1, len(y) + 1), y) for name, y in arrays.items()]
            return Panel(title, self.results[0].counted, y_label, scale, curves)

        panels = [
            panel("Activations, forwards", "std of activations", "log", "activation_std"),
            panel("Gradient, backwards", "std of gradient", "log", "gradient_std"),
        ]
        if self.results[0].saturated is not None:
            panels.append(panel("Saturated activations", "share of activations (%)", "percent", "saturated"))
        elif any(signal.dead.any() for signal in self.results):
            panels.append(panel("Dead units", "share of units (%)", "percent", "dead"))
        curves = []
        for signal in self.results:
            found = signal.singular_values
            if found is not None:
                resolved = found.values[found.values >= found.precision]
                curves.append(Curve(signal.label, np.arange(1, len(resolved) + 1), resolved))
        if any((curve.y > 0).any() for curve in curves):
            panels.append(
                Panel(
                    "Jacobian, above float32's precision", "number, the largest first", "singular value", "log", curves
                )
            )
        return panels


def propagate(
    init: Any,
    activation: str = "relu",
    *,
    network: str = "mlp",
    depth: int = 50,
    width: int = 512,
    batch: int = 256,
    seed: int | None = 0,
    bias: Any = None,
    gain: float | None = None,
    branch_scale: float | str = 1.0,
    negative_slope: float | None = None,
) -> Propagation:
    """Push a batch through a random network and a gradient back, and look at every layer.

    Parameters
    ----------
    init : str, Initializer, list or dict of these
        Of the weights. Several are compared on the same input and the same gradient; a dict gives them labels.
    activation : str, optional
        Any that `for_activation` knows, and elu, mish, softplus.
    network : {"mlp", "residual", "rnn", "cnn"}, optional
        See the notes.
    depth, width, batch : int, optional
        Layers (steps of an rnn), units a layer, inputs.
    seed : int, optional
        Of the input, the gradient, the weights and the biases; None draws one.
    bias : str or Initializer, optional
        Of the biases; none unless given.
    gain : float, optional
        Multiplies the initializer's gain; weights of one that has none are multiplied themselves. None leaves the
        initializer as it is.
    branch_scale : float or "1/sqrt(depth)", optional
        Multiplies the branches of a residual network.
    negative_slope : float, optional
        Of leaky_relu (0.01 unless given) and prelu (0.25).

    Returns
    -------
    Propagation

    Raises
    ------
    TypeError, ValueError
        Unknown names, sizes below 1, an initializer that does not go with the weights' shape.

    Notes
    -----
    x is the input, f the activation, W a weight of shape (width, width) as ``x @ W``:

    ========  ================================  ===================================================================
    network   a layer                           what to expect, with x ~ N(0, 1) and W of variance v
    ========  ================================  ===================================================================
    mlp       x' = f(x W + b)                   linear: the variance is multiplied by width v in each layer, so 1
                                                with LeCun's 1/width, 1/3 with torch's default. relu: by width v / 2,
                                                so 1 with He's 2/width and 1/2 with Glorot's.
    residual  x' = x + s (f(x) W + b)           relu and He: by 1 + s^2, so 2^depth in all; with s = 1/sqrt(depth)
                                                by (1 + 1/depth)^depth, about e, in all.
    rnn       x' = f(x W + b), one W            the input is the state before the first step, and there is none
                                                later. The largest singular values of powers of W decide.
    cnn       x' = f(x * W + b), circular       `width` is 8 positions times width / 8 channels, the kernel has 3
                                                taps: W is (3, channels, channels). delta_orthogonal keeps the norm.
    ========  ================================  ===================================================================

    Glorot and Bengio (2010) keep the variance forwards and backwards; He et al. (2015) make up for what relu takes
    away. Saxe et al. (2014): orthogonal weights keep every singular value of a linear network at 1. Poole et al.
    (2016): with tanh there is order, where inputs become alike and gradients vanish, and chaos, where they explode.
    Klambauer et al. (2017): with SELU and 1/width, mean 0 and variance 1 attract. Hanin and Rolnick (2018), Zhang et
    al. (2019): the branches of a residual network must become smaller with its depth. Xiao et al. (2018): what
    orthogonal weights are to a network, delta-orthogonal ones are to convolutions.

    The loss is such that its gradient with respect to the last layer's output is N(0, 1), drawn anew. Everything is
    float32: overflow and underflow are results. Weights are those of the recipes ``layer.0.weight``, ... of `seed`
    (an rnn's ``recurrent.weight``); an initializer with ``out_axis=0`` draws in torch's order, (out, in, taps). The
    products are NumPy's, whose order of summation may differ from machine to machine: so may the last digits here.
    All weights and activations are in memory at once.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015; "Identity mappings in deep residual networks",
    ECCV 2016.
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014.
    Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli, "Exponential expressivity in deep neural networks through
    transient chaos", NeurIPS 2016.
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    Hanin and Rolnick, "How to start training: the effect of initialization and architecture", NeurIPS 2018.
    Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington, "Dynamical isometry and a mean field theory of CNNs", ICML
    2018.
    Zhang, Dauphin and Ma, "Fixup initialization: residual learning without normalization", ICLR 2019.

    Examples
    --------
    >>> import fastinit as fi
    >>> inits = ["he_normal", "glorot_uniform"]
    >>> found = fi.propagate(inits, "relu", depth=20, width=64, batch=32)
    >>> bool(found[0].activation_std[-1] > 100 * found[1].activation_std[-1])
    True
    """
    compared, single = initializers(init)
    function = activation_function(activation, negative_slope)
    sizes = at_least_one(depth=depth, width=width, batch=batch)
    scale = _check_network(network, sizes, branch_scale)
    gain = None if gain is None else finite("gain", gain)
    bias = None if bias is None else initializer_of(bias)
    seed = fresh_seed() if seed is None else check_seed(seed)
    architecture = Architecture(network, function, sizes["depth"], sizes["width"], scale)
    signals = []
    with np.errstate(all="ignore"):  # overflow and underflow are results
        for label, initializer in compared.items():
            blocks = architecture.build(initializer, bias, gain, seed)
            shape = (sizes["batch"], *architecture.input_shape)
            signals.append(measure(label, initializer, blocks, function, shape, seed, architecture.counted))
    settings: dict[str, Any] = {
        "network": network,
        "activation": function.name,
        **sizes,
        "seed": seed if seed < 1 << 53 else str(seed),
        "bias": None if bias is None else bias.to_dict(),
        "gain": gain,
        "branch_scale": scale if network == "residual" else None,
    }
    title = ", ".join(
        [f"{function.name} {network}", *(f"{key} {value}" for key, value in sizes.items()), f"seed {seed}"]
        + ([f"branches x {scale:.4g}"] if network == "residual" else [])
        + ([f"gain x {gain:.4g}"] if gain is not None else [])
    )
    return Propagation(title, settings, signals, single)


def _check_network(network: str, sizes: dict[str, int], branch_scale: float | str) -> float:
    """The scale of the branches, a number; ValueError for what does not go together."""
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; {near_match(network, NETWORKS)}")
    if network == "cnn" and sizes["width"] % POSITIONS:
        raise ValueError(f"width of a cnn is {POSITIONS} positions times channels: {sizes['width']} is no multiple")
    if branch_scale == BY_DEPTH:
        scale = 1 / math.sqrt(sizes["depth"])
    elif isinstance(branch_scale, str):
        raise ValueError(f"branch_scale is a number or {BY_DEPTH!r}, not {branch_scale!r}")
    else:
        scale = finite("branch_scale", branch_scale)
    if network != "residual" and scale != 1:
        raise ValueError(f"branch_scale goes with a residual network, not with {network}")
    return scale
