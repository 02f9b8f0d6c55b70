"""Programs of random steps, recorded and filled, against the same steps taken by torch with the same draws.

Every draw is kept as a buffer beside what the program makes of it. After the filling, torch takes the steps once more
with these values in the place of draws: all tensors must be equal, but for the rounding of arithmetic that a recipe
folds into its parameters.
"""

import random

import pytest
import torch
from torch import nn

import fastinit.torch as ft
from recorded import mistakes

STEPS = 14
SHAPES = [(6, 8), (8, 6), (4, 4), (12,), (3, 4, 2), (1, 8)]
NUMBERS = [0.5, -2.0, 3, 0.0, 1.0, 0.02]


class Draws:
    """Draws of a recording, kept; or those, again."""

    def __init__(self, kept=None):
        self.kept = [] if kept is None else kept
        self.again = None if kept is None else iter(kept)

    def __call__(self, draw, tensor):
        if self.again is None:
            draw(tensor)
            self.kept.append(tensor.clone(memory_format=torch.contiguous_format))
        else:
            tensor.copy_(next(self.again))
        return tensor


DRAWS = [
    lambda t: t.normal_(),
    lambda t: t.normal_(1.0, 0.5),
    lambda t: t.uniform_(-1, 1),
    lambda t: nn.init.trunc_normal_(t, std=0.5, a=-1, b=0.7),
    lambda t: t.uniform_(),
]


def memory_of(tensor):
    """Which memory a tensor has, without a look that a recording would see."""
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()._cdata


def piece(choose, tensor):
    """A view of some elements."""
    views = [lambda t: t, lambda t: t.view_as(t), lambda t: t.detach(), lambda t: t[None], lambda t: t.unsqueeze(-1)]
    if tensor.dim():
        size = tensor.shape[0]
        low, step = choose.randrange(size), choose.choice([1, 1, 2, 3])
        high = choose.randrange(low, size) + 1
        views += [
            lambda t: t[low:high:step],
            lambda t: t[low],
            lambda t: t[..., :1],
            lambda t: t.narrow(0, low, high - low),
        ]
    if tensor.dim() >= 2:
        views += [
            lambda t: t.transpose(0, 1),
            lambda t: t[:, 1::2],
            lambda t: t.diagonal(),
            lambda t: t.T if t.dim() == 2 else t,
        ]
    if tensor.is_contiguous():
        views += [lambda t: t.view(-1), lambda t: t.reshape(-1)[::2]]
    return choose.choice(views)(tensor)


def other_like(choose, pool, tensor):
    """A tensor that can be broadcast to this one: of the pool, or one element of it."""
    fitting = [t for t in pool if t.shape == tensor.shape and t.dtype.is_floating_point]
    if fitting and choose.random() < 0.7:
        return choose.choice(fitting)
    source = choose.choice([t for t in pool if t.numel()])
    return source.reshape(-1)[choose.randrange(source.numel())]


def write(choose, pool, draw, tensor):
    """Change some elements in place."""
    number, other = choose.choice(NUMBERS), other_like(choose, pool, tensor)
    if memory_of(other) == memory_of(tensor):
        other = other.clone()  # torch refuses to copy to where it copies from
    steps = [
        lambda t: t.mul_(number),
        lambda t: t.add_(number),
        lambda t: t.add_(other, alpha=0.5),
        lambda t: t.div_(4),
        lambda t: t.neg_(),
        lambda t: t.zero_(),
        lambda t: t.fill_(number),
        lambda t: t.clamp_(-0.5, 0.9),
        lambda t: t.copy_(other),
        lambda t: t.copy_(t.clone()),
        lambda t: t.masked_fill_(t > 0.3, number),
        lambda t: t.mul_(other),
        lambda t: nn.init.constant_(t, number),
        lambda t: draw(DRAWS[0], t),
        lambda t: draw(DRAWS[2], t),
        lambda t: draw(DRAWS[3], t),
    ]
    if tensor.dim():
        index = sorted({choose.randrange(tensor.shape[0]) for _ in range(2)})
        steps += [
            lambda t: t.__setitem__(index, number),
            lambda t: t.__setitem__(0, number),
            lambda t: t.index_fill_(0, torch.tensor(index), number),
        ]
    if tensor.dim() == 2:
        steps += [lambda t: t.triu_(), lambda t: t.fill_diagonal_(number)]
    if tensor.dtype == torch.float32 and tensor.dim():
        steps.append(lambda t: t.numpy().__setitem__(0, number))
    choose.choice(steps)(tensor)


