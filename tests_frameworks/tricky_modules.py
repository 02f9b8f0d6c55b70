"""Code that looks at its weights while it makes them, or makes them in an unusual way; each a function that builds it."""

import copy
import io
import math
import pickle

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def module_of(**tensors):
    """A module with these parameters and, where they need no gradient, buffers."""
    module = nn.Module()
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor)
    return module


def writes_by_index():
    weight = nn.Parameter(torch.randn(40, 24))
    with torch.no_grad():
        weight[[1, 5]] = 5
        weight[7] = 0
        weight[:, 3] = torch.arange(40.0)
        weight[10:20, ::4].zero_()
        weight.view(-1)[-1] = 2.5
        weight[weight.new_tensor([30, 31], dtype=torch.long)] += 1
    return module_of(weight=weight)


def masks():
    """By values (masked_fill), by position (triu, diagonal)."""
    weight = torch.randn(48, 48)
    return module_of(
        weight=nn.Parameter(weight.masked_fill(weight.abs() > 1, 0.0)),
        upper=nn.Parameter(torch.randn(48, 48).triu(1)),
        lower=torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16),
        minus=torch.full((16, 16), -math.inf).triu(1),
        diagonal=nn.Parameter(torch.randn(48, 48).fill_diagonal_(1.0)),
        where=nn.Parameter(torch.where(torch.arange(48) < 8, torch.zeros(()), torch.randn(48, 48))),
    )


def decisions():
    """Branches on values: which, the seed decides."""
    weight = torch.randn(64, 64)
    if weight[0, 0] > 0:
        weight = -weight
    while weight.abs().max() > 3.5:
        weight = torch.randn(64, 64)
    bias = torch.full((8,), float(weight.numel()))
    if not bias.any() or torch.isnan(weight).any() or not torch.equal(bias, bias.clone()):
        raise AssertionError
    return module_of(weight=nn.Parameter(weight), bias=nn.Parameter(bias))


def numbers():
    """item, tolist, float, numpy, and back."""
    weight = torch.randn(32, 32)
    scale = 1 / float(weight.norm())
    largest = weight.max().item()
    rows = torch.tensor(weight.tolist())
    array = weight.numpy()
    array[0] = 1.0  # the same memory
    other = torch.from_numpy(np.ascontiguousarray(torch.randn(32, 32).numpy().T))
    return module_of(
        weight=nn.Parameter(weight),
        scaled=nn.Parameter(torch.randn(32, 32) * scale),
        largest=nn.Parameter(torch.randn(32, 32).clamp_(max=largest)),
        rows=nn.Parameter(rows),
        other=nn.Parameter(other),
    )


def algebra():
    q, _ = torch.linalg.qr(torch.randn(32, 32))
    u, _, v = torch.linalg.svd(torch.randn(24, 24))
    return module_of(
        q=nn.Parameter(q),
        uv=nn.Parameter(u @ v),
        normalised=nn.Parameter(F.normalize(torch.randn(64, 32), dim=-1)),
        product=nn.Parameter(torch.randn(40, 4) @ torch.randn(4, 40)),
        softmax=nn.Parameter(torch.randn(40, 40).softmax(-1)),
    )


def tables():
    """Numbers that nobody draws."""
    position = torch.arange(32.0)[:, None] * torch.exp(torch.arange(0, 16, 2) * (-math.log(10000.0) / 16))
    table = torch.zeros(32, 16)
    table[:, 0::2] = position.sin()
    table[:, 1::2] = position.cos()
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij"), -1)
    return module_of(
        table=nn.Parameter(table, requires_grad=False),
        logarithm=nn.Parameter(torch.log(torch.arange(1, 9).float()).repeat(4, 1)),
        grid=grid,
        inverse=1.0 / (10000 ** (torch.arange(0, 16, 2).float() / 16)),
        empty=nn.Parameter(torch.empty(0, 16)),
        scalar=nn.Parameter(torch.tensor(0.07).log()),
        padded=nn.Parameter(F.pad(torch.ones(4, 6), (1, 1, 2, 0), value=-1.0)),
    )


