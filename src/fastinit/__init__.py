"""fastinit: fill very large weight buffers on a CPU, with the same bits for any thread count, shard and machine.

Every function fills an array in place, or allocates one where it is given a shape. The value of an element is a
function of (seed, name, global shape, initializer, flat index) alone; docs/stream.md defines it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from . import self_check as _self_check  # first: it tries denormal numbers before the extension is loaded

# isort: split
from . import _kernels, functions
from .config import choose_isa, end_command, get_include, show_config
from .functions import *  # noqa: F403
from .initializers import Initializer, calculate_gain, for_activation, init
from .recipe import Part, Recipe, recipe
from .stream import STREAM_VERSION, philox4x32, stream_key
from .threads import default_threads, get_num_threads, set_num_threads
from .version import __version__

if TYPE_CHECKING:
    from . import checkpoint as checkpoint
    from .propagation import propagate as propagate
    from .symmetry_breaking import symmetry as symmetry

__all__ = [
    "STREAM_VERSION",
    "Initializer",
    "Part",
    "Recipe",
    "__version__",
    "calculate_gain",
    "for_activation",
    "get_include",
    "get_num_threads",
    "init",
    "philox4x32",
    "propagate",
    "recipe",
    "set_num_threads",
    "show_config",
    "stream_key",
    "symmetry",
]
__all__ += functions.__all__

_LATER = ("checkpoint", "cuda", "dask", "jax", "keras", "torch")
_LATER_FUNCTIONS = {"propagate": "propagation", "symmetry": "symmetry_breaking"}


def __getattr__(name: str) -> Any:
    if name in _LATER:  # read when it is first asked for
        return importlib.import_module(f".{name}", __name__)
    if name in _LATER_FUNCTIONS:
        return getattr(importlib.import_module(f".{_LATER_FUNCTIONS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _in_notebooks(shown: Initializer | Part) -> str:
    from . import notebook  # only where a notebook asks

    return notebook.initializer_html(shown) if isinstance(shown, Initializer) else notebook.recipe_html(shown)


Initializer._repr_html_ = Part._repr_html_ = _in_notebooks


try:
    _kernels.use_isa(choose_isa(os.environ.get("FASTINIT_ISA")))
    default_threads()  # a bad FASTINIT_NUM_THREADS is an error here too, not in the first fill
    _self_check.check()
except (ValueError, ImportError) as error:
    end_command(error)
    raise
