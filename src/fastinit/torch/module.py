"""A whole module, filled by the names of its parameters."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from typing import Any, NamedTuple

import numpy as np
import torch

from ..initializers import Initializer, init, known_parameters
from ..recipe import Recipe
from ..stream import check_seed
from .fill import fill_
from .functions import AXES
from .memory import array_of, dtype_name
from .shards import global_shape, held_by, is_dtensor, is_sharded_tensor, local_position

#: Components of a name that wrappers put in: torch.compile, activation checkpointing.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
#: Wrappers whose module is called "module", as many a user's own is.
PARALLEL = ("DistributedDataParallel", "DataParallel")

Rules = Mapping[str, str | Initializer | None]


def init_module_(
    module: torch.nn.Module,
    rules: Rules,
    seed: int = 0,
    *,
    prefix: str = "",
    buffers: Callable[[torch.nn.Module], Any] | None = None,
    device: Any = None,
) -> torch.nn.Module:
    """Fill every parameter of a module by the first rule that fits its name.

    Parameters
    ----------
    module : Module
        On any device, ``meta`` included, with or without DTensors (FSDP2's ``fully_shard``, tensor parallel).
    rules : mapping of str to initializer
        Globs of whole parameter names, such as ``"*.weight"``, in the order in which they are tried, with what fills
        the parameters: a name (whose axes are torch's: ``in_axis=1, out_axis=0``), an `Initializer` of `fastinit.init`
        (with the axes that it has), or ``None`` to leave them as they are.
    seed : int, optional
        Every parameter has the values of ``fastinit.recipe(initializer, shape, dtype=..., seed=seed, name=name)``.
    prefix : str, optional
        Put before the names: ``"layers.12."`` for a stage of a pipeline that holds a renumbered part of the model.
    buffers : callable, optional
        ``buffers(module)``, called when a ``meta`` module has been materialised: gives its buffers their values, in
        place or by new ones. Needed where a buffer was on ``meta``, except for running statistics of norms.
    device : device, optional
        Where a ``meta`` module is materialised: the device type of its mesh for DTensors, else the CPU, unless given.

    Returns
    -------
    Module
        `module`.

    Raises
    ------
    ValueError, TypeError
        Every parameter that no rule matches or that cannot be filled, in one error, before anything has changed. Also
        buffers that would be left without values, and FSDP1's flattened parameters.

    Notes
    -----
    Names are those of ``module.named_parameters()`` without the prefixes of wrappers: ``_orig_mod.`` (torch.compile),
    ``_checkpoint_wrapped_module.``, the ``module.`` of DistributedDataParallel. So neither wrapping nor the order of
    construction matters. A tied parameter is filled once, under the first of its names. The row ``padding_idx`` of an
    embedding becomes 0. Values for devices other than the CPU pass through one buffer of 64 MiB.
    """
    planned = _plan(module, rules, check_seed(seed), prefix)
    unset = _meta_buffers(module)
    if unset and buffers is None:
        names = ", ".join(name for name, owner in unset.items() if not _has_statistics(owner))
        if names:
            raise ValueError(
                f"buffers on meta would be left without values: {names}; give buffers=, a callable of the module that "
                "sets them"
            )
    if _materialise(module, device):
        _set_buffers(module, unset, buffers)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    sharded = _sharded(module)
    with torch.no_grad():
        for name, entry in planned.items():
            tensor = sharded.get(name, parameters[name])
            fill_(tensor, entry.recipe, staged=True)
            for row in entry.zero_rows:
                _zero_row(tensor, row)
    return module


class Planned(NamedTuple):
    """What fills a parameter, and its rows that stay 0."""

    recipe: Recipe
    zero_rows: list[int]


# ---- names and rules -------------------------------------------------------------------------------------------


def clean_names(module: torch.nn.Module) -> dict[str, str]:
    """Every parameter's name, also the further ones of tied parameters -> without the wrappers' prefixes."""
    parallel = {
        name + "." if name else ""
        for name, child in module.named_modules(remove_duplicate=False)
        if type(child).__name__ in PARALLEL
    }
    cleaned = {}
    for name, _ in module.named_parameters(remove_duplicate=False):
        kept, before = [], ""
        for part in name.split("."):
            if not (part in WRAPPERS or (part == "module" and before in parallel)):
                kept.append(part)
            before += part + "."
        cleaned[name] = ".".join(kept)
    return cleaned


def _plan(module: torch.nn.Module, rules: Rules, seed: int, prefix: str) -> dict[str, Planned]:
    """Parameters by their names in the module -> what fills them; all mistakes in one error."""
    for child in module.modules():
        if type(child).__name__ == "FullyShardedDataParallel":
            raise TypeError("FSDP1 flattens parameters: call init_module_ before wrapping, or use fully_shard")
    compiled = [(re.compile(translate(pattern)), initializer) for pattern, initializer in _checked(rules)]
    cleaned, sharded, zero_rows = clean_names(module), _sharded(module), _padding(module)
    planned: dict[str, Planned] = {}
    owners: dict[str, str] = {}
    unmatched, mistakes = [], []
    for name, parameter in _distinct(module):
        full = prefix + cleaned[name]
        rule = next((found for found in compiled if found[0].match(full)), None)
        if rule is None:
            unmatched.append(full)
            continue
        if rule[1] is None:
            if parameter.is_meta:
                mistakes.append(f"{full}: it is on meta, and its rule leaves it as it is")
            continue
        if owners.setdefault(full, name) != name:
            mistakes.append(f"{full}: both {owners[full]} and {name} would have that name")
            continue
        tensor = sharded.get(name, parameter)
        try:
            _check_fillable(tensor)
            recipe = Recipe(rule[1], global_shape(tensor), dtype=dtype_name(tensor), seed=seed, name=full)
        except (TypeError, ValueError) as error:
            mistakes.append(f"{full}: {error}")
        else:
            planned[name] = Planned(recipe, zero_rows.get(id(parameter), []))
    if unmatched:
        mistakes.insert(0, f"no rule matches {', '.join(unmatched)}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return planned


def _checked(rules: Rules) -> Iterator[tuple[str, Initializer | None]]:
    for pattern, given in rules.items():
        if isinstance(given, str):
            _, known = known_parameters(given)
            yield pattern, init(given, **{key: axis for key, axis in AXES.items() if key in known})
        elif given is None or isinstance(given, Initializer):
            yield pattern, given
        else:
            raise TypeError(f"rule {pattern!r}: a name or an Initializer is needed, not {type(given).__name__}")


def _check_fillable(parameter: torch.Tensor) -> None:
    if torch.nn.parameter.is_lazy(parameter):
        raise TypeError("a lazy parameter has no shape yet: run the module once")
    dtype_name(parameter)
    held_by(parameter)  # refuses partial sums


def _padding(module: torch.nn.Module) -> dict[int, list[int]]:
    """The rows of embeddings that stay 0, by the id of the parameter."""
    rows: dict[int, list[int]] = {}
    for child in module.modules():
        if isinstance(child, (torch.nn.Embedding, torch.nn.EmbeddingBag)) and child.padding_idx is not None:
            rows.setdefault(id(child.weight), []).append(child.padding_idx)
    return rows


def _zero_row(tensor: torch.Tensor, row: int) -> None:
    for held in held_by(tensor):
        local = local_position(held.runs[0], row)
        if local is not None:
            held.local[local].zero_()


def _sharded(module: torch.nn.Module) -> dict[str, Any]:
    """ShardedTensors by their names; TorchRec's modules have them in their state, and local pieces as parameters."""
    if "torchrec" not in sys.modules:
        return {}
    return {name: tensor for name, tensor in module.state_dict().items() if is_sharded_tensor(tensor)}


# ---- shared memory ---------------------------------------------------------------------------------------------


def _distinct(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Each parameter once, by its first name; different objects with the same elements count as one.

    ValueError where two share some elements only.
    """
    parameters = list(module.named_parameters())
    spans = []
    for order, (_, parameter) in enumerate(parameters):
        array = _array_of(parameter)
        if array is not None:
            low, high = np.lib.array_utils.byte_bounds(array)
            spans.append((low, high, order, array))
    spans.sort(key=lambda span: span[:3])
    again: set[int] = set()
    reaching: list[tuple[int, int, int, np.ndarray]] = []
    for low, high, order, array in spans:
        reaching = [span for span in reaching if span[1] > low]
        for _, _, other, known in reaching:
            if _same(array, known):
                again.add(order)  # spans that are equal come in the order of the names
            elif np.shares_memory(array, known, max_work=1_000_000):  # type: ignore[arg-type]
                names = parameters[other][0], parameters[order][0]
                raise ValueError(f"{' and '.join(names)} share memory in part: one would overwrite the other")
        reaching.append((low, high, order, array))
    return [found for order, found in enumerate(parameters) if order not in again]


def _array_of(parameter: torch.Tensor) -> np.ndarray | None:
    """A parameter's memory, None where it is not to be seen."""
    if is_dtensor(parameter) or is_sharded_tensor(parameter) or torch.nn.parameter.is_lazy(parameter):
        return None
    try:
        return array_of(parameter) if parameter.numel() else None
    except (TypeError, ValueError, RuntimeError):  # what cannot be filled is reported elsewhere
        return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.ctypes.data, a.shape, a.strides, a.dtype) == (b.ctypes.data, b.shape, b.strides, b.dtype)


# ---- meta ------------------------------------------------------------------------------------------------------


def _materialise(module: torch.nn.Module, device: Any) -> bool:
    """Give what is on meta memory of its own; ties and attributes of parameters are kept. Whether there was any.

    Module.to_empty would do so with everything else too, and undo the ties.
    """
    before = dict(module.named_parameters(remove_duplicate=False))
    made: dict[int, torch.Tensor] = {}

    def real(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return tensor
        if id(tensor) not in made:
            where = device or (tensor.device_mesh.device_type if is_dtensor(tensor) else "cpu")
            made[id(tensor)] = torch.empty_like(tensor, device=where)
        return made[id(tensor)]

    if not any(tensor.is_meta for tensor in itertools.chain(before.values(), module.buffers())):
        return False
    module._apply(real)
    first: dict[int, torch.nn.Parameter] = {}
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        old = before[name]
        if parameter is old or is_dtensor(parameter):  # FSDP ties its own again
            continue
        tied = first.setdefault(id(old), parameter)
        tied.__dict__.update(old.__dict__)
        owner, _, attribute = name.rpartition(".")
        module.get_submodule(owner)._parameters[attribute] = tied
    return True


def _meta_buffers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Buffers on meta, by name, with the modules they belong to."""
    return {
        name: module.get_submodule(name.rpartition(".")[0])
        for name, buffer in module.named_buffers(remove_duplicate=False)
        if buffer.is_meta
    }


def _has_statistics(owner: torch.nn.Module) -> bool:
    """Whether a module's buffers are the running statistics of a norm, which have their own reset."""
    return isinstance(owner, torch.nn.modules.batchnorm._NormBase)


def _set_buffers(
    module: torch.nn.Module, unset: Mapping[str, torch.nn.Module], buffers: Callable[[torch.nn.Module], Any] | None
) -> None:
    """Values for buffers that were on meta; ValueError if some get none."""
    empty = {name: (buffer, buffer._version) for name, buffer in module.named_buffers(remove_duplicate=False)}
    for owner in {id(owner): owner for owner in unset.values()}.values():
        if _has_statistics(owner):
            owner.reset_running_stats()
    if buffers is not None:
        buffers(module)
    left = []
    for name, buffer in module.named_buffers(remove_duplicate=False):
        old, version = empty.get(name, (None, 0))
        if buffer.is_meta or (name in unset and buffer is old and buffer._version == version):
            left.append(name)
    if left:
        raise ValueError(f"buffers= left buffers without values: {', '.join(left)}; the module is incomplete")
