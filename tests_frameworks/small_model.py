"""A module with a bit of everything, rules for its parameters, and what they should then hold."""

import torch
from torch import nn

import fastinit as fi
from conftest import same


class Model(nn.Module):
    """A bit of everything: embedding with padding, norm, convolution, tied head, a non-persistent buffer."""

    def __init__(self, tied=True, buffer=False):
        super().__init__()
        self.emb = nn.Embedding(20, 8, padding_idx=3)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.conv = nn.Conv1d(8, 8, 3)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 20, bias=False)
        if tied:
            self.head.weight = self.emb.weight
        if buffer:
            self.register_buffer("positions", torch.arange(8.0), persistent=False)


RULES = {
    "emb.weight": fi.init("normal", std=0.02),
    "head.weight": "zeros",
    "*.bias": "zeros",
    "norm.weight": "ones",
    "conv.*": "orthogonal",
    "*.weight": "he_normal",
}


def expected(name, shape, dtype="float32", seed=5):
    kind, parameters = {
        "emb.weight": ("normal", {"std": 0.02}),
        "norm.weight": ("ones", {}),
        "conv.weight": ("orthogonal", {"out_axis": 0}),
    }.get(name, ("he_normal", {"in_axis": 1, "out_axis": 0}))
    if name.endswith("bias"):
        kind, parameters = "zeros", {}
    array = fi.recipe(kind, shape, dtype=dtype, seed=seed, name=name, **parameters)[...]
    if name == "emb.weight":
        array[3] = 0
    return array


def check(module, dtype="float32"):
    for name, parameter in module.named_parameters():
        clean = name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")
        assert same(parameter, expected(clean, tuple(parameter.shape), dtype)), name
