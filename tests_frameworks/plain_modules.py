"""Modules of torch.nn, reparametrized ones, and ones that are made on meta first: each a function that builds it."""

import copy
import math

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, skip_init, spectral_norm, weight_norm

# ---- torch.nn ---------------------------------------------------------------------------------------------------


def layers():
    return nn.ModuleDict(
        {
            "linear": nn.Linear(32, 48),
            "bilinear": nn.Bilinear(8, 9, 10),
            "conv": nn.Conv2d(8, 16, 3, groups=2),
            "transposed": nn.ConvTranspose1d(8, 12, 5),
            "embedding": nn.Embedding(50, 16, padding_idx=7),
            "bag": nn.EmbeddingBag(50, 16, mode="max", padding_idx=2),
            "layer_norm": nn.LayerNorm(16),
            "group_norm": nn.GroupNorm(4, 16),
            "batch_norm": nn.BatchNorm2d(16),
            "instance_norm": nn.InstanceNorm1d(16, affine=True, track_running_stats=True),
            "rms_norm": nn.RMSNorm(16),
            "prelu": nn.PReLU(4),
        }
    )


def lstm():
    return nn.LSTM(16, 24, num_layers=2, bidirectional=True, proj_size=8)


def gru():
    return nn.ModuleList([nn.GRU(16, 24), nn.GRUCell(8, 8), nn.RNN(8, 12, 2)])


def attention():
    return nn.ModuleList(
        [
            nn.MultiheadAttention(32, 4),
            nn.MultiheadAttention(32, 4, kdim=16, vdim=24, add_bias_kv=True),
        ]
    )


def transformer():
    """Its layers are deep copies of one, which nn.Transformer itself then initialises once more."""
    return nn.Transformer(32, 4, 2, 2, 64)


def encoder():
    """The same without the second time: the layers stay equal."""
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64), 3)


def adaptive_softmax():
    return nn.AdaptiveLogSoftmaxWithLoss(16, 60, [10, 30])


def half():
    return nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, dtype=torch.float64), nn.Linear(64, 64).bfloat16())


def by_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        return nn.Linear(40, 30)
    finally:
        torch.set_default_dtype(torch.float32)


def skipped():
    """Made without values, then given some."""
    module = skip_init(nn.Linear, 32, 32)
    with torch.no_grad():
        nn.init.xavier_uniform_(module.weight, gain=0.5)
        nn.init.zeros_(module.bias)
    return module


# ---- ties, copies, views ----------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 16, padding_idx=0)
        self.middle = nn.Linear(16, 16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("positions", torch.arange(16.0)[None] / 16)
        self.register_buffer("frequencies", 10000 ** -(torch.arange(0, 16, 2) / 16), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))


def copies():
    block = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16))
    layers = [copy.deepcopy(block) for _ in range(3)]
    nn.init.normal_(layers[2][0].weight, std=0.5)
    return nn.ModuleList([block, *layers])


class Fused(nn.Module):
    """Pieces of one weight, each with its own scale; one of two experts' weights that were drawn apart."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Parameter(torch.empty(3 * 32, 32))
        self.experts = nn.Parameter(torch.stack([torch.randn(16, 24) * std for std in (0.02, 0.2)]))
        self.joined = nn.Parameter(torch.cat([torch.zeros(2, 32), torch.rand(40, 32) - 0.5, torch.ones(1, 32)]))
        self.turned = nn.Parameter((torch.randn(24, 40) / math.sqrt(24)).T.contiguous())
        self.striped = nn.Parameter(torch.zeros(64, 16))
        with torch.no_grad():
            q, k, v = self.qkv.chunk(3)
            nn.init.xavier_uniform_(q)
            nn.init.normal_(k, std=0.02)
            nn.init.trunc_normal_(v, std=0.1)
            self.striped[::2].normal_(3.0, 0.1)
            self.striped[1, 3:5] = 7


class Arithmetic(nn.Module):
    """Draws that are scaled, moved, cut and cast afterwards."""

    def __init__(self):
        super().__init__()
        self.scaled = nn.Parameter(torch.randn(64, 32).mul_(0.3).add_(1.5))
        self.moved = nn.Parameter(torch.rand(64, 32) * 2 - 1)
        self.divided = nn.Parameter(torch.empty(64, 32).uniform_(-1, 1) / 8)
        self.negated = nn.Parameter(-torch.rand(64, 32))
        self.mirrored = nn.Parameter(-nn.init.trunc_normal_(torch.empty(64, 32), 0.1, 0.5, a=-0.2, b=1.5))
        self.narrow = nn.Parameter(torch.randn(64, 32).half())
        self.clamped = nn.Parameter(torch.randn(64, 32).clamp_(-0.5, 2))
        self.squared = nn.Parameter(torch.randn(64, 32) ** 2)
        self.logarithm = nn.Parameter(torch.log(torch.rand(64) * 0.9 + 0.1))
        self.sum = nn.Parameter(torch.randn(64, 32) + torch.rand(64, 32))
        self.drawn_twice = nn.Parameter(torch.randn(64, 32))
        self.made_whole = nn.Parameter(torch.full((64, 32), 2.0).mul_(0.25))
        self.integers = nn.Parameter(torch.randint(0, 1000, (64, 32)), requires_grad=False)
        with torch.no_grad():
            self.drawn_twice.uniform_(-0.01, 0.01)


class StepByStep(nn.Module):
    """Truncated normals as timm's old helper makes them."""

    def __init__(self):
        super().__init__()
        self.narrow = nn.Parameter(self.truncated(torch.empty(64, 64), 0, 0.02, -2, 2))
        self.moved = nn.Parameter(self.truncated(torch.empty(64, 64), 0.5, 1.0, -0.5, 1.5))
        self.scaled = nn.Parameter(self.truncated(torch.empty(64, 64), 0, 1, -2, 2) * 0.05)

    @staticmethod
    def truncated(tensor, mean, std, low, high):
        def phi(x):
            return (1 + math.erf(x / math.sqrt(2))) / 2

        below, above = phi((low - mean) / std), phi((high - mean) / std)
        tensor.uniform_(2 * below - 1, 2 * above - 1)
        tensor.erfinv_()
        tensor.mul_(std * math.sqrt(2))
        tensor.add_(mean)
        return tensor.clamp_(min=low, max=high)


