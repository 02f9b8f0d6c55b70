"""init_module_ and the axes of the modules that own the parameters: convolutions, Conv1D, experts, and others."""

import importlib
import inspect
import pathlib
import re

import pytest
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

import fastinit as fi
from conftest import same
from fastinit.torch import init_module_
from fastinit.torch.owners import axes_of
from processes import in_processes

OUT_IN = {"in_axis": 1, "out_axis": 0}
IN_OUT = {"in_axis": 0, "out_axis": 1}
STACKED_OUT_IN = {"in_axis": 2, "out_axis": 1, "batch_axis": 0}
STACKED_IN_OUT = {"in_axis": 1, "out_axis": 2, "batch_axis": 0}

#: Modules with the parameter that is filled, and the axes that it should have.
OWNERS = {
    "Linear": (lambda: nn.Linear(6, 10), "weight", OUT_IN),
    "Conv1d": (lambda: nn.Conv1d(6, 10, 3), "weight", OUT_IN),
    "Conv2d": (lambda: nn.Conv2d(6, 10, 3), "weight", OUT_IN),
    "Conv3d": (lambda: nn.Conv3d(6, 10, 3), "weight", OUT_IN),
    "grouped Conv2d": (lambda: nn.Conv2d(6, 10, 3, groups=2), "weight", OUT_IN),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(6, 10, 3), "weight", IN_OUT),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(6, 10, 3), "weight", IN_OUT),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(6, 10, 3), "weight", IN_OUT),
    "grouped ConvTranspose2d": (lambda: nn.ConvTranspose2d(6, 10, 3, groups=2), "weight", IN_OUT | {"fan_in": 27}),
    "Conv1D": (lambda: Conv1D(10, 6), "weight", IN_OUT),
    "Bilinear": (lambda: nn.Bilinear(3, 4, 5), "weight", {"in_axis": (1, 2), "out_axis": 0}),
    "Embedding": (lambda: nn.Embedding(10, 6), "weight", OUT_IN),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(10, 6), "weight", OUT_IN),
    "LSTM": (lambda: nn.LSTM(6, 5), "weight_ih_l0", OUT_IN),
    "GRUCell": (lambda: nn.GRUCell(6, 5), "weight_hh", OUT_IN),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2), "in_proj_weight", OUT_IN),
    "attention's bias_k": (lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True), "bias_k", OUT_IN),
}


def only(name, initializer):
    """Rules that fill one parameter."""
    return {name: initializer, "*": fi.init("normal", std=0.02)}


@pytest.mark.parametrize("kind", ["he_normal", "glorot_uniform"])
@pytest.mark.parametrize("what", OWNERS)
def test_a_name_has_the_owners_axes(what, kind):
    make, name, axes = OWNERS[what]
    module = init_module_(make(), only(name, kind), seed=3)
    parameter = module.get_parameter(name)
    assert same(parameter, fi.recipe(kind, tuple(parameter.shape), seed=3, name=name, **axes)[...])


@pytest.mark.parametrize("what", ["ConvTranspose2d", "Conv1D", "Conv2d", "Bilinear"])
def test_orthogonal_by_name_has_the_owners_matrix(what):
    make, name, axes = OWNERS[what]
    parameter = init_module_(make(), only(name, "orthogonal")).get_parameter(name)
    out = axes["out_axis"]
    matrix = parameter.movedim(out, 0).flatten(1)  # (out, in)
    square = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert torch.allclose(square, torch.eye(len(square)), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "fan"),
    [
        (lambda: nn.ConvTranspose2d(16, 64, 4, 2), 16 * 16),
        (lambda: nn.ConvTranspose2d(64, 256, 4, groups=4), 16 * 16),
        (lambda: nn.Conv2d(64, 256, 4, groups=4), 16 * 16),
        (lambda: Conv1D(3072, 768), 768),
        (lambda: nn.Bilinear(8, 16, 64), 8 * 16),
    ],
)
def test_activations_keep_their_scale(make, fan):
    """The variance is 2 over the number of products that an output is the sum of."""
    weight = init_module_(make(), only("weight", "he_normal")).weight
    assert weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.03)


def test_subclasses_and_wrappers_keep_the_axes():
    class Mine(nn.ConvTranspose2d):
        pass

    expected = fi.he_normal((6, 10, 3, 3), seed=0, name="0.weight", **IN_OUT)
    for wrap in (
        nn.Sequential,
        lambda module: torch.compile(nn.Sequential(module), backend="eager"),
        lambda module: nn.DataParallel(nn.Sequential(module)),
        lambda module: nn.Sequential(torch.compile(module, backend="eager")),
    ):
        module = init_module_(wrap(Mine(6, 10, 3)), only("0.weight", "he_normal"))
        assert same(next(module.parameters()), expected)
    with torch.device("meta"):
        module = nn.Sequential(Mine(6, 10, 3))
    assert same(init_module_(module, only("0.weight", "he_normal"))[0].weight, expected)


