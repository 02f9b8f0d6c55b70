"""Which axes of a parameter are in and out, by the module that owns it: the one table of what is known of modules.

Modules of other libraries are known by the name of their class and of the package that it comes from, along the MRO:
nothing is imported for their sake, and subclasses (FSDP2's, those of parametrizations, a user's own) count as well.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch

from ..initializers import Initializer, axes_that_matter, fans, init, known_parameters

_AXES = ("in_axis", "out_axis", "batch_axis")


class Axes(NamedTuple):
    """The axes of a weight.

    Several weights may lie side by side along an axis, each with fans of its own: `in_parts` and `out_parts` say how
    many, in the table by the attribute of the owner that does.
    """

    in_axis: tuple[int, ...]
    out_axis: tuple[int, ...]
    batch_axis: tuple[int, ...] = ()
    in_parts: str | int = 1
    out_parts: str | int = 1

    def __str__(self) -> str:
        return ", ".join(f"{key}={_shown(axes)}" for key, axes in zip(_AXES, self[:3]) if axes)


OUT_IN = Axes((1,), (0,))
IN_OUT = Axes((0,), (1,))
#: Stacks of matrices: experts, codebooks, heads.
STACKED_OUT_IN = Axes((2,), (1,), (0,))
STACKED_IN_OUT = Axes((1,), (2,), (0,))
#: No weight, but a stack of biases, which have no fans.
BIASES = Axes((), ())

#: Package and class -> parameters -> axes. What is not here has torch's axes, `OUT_IN`, if it has two of them:
#: recurrent layers (whose gates lie along axis 0) and attention (so do q, k and v), say. An embedding's fan_in is its
#: width: so torch.nn.init has it, and so does a head that is tied to it. A grouped convolution's axis 1 has the inputs
#: of one group; its fan_out counts the outputs of all groups, as torch.nn.init's does.
TABLE: dict[tuple[str, str], dict[str, Axes]] = {
    ("torch", "Linear"): {"weight": OUT_IN},
    ("torch", "Embedding"): {"weight": OUT_IN},
    ("torch", "EmbeddingBag"): {"weight": OUT_IN},
    ("torch", "Bilinear"): {"weight": Axes((1, 2), (0,))},
    ("torch", "MultiheadAttention"): {"bias_k": OUT_IN, "bias_v": OUT_IN},  # torch gives them Glorot's fans
    ("torch", "_ConvNd"): {"weight": OUT_IN},
    ("torch", "_ConvTransposeNd"): {"weight": IN_OUT._replace(in_parts="groups")},
    ("torchvision", "DeformConv2d"): {"weight": OUT_IN},
    ("torchtitan", "GroupedExperts"): dict.fromkeys(("w1", "w2", "w3"), STACKED_OUT_IN),
    # transformers 5.24, by how each multiplies; most of its experts are in `_of_experts`
    ("transformers", "AMSoftmaxLoss"): {"weight": IN_OUT},
    ("transformers", "Conv1D"): {"weight": IN_OUT},
    ("transformers", "CsmCodebooksHead"): {"weight": STACKED_IN_OUT},
    ("transformers", "DbrxExpertGLU"): {
        **dict.fromkeys(("w1", "v1"), OUT_IN._replace(out_parts="moe_num_experts")),
        "w2": IN_OUT._replace(in_parts="moe_num_experts"),
    },
    ("transformers", "FunnelRelMultiheadAttention"): {"r_kernel": Axes((0,), (1, 2))},
    ("transformers", "Gemma3MultiModalProjector"): {"mm_input_projection_weight": IN_OUT},
    ("transformers", "GroupedLinearLayer"): {"weight": STACKED_IN_OUT},
    ("transformers", "Inkling2LoopRelativePositionBias"): {"proj": IN_OUT},
    ("transformers", "Inkling2RelativePositionBias"): {"proj": IN_OUT},
    ("transformers", "InklingRelativeLogits"): {"proj": IN_OUT},
    ("transformers", "InklingSharedExperts"): dict.fromkeys(("gate_proj", "up_proj", "down_proj"), STACKED_OUT_IN),
    ("transformers", "JetMoeParallelExperts"): {"weight": STACKED_OUT_IN},
    ("transformers", "KyutaiSpeechToTextFlexibleLinear"): {"weight": STACKED_OUT_IN},
    ("transformers", "Llama4TextExperts"): dict.fromkeys(("gate_up_proj", "down_proj"), STACKED_IN_OUT),
    ("transformers", "LongcatFlashExperts"): dict.fromkeys(("gate_up_proj", "down_proj"), STACKED_OUT_IN),
    ("transformers", "MoshiFlexibleLinear"): {"weight": STACKED_OUT_IN},
    ("transformers", "OmDetTurboLanguageBackbone"): {"text_projection": IN_OUT},
    ("transformers", "RecurrentGemmaRglru"): {
        **dict.fromkeys(("input_gate_weight", "recurrent_gate_weight"), STACKED_IN_OUT),
        **dict.fromkeys(("input_gate_bias", "recurrent_gate_bias"), BIASES),
    },
    ("transformers", "Step3p7Experts"): dict.fromkeys(("gate_up_proj", "down_proj"), STACKED_OUT_IN),
    ("transformers", "SwiftFormerEfficientAdditiveAttention"): {"w_g": IN_OUT},
    ("transformers", "T5Gemma2MultiModalProjector"): {"mm_input_projection_weight": IN_OUT},
    ("transformers", "XCLIPModel"): {"prompts_visual_projection": IN_OUT},
    ("transformers", "XLNetRelativeAttention"): {
        **dict.fromkeys("qkvr", Axes((0,), (1, 2))),
        "o": Axes((1, 2), (0,)),
    },
    ("transformers", "ZambaMambaMixer"): dict.fromkeys(("x_proj_weight", "dt_proj_weight"), STACKED_OUT_IN),
}


def axes_of(owner: torch.nn.Module, name: str, shape: tuple[int, ...]) -> Axes | None:
    """The axes of a module's parameter of that name and shape; None if nothing is known of it."""
    for kind in type(owner).__mro__:
        known = TABLE.get((kind.__module__.partition(".")[0], kind.__name__), {}).get(name)
        if known is not None:
            break
    else:
        known = _of_experts(owner, name)
    if known is None or max((*known.in_axis, *known.out_axis), default=0) >= len(shape):
        return None
    in_parts, out_parts = (
        int(getattr(owner, count)) if isinstance(count, str) else count for count in (known.in_parts, known.out_parts)
    )
    return known._replace(in_parts=in_parts, out_parts=out_parts)


