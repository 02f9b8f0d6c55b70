"""A whole module, filled by the names of its parameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from fnmatch import translate
from typing import Any

import torch

from ..initializers import Initializer, init
from ..questions import dtype_of
from ..recipe import Part, Recipe
from ..stream import check_name, check_seed
from .by_name import are_by_name, plan_by_name
from .fill import check_fillable, fill_checked, fill_stack_checked
from .memory import dtype_name
from .naming import Plan, Planned, clean_names, refuse_fsdp1, sharded_of, tensors_of
from .owners import Axes, axes_of, fit
from .parametrized import Computed, computed_weights, set_values
from .shards import global_shape, held_by, is_dtensor, local_position
from .sharing import check_overlaps, identity

Rule = str | Initializer | Part | None
Rules = Mapping[str, Rule]


def init_module_(
    module: torch.nn.Module,
    rules: Rules,
    seed: int = 0,
    *,
    prefix: str = "",
    buffers: Callable[[torch.nn.Module], Any] | None = None,
    device: Any = None,
) -> torch.nn.Module:
    """Fill every parameter of a module by the first rule that fits its name, or by a recipe under its name.

    Parameters
    ----------
    module : Module
        On any device, ``meta`` included, with or without DTensors (FSDP2's ``fully_shard``, tensor parallel).
    rules : mapping of str to initializer or recipe
        Names of parameters and buffers with their recipes, where all values are recipes and no name is a glob: see the
        notes. Else globs of whole parameter names, such as ``"*.weight"``, in the order in which they are tried, with
        what fills the parameters: a name (whose axes are those of the module that owns the parameter,
        ``in_axis=1, out_axis=0`` for most), an `Initializer` of `fastinit.init` (with the axes that it has), a `Recipe`
        or `Part` of the parameter's shape and dtype, such as `fastinit.concatenate` makes (for one parameter: its seed
        and names stay its own, and its values as they are, in an embedding's row ``padding_idx`` too), or ``None`` to
        leave them as they are.
    seed : int, optional
        Every parameter that an initializer fills has the values of
        ``fastinit.recipe(initializer, shape, dtype=..., seed=seed, name=name)``.
    prefix : str, optional
        Put before the names: ``"layers.12."`` for a stage of a pipeline that holds a renumbered part of the model.
        Recipes under names without it are those of other stages.
    buffers : callable, optional
        ``buffers(module)``, called when a ``meta`` module has been materialised: gives its buffers their values, in
        place or by new ones. Needed where a buffer was on ``meta``, except for running statistics of norms. If it
        fails, or leaves one without values, the buffers without values go back to ``meta``.
    device : device, optional
        Where a ``meta`` module is materialised: the device type of its mesh for DTensors, else the CPU, unless given.

    Returns
    -------
    Module
        The same one.

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
    ``padding_idx`` of an embedding becomes 0. Values for other devices than CPUs and CUDA's pass through a buffer of
    64 MiB, orthogonal ones through one of their own size.

    A weight that is computed (weight_norm, spectral_norm, pruning) goes by its own name, ``weight``, and comes out as
    asked; other parametrizations are refused. An initializer that depends on axes is refused for parameters of three
    axes or more in modules that nobody knows, unless it states them. Orthogonal matrices that are stacked have names of
    their own: ``"experts.down_proj/0"``, ``/1``, ...

    A mapping of names to recipes, such as `fastinit.checkpoint.load_manifest` or a recording gives, has one for every
    parameter, by the names of ``module.state_dict()`` without the wrappers' prefixes. A computed weight has recipes for
    what it is computed from, or one under its own name, from which those follow as for rules. Of a tied parameter any
    of its names will do. Buffers are filled where they are named, and others are left as they are, or to `buffers`. The
    seeds are the recipes', and so are all values: `padding_idx` adds no zeros. The dtype is the module's: among
    float32, float16 and bfloat16 a tensor has the values that its recipe has in that dtype, and literals are rounded
    once. float64 is drawn from other random numbers, so it must agree. Names that are missing, or that the module does
    not have, and shapes that differ, are refused in one line. For a module that holds a part of a model under the
    model's names, give that part of the mapping.
    """
    seed, prefix = check_seed(seed), check_name(prefix)
    refuse_fsdp1(module)
    plan = (
        plan_by_name(module, rules, prefix)
        if are_by_name(rules, module, prefix)
        else _plan(module, rules, seed, prefix)
    )
    buffers_set = {identity(tensor) for name, tensor in module.named_buffers() if name in plan.parameters}
    unset = {
        name: owner
        for name, owner in _meta_buffers(module).items()
        if name not in plan.values and identity(module.get_buffer(name)) not in buffers_set
    }
    if buffers is None:
        names = [name for name, owner in unset.items() if not _is_statistic(owner, name)]
        if names:
            raise ValueError(
                f"buffers on meta would be left without values: {', '.join(names)}; give buffers=, a callable of the "
                "module that sets them"
            )
    if _materialise(module, device):
        _set_buffers(module, unset, buffers)
    tensors = tensors_of(module) | sharded_of(module)
    with torch.no_grad():
        for name, entry in plan.parameters.items():
            tensor = tensors[name]
            places = check_fillable(tensor, staged=True)  # it may have got its memory only now
            if entry.each:
                fill_stack_checked(tensor, entry.recipes)
            else:
                fill_checked(tensor, entry.recipes[0], places)
            for row in entry.zero_rows:
                _zero_row(tensor, row)
        for name, values in plan.values.items():
            set_values(tensors[name], values)
    for weight in plan.computed:
        weight.refresh()
    return module


# ---- names and rules -------------------------------------------------------------------------------------------


def _plan(module: torch.nn.Module, rules: Rules, seed: int, prefix: str) -> Plan:
    """What fills which parameter; all mistakes in one error."""
    compiled = [(re.compile(translate(pattern)), initializer) for pattern, initializer in _checked(rules)]
    computed = computed_weights(module)
    cleaned, sharded, zero_rows = clean_names(module, computed), sharded_of(module), _padding(module)
    owned = _owned(module, computed)
    tensors = tensors_of(module) | sharded
    plan = Plan({}, {}, [])
    names: dict[str, str] = {}
    taken: dict[int, str] = {}  # by rules that are recipes
    first: dict[Hashable, str] = {}  # names of what has been seen
    unmatched: list[str] = []
    mistakes: list[str] = []
    for name, parameter in module.named_parameters():
        full, made = prefix + cleaned[name], computed.get(name)
        if made is not None and name != (made.source or made.parts[0]):
            continue  # follows from the source
        known = None if torch.nn.parameter.is_lazy(parameter) else identity(parameter)
        if known in first:  # filled under its first name
            continue
        if known is not None:
            first[known] = name
        rule = next((found for found in compiled if found[0].match(full)), None)
        if rule is None:
            unmatched.append(full)
            continue
        if rule[1] is None:
            if parameter.is_meta:
                mistakes.append(f"{full}: it is on meta, and its rule leaves it as it is")
            continue
        if names.setdefault(full, name) != name:
            mistakes.append(f"{full}: both {names[full]} and {name} would have that name")
            continue
        tensor = tensors[name]
        try:
            if torch.nn.parameter.is_lazy(parameter):
                raise TypeError("a lazy parameter has no shape yet: run the module once")
            if made is not None and made.source is None:
                raise TypeError(_cannot(made))
            check_fillable(tensor, staged=True, meta=True)
            if isinstance(rule[1], Part) and taken.setdefault(id(rule), full) != full:
                raise ValueError(f"its recipe is that of {taken[id(rule)]} already: two parameters would be equal")
            recipes, each = _recipes(rule[1], owned.get(known, frozenset()), tensor, seed, full)
        except (TypeError, ValueError, RuntimeError) as error:
            mistakes.append(f"{full}: {error}")
            continue
        zeros = set() if isinstance(rule[1], Part) else zero_rows.get(known, set())
        plan.parameters[name] = Planned(recipes, each, zeros)
    _follow(plan, computed, first, tensors, {name: prefix + clean for name, clean in cleaned.items()}, mistakes)
    if unmatched:
        mistakes.insert(0, f"no rule matches {', '.join(unmatched)}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    check_overlaps((name, parameter) for name, parameter in module.named_parameters() if name in plan.parameters)
    return plan


def _recipes(
    rule: str | Initializer | Part, owned: frozenset[Axes], tensor: Any, seed: int, name: str
) -> tuple[list[Part], bool]:
    """The recipe of a parameter, or those of the matrices that it stacks, and which of the two."""
    shape, dtype = global_shape(tensor), dtype_name(tensor)
    if isinstance(rule, Part):
        if (rule.shape, dtype_of(rule)) != (shape, dtype):
            what = f"its recipe is of shape {rule.shape} and {dtype_of(rule)}"
            raise ValueError(f"{what}, the parameter of shape {shape} and {dtype}")
        return [rule], False
    initializer, each = fit(rule, owned, shape)
    if not each:
        return [Recipe(initializer, shape, dtype=dtype, seed=seed, name=name)], False
    rows = range(shape[0])
    return [Recipe(initializer, shape[1:], dtype=dtype, seed=seed, name=f"{name}/{k}") for k in rows], True


def _follow(
    plan: Plan,
    computed: Mapping[str, Computed],
    first: Mapping[Hashable, str],
    tensors: Mapping[str, Any],
    full: Mapping[str, str],
    mistakes: list[str],
) -> None:
    """Plan what follows from the parameters for the weights that are computed from them, tied ones included."""
    sources: dict[Hashable, Hashable] = {}  # of scales and vectors
    for made in {(id(made.owner), made.attribute): made for made in computed.values()}.values():
        if made.source is None or torch.nn.parameter.is_lazy(tensors[made.source]):
            continue
        source = identity(tensors[made.source])
        planned = plan.parameters.get(first.get(source, ""))
        if planned is None:
            continue
        try:
            for other in made.others:
                check_fillable(tensors[other], staged=True, meta=True)
                if sources.setdefault(identity(tensors[other]), source) != source:
                    raise ValueError(f"{other} is tied to that of another weight, and cannot follow from both")
            if planned.each and made.others:
                raise ValueError("a stack of orthogonal matrices cannot be the weight of weight_norm or spectral_norm")
            plan.values.update(made.derive(planned.recipes[0]) if made.others else {})
        except (TypeError, ValueError, RuntimeError) as error:
            mistakes.append(f"{full[made.source]}: {error}")
        plan.computed.append(made)


def _cannot(made: Computed) -> str:
    """Why a weight is not filled whose parametrization this package does not know, and what to do."""
    return (
        f"the weight is computed by {made.by}: fill it before that is registered; or leave it by a rule of None, and "
        f"fill {' and '.join(made.parts)} with fill_"
    )


def _owned(module: torch.nn.Module, computed: Mapping[str, Computed]) -> dict[Hashable, frozenset[Axes]]:
    """What the modules that own a parameter know of its axes, by the parameter's identity."""
    owned: dict[Hashable, frozenset[Axes]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if torch.nn.parameter.is_lazy(parameter):
            continue
        path, _, attribute = name.rpartition(".")
        if name in computed:
            owner, attribute = computed[name].owner, computed[name].attribute
        else:
            owner = module.get_submodule(path)
        axes, which = axes_of(owner, attribute, global_shape(parameter)), identity(parameter)
        if axes is not None:
            owned[which] = owned.get(which, frozenset()) | {axes}
    return owned


def _checked(rules: Rules) -> Iterator[tuple[str, Rule]]:
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules are a mapping from globs to initializers, not {type(rules).__name__}")
    for pattern, given in rules.items():
        if not isinstance(pattern, str):
            raise TypeError(f"rule {pattern!r}: a glob is a str, not {type(pattern).__name__}")
        if not (given is None or isinstance(given, (str, Initializer, Part))):
            raise TypeError(
                f"rule {pattern!r}: a name, an Initializer or a Recipe is needed, not {type(given).__name__}"
            )
        if isinstance(given, (str, Initializer)):
            init(given)  # refuses what is unknown, or needs parameters
        yield pattern, given


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
