"""init_module_ of weights that are computed from others: weight_norm, spectral_norm, pruning, parametrizations."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import fastinit as fi
import fastinit.torch as ft
from conftest import same
from fastinit.torch import init_module_
from fastinit.torch import parametrized as ours
from processes import in_processes

OUT_IN = {"in_axis": 1, "out_axis": 0}


def old(function):
    """One of the older hooks, which warns that it is deprecated."""

    def apply(*args, **kwargs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return apply


FORMS = {"parametrization": parametrizations.weight_norm, "hook": old(nn.utils.weight_norm)}
form = pytest.mark.parametrize("wrap", FORMS.values(), ids=FORMS)
SPECTRAL = {"parametrization": parametrizations.spectral_norm, "hook": nn.utils.spectral_norm}
spectral = pytest.mark.parametrize("wrap", SPECTRAL.values(), ids=SPECTRAL)
RULES = {"*weight": "he_normal", "*": "zeros"}


def scale_and_direction(module):
    if hasattr(module, "parametrizations"):
        return module.parametrizations.weight.original0, module.parametrizations.weight.original1
    return module.weight_g, module.weight_v


# ---- weight_norm -----------------------------------------------------------------------------------------------


@form
@pytest.mark.parametrize("dim", [0, 1, 2, -2, None])
def test_weight_norm_leaves_the_weight_that_was_asked_for(wrap, dim, dtype):
    module = wrap(nn.Conv1d(6, 10, 3), dim=dim).to(dtype)
    init_module_(module, RULES, seed=4)
    g, v = scale_and_direction(module)
    expected = fi.recipe("he_normal", (10, 6, 3), dtype=str(dtype)[6:], seed=4, name="weight", **OUT_IN)
    assert same(v, expected[...])
    precision = torch.finfo(dtype).eps
    assert torch.allclose(module.weight, v, rtol=4 * precision, atol=0)
    assert torch.allclose(
        g, torch.norm_except_dim(v.double(), 2, -1 if dim is None else dim).to(dtype), rtol=2 * precision
    )


@form
def test_weight_norm_has_the_spread_of_the_initializer(wrap):
    module = init_module_(wrap(nn.Linear(64, 32, bias=False)), {"*": "he_normal"})
    assert module.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    module(torch.ones(2, 64))
    assert module.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)


@form
def test_weight_norm_of_a_transposed_convolution_has_its_axes(wrap):
    module = init_module_(wrap(nn.ConvTranspose1d(6, 10, 3)), RULES)
    assert same(scale_and_direction(module)[1], fi.he_normal((6, 10, 3), seed=0, name="weight", in_axis=0, out_axis=1))


@form
def test_norms_are_those_of_the_recipe_whatever_the_memory_and_the_pieces(wrap, monkeypatch):
    def norms():
        module = wrap(nn.Conv2d(6, 10, 3), dim=1)
        yield init_module_(module, RULES)
        module = module.to(memory_format=torch.channels_last)
        yield init_module_(module, RULES)
        torch.set_num_threads(1)
        yield init_module_(module, RULES)

    threads = torch.get_num_threads()
    first, *rest = [scale_and_direction(module)[0].clone() for module in norms()]
    torch.set_num_threads(threads)
    assert all(same(first, other) for other in rest)
    monkeypatch.setattr(ours, "PIECE", 20)  # other sums, but of the same numbers
    assert torch.allclose(scale_and_direction(next(norms()))[0], first)


@form
@pytest.mark.parametrize("initializer", ["zeros", "eye"])
def test_weights_without_a_direction_are_refused(wrap, initializer):
    module = wrap(nn.Linear(3, 8))
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(ValueError, match=r"^weight: .* of norm 0, to which weight_norm cannot"):
        init_module_(module, {"weight": initializer, "bias": "ones"})
    assert all(map(torch.equal, before, module.parameters()))


@form
def test_rules_of_none_leave_both_parts(wrap):
    module = wrap(nn.Linear(3, 8))
    before = [parameter.clone() for parameter in scale_and_direction(module)]
    init_module_(module, {"weight": None, "bias": "ones"})
    assert all(map(torch.equal, before, scale_and_direction(module)))
    with pytest.raises(ValueError, match=r"^no rule matches weight$"):
        init_module_(module, {"bias": "ones", "*original*": "ones", "weight_*": "ones"})


@form
def test_weights_that_share_a_direction_each_get_their_scale(wrap):
    module = nn.Sequential(nn.Linear(6, 8), nn.Linear(6, 8))
    module[1].weight = module[0].weight
    for child in module:
        wrap(child)
    init_module_(module, RULES)
    assert torch.allclose(module[0].weight, module[1].weight)
    assert torch.allclose(module[1].weight, torch.from_numpy(fi.he_normal((8, 6), seed=0, name="0.weight", **OUT_IN)))


def tied_in_name(wrap, first, second):
    """Two layers, of which the second computes its weight from the very parameter that the first one has."""
    module = nn.Sequential(first, wrap(second))
    owner = module[1].parametrizations.weight if hasattr(module[1], "parametrizations") else module[1]
    name = next(name for name in ("original1", "weight_v", "original", "weight_orig") if name in owner._parameters)
    mine = module[0].parametrizations.weight if hasattr(module[0], "parametrizations") else module[0]
    setattr(owner, name, getattr(mine, name if name in mine._parameters else "weight"))
    return module


@form
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("both", [False, True])
def test_weights_that_share_the_parameter_itself_each_get_their_scale(wrap, device, both):
    with torch.device(device):
        module = tied_in_name(wrap, wrap(nn.Linear(6, 8)) if both else nn.Linear(6, 8), nn.Linear(6, 8))
    init_module_(module, RULES)
    expected = torch.from_numpy(fi.he_normal((8, 6), seed=0, name="0.weight", **OUT_IN))
    assert torch.allclose(module[0].weight, expected)
    assert torch.allclose(module[1].weight, expected)


def test_scales_that_are_tied_cannot_follow_two_weights():
    module = nn.Sequential(*(parametrizations.weight_norm(nn.Linear(6, 8)) for _ in range(2)))
    chains = [child.parametrizations.weight for child in module]
    chains[1].original0 = chains[0].original0
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(ValueError, match=r"^1\.weight: 1\.\S*original0 is tied to that of another weight"):
        init_module_(module, RULES)
    assert all(map(torch.equal, before, module.parameters()))
    chains[1].original1 = chains[0].original1
    init_module_(module, RULES)
    assert torch.allclose(module[1].weight, chains[0].original1)


@form
def test_weights_without_elements_have_scales_all_the_same(wrap):
    module = nn.Module()
    module.weight = nn.Parameter(torch.empty(5, 0))
    scale, _ = scale_and_direction(wrap(module))
    nn.init.constant_(scale, 7)  # as memory may hold what comes from meta
    init_module_(module, RULES)
    assert not scale.any()


@pytest.mark.parametrize("wrap", [*FORMS.values(), *SPECTRAL.values()])
def test_stacks_of_orthogonal_matrices_are_refused(wrap):
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    module = MixtralExperts(MixtralConfig(hidden_size=8, intermediate_size=8, num_local_experts=2))
    nn.init.zeros_(module.gate_up_proj)
    nn.init.normal_(module.down_proj)
    wrap(module, "down_proj")
    with pytest.raises(ValueError, match=r"^down_proj: a stack of orthogonal matrices cannot be the weight of"):
        init_module_(module, {"*": "orthogonal"})
    assert not module.gate_up_proj.any()


@form
def test_norms_that_do_not_fit_are_refused(wrap):
    module = wrap(nn.Linear(30, 8)).half()
    with pytest.raises(ValueError, match=r"^weight: constant leaves weights whose norm, .* is too large for float16$"):
        init_module_(module, {"weight": fi.init("constant", value=3e4), "bias": "zeros"})


# ---- spectral_norm ---------------------------------------------------------------------------------------------


@spectral
def test_tied_weights_each_get_their_singular_vectors(wrap):
    module = tied_in_name(wrap, wrap(nn.Linear(64, 64)), nn.Linear(64, 64))
    init_module_(module, RULES).eval()
    for child in module:
        child(torch.ones(1, 64))
        assert torch.linalg.matrix_norm(child.weight, 2).item() == pytest.approx(1, abs=1e-5)


@spectral
@pytest.mark.parametrize(
    ("make", "initializer"),
    [
        (lambda: nn.Linear(64, 64), "he_normal"),
        (lambda: nn.Linear(300, 20), "he_normal"),
        (lambda: nn.Linear(20, 300), "uniform"),
        (lambda: nn.Linear(1, 9), "normal"),
        (lambda: nn.Linear(30, 30), "orthogonal"),
        (lambda: nn.Linear(30, 30), "ones"),
        (lambda: nn.Linear(30, 20), "eye"),
        (lambda: nn.Conv2d(8, 16, 3), "he_normal"),
        (lambda: nn.ConvTranspose2d(8, 16, 3), "he_normal"),
    ],
)
def test_spectral_norm_is_one_in_eval_mode_at_once(wrap, make, initializer):
    module = wrap(make())
    init_module_(module, {"weight": initializer, "bias": "zeros"})
    module.eval()
    with torch.no_grad():
        module(torch.ones(1, *([module.weight.shape[1]] if module.weight.ndim == 2 else [8, 5, 5])))
    weight = module.weight.detach()
    dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    assert torch.linalg.matrix_norm(weight.movedim(dim, 0).flatten(1), 2).item() == pytest.approx(1, abs=1e-5)


@spectral
def test_spectral_norm_depends_on_no_generator(wrap):
    def made(seed):
        torch.manual_seed(seed)
        module = wrap(nn.Linear(40, 50))
        state = torch.get_rng_state()
        init_module_(module, RULES, seed=9)
        assert torch.equal(torch.get_rng_state(), state)
        return module.state_dict()

    first, second = made(0), made(1)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    original = next(value for name, value in first.items() if name.endswith(("original", "orig")))
    assert same(original, fi.he_normal((50, 40), seed=9, name="weight", **OUT_IN))


def test_singular_vectors_are_the_leading_ones():
    recipe = fi.recipe("normal", (120, 200), seed=1, name="w")
    found = ours._singular_vectors("u", "v", recipe, dim=0)
    left, values, right = np.linalg.svd(recipe[...].astype("f8"))
    assert abs(found["u"] @ left[:, 0]) > 1 - 1e-6
    assert abs(found["v"] @ right[0]) > 1 - 1e-6
    assert found["u"] @ recipe[...] @ found["v"] == pytest.approx(values[0], rel=1e-6)


def test_singular_vectors_start_from_a_tensor_of_their_own_whose_side_they_keep():
    """Where all singular values are equal, the start is a singular vector already."""
    recipe = fi.recipe("orthogonal", (30, 20), seed=1, name="w")
    start = fi.normal(20, dtype="float64", seed=1, name="w/spectral")
    assert ours._singular_vectors("u", "v", recipe, dim=0)["v"] == pytest.approx(
        start / np.linalg.norm(start), abs=1e-6
    )
    for seed in range(20):
        recipe = fi.recipe("normal", (30, 20), seed=seed, name="w")
        start = fi.normal(20, dtype="float64", seed=seed, name="w/spectral")
        assert ours._singular_vectors("u", "v", recipe, dim=0)["v"] @ start > 0


@spectral
def test_zeros_have_no_spectral_norm(wrap):
    with pytest.raises(ValueError, match=r"^weight: zeros .* spectral_norm cannot divide"):
        init_module_(wrap(nn.Linear(3, 8)), {"*": "zeros"})


def test_spectral_norm_of_a_vector_has_nothing_to_refresh():
    module = nn.LayerNorm(6)
    parametrizations.spectral_norm(module, "weight")
    init_module_(module, {"weight": "normal", "bias": "zeros"})
    assert module.weight.norm().item() == pytest.approx(1)


def test_old_hooks_can_still_be_copied_and_trained():
    module = init_module_(nn.utils.spectral_norm(nn.Linear(6, 8)), RULES)
    copy.deepcopy(module)
    module = init_module_(old(nn.utils.weight_norm)(nn.Linear(6, 8)), RULES)
    module(torch.ones(2, 6)).sum().backward()
    assert module.weight_g.grad is not None


# ---- pruning, and what nobody knows ----------------------------------------------------------------------------


def test_pruned_weights_keep_their_masks():
    module = prune.random_unstructured(nn.Linear(6, 8), "weight", 0.5)
    init_module_(module, RULES)
    expected = torch.from_numpy(fi.he_normal((8, 6), seed=0, name="weight", **OUT_IN))
    assert same(module.weight_orig, expected)
    assert torch.equal(module.weight, expected * module.weight_mask)


class Symmetric(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * (x.triu() + x.triu(1).T)


def stacked(module):
    parametrizations.weight_norm(module)
    parametrize.register_parametrization(module, "weight", Symmetric())
    return module


def on_a_part(module):
    return prune.random_unstructured(old(nn.utils.weight_norm)(module), "weight_v", 0.5)


UNKNOWN = {
    "orthogonal": (parametrizations.orthogonal, "_Orthogonal", r"parametrizations\.weight\.original"),
    "stacked": (stacked, "_WeightNorm, Symmetric", r"\S*original0 and \S*original1"),
    "a part": (on_a_part, "WeightNorm", "weight_g"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_other_parametrizations_are_refused_once_with_what_to_do(what):
    wrap, by, parts = UNKNOWN[what]
    module = wrap(nn.Linear(6, 6))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    why = rf"\Aweight: the weight is computed by {by}: fill it before .* a rule of None, and fill {parts} with fill_\Z"
    with pytest.raises(ValueError, match=why):
        init_module_(module, {"*": "normal"})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_the_refusal_says_to_do():
    module = nn.Linear(6, 6)
    parametrize.register_parametrization(module, "weight", Symmetric())
    init_module_(module, {"weight": None, "parametrizations.weight.0.scale": "ones", "bias": "zeros"})
    ft.fill_(module.parametrizations.weight.original, fi.recipe("normal", (6, 6), seed=0, name="w"))
    assert torch.equal(module.weight, module.weight.T)
    module = init_module_(nn.Linear(6, 6), {"weight": "orthogonal", "bias": "zeros"})
    expected = module.weight.detach().clone()
    assert torch.allclose(parametrizations.orthogonal(module).weight, expected, atol=1e-5)


# ---- names, wrappers, meta, shards -----------------------------------------------------------------------------


class Both(nn.Module):
    def __init__(self, weight_norm=parametrizations.weight_norm, spectral_norm=parametrizations.spectral_norm):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(8, 8, 3), dim=2)
        self.head = spectral_norm(nn.Linear(8, 16))
        self.out = weight_norm(nn.Linear(16, 8), dim=0)


def test_names_are_those_of_the_module_without_parametrizations():
    rules = {"head.weight": "orthogonal", "*.weight": "he_normal", "*.bias": "zeros"}
    plain = init_module_(Both(lambda module, dim: module, lambda module: module), rules, seed=2)
    for make in (Both, lambda: Both(FORMS["hook"], SPECTRAL["hook"])):
        for wrap in (lambda module: module, lambda module: torch.compile(module, backend="eager"), nn.DataParallel):
            module = make()
            init_module_(wrap(module), rules, seed=2)
            state = module.state_dict()
            for name, source in (
                ("conv.weight", ("original1", "weight_v")),
                ("head.weight", ("original", "weight_orig")),
            ):
                found = [value for key, value in state.items() if key.startswith(name[:5]) and key.endswith(source)]
                assert same(found[0], plain.get_parameter(name))


@pytest.mark.parametrize("hooks", [False, True])
def test_meta(hooks):
    def make():
        return Both(FORMS["hook"], SPECTRAL["hook"]) if hooks else Both()

    expected = init_module_(make(), RULES).eval()
    with torch.device("meta"):
        module = make()
    init_module_(module, RULES).eval()
    for name, value in module.state_dict().items():
        assert same(value, expected.state_dict()[name]), name
    assert same(module.conv.weight, expected.conv.weight)
    x = torch.ones(1, 8, 8)
    assert torch.equal(module.head(module.conv(x)[..., 0]), expected.head(expected.conv(x)[..., 0]))


def check_shards():
    from torch.distributed.fsdp import fully_shard

    expected = init_module_(Both(), RULES, seed=1)
    module = Both()
    for part in (module.conv, module.out, module):
        fully_shard(part)
    init_module_(module, RULES, seed=1)
    for (name, mine), theirs in zip(module.named_parameters(), expected.parameters()):
        assert same(mine.full_tensor(), theirs), name
    for (name, mine), theirs in zip(module.named_buffers(), expected.buffers()):
        assert same(mine, theirs), name
    local = module.head.bias.to_local()
    ft.ones_(local)  # a view of the parameter's memory, though autograd has recorded how it was made
    assert (module.head.bias.full_tensor() == 1).all()
    with pytest.raises(ValueError, match="computed from others"):
        ft.normal_(module.head.bias * 2)


def check_hooks_on_shards():
    from torch.distributed.fsdp import fully_shard

    for wrap in (FORMS["hook"], SPECTRAL["hook"]):
        expected = init_module_(wrap(nn.Linear(6, 8)), RULES)
        module = wrap(nn.Linear(6, 8))
        fully_shard(module)
        init_module_(module, RULES)
        assert torch.allclose(module(torch.ones(2, 6)), expected(torch.ones(2, 6)))


@pytest.mark.parametrize("check", [check_shards, check_hooks_on_shards])
def test_shards(check):
    in_processes(2, check)


@pytest.mark.parametrize("family", ["Wav2Vec2", "Hubert"])
def test_positions_of_speech_models(family):
    """Their convolution over positions is weight-normed along its last axis."""
    import transformers

    config = getattr(transformers, f"{family}Config")(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, conv_dim=(16,), conv_kernel=(3,), conv_stride=(2,),
    )  # fmt: skip
    model = getattr(transformers, f"{family}Model")(config)
    init_module_(model, {"*norm*weight": "ones", "*bias": "zeros", "masked*": "uniform", "*": "he_normal"})
    conv = model.encoder.pos_conv_embed.conv
    assert conv.weight.std().item() == pytest.approx((2 / (8 * 16)) ** 0.5, rel=0.05)
    name = "encoder.pos_conv_embed.conv.weight"
    assert same(conv.parametrizations.weight.original1, fi.he_normal((32, 8, 16), seed=0, name=name, **OUT_IN))
