"""The comparison of recorded models with plain ones itself: it is silent where nothing is wrong, and not where something is."""

import pytest
import torch
from torch import nn

import likeness
from plain_modules import MODULES, TITAN


class Various(nn.Module):
    def __init__(self):
        super().__init__()
        self.normal = nn.Parameter(torch.randn(64, 32))
        self.other = nn.Parameter(torch.randn(64, 32))
        self.uniform = nn.Parameter(torch.rand(64, 32))
        self.truncated = nn.Parameter(nn.init.trunc_normal_(torch.empty(64, 32)))
        self.orthogonal = nn.Parameter(nn.init.orthogonal_(torch.empty(40, 40)))
        self.stacked = nn.Parameter(torch.stack([torch.randn(16, 32) * 0.02, torch.randn(16, 32) * 0.03]))
        self.padded = nn.Embedding(100, 8, padding_idx=3)
        self.constant = nn.Parameter(torch.full((8,), 0.1))
        self.clamped = nn.Parameter(torch.randn(64, 32).clamp(-1, 1))
        self.copy = nn.Parameter(self.uniform.detach().clone())
        self.tied = self.constant
        self.register_buffer("steps", torch.zeros(3, dtype=torch.long))


def plain(build, first):
    models = []
    for seed in range(first, first + likeness.RUNS):
        torch.manual_seed(seed)
        models.append(build())
    return models


@pytest.mark.parametrize("build", [Various, *MODULES.values(), *TITAN.values()])
def test_torchs_own_models_are_alike(build):
    assert likeness.differences(plain(build, 10), plain(build, 0)) == []


def changed(name, change):
    """All values of a tensor, changed in each run."""

    def spoil(models):
        for model in models:
            with torch.no_grad():
                tensor = model.get_parameter(name)
                tensor.copy_(change(tensor))

    return spoil


def truncated_later(tensor):
    return nn.init.trunc_normal_(torch.empty_like(tensor), a=-3, b=3)


def set_attribute(name, value):
    def spoil(models):
        for model in models:
            setattr(model, name, value(model))

    return spoil


SPOILED = {
    "a mean": changed("normal", lambda t: t + 0.2),
    "a scale": changed("normal", lambda t: t * 1.15),
    "a scale of one expert": changed("stacked", lambda t: t * torch.tensor([1.0, 1.25])[:, None, None]),
    "experts the other way round": changed("stacked", lambda t: t.flip(0)),
    "a uniform for a normal": changed("normal", lambda t: (torch.rand_like(t) - 0.5) * 12**0.5),
    "a normal for a truncated one": changed("truncated", lambda t: torch.randn_like(t) * 0.88),
    "a truncated one for a normal": changed("normal", lambda t: nn.init.trunc_normal_(torch.empty_like(t)) / 0.88),
    "a uniform that is not moved": changed("uniform", lambda t: t - 0.1),
    "a bound": changed("uniform", lambda t: t * 1.04),
    "rows of one draw": changed("normal", lambda t: t[:1].expand(64, 32)),
    "one value": changed("normal", lambda t: torch.randn(()).expand(64, 32)),
    "zeros": changed("normal", torch.zeros_like),
    "no values": changed("normal", lambda t: t * torch.nan),
    "the same for every seed": changed("normal", lambda t: torch.linspace(-2, 2, 2048).view(64, 32)),
    "a row that is not zero": changed("padded.weight", lambda t: t + (t == 0)),
    "another row that is zero": changed("padded.weight", lambda t: t * (torch.arange(100) != 4)[:, None]),
    "a constant in its last bit": changed("constant", lambda t: torch.nextafter(t, t + 1)),
    "no bounds": changed("clamped", lambda t: torch.randn_like(t)),
    "other bounds": changed("clamped", lambda t: torch.randn_like(t).clamp(-0.9, 1)),
    "values that are another's": lambda models: [m.other.data.copy_(m.normal.data) for m in models],
    "the same draw with another scale": lambda models: [m.truncated.data.copy_(m.other.data * 0.88) for m in models],
    "a copy that is another draw": changed("copy", torch.rand_like),
    "a tie cut": set_attribute("tied", lambda m: nn.Parameter(m.constant.detach().clone())),
    "a tie too many": set_attribute("other", lambda m: m.normal),
    "a dtype": set_attribute("normal", lambda m: nn.Parameter(m.normal.detach().double())),
    "a layout": set_attribute("normal", lambda m: nn.Parameter(m.normal.detach().T.contiguous().T)),
    "a parameter less": set_attribute("uniform", lambda m: None),
    "no gradient": lambda models: [m.normal.requires_grad_(False) for m in models],
    "a buffer": lambda models: [m.steps.add_(1) for m in models],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_it_finds(spoil):
    models = plain(Various, 10)
    spoil(models)
    assert likeness.differences(models, plain(Various, 0)) != []