def other_draws():
    """Functions that fastinit has not."""
    permutation = torch.randperm(50)
    return module_of(
        exponential=nn.Parameter(torch.empty(64, 32).exponential_(2.0)),
        log_normal=nn.Parameter(torch.empty(64, 32).log_normal_(0.0, 0.25)),
        signs=torch.empty(64, 32).bernoulli_(0.3) * 2 - 1,
        dropped=nn.Parameter(F.dropout(torch.ones(64, 32), 0.25)),
        permutation=permutation,
        permuted=nn.Parameter(torch.arange(50.0)[permutation], requires_grad=False),
        distribution=nn.Parameter(torch.distributions.Normal(1.0, 0.5).sample((64, 32))),
        gamma=nn.Parameter(torch.distributions.Gamma(2.0, 1.0).sample((64, 32))),
        normal_of_tensors=nn.Parameter(torch.normal(torch.zeros(64, 32), torch.full((64, 32), 0.3))),
        like=nn.Parameter(torch.randn_like(torch.empty(64, 32)) * 2),
        int_draw=nn.Parameter(torch.empty(64, 32).random_(0, 10)),
    )


class StateSpace(nn.Module):
    """Mamba's A, D and the bias of its time steps, an inverse softplus of log-uniform numbers."""

    def __init__(self, width=64, states=8):
        super().__init__()
        a = torch.arange(1, states + 1, dtype=torch.float32).repeat(width, 1)
        self.A_log = nn.Parameter(torch.log(a))
        self.D = nn.Parameter(torch.ones(width))
        step = torch.exp(torch.rand(width * 8) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=1e-4)
        self.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.heads = nn.Parameter(torch.empty(width * 8).uniform_(1, 16).log())


def ties_by_data():
    """Two parameters over one memory: all of it, rows of it, by set_, by a flat buffer."""
    one, two, three = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 8)
    two.weight.data = one.weight.data
    three.weight = nn.Parameter(one.weight.detach()[:8])
    return nn.ModuleList([one, two, three])


def flat():
    """Parameters moved into one flat buffer, as distributed optimizers do."""
    module = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    vector = nn.utils.parameters_to_vector(module.parameters()).detach()
    nn.utils.vector_to_parameters(vector * 2, module.parameters())
    return module


def layouts():
    conv = nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    turned = nn.Linear(24, 32)
    turned.weight = nn.Parameter(turned.weight.detach().t())
    with torch.no_grad():
        nn.init.normal_(turned.weight, std=0.3)
    strided = nn.Parameter(torch.randn(64, 64)[::2, 1::3])
    expanded = nn.Parameter(torch.randn(1, 64).expand(32, 64).contiguous())
    return nn.ModuleDict({"conv": conv, "turned": turned, "rest": module_of(strided=strided, expanded=expanded)})


def casts():
    module = nn.Sequential(nn.Linear(48, 48), nn.LayerNorm(48), nn.BatchNorm1d(48)).to(torch.bfloat16)
    return nn.ModuleList(
        [module, nn.Linear(48, 48).half().float(), nn.Linear(48, 48).double(), nn.Embedding(64, 16).to(torch.float64)]
    )


def complex_numbers():
    phases = torch.polar(torch.ones(8, 4), torch.outer(torch.arange(8.0), torch.arange(4.0)))
    return module_of(
        phases=torch.view_as_real(phases),
        weight=nn.Parameter(torch.view_as_real(torch.complex(torch.randn(24, 24), torch.randn(24, 24)))),
        spectrum=nn.Parameter(torch.view_as_real(torch.fft.rfft(torch.randn(32, 32)))),
    )