def _of_experts(owner: torch.nn.Module, name: str) -> Axes | None:
    """Experts under transformers' `use_experts_implementation`, which says itself how they are stored."""
    transposed = getattr(owner, "is_transposed", None)
    if not (isinstance(transposed, bool) and isinstance(getattr(owner, "has_bias", None), bool)):
        return None
    weights = ("gate_up_proj", "up_proj", "down_proj")
    if name.removesuffix("_bias") not in weights:
        return None
    return BIASES if name not in weights else STACKED_IN_OUT if transposed else STACKED_OUT_IN


class Fitted(NamedTuple):
    """An initializer for a parameter, or for each matrix of a stack of them, as orthogonal ones need it."""

    initializer: Initializer
    each: bool = False


@functools.lru_cache(maxsize=1024)  # layers repeat, and to make an initializer takes as long as to fill a small tensor
def fit(given: str | Initializer, known: frozenset[Axes], shape: tuple[int, ...]) -> Fitted:
    """What fills a parameter of that shape, of which its owners know those axes.

    Raises
    ------
    ValueError
        The values depend on axes that nothing says, or that the owners disagree about.
    """
    initializer = init(given)
    stated = isinstance(given, Initializer) and (len(shape) < 3 or _states_axes(given))
    if stated or not axes_that_matter(initializer):
        return Fitted(initializer)
    if len(known) > 1:
        said = " and ".join(sorted(map(str, known)))
        raise ValueError(f"it is tied, and its owners have {said}: give an Initializer that states its axes")
    if not known and len(shape) > 2:
        example = _example(initializer, shape)
        raise ValueError(f"which axes of its shape {shape} are in and out is not known: state them, as in {example}")
    (axes,) = known or (OUT_IN,)
    if axes == BIASES:
        raise ValueError(f"it is a stack of biases, which have no fans: {initializer.name} is for weights")
    if isinstance(given, Initializer):
        raise ValueError(f"{given!r} states no axes, which are {axes} here: state them, or give the name alone")
    if "fan_in" not in initializer.parameters and (axes.in_parts, axes.out_parts) != (1, 1):
        raise ValueError(
            f"it has several weights along one axis, and {initializer.name} would be of all of them together: "
            f"if that is meant, state the axes, {axes}"
        )
    if axes.batch_axis and "batch_axis" not in initializer.parameters:
        ins, outs = (tuple(axis - 1 for axis in along) for along in axes[:2])
        return Fitted(init(given, **_parameters(initializer, Axes(ins, outs), shape[1:])), each=True)
    return Fitted(init(given, **_parameters(initializer, axes, shape)))


def _states_axes(initializer: Initializer) -> bool:
    """Whether any of its axes is not the default."""
    _, defaults = known_parameters(initializer.name)
    return any(initializer.parameters[key] != defaults[key] for key in _AXES if key in defaults)


def _parameters(initializer: Initializer, axes: Axes, shape: tuple[int, ...]) -> dict[str, Any]:
    """The initializer's parameters that say which axes a weight has; a fan, where they would not give it."""
    p: dict[str, Any] = {key: along for key, along in zip(_AXES, axes) if key in initializer.parameters}
    if "fan_in" in initializer.parameters:
        computed = fans(shape, axes.in_axis, axes.out_axis, axes.batch_axis)
        for key, fan, parts in zip(("fan_in", "fan_out"), computed, (axes.in_parts, axes.out_parts)):
            if parts != 1 and fan:
                p[key] = fan // int(parts)
    return p


def _example(initializer: Initializer, shape: tuple[int, ...]) -> str:
    """An initializer that states axes, with what they are the axes of."""
    stacked = len(shape) == 3 and "batch_axis" in initializer.parameters
    axes, what = (STACKED_OUT_IN, "stacked matrices (out, in)") if stacked else (OUT_IN, "a convolution")
    return f"init({initializer.name!r}, {axes}) for {what}"


def _shown(axes: tuple[int, ...]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(axes)
