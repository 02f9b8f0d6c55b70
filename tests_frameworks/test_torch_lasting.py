"""Tensors that do not keep what they are filled with: computed ones, and placeholders of ZeRO-3."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import fastinit as fi
import fastinit.torch as ft
from conftest import same
from fastinit.torch import init_module_

FILLS = [*(name for name in ft.__all__ if name.endswith("_") and name not in ("fill_", "init_module_"))]
ARGUMENTS = {"constant_": (2.0,), "sparse_": (0.5,)}


def placeholder(*shape):
    """What deepspeed.zero.Init leaves of a parameter."""
    parameter = nn.Parameter(torch.empty(0))
    parameter.ds_id, parameter.ds_shape = 0, torch.Size(shape)
    return parameter


@pytest.mark.parametrize("name", FILLS)
def test_fills_of_computed_tensors_are_refused(name):
    layer = parametrizations.weight_norm(nn.Conv1d(6, 6, 3) if name == "dirac_" else nn.Linear(6, 6))
    for tensor in (layer.weight, layer.weight[:3], layer.bias.expand(6, 6) * 2):
        with pytest.raises(ValueError, match=r"computed from others \(\w+\), so it does not keep .* init_module_"):
            getattr(ft, name)(tensor, *ARGUMENTS.get(name, ()))


@pytest.mark.parametrize("name", FILLS)
def test_fills_of_placeholders_are_refused(name):
    with pytest.raises(
        ValueError, match=r"placeholder of a weight of shape \(8, 6\): fill it within .*GatheredParameters"
    ):
        getattr(ft, name)(placeholder(8, 6), *ARGUMENTS.get(name, ()))


def test_fill_and_init_module_refuse_them_too():
    module = nn.Linear(6, 8)
    with pytest.raises(ValueError, match="computed from others"):
        ft.fill_(module.weight * 2, fi.recipe("normal", (8, 6), seed=0))
    module.weight = placeholder(8, 6)
    with pytest.raises(ValueError, match=r"^weight: .*placeholder"):
        init_module_(module, {"*": fi.init("normal", std=0.02)})
    with pytest.raises(ValueError, match="placeholder"):
        ft.fill_(module.weight, fi.recipe("normal", 0, seed=0))
    module.weight.data = torch.zeros(8, 6)  # gathered
    init_module_(module, {"*": fi.init("normal", std=0.02)})
    assert module.weight.any()


@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[1:3],
        lambda p: p.T,
        lambda p: p.view(4, 3),
        lambda p: p.unbind()[1],
        lambda p: p.split(2)[1],
        lambda p: p.detach(),
    ],
)
def test_views_of_parameters_are_filled(view):
    parameter = nn.Parameter(torch.zeros(6, 2))
    ft.normal_(view(parameter), seed=0)
    assert parameter.any()


def test_intercept_counts_only_fills_that_happen():
    layer = parametrizations.weight_norm(nn.Linear(10, 20))
    before = layer.weight.clone()
    with ft.intercept(seed=0) as count:
        for tensor in (layer.weight, placeholder(8, 6)):
            with pytest.warns(UserWarning, match=r"uniform_ changes nothing that lasts: the tensor is") as caught:
                nn.init.uniform_(tensor)
            assert caught[0].filename == __file__
        for name in ("trunc_normal_", "orthogonal_", "kaiming_normal_"):
            with pytest.warns(UserWarning, match="_ changes nothing that lasts") as caught:
                made = getattr(nn.init, name)(layer.weight)
            assert len(caught) == 1
            assert not torch.equal(made, before)  # by torch, in several steps
        assert count.fills == 0
        nn.init.uniform_(layer.bias)
        assert count.fills == 1
    assert torch.equal(before, layer.weight)
    assert same(layer.bias, fi.uniform(20, seed=0, name="0"))


def test_intercept_knows_computed_weights_without_gradients_too():
    """As transformers initializes them."""
    layer = parametrizations.weight_norm(nn.Linear(10, 20))
    before = layer.weight.clone()
    with ft.intercept(seed=0) as count:
        for tensor in (layer.weight.data, layer.weight.detach(), layer.weight.data[2:5]):
            with pytest.warns(UserWarning, match="normal_ changes nothing that lasts: .* a parametrization computes"):
                tensor.normal_()
        assert count.fills == 0
    with ft.intercept(seed=0) as count, torch.no_grad():
        for tensor in (layer.weight, layer.weight[2:5], layer.weight.data):
            with pytest.warns(UserWarning, match="normal_ changes nothing that lasts: .* a parametrization computes"):
                nn.init.normal_(tensor)
        assert count.fills == 0
        nn.init.normal_(layer.weight.clone())
        assert count.fills == 1
    assert torch.equal(before, layer.weight)
    assert not hasattr(layer.weight.untyped_storage(), "_fastinit_computed")


class Itself(nn.Module):
    def forward(self, weight):
        return weight.view_as(weight)


def test_intercept_fills_what_shares_the_memory_of_a_parameter():
    layer = parametrize.register_parametrization(nn.Linear(10, 20), "weight", Itself())
    with ft.intercept(seed=0) as count:
        layer.weight.data.normal_()
        with torch.no_grad():
            nn.init.normal_(layer.weight)
        plain, other = nn.Linear(10, 20), parametrizations.weight_norm(nn.Linear(10, 20))  # two fills each
        plain.weight.data = other.weight.data
        nn.init.normal_(plain.weight)
        assert count.fills == 7
    assert same(layer.weight, fi.normal((20, 10), seed=0, name="1"))
    assert same(plain.weight, fi.normal((20, 10), seed=0, name="6"))