def copied_state():
    """load_state_dict, deep copies of a whole model, an average of it, one kept in bytes."""
    student, teacher = nn.Linear(24, 24), nn.Linear(24, 24)
    teacher.load_state_dict(student.state_dict())
    average = torch.optim.swa_utils.AveragedModel(student)
    buffer = io.BytesIO()
    torch.save(student.state_dict(), buffer)
    buffer.seek(0)
    read = nn.Linear(24, 24)
    read.load_state_dict(torch.load(buffer))
    pickled = pickle.loads(pickle.dumps(student))
    other = copy.deepcopy(student)
    nn.init.ones_(other.bias)
    return nn.ModuleList([student, teacher, average, read, pickled, other])


def trained():
    """A step of training within the construction."""
    module = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    module(torch.linspace(-1, 1, 128).view(8, 16)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return module


def forward_passes():
    """A size found by a batch of zeros, and statistics that a batch changes."""
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        width = body(torch.zeros(2, 3, 16, 16)).shape[1]
    return nn.Sequential(body, nn.Linear(width, 10))


def inference():
    with torch.inference_mode():
        table = torch.randn(32, 16) * 0.5
    return module_of(table=table, weight=nn.Parameter(table.clone()))


def hooks():
    """Parameters that are made when they are asked for, others that are replaced by half of them."""
    module = nn.Linear(64, 64)
    with torch.no_grad():
        module.weight = nn.Parameter(torch.cat([module.weight[:32], torch.zeros_like(module.weight[32:])]))
        module.bias.copy_(module.bias.view(2, 32).flip(0).reshape(-1))
    module.half_of_it = nn.Parameter(module.weight.detach()[::2].clone() * 0.5)
    return module


def depth_scaled():
    """Layers divided by the root of their number after they have been drawn, as GPT-2 and BEiT do."""
    layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
    for number, layer in enumerate(layers, 1):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        layer.weight.data.div_(math.sqrt(2.0 * number))
        layer.bias.data.mul_(0)
    return layers


def experts():
    """One weight for all of them, filled expert by expert; and a list of modules stacked."""
    weight = nn.Parameter(torch.empty(4, 24, 32))
    for index in range(4):
        nn.init.kaiming_uniform_(weight[index], a=math.sqrt(5))
    stacked = nn.Parameter(torch.stack([nn.Linear(32, 24).weight.detach() for _ in range(4)]))
    split = nn.Parameter(torch.empty(64, 48))
    for piece in split.split([16, 16, 32]):
        nn.init.xavier_normal_(piece)
    return module_of(weight=weight, stacked=stacked, split=split)


def random_scalars():
    """One random number that many elements share."""
    return module_of(
        filled=nn.Parameter(torch.full((32,), torch.rand(()).item())),
        repeated=nn.Parameter(torch.randn(16, 1).expand(16, 64).clone()),
        scaled=nn.Parameter(torch.randn(64, 64) * torch.rand(64, 1)),
    )


MODULES = {
    builder.__name__: builder
    for builder in (
        writes_by_index,
        masks,
        decisions,
        numbers,
        algebra,
        tables,
        other_draws,
        StateSpace,
        ties_by_data,
        flat,
        layouts,
        casts,
        complex_numbers,
        copied_state,
        trained,
        forward_passes,
        inference,
        hooks,
        depth_scaled,
        experts,
        random_scalars,
    )
}

# the tensors that no recipe makes
LITERAL = {
    "writes_by_index": ["weight"],
    "masks": ["*"],
    "numbers": ["largest", "other", "rows", "weight"],
    "algebra": ["*"],
    "tables": ["grid", "inverse", "logarithm", "table"],
    "other_draws": ["*"],
    "StateSpace": ["A_log", "bias", "heads"],
    "casts": ["1.*", "2.*", "3.*"],  # to a wider dtype
    "complex_numbers": ["*"],
    "copied_state": ["3.*", "4.*", "5.*"],  # from bytes, and what has been written as bytes
    "trained": ["*"],
    "forward_passes": ["0.1.running_mean"],
    "hooks": ["bias"],
    "random_scalars": ["scaled"],
}