class EveryInit(nn.Module):
    """Every function of torch.nn.init."""

    def __init__(self):
        super().__init__()
        for name, arguments in {
            "uniform_": (-0.1, 0.3),
            "normal_": (0.5, 0.1),
            "trunc_normal_": (0.0, 0.5, -0.6, 1.5),
            "constant_": (3,),
            "ones_": (),
            "zeros_": (),
            "xavier_uniform_": (2.0,),
            "xavier_normal_": (),
            "kaiming_uniform_": (math.sqrt(5),),
            "kaiming_normal_": (0.1, "fan_out"),
            "orthogonal_": (1.5,),
            "sparse_": (0.25, 0.3),
            "eye_": (),
        }.items():
            setattr(self, name, nn.Parameter(getattr(nn.init, name)(torch.empty(48, 40), *arguments)))
        self.dirac_ = nn.Parameter(nn.init.dirac_(torch.empty(8, 4, 3), groups=2))
        self.tall = nn.Parameter(nn.init.orthogonal_(torch.empty(30, 10)))
        self.kernel = nn.Parameter(nn.init.orthogonal_(torch.empty(16, 4, 3, 3)))


class Generators(nn.Module):
    """manual_seed inside, and draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        own = torch.Generator().manual_seed(torch.initial_seed())
        self.first = nn.Parameter(torch.empty(64, 32).normal_(generator=own))
        self.second = nn.Parameter(torch.rand(64, 32, generator=own))


# ---- weights that are computed ----------------------------------------------------------------------------------


def weight_normed():
    return nn.ModuleList(
        [
            weight_norm(nn.Linear(24, 32)),
            weight_norm(nn.Conv1d(16, 16, 5), name="weight", dim=2),
            parametrizations.weight_norm(nn.Linear(24, 32)),
            parametrizations.weight_norm(nn.Conv1d(16, 16, 5), dim=2),
        ]
    )


def spectral_normed():
    return nn.ModuleList(
        [
            spectral_norm(nn.Linear(24, 32)),
            parametrizations.spectral_norm(nn.Linear(24, 32)),
            spectral_norm(nn.Conv2d(4, 8, 3)),
        ]
    )


def orthogonal():
    return nn.ModuleList(
        [
            parametrizations.orthogonal(nn.Linear(24, 24)),
            parametrizations.orthogonal(nn.Linear(32, 16), orthogonal_map="cayley"),
            parametrizations.orthogonal(nn.Linear(16, 32), orthogonal_map="householder"),
        ]
    )


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


def symmetric():
    module = nn.Linear(32, 32)
    parametrize.register_parametrization(module, "weight", Symmetric())
    return module


def pruned():
    """By number, so the mask depends on no drawn value; and by size, which does."""
    module = nn.ModuleList([nn.Linear(24, 32), nn.Linear(24, 32)])
    mask = torch.ones(32, 24)
    mask[::3] = 0
    prune.custom_from_mask(module[0], "weight", mask)
    prune.l1_unstructured(module[1], "weight", amount=0.3)
    return module


def lazy():
    """Its sizes come from a first batch, so a forward pass lies within the construction."""
    module = nn.Sequential(nn.LazyConv1d(8, 3), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(32))
    module.eval()
    with torch.no_grad():
        module(torch.zeros(2, 4, 16))
    return module.train()


def normalised():
    """Each draw is looked at before the next step."""
    module = nn.Linear(64, 32)
    with torch.no_grad():
        module.weight.normal_()
        module.weight.div_(module.weight.std())
        module.bias.copy_(module.weight.mean(1))
    return module


# ---- made on meta, given memory, then initialised: as torchtitan does it ----------------------------------------


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wq = nn.Linear(width, width, bias=False)
        self.wkv = nn.Linear(width, width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def init_states(self, std):
        for linear in (self.wq, self.wkv):
            nn.init.trunc_normal_(linear.weight, mean=0.0, std=0.02)
        nn.init.trunc_normal_(self.wo.weight, mean=0.0, std=std)


class GroupedExperts(nn.Module):
    def __init__(self, width, hidden, experts):
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(experts, hidden, width))
        self.w2 = nn.Parameter(torch.empty(experts, width, hidden))
        self.w3 = nn.Parameter(torch.empty(experts, hidden, width))
        self.router = nn.Linear(width, experts, bias=False)
        self.register_buffer("tokens_per_expert", torch.zeros(experts), persistent=False)
        self.register_buffer("expert_bias", torch.zeros(experts))

    def init_states(self, std):
        nn.init.trunc_normal_(self.w1, mean=0.0, std=0.02)
        for weight in (self.w2, self.w3):
            nn.init.trunc_normal_(weight, mean=0.0, std=std)
        nn.init.trunc_normal_(self.router.weight, mean=0.0, std=std)
        device = self.router.weight.device
        self.tokens_per_expert = torch.zeros(self.w1.size(0), device=device)
        self.expert_bias = torch.zeros(self.w1.size(0), device=device)


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def init_states(self, std):
        nn.init.trunc_normal_(self.w1.weight, mean=0.0, std=0.02)
        nn.init.trunc_normal_(self.w2.weight, mean=0.0, std=std)


class Block(nn.Module):
    def __init__(self, index, width, hidden, experts):
        super().__init__()
        self.std = 0.02 / math.sqrt(2 * (index + 1))
        self.attention = Attention(width)
        self.attention_norm = nn.RMSNorm(width)
        self.feed_forward = GroupedExperts(width, hidden, experts) if experts else FeedForward(width, hidden)
        self.ffn_norm = nn.RMSNorm(width)

    def init_states(self):
        for norm in (self.attention_norm, self.ffn_norm):
            norm.reset_parameters()
        self.attention.init_states(self.std)
        self.feed_forward.init_states(self.std)


class Decoder(nn.Module):
    def __init__(self, width=32, hidden=64, layers=3, experts=0, tied=False, words=96, inserted=False):
        super().__init__()
        self.tok_embeddings = nn.Embedding(words, width)
        if inserted:
            self.adapter = nn.Linear(width, width)
        self.layers = nn.ModuleDict({str(i): Block(i, width, hidden, experts) for i in range(layers)})
        self.norm = nn.RMSNorm(width)
        self.output = nn.Linear(width, words, bias=False)
        if tied:
            self.output.weight = self.tok_embeddings.weight
        self.register_buffer("freqs", self.frequencies(), persistent=False)

    def frequencies(self):
        width = self.tok_embeddings.weight.size(1)
        with torch.device(self.tok_embeddings.weight.device):
            return torch.outer(torch.arange(16.0), 10000.0 ** -(torch.arange(0, width, 2) / width))

    def init_states(self):
        self.freqs = self.frequencies()
        nn.init.normal_(self.tok_embeddings.weight)
        if hasattr(self, "adapter"):
            self.adapter.reset_parameters()
        for layer in self.layers.values():
            layer.init_states()
        self.norm.reset_parameters()
        width = self.output.weight.size(1)
        nn.init.trunc_normal_(self.output.weight, 0.0, width**-0.5, a=-3 * width**-0.5, b=3 * width**-0.5)


def on_meta_first(**options):
    with torch.device("meta"):
        module = Decoder(**options)
    module.to_empty(device="cpu")
    with torch.no_grad():
        module.init_states()
    return module


MODULES = {
    builder.__name__: builder
    for builder in (
        layers,
        lstm,
        gru,
        attention,
        transformer,
        encoder,
        adaptive_softmax,
        half,
        by_default_dtype,
        skipped,
        Tied,
        copies,
        Fused,
        Arithmetic,
        StepByStep,
        EveryInit,
        Generators,
        weight_normed,
        spectral_normed,
        orthogonal,
        symmetric,
        pruned,
        lazy,
        normalised,
    )
}

TITAN = {
    "dense": on_meta_first,
    "experts": lambda: on_meta_first(experts=4),
    "tied": lambda: on_meta_first(tied=True),
}

# the tensors that no recipe makes: what a function makes of draws that is no step by a number, norms, singular vectors
LITERAL = {
    "Tied": ["positions"],
    "Arithmetic": ["clamped", "squared", "logarithm", "sum"],
    "weight_normed": ["*.weight_g", "*.original0"],
    "spectral_normed": ["*.weight_u", "*.weight_v", "*._u", "*._v"],
    "orthogonal": ["*.base"],
    "pruned": ["*.weight_mask"],
    "normalised": ["weight", "bias"],
}
