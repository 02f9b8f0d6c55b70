"""A whole module, filled by the names of its parameters."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from fnmatch import translate
from typing import Any, NamedTuple

import torch

from ..initializers import Initializer, init, known_parameters
from ..recipe import Recipe
from ..stream import check_name, check_seed
from .fill import check_fillable, fill_
from .functions import AXES
from .memory import dtype_name
from .shards import global_shape, held_by, is_dtensor, is_sharded_tensor, local_position
from .sharing import check_overlaps, identity

#: Components of a name that wrappers put in: torch.compile, activation checkpointing.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
#: Wrappers whose module is called "module", as many a user's own is.
PARALLEL = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)

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
        place or by new ones. Needed where a buffer was on ``meta``, except for running statistics of norms. If it
        fails, or leaves one without values, the buffers without values go back to ``meta``.
    device : device, optional
        Where a ``meta`` module is materialised: the device type of its mesh for DTensors, else the CPU, unless given.

    Returns
    -------
    Module
        `module`.

    Raises
    ------
    ValueError
        Every parameter that no rule matches or that cannot be filled, in one error, before anything has changed; and
        buffers that would be left without values.
    TypeError
        FSDP1's flattened parameters; rules that are none.

    Notes
    -----
    Names are those of ``module.named_parameters()`` without the prefixes of wrappers: ``_orig_mod.`` (torch.compile),
    ``_checkpoint_wrapped_module.``, the ``module.`` of DistributedDataParallel. So neither wrapping nor the order of
    construction matters, except that a tied parameter, which is filled once, goes by the first of its names. The row
    ``padding_idx`` of an embedding becomes 0. Values for devices other than the CPU pass through a buffer of 64 MiB
    (orthogonal ones through one of their own size).
    """
    planned = _plan(module, rules, check_seed(seed), check_name(prefix))
    unset = _meta_buffers(module)
    if buffers is None:
        names = [name for name, owner in unset.items() if not _is_statistic(owner, name)]
        if names:
            raise ValueError(
                f"buffers on meta would be left without values: {', '.join(names)}; give buffers=, a callable of the "
                "module that sets them"
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
    zero_rows: set[int]


# ---- names and rules -------------------------------------------------------------------------------------------


def clean_names(module: torch.nn.Module) -> dict[str, str]:
    """Every parameter's name, also the further ones of tied parameters -> without the wrappers' prefixes."""
    parallel = {
        name + "." if name else ""
        for name, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, PARALLEL)
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
    fsdp1 = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if fsdp1 is not None and any(isinstance(child, fsdp1) for child in module.modules()):
        raise TypeError("FSDP1 flattens parameters: call init_module_ before wrapping, or use fully_shard")
    compiled = [(re.compile(translate(pattern)), initializer) for pattern, initializer in _checked(rules)]
    cleaned, sharded, zero_rows = clean_names(module), _sharded(module), _padding(module)
    planned: dict[str, Planned] = {}
    owners: dict[str, str] = {}
    seen: set[Hashable] = set()
    unmatched, mistakes = [], []
    for name, parameter in module.named_parameters():
        full = prefix + cleaned[name]
        if not torch.nn.parameter.is_lazy(parameter):
            if identity(parameter) in seen:
                continue  # filled under its first name
            seen.add(identity(parameter))
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
            if torch.nn.parameter.is_lazy(parameter):
                raise TypeError("a lazy parameter has no shape yet: run the module once")
            check_fillable(tensor, staged=True, meta=True)
            recipe = Recipe(rule[1], global_shape(tensor), dtype=dtype_name(tensor), seed=seed, name=full)
        except (TypeError, ValueError, RuntimeError) as error:
            mistakes.append(f"{full}: {error}")
        else:
            planned[name] = Planned(recipe, zero_rows.get(identity(parameter), set()))
    if unmatched:
        mistakes.insert(0, f"no rule matches {', '.join(unmatched)}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    check_overlaps((name, parameter) for name, parameter in module.named_parameters() if name in planned)
    return planned


def _checked(rules: Rules) -> Iterator[tuple[str, Initializer | None]]:
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules are a mapping from globs to initializers, not {type(rules).__name__}")
    for pattern, given in rules.items():
        if not isinstance(pattern, str):
            raise TypeError(f"rule {pattern!r}: a glob is a str, not {type(pattern).__name__}")
        if isinstance(given, str):
            _, known = known_parameters(given)
            yield pattern, init(given, **{key: axis for key, axis in AXES.items() if key in known})
        elif given is None or isinstance(given, Initializer):
            yield pattern, given
        else:
            raise TypeError(f"rule {pattern!r}: a name or an Initializer is needed, not {type(given).__name__}")


def _padding(module: torch.nn.Module) -> dict[Hashable, set[int]]:
    """The rows of embeddings that stay 0, by the identity of the parameter."""
    rows: dict[Hashable, set[int]] = {}
    for child in module.modules():
        if isinstance(child, (torch.nn.Embedding, torch.nn.EmbeddingBag)) and child.padding_idx is not None:
            weight = child._parameters.get("weight")  # None where it is computed from others
            if weight is not None:
                rows.setdefault(identity(weight), set()).add(child.padding_idx)
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


# ---- meta ------------------------------------------------------------------------------------------------------


def _materialise(module: torch.nn.Module, device: Any) -> bool:
    """Give what is on meta memory of its own; ties and attributes of parameters are kept. Whether there was any.

    Module.to_empty would do so with everything else too, and undo the ties.
    """
    before = dict(module.named_parameters(remove_duplicate=False))
    if not any(tensor.is_meta for tensor in itertools.chain(before.values(), module.buffers())):
        return False
    if torch.device(device or "cpu").type == "meta":
        raise ValueError("device= is where a meta module gets its memory: it cannot be meta")
    attributes = {name: dict(vars(parameter)) for name, parameter in before.items()}
    ids = {name: id(parameter) for name, parameter in before.items()}  # tensors may be swapped, and before with them
    made: dict[Hashable, torch.Tensor] = {}

    def real(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return tensor
        which = identity(tensor)
        if which not in made:
            where = device or (tensor.device_mesh.device_type if is_dtensor(tensor) else "cpu")
            made[which] = torch.empty_like(tensor, device=where)
        return made[which]

    module._apply(real)
    first: dict[int, torch.nn.Parameter] = {}
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        if not is_dtensor(parameter):  # FSDP ties its own again
            parameter = first.setdefault(ids[name], parameter)
            owner, _, attribute = name.rpartition(".")
            module.get_submodule(owner)._parameters[attribute] = parameter
        for key, value in attributes[name].items():
            vars(parameter).setdefault(key, value)
    return True


def _meta_buffers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Buffers on meta, by name, with the modules they belong to."""
    return {
        name: module.get_submodule(name.rpartition(".")[0])
        for name, buffer in module.named_buffers(remove_duplicate=False)
        if buffer.is_meta
    }


def _is_statistic(owner: torch.nn.Module, name: str) -> bool:
    """Whether a buffer is one of the running statistics of a norm, which have their own reset."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return isinstance(owner, torch.nn.modules.batchnorm._NormBase) and name.rpartition(".")[2] in statistics


#: What buffers hold until they get their values: every byte of it.
POISON = 0xA5


def _set_buffers(
    module: torch.nn.Module, unset: Mapping[str, torch.nn.Module], buffers: Callable[[torch.nn.Module], Any] | None
) -> None:
    """Values for buffers that were on meta. Those that get none go back there; ValueError, if there are any."""
    empty = {name: buffer for name, buffer in module.named_buffers(remove_duplicate=False) if name in unset}
    for buffer in empty.values():
        buffer.untyped_storage().fill_(POISON)
    try:
        for owner in {id(owner): owner for name, owner in unset.items() if _is_statistic(owner, name)}.values():
            owner.reset_running_stats()
        if buffers is not None:
            buffers(module)
    finally:
        for name, buffer in empty.items():
            owner, attribute = unset[name], name.rpartition(".")[2]
            if owner._buffers.get(attribute) is buffer and _is_poisoned(buffer):
                owner._buffers[attribute] = torch.empty_like(buffer, device="meta")
        left = [name for name, buffer in module.named_buffers(remove_duplicate=False) if buffer.is_meta]
    if left:
        raise ValueError(f"buffers= left buffers without values: {', '.join(left)}; the module is incomplete")


def _is_poisoned(buffer: torch.Tensor) -> bool:
    """Whether nobody has written to a buffer."""
    contents = torch.empty(0, dtype=torch.uint8, device=buffer.device).set_(buffer.untyped_storage())
    return bool(contents.numel() and (contents == POISON).all())
