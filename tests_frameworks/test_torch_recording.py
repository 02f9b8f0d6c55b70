"""fastinit.torch.record: code that builds modules of torch, as recipes."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import fastinit as fi
import fastinit.torch as ft
from conftest import DTYPES, same


def recorded(make, seed=7):
    """What code builds, and its recipes."""
    with ft.record(seed=seed) as recording:
        model = make()
    return recording, model, recording.recipes(model)


def of_parameter(make_weight, seed=7, shape=(6, 5), dtype=torch.float32):
    """The recipe of one parameter, ``w``, of a module, on which `make_weight` worked."""

    def make():
        module = nn.Module()
        module.w = nn.Parameter(torch.empty(shape, dtype=dtype))
        with torch.no_grad():
            made = make_weight(module.w)
        if isinstance(made, torch.Tensor) and made is not module.w and (made.shape == shape or not made._is_view()):
            module.w = nn.Parameter(made)
        return module

    recording, module, recipes = recorded(make, seed)
    recording.fill_(module)
    assert same(module.w, ft.tensor(recipes["w"]))
    return recipes["w"]


def drawn(kind, shape=(6, 5), name="w", seed=7, dtype="float32", **parameters):
    return fi.recipe(kind, shape, dtype=dtype, seed=seed, name=name, **parameters)


def bound(fan_in):
    """The bound of torch's uniform weights, as torch computes it."""
    return math.sqrt(3.0) * (math.sqrt(2.0 / 6) / math.sqrt(fan_in))


# ---- modules of torch --------------------------------------------------------------------------------------------

MODULES = {
    "linear": lambda: nn.Linear(8, 4),
    "bilinear": lambda: nn.Bilinear(3, 4, 5),
    "conv": lambda: nn.Conv2d(3, 8, 3),
    "transposed": lambda: nn.ConvTranspose1d(3, 8, 3),
    "embedding": lambda: nn.Embedding(10, 4),
    "padded": lambda: nn.Embedding(10, 4, padding_idx=2),
    "bag": lambda: nn.EmbeddingBag(10, 4, padding_idx=0),
    "norms": lambda: nn.Sequential(nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.RMSNorm(4)),
    "lstm": lambda: nn.LSTM(4, 6, 2, bidirectional=True, proj_size=3),
    "gru": lambda: nn.GRU(4, 6),
    "attention": lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "transformer": lambda: nn.Transformer(8, 2, 2, 2, 16, batch_first=True),
    "softmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]),
    "prelu": lambda: nn.PReLU(3, init=0.1),
}


@pytest.mark.parametrize("module", MODULES)
def test_modules_of_torch(module):
    """Every parameter is one recipe, with what torch's own construction has in distribution and constants."""
    recording, model, recipes = recorded(MODULES[module])
    state = model.state_dict()
    assert list(recipes) == [name for name, tensor in state.items() if tensor.is_floating_point()]
    assert all(parameter.is_meta or not parameter.numel() for parameter in model.parameters())
    assert recording.fill_(model) is model
    plain = MODULES[module]().state_dict()
    for name, tensor in model.state_dict().items():
        if name not in recipes:
            assert torch.equal(tensor, plain[name])
            continue
        assert same(tensor, ft.tensor(recipes[name])), name
        assert tensor.shape == plain[name].shape
        assert tensor.dtype == plain[name].dtype
        assert tensor.stride() == plain[name].stride()
        if plain[name].numel() > 1 and plain[name].std() == 0:
            assert torch.equal(tensor, plain[name])
        elif "literal" in repr(recipes[name]):
            raise AssertionError(f"{name}: {recipes[name]!r}")


def test_the_values_are_those_of_the_recipe_by_the_parameters_name():
    _, _, recipes = recorded(lambda: nn.Sequential(nn.Linear(16, 4), nn.Embedding(10, 4)))
    assert recipes["0.weight"] == drawn("uniform", (4, 16), "0.weight", low=-bound(16), high=bound(16))
    assert recipes["0.bias"] == drawn("uniform", (4,), "0.bias", low=-0.25, high=0.25)
    assert recipes["1.weight"] == drawn("normal", (10, 4), "1.weight")


def test_order_of_construction_does_not_matter():
    def straight():
        return nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.LSTM(4, 5)})

    def otherwise():
        nn.Linear(3, 3)
        b = nn.LSTM(4, 5)
        torch.randn(5).sum().item()
        a = nn.Linear(4, 4)
        return nn.ModuleDict({"a": a, "new": nn.Linear(2, 2), "b": b})

    first, second = recorded(straight)[2], recorded(otherwise)[2]
    assert all(second[name] == recipe for name, recipe in first.items())


def test_padding_is_a_pasted_row_of_zeros():
    recipe = recorded(lambda: nn.Embedding(10, 4, padding_idx=2))[2]["weight"]
    table = drawn("normal", (10, 4), "weight")
    assert recipe == fi.paste(table, np.s_[2], fi.recipe("zeros", (4,), seed=7))


