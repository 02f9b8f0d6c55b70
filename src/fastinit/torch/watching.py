"""Whether something else takes part in what torch does in this thread."""

from __future__ import annotations

import torch
from torch._C import _len_torch_dispatch_stack
from torch._ops import _len_torch_dispatch_stack_pre_dispatch


def has_modes() -> bool:
    """Whether a mode of dispatch is in force."""
    return bool(_len_torch_dispatch_stack() or _len_torch_dispatch_stack_pre_dispatch())


def is_watched() -> bool:
    """Whether a compiler, a tracer or a mode of dispatch sees every operation."""
    return bool(torch.compiler.is_compiling() or torch._C._is_tracing() or _len_torch_dispatch_stack())


def is_transformed() -> bool:
    """Whether a transform of functions, such as ``vmap``, is being applied."""
    return torch._C._functorch.peek_interpreter_stack() is not None
