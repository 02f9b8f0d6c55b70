"""fastinit for torch: its initializing functions, existing code as it stands, whole modules, and sharded tensors.

``import fastinit.torch as init`` stands for ``torch.nn.init``; ``with fastinit.torch.intercept():`` fills what existing
code initializes; `init_module_` fills a module by the names of its parameters. All of them fill a `DTensor` shard by
shard with the values of the global tensor. Axes are torch's, a weight is (out, in, \\*kernel); `init_module_` knows
modules that have others.
"""

from ..extras import require

require("torch", "torch")

from torch.nn.init import (  # not public, but much used
    _calculate_correct_fan as _calculate_correct_fan,
)
from torch.nn.init import (
    _calculate_fan_in_and_fan_out as _calculate_fan_in_and_fan_out,
)

from .fill import fill_, tensor
from .functions import (
    calculate_gain,
    constant,
    constant_,
    dirac,
    dirac_,
    eye,
    eye_,
    kaiming_normal,
    kaiming_normal_,
    kaiming_uniform,
    kaiming_uniform_,
    normal,
    normal_,
    ones_,
    orthogonal,
    orthogonal_,
    sparse,
    sparse_,
    trunc_normal_,
    uniform,
    uniform_,
    xavier_normal,
    xavier_normal_,
    xavier_uniform,
    xavier_uniform_,
    zeros_,
)
from .intercepting import intercept
from .module import init_module_
from .recording import Recording, record

__all__ = [
    "Recording",
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "fill_",
    "init_module_",
    "intercept",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "record",
    "sparse",
    "sparse_",
    "tensor",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]