def test_a_class_of_that_name_elsewhere_is_not_meant():
    class Conv1D(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(6, 10))

    module = init_module_(Conv1D(), {"*": "he_normal"})
    assert same(module.weight, fi.he_normal((6, 10), seed=0, name="weight", **OUT_IN))


# ---- Initializers, and owners that nobody knows ----------------------------------------------------------------


def test_initializers_that_state_axes_keep_them():
    module = nn.ConvTranspose1d(6, 10, 3)
    init_module_(module, only("weight", fi.init("he_normal", **OUT_IN)))
    assert same(module.weight, fi.he_normal((6, 10, 3), seed=0, name="weight", **OUT_IN))
    init_module_(module, only("weight", fi.init("he_normal", fan_in=7)))
    assert same(module.weight, fi.he_normal((6, 10, 3), seed=0, name="weight", fan_in=7))


@pytest.mark.parametrize("initializer", [fi.init("he_normal", negative_slope=0.1), fi.init("orthogonal", gain=2.0)])
def test_initializers_that_state_none_are_refused_where_the_defaults_are_a_kernels(initializer):
    module = nn.Conv2d(6, 10, 3)
    before = module.weight.clone()
    with pytest.raises(ValueError, match=r"weight: .* states no axes, which are in_axis=1, out_axis=0 here"):
        init_module_(module, only("weight", initializer))
    assert torch.equal(module.weight, before)


