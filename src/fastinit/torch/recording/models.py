"""The tensors of a model, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch


class Named(NamedTuple):
    """A tensor of a model, and whether a state dict has it."""

    tensor: torch.Tensor
    kept: bool


def tensors_of(model: torch.nn.Module) -> dict[str, Named]:
    """Parameters and persistent buffers, as a state dict has them; then other buffers, and attributes of modules."""
    kept: dict[str, Named] = {}
    rest: dict[str, Named] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        before = prefix + "." if prefix else ""
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                saved = name in module._parameters or name not in module._non_persistent_buffers_set
                (kept if saved else rest)[before + name] = Named(tensor, saved)
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                rest.update((before + which, Named(tensor, False)) for which, tensor in _within(name, value))
    return kept | {name: found for name, found in rest.items() if name not in kept}


def _within(name: str, value: Any, depth: int = 3) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in an attribute: itself, or in lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif depth and isinstance(value, (list, tuple)):
        for k, other in enumerate(value):
            yield from _within(f"{name}.{k}", other, depth - 1)
    elif depth and isinstance(value, dict):
        for key, other in value.items():
            yield from _within(f"{name}.{key}", other, depth - 1)
