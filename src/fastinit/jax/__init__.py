"""fastinit for JAX: the factories of jax.nn.initializers, arrays over devices, and whole models by recipes.

``import fastinit.jax as init`` stands for ``jax.nn.initializers``, as in ``init.he_normal()(key, (512, 512))``. The key
is the seed. Names, arguments, axes, truncation and errors are JAX's; values are fastinit's, with and without ``jit``
and on every machine the same. `init` runs a model's initialising function and makes each shard where it lives;
`recipes` describes what that function would make.
"""

from __future__ import annotations

from ..extras import require

require("jax", "jax")

from jax.nn.initializers import Initializer, constant, ones, zeros

from .arrays import array, seed_of
from .initializers import (
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from .models import MadeWholeWarning, init, recipes

__all__ = [
    "Initializer",
    "MadeWholeWarning",
    "array",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "init",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "recipes",
    "seed_of",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