class Stranger(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize("given", ["he_normal", "orthogonal", "delta_orthogonal", fi.init("lecun_uniform")])
@pytest.mark.parametrize("shape", [(4, 8, 6), (4, 8, 3, 3)])
def test_more_axes_of_an_unknown_owner_are_refused(given, shape):
    module = Stranger(*shape)
    with pytest.raises(
        ValueError, match=r"^w: which axes of its shape .* is not known: state them, as in init\(.*axis"
    ) as caught:
        init_module_(module, {"*": given})
    assert len(str(caught.value).splitlines()) == 1
    assert not module.w.any()


def test_the_example_in_the_error_is_taken():
    module = Stranger(4, 8, 6)
    for name in ("he_normal", "orthogonal"):
        with pytest.raises(ValueError, match="as in") as caught:
            init_module_(module, {"*": name})
        example = re.search(r"init\(.*?\)", str(caught.value)).group()
        init_module_(module, {"*": eval(f"fi.{example}")})
        assert module.w.any()


@pytest.mark.parametrize(
    "given", ["normal", "ones", fi.init("he_normal", **STACKED_OUT_IN), fi.init("he_normal", fan_in=6)]
)
def test_what_needs_no_axes_or_states_them_fills_strangers(given):
    module = init_module_(Stranger(4, 8, 6), {"*": given})
    assert same(module.w, fi.recipe(given, (4, 8, 6), seed=0, name="w")[...])


def test_two_axes_of_an_unknown_owner_are_torchs():
    module = init_module_(Stranger(8, 6), {"*": "he_normal"})
    assert same(module.w, fi.he_normal((8, 6), seed=0, name="w", **OUT_IN))


# ---- ties ------------------------------------------------------------------------------------------------------


def test_an_embedding_and_its_head_agree():
    module = nn.ModuleDict({"emb": nn.Embedding(20, 6), "head": nn.Linear(6, 20, bias=False)})
    module["head"].weight = module["emb"].weight
    init_module_(module, {"*": "he_normal"})
    assert same(module["head"].weight, fi.he_normal((20, 6), seed=0, name="emb.weight", **OUT_IN))


@pytest.mark.parametrize("by_memory", [False, True])
def test_owners_that_disagree_are_refused_unless_axes_are_stated(by_memory):
    module = nn.ModuleDict({"head": nn.Linear(6, 20, bias=False), "other": Conv1D(6, 20)})
    weight = module["head"].weight
    module["other"].weight = nn.Parameter(weight.detach()) if by_memory else weight
    with pytest.raises(
        ValueError, match=r"head\.weight: it is tied, and its owners have in_axis=0, .* and in_axis=1, .*states"
    ):
        init_module_(module, {"*weight": "he_normal", "*": "zeros"})
    init_module_(module, {"*weight": fi.init("he_normal", **OUT_IN), "*": "zeros"})
    assert same(module["other"].weight, fi.he_normal((20, 6), seed=0, name="head.weight", **OUT_IN))
    init_module_(module, {"*": "normal"})


def test_one_owner_that_is_known_is_enough():
    module = nn.ModuleDict({"mine": Stranger(20, 6), "other": Conv1D(6, 20)})
    module["mine"].w = module["other"].weight
    init_module_(module, {"*w*": "he_normal", "*": "zeros"})
    assert same(module["other"].weight, fi.he_normal((20, 6), seed=0, name="mine.w", **IN_OUT))


# ---- experts ---------------------------------------------------------------------------------------------------


class AnyConfig:
    """What the experts of any of transformers' models ask for: 4 experts of 32 inputs and 48 hidden units."""

    hidden_size = moe_hidden_size = 32
    hidden_act = hidden_activation = "silu"
    mlp_hidden_act = "relu2"
    ffn_hidden_size = expert_ffn_hidden_size = 48
    ffn_act_fn = {"name": "silu"}  # noqa: RUF012
    moe_latent_size = None
    zero_expert_num = 0
    _experts_implementation = "eager"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 4 if "expert" in name else 48 if "intermediate" in name else 1.0


def expert_classes():
    """Every class of experts in transformers' models that is made from a configuration."""
    folder = pathlib.Path(transformers.__file__).parent / "models"
    for path in sorted(folder.glob("*/modeling_*.py")):
        for name in re.findall(r"^class (\w*Experts)\(nn\.Module\)", path.read_text(), re.MULTILINE):
            kind = getattr(importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}"), name)
            if "config" in inspect.signature(kind).parameters:
                yield kind


def test_all_experts_of_transformers():
    """An axis of 32 is in before the activation and out behind it, since the two sizes differ."""
    seen = 0
    for kind in expert_classes():
        module = kind(AnyConfig())
        for name, parameter in module.named_parameters():
            if parameter.ndim == 3:
                axes = axes_of(module, name, tuple(parameter.shape))
                assert axes is not None, (kind, name)
                wanted = 48 if "down" in name else 32
                assert (axes.batch_axis, parameter.shape[axes.in_axis[0]]) == ((0,), wanted), (kind, name)
                seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    "kind", ["mixtral.Mixtral", "qwen3_moe.Qwen3Moe", "gpt_oss.GptOss", "llama4.Llama4Text", "aria.Aria"]
)
def test_each_expert_has_its_own_fans_and_is_orthogonal(kind):
    file, _, family = kind.partition(".")
    module = getattr(importlib.import_module(f"transformers.models.{file}.modeling_{file}"), f"{family}Experts")(
        AnyConfig()
    )
    transposed = file in ("gpt_oss", "llama4", "aria")
    axes = STACKED_IN_OUT if transposed else STACKED_OUT_IN
    init_module_(module, {"*bias": "zeros", "gate*": "he_normal", "down*": "orthogonal"}, seed=2)
    up, down = module.gate_up_proj, module.down_proj
    assert same(up, fi.he_normal(tuple(up.shape), seed=2, name="gate_up_proj", **axes))
    assert up.std().item() == pytest.approx(0.25, rel=0.05)
    for k, expert in enumerate(down):
        expected = fi.orthogonal(tuple(expert.shape), out_axis=1 if transposed else 0, seed=2, name=f"down_proj/{k}")
        assert same(expert, expected)
        square = expert @ expert.T if len(expert) == 32 else expert.T @ expert
        assert torch.allclose(square, torch.eye(32), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "arguments", "in_axis"),
    [
        ("jetmoe.JetMoeParallelExperts", (4, 6, 10), 2),
        ("moshi.MoshiFlexibleLinear", (6, 10, 4), 2),
        ("kyutai_speech_to_text.KyutaiSpeechToTextFlexibleLinear", (6, 10, 4), 2),
        ("csm.CsmCodebooksHead", (6, 5, 10), 1),
        ("convbert.GroupedLinearLayer", (24, 40, 4), 1),
    ],
)
def test_other_stacks_of_transformers(kind, arguments, in_axis):
    """4 matrices of 6 inputs and 10 outputs each."""
    file, _, name = kind.partition(".")
    module = getattr(importlib.import_module(f"transformers.models.{file}.modeling_{file}"), name)(*arguments)
    init_module_(module, only("weight", "he_normal"))
    axes = {"in_axis": in_axis, "out_axis": 3 - in_axis, "batch_axis": 0}
    assert sorted(module.weight.shape) == [4, 6, 10]
    assert module.weight.shape[in_axis] == 6
    assert same(module.weight, fi.he_normal(tuple(module.weight.shape), seed=0, name="weight", **axes))