def made(choose, pool, tensor):
    """A new tensor made of one or several."""
    number, other = choose.choice(NUMBERS), other_like(choose, pool, tensor)
    steps = [
        lambda t: t * number + 1,
        lambda t: (t - 1) / 2,
        lambda t: 1 - t,
        lambda t: -t,
        lambda t: t + other,
        lambda t: t.clone(),
        lambda t: t.contiguous(),
        lambda t: t.half().float(),
        lambda t: t.double(),
        lambda t: t.bfloat16(),
        lambda t: t.abs(),
        lambda t: t.expand(2, *t.shape).clone(),
        lambda t: torch.stack([t, t.detach().clone()]),
        lambda t: torch.where(t > 0, t, other.to(t.dtype)),
        lambda t: nn.Parameter(t.detach()).data,
        lambda t: t * t.mean(),
        lambda t: t * float(t.sum() > 0),
        lambda t: torch.full_like(t, t.reshape(-1)[0].item()),
    ]
    if tensor.dim():
        same = [
            t for t in pool if t.dim() == tensor.dim() and t.shape[1:] == tensor.shape[1:] and t.dtype == tensor.dtype
        ]
        more = choose.choice(same or [tensor])
        steps += [
            lambda t: torch.cat([t, more]),
            lambda t: torch.cat([more, t[:1], t]),
            lambda t: t.flip(0),
            lambda t: t.roll(1, 0),
            lambda t: t.repeat(*[2] * t.dim()),
            lambda t: t[[0, -1]],
            lambda t: torch.nn.functional.pad(t, (1, 0), value=number),
        ]
    return choose.choice(steps)(tensor)


def program(seed, draw):
    """The tensors that the steps of this number make, in a list; some of them share memory."""
    choose = random.Random(seed)
    pool = []
    for _ in range(2):
        shape = choose.choice(SHAPES)
        pool += [
            draw(choose.choice(DRAWS), torch.empty(shape)),
            torch.arange(float(torch.Size(shape).numel())).view(shape),
        ]
        pool.append(choose.choice([torch.zeros, torch.ones, lambda s: torch.full(s, 0.3)])(shape))
    for _ in range(STEPS):
        tensor = choose.choice([t for t in pool if t.numel() and t.numel() < 2000])
        what = choose.random()
        if what < 0.2:
            pool.append(piece(choose, tensor))
        elif what < 0.65:
            write(choose, pool, draw, piece(choose, tensor))
        else:
            pool.append(made(choose, pool, tensor))
    return pool


def module_of(tensors, kept=()):
    module = nn.Module()
    for number, tensor in enumerate(tensors):
        module.register_buffer(f"t{number}", tensor)
    for number, tensor in enumerate(kept):
        module.register_buffer(f"draw{number}", tensor)
    return module


def strides(tensor):
    """Those that say something: an axis of one element may have any."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride()) if size > 1]


def check(seed):
    with ft.record(seed=seed) as recording, torch.no_grad():
        draws = Draws()
        pool = program(seed, draws)
        module = module_of(pool, draws.kept)
    recipes = recording.recipes(module)
    recording.fill_(module)
    told = mistakes(module, recipes)
    filled = dict(module.named_buffers(remove_duplicate=False))
    kept = [filled[f"draw{number}"].clone() for number in range(len(draws.kept))]
    with torch.no_grad():
        again = program(seed, Draws(kept))
    # the steps of 16-bit draws are rounded once, not one by one
    near = 2e-2 if any(t.itemsize == 2 for t in again) else 1e-5
    for number, expected in enumerate(again):
        seen = filled[f"t{number}"]
        if seen.dtype != expected.dtype or seen.shape != expected.shape or strides(seen) != strides(expected):
            told.append(f"t{number} is {seen.dtype} {seen.shape} {seen.stride()}")
        elif not torch.allclose(seen.double(), expected.double(), rtol=near, atol=near):
            told.append(f"t{number} is {seen} and not {expected}")
    if len(set(map(memory_of, again))) != len(set(map(memory_of, pool))):
        told.append("not the same tensors share memory")
    return told


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_programs(first):
    for seed in range(first, first + 50):
        assert check(seed) == [], seed
