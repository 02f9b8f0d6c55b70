"""The tensors of a module, their names, and what is planned for them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from ..recipe import Part
from .parametrized import Computed, Values
from .shards import is_sharded_tensor

#: Components of a name that wrappers put in: torch.compile, activation checkpointing.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
#: Wrappers whose module is called "module", as many a user's own is.
PARALLEL = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)


class Planned(NamedTuple):
    """What fills a parameter: a recipe, or one for each matrix of a stack; and its rows that stay 0."""

    recipes: list[Part]
    each: bool
    zero_rows: set[int]


class Plan(NamedTuple):
    """What fills a module: parameters by their names in it, what follows from them, and the weights they make."""

    parameters: dict[str, Planned]
    values: Values
    computed: list[Computed]


def clean_names(module: torch.nn.Module, computed: Mapping[str, Computed]) -> dict[str, str]:
    """Every name of every parameter and buffer -> without the wrappers' prefixes.

    What a weight is computed from goes by the weight's name.
    """
    parallel = {
        name + "." if name else ""
        for name, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, PARALLEL)
    }
    cleaned = {}
    for name in tensors_of(module):
        kept, before = [], ""
        for part in (computed[name].weight if name in computed else name).split("."):
            if not (part in WRAPPERS or (part == "module" and before in parallel)):
                kept.append(part)
            before += part + "."
        cleaned[name] = ".".join(kept)
    return cleaned


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, by every name that they have."""
    return dict(
        itertools.chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    )


def sharded_of(module: torch.nn.Module) -> dict[str, Any]:
    """ShardedTensors by their names; TorchRec's modules have them in their state, and local pieces as parameters."""
    if "torchrec" not in sys.modules:
        return {}
    return {name: tensor for name, tensor in module.state_dict().items() if is_sharded_tensor(tensor)}


def refuse_fsdp1(module: torch.nn.Module) -> None:
    """TypeError for FSDP1's flattened parameters."""
    fsdp1 = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if fsdp1 is not None and any(isinstance(child, fsdp1) for child in module.modules()):
        raise TypeError("FSDP1 flattens parameters: call init_module_ before wrapping, or use fully_shard")