def multiplied_from_the_right():
    """Every parameter of transformers' models that something is multiplied by as it is: (in, out), then."""
    folder = pathlib.Path(transformers.__file__).parent / "models"
    for path in sorted(folder.glob("*/modeling_*.py")):
        text = path.read_text()
        for found in re.finditer(r"(?:@ |\b(?:matmul|mm)\([\w.]+, )self\.(\w+)(?![\w.\[])", text):
            if re.search(rf"self\.{found[1]} = (torch\.)?nn\.Parameter\(", text):
                name = re.findall(r"^class (\w+)", text[: found.start()], re.MULTILINE)[-1]
                kind = getattr(importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}"), name)
                if not issubclass(kind, nn.Embedding) and found[1] != "positional_embedding":  # rows, and frequencies
                    yield kind, found[1]


def test_all_matrices_of_transformers_that_are_stored_transposed():
    found = {
        (kind, name) for kind, name in multiplied_from_the_right() if name != "positional_embedding"
    }  # frequencies
    assert len(found) >= 8
    for kind, name in found:
        owner = kind.__new__(kind)
        stacked = kind.__name__ == "GroupedLinearLayer"
        axes = axes_of(owner, name, (4, 6, 10) if stacked else (6, 10))
        assert axes is not None, (kind, name)
        assert (axes.in_axis, axes.out_axis) == (((1,), (2,)) if stacked else ((0,), (1,))), (kind, name)


def test_a_transposed_matrix_of_transformers():
    from transformers.models.inkling.modeling_inkling import InklingRelativeLogits
    from transformers.models.wav2vec2.modeling_wav2vec2 import AMSoftmaxLoss

    for module, name in ((InklingRelativeLogits(6, 10), "proj"), (AMSoftmaxLoss(6, 10), "weight")):
        init_module_(module, {"*": "he_normal"})
        assert same(module.get_parameter(name), fi.he_normal((6, 10), seed=0, name=name, **IN_OUT))


def test_heads_of_attention():
    """XLNet multiplies q by einsum("ibh,hnd->ibnd") and o by einsum("ibnd,hnd->ibh")."""
    from transformers import XLNetConfig, XLNetModel

    module = XLNetModel(XLNetConfig(d_model=48, n_head=4, d_inner=16, n_layer=1, vocab_size=10)).layer[0].rel_attn
    init_module_(module, {"[qkvor]": "glorot_normal", "layer_norm.weight": "ones", "*": "zeros"})
    q, o = {"in_axis": 0, "out_axis": (1, 2)}, {"in_axis": (1, 2), "out_axis": 0}
    for name, axes in (("q", q), ("k", q), ("v", q), ("r", q), ("o", o)):
        assert same(module.get_parameter(name), fi.glorot_normal((48, 4, 12), seed=0, name=name, **axes))


@pytest.mark.parametrize(
    ("kind", "name", "multiplied"),
    [
        ("zamba.ZambaMambaMixer", "x_proj_weight", "boi,bi->bo"),
        ("zamba.ZambaMambaMixer", "dt_proj_weight", "boi,bi->bo"),
        ("funnel.FunnelRelMultiheadAttention", "r_kernel", "inh,i->nh"),
        ("recurrent_gemma.RecurrentGemmaRglru", "input_gate_weight", "bio,bi->bo"),
        ("recurrent_gemma.RecurrentGemmaRglru", "recurrent_gate_weight", "bio,bi->bo"),
    ],
)
def test_fans_are_what_forward_sums_up(kind, name, multiplied):
    """Of 64 inputs, 8 matrices and 40 outputs, or heads of 8 x 40."""
    file, _, name_of_class = kind.partition(".")
    known = getattr(importlib.import_module(f"transformers.models.{file}.modeling_{file}"), name_of_class)
    owner = known.__new__(known)
    nn.Module.__init__(owner)
    sizes = {"i": 64, "b": 8, "n": 8, "o": 40, "h": 40}
    owner.register_parameter(name, nn.Parameter(torch.empty([sizes[axis] for axis in multiplied.partition(",")[0]])))
    init_module_(owner, {name: "he_normal"})
    assert owner.get_parameter(name).std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)


def test_torchvisions_deformable_convolutions_are_convolutions():
    kind = type("DeformConv2d", (nn.Module,), {"__module__": "torchvision.ops.deform_conv"})
    module = kind()
    module.weight = nn.Parameter(torch.empty(10, 6, 3, 3))
    init_module_(module, {"*": "he_normal"})
    assert same(module.weight, fi.he_normal((10, 6, 3, 3), seed=0, name="weight", **OUT_IN))