def test_copies_have_equal_values_and_go_by_the_first_name():
    def make():
        layer = nn.Linear(4, 4)
        return nn.ModuleList([layer, copy.deepcopy(layer)])

    recipes = recorded(make)[2]
    assert (
        recipes["1.weight"] == recipes["0.weight"] == drawn("uniform", (4, 4), "0.weight", low=-bound(4), high=bound(4))
    )


def test_ties_come_once_by_their_first_name():
    def make():
        model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
        model[1].weight = model[0].weight
        return model

    recording, model, recipes = recorded(make)
    assert list(recipes) == ["0.weight"]
    recording.fill_(model)
    assert model[1].weight is model[0].weight
    assert same(model[1].weight, recipes["0.weight"][...])


# ---- draws and steps -------------------------------------------------------------------------------------------

WAYS = {
    "normal_": (lambda w: w.normal_(1, 2), ("normal", {"mean": 1, "std": 2})),
    "uniform_": (lambda w: w.uniform_(-1, 2), ("uniform", {"low": -1, "high": 2})),
    "init.trunc_normal_": (
        lambda w: nn.init.trunc_normal_(w, 1.0, 2.0, -1.0, 3.0),
        ("truncated_normal", {"mean": 1, "std": 2, "lower": -1, "upper": 1}),
    ),
    "init.orthogonal_": (lambda w: nn.init.orthogonal_(w, 3), ("orthogonal", {"gain": 3, "out_axis": 0})),
    "randn": (lambda w: torch.randn(6, 5), ("normal", {})),
    "randn times": (lambda w: 0.02 * torch.randn(6, 5), ("normal", {"std": 0.02})),
    "rand": (lambda w: torch.rand(6, 5) * 2 - 1, ("uniform", {"low": -1, "high": 1})),
    "1 - rand": (lambda w: 1 - torch.rand(6, 5), ("uniform", {"low": 0, "high": 1})),
    "normal of numbers": (lambda w: torch.normal(1.0, 2.0, (6, 5)), ("normal", {"mean": 1, "std": 2})),
    "randn_like": (lambda w: torch.randn_like(w), ("normal", {})),
    "mul_": (lambda w: w.normal_(1, 2).mul_(-3), ("normal", {"mean": -3, "std": 6})),
    "div_ add_": (lambda w: w.normal_(0, 2).div_(4).add_(1), ("normal", {"mean": 1, "std": 0.5})),
    "sub alpha": (lambda w: w.normal_().sub_(3, alpha=2), ("normal", {"mean": -6})),
    "a number in a tensor": (lambda w: w.normal_().mul_(torch.tensor(0.5)), ("normal", {"std": 0.5})),
    "negative uniform": (lambda w: w.uniform_(1, 2).neg_(), ("uniform", {"low": -2, "high": -1})),
    "negative truncated": (
        lambda w: nn.init.trunc_normal_(w, a=-1, b=1.5).neg_(),
        ("truncated_normal", {"lower": -1.5, "upper": 1}),
    ),
    "orthogonal times": (lambda w: nn.init.orthogonal_(w).mul_(0.5), ("orthogonal", {"gain": 0.5, "out_axis": 0})),
    "reshaped": (lambda w: torch.randn(30).reshape(6, 5), ("normal", {})),
    "of its transpose": (lambda w: w.t().normal_(), ("normal", {})),
    "of its view": (lambda w: w.view(-1).normal_(), ("normal", {})),
    "of its data": (lambda w: w.data.normal_(), ("normal", {})),
    "copied": (lambda w: w.copy_(torch.randn(6, 5)), ("normal", {})),
    "constant": (lambda w: w.fill_(0.5).mul_(3), ("constant", {"value": 1.5})),
    "of no spread": (lambda w: w.normal_(2, 0), ("constant", {"value": 2})),
    "ones": (lambda w: torch.zeros(6, 5) + 1, ("ones", {})),
    "eye": (lambda w: nn.init.eye_(w), ("eye", {})),
    "clamp of nothing": (lambda w: w.uniform_(-1, 1).clamp_(-2, 2), ("uniform", {"low": -1, "high": 1})),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_draw(way):
    fill, (kind, parameters) = WAYS[way]
    if kind == "eye":
        assert same(of_parameter(fill)[...], fi.eye((6, 5)))
        return
    assert of_parameter(fill) == drawn(kind, **parameters)


def test_dtypes(dtype):
    name = DTYPES[dtype]
    assert of_parameter(lambda w: w.normal_(0, 2), dtype=dtype) == drawn("normal", dtype=name, std=2)


def test_casts_become_the_recipe_of_the_other_dtype():
    assert of_parameter(lambda w: torch.randn(6, 5).bfloat16()) == drawn("normal", dtype="bfloat16")
    recipes = recorded(lambda: nn.Linear(16, 2).half())[2]
    assert recipes["weight"] == drawn("uniform", (2, 16), "weight", dtype="float16", low=-bound(16), high=bound(16))


@pytest.mark.parametrize(
    "cast",
    [
        lambda w: w.half().float(),
        lambda w: w.double(),
        lambda w: w.bfloat16().half(),
        lambda w: w.half().mul(3).float(),
    ],
)
def test_a_cast_to_a_wider_dtype_keeps_what_was_rounded(cast):
    recipe = of_parameter(lambda w: cast(torch.randn(6, 5)))
    assert "literal" in repr(recipe)
    assert same(ft.tensor(recipe), cast(ft.tensor(drawn("normal"))))


def test_steps_that_no_initializer_has():
    """Of an orthogonal matrix, and of a truncated normal."""
    assert "literal" in repr(of_parameter(lambda w: nn.init.orthogonal_(w).add_(1)))
    assert "literal" in repr(of_parameter(lambda w: nn.init.trunc_normal_(w).clamp_(-1, 1)))
    assert "literal" in repr(of_parameter(lambda w: w.normal_().pow_(2)))
    values = of_parameter(lambda w: w.normal_().clamp_(-1, 1).mul_(2))[...]
    assert np.abs(values).max() == 2


def test_truncated_normals_made_step_by_step():
    from math import erf, sqrt

    def by_steps(w, mean=0.0, std=0.02, a=-2.0, b=2.0):
        low, high = ((1 + erf((cut - mean) / std / sqrt(2))) / 2 for cut in (a, b))
        w.uniform_(2 * low - 1, 2 * high - 1)
        w.erfinv_()
        w.mul_(std * sqrt(2.0))
        w.add_(mean)
        w.clamp_(min=a, max=b)

    assert of_parameter(by_steps) == drawn("truncated_normal", std=0.02, lower=-100, upper=100)
    recipe = of_parameter(lambda w: by_steps(w, 1.0, 2.0, -1.0, 3.0))
    assert recipe == drawn("truncated_normal", mean=1, std=2, lower=-1, upper=1)
    scaled = of_parameter(lambda w: (by_steps(w, 0.0, 1.0), w.mul_(0.5).add_(1))[0])
    assert scaled == drawn("truncated_normal", mean=1, std=0.5, lower=-2, upper=2)


def test_other_numbers_are_no_truncated_normal():
    recipe = of_parameter(lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(1.5).clamp_(-2, 2))
    assert "literal" in repr(recipe)
    values = torch.erfinv(ft.tensor(drawn("uniform", low=-0.9, high=0.9))).mul(1.5).clamp(-2, 2)
    assert same(recipe[...], values)


def test_tensors_in_pieces():
    def rows(w):
        w[:2].normal_()
        w[2:4].uniform_()
        w[4:] = 3

    assert of_parameter(rows) == fi.concatenate(
        [drawn("normal", (2, 5)), drawn("uniform", (2, 5), "w#1"), fi.recipe("constant", (2, 5), value=3, seed=7)]
    )
    assert of_parameter(lambda w: torch.cat([torch.randn(2, 5), torch.rand(4, 5)])) == fi.concatenate(
        [drawn("normal", (2, 5)), drawn("uniform", (4, 5), "w#1")]
    )
    assert of_parameter(lambda w: torch.stack([torch.randn(5), torch.randn(5)], 1)) == fi.stack(
        [drawn("normal", (5,)), drawn("normal", (5,), "w#1")], axis=1
    )

    def corner(w):
        w.normal_()
        w[1:3, ::2] = 0

    assert of_parameter(corner) == fi.paste(drawn("normal"), np.s_[1:3, ::2], fi.recipe("zeros", (2, 3), seed=7))

    def rows_by_list(w):
        w.normal_()
        w[[1, 4]] = 5

    five = fi.recipe("constant", (5,), value=5, seed=7)
    assert of_parameter(rows_by_list) == fi.paste(fi.paste(drawn("normal"), 1, five), 4, five)


def test_a_slice_of_a_draw_is_a_part_of_it():
    recipe = of_parameter(lambda w: torch.randn(9, 5)[1:7])
    assert recipe == fi.Recipe.from_dict(drawn("normal", (9, 5)).part(np.s_[1:7]).to_dict())


def test_hidden_draws_take_no_name():
    def twice(w):
        w.uniform_()
        w.normal_()

    def hidden_by_halves(w):
        w.uniform_()
        w[:3].normal_()
        w[3:].normal_()

    assert of_parameter(twice) == drawn("normal")
    halves = [drawn("normal", (3, 5)), drawn("normal", (3, 5), "w#1")]
    assert of_parameter(hidden_by_halves) == fi.concatenate(halves)