def test_biases_of_experts_have_no_fans():
    module = importlib.import_module("transformers.models.gpt_oss.modeling_gpt_oss").GptOssExperts(AnyConfig())
    with pytest.raises(ValueError, match=r"gate_up_proj_bias: it is a stack of biases(.|\n)*down_proj_bias: it is"):
        init_module_(module, {"*": "he_normal"})


def test_experts_that_lie_along_an_axis_with_others():
    """DBRX's: an expert's w2 is 48 x 32, and multiplies from the right."""
    module = importlib.import_module("transformers.models.dbrx.modeling_dbrx").DbrxExpertGLU(AnyConfig())
    init_module_(module, {"*": "he_normal"})
    assert [module.get_parameter(name).std().item() for name in ("w1", "v1", "w2")] == pytest.approx(
        [0.25, 0.25, (2 / 48) ** 0.5], rel=0.05
    )
    with pytest.raises(ValueError, match=r"^w1: it has several weights along one axis"):
        init_module_(module, {"*": "orthogonal"})


@pytest.mark.parametrize("kind", ["orthogonal", "delta_orthogonal"])
def test_groups_along_an_axis_are_not_orthogonal_together_unless_that_is_stated(kind):
    """Each of 4 groups would have an orthogonal matrix's rows cut in 4, of norm 1/2 about."""
    module = nn.ConvTranspose2d(8, 32, 3, groups=4)
    before = module.weight.clone()
    with pytest.raises(ValueError, match=rf"^weight: it has several weights along one axis, and {kind} would be"):
        init_module_(module, only("weight", kind))
    assert torch.equal(module.weight, before)
    init_module_(module, only("weight", fi.init("orthogonal", out_axis=1)))
    assert same(module.weight, fi.orthogonal((8, 8, 3, 3), seed=0, name="weight", out_axis=1))


def test_torchtitans_experts():
    kind = type("GroupedExperts", (Stranger,), {"__module__": "torchtitan.models.moe"})
    module = kind(4, 64, 32)
    module.w1 = module.w
    del module.w
    init_module_(module, {"*": "he_normal"})
    assert same(module.w1, fi.he_normal((4, 64, 32), seed=0, name="w1", **STACKED_OUT_IN))


def test_whole_models():
    from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    mixtral = MixtralForCausalLM(MixtralConfig(vocab_size=64, num_key_value_heads=2, num_local_experts=4, **small))
    init_module_(mixtral, {"*norm*": "ones", "*": "he_normal"})
    spread = {name: parameter.std().item() for name, parameter in mixtral.named_parameters()}
    assert spread["model.layers.0.mlp.experts.gate_up_proj"] == pytest.approx(0.25, rel=0.05)
    assert spread["model.layers.0.mlp.experts.down_proj"] == pytest.approx((2 / 48) ** 0.5, rel=0.05)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=8, n_embd=32, n_layer=1, n_head=2))
    init_module_(gpt2, {"*ln*weight": "ones", "*bias": "zeros", "*": "he_normal"})
    block = gpt2.transformer.h[0]
    for module, fan in ((block.attn.c_attn, 32), (block.mlp.c_fc, 32), (block.mlp.c_proj, 128)):
        assert module.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)


# ---- sharded ---------------------------------------------------------------------------------------------------


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.transposed = nn.ConvTranspose1d(6, 10, 3)
        self.grouped = nn.ConvTranspose1d(6, 12, 3, groups=2)
        self.dense = Conv1D(10, 6)
        from transformers.models.mixtral.modeling_mixtral import MixtralExperts

        self.experts = MixtralExperts(AnyConfig())


WIDE = {"*bias": "zeros", "*down_proj": "orthogonal", "*": "he_normal"}


def check_shards():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    expected = init_module_(Wide(), WIDE, seed=1)
    for dim in (0, 1):
        module = Wide()
        for part in (*module.children(), module):
            placement = {"shard_placement_fn": lambda p, dim=dim: Shard(dim if p.ndim > 1 else 0)}
            fully_shard(part, mesh=init_device_mesh("cpu", (2,)), **placement)
        init_module_(module, WIDE, seed=1)
        for (name, mine), theirs in zip(module.named_parameters(), expected.parameters()):
            assert same(mine.full_tensor(), theirs), name
    ddp = init_module_(nn.parallel.DistributedDataParallel(Wide()), WIDE, seed=1)
    assert all(map(same, ddp.parameters(), expected.parameters()))


def test_shards_have_the_axes_and_fans_of_the_whole():
    in_processes(2, check_shards)
