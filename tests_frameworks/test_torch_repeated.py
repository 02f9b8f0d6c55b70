"""What the torch adapter keeps from one call for the next gives no call the answer of another."""

import contextlib
import itertools
import random
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastinit as fi
import fastinit.torch as init
from conftest import bits, same
from fastinit.torch.fill import fill_checked
from fastinit.torch.intercepting import _next_in_interval
from fastinit.torch.memory import check_memory
from fastinit.torch.seeds import drawn_seed
from fastinit.torch.shards import Held


def forget():
    """Empties every cache of the package."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastinit":
            for thing in list(vars(module).values()):
                if hasattr(thing, "cache_clear"):
                    thing.cache_clear()


def frozen():
    with torch.inference_mode():
        return torch.zeros(4, 3)


def freed():
    tensor = torch.zeros(4, 3)
    tensor.untyped_storage().resize_(0)
    return tensor


#: Tensors of one shape, some of which cannot be filled.
TENSORS = {
    "float32": lambda: torch.zeros(4, 3),
    "float64": lambda: torch.zeros(4, 3, dtype=torch.float64),
    "bfloat16": lambda: torch.zeros(4, 3, dtype=torch.bfloat16),
    "float16": lambda: torch.zeros(4, 3, dtype=torch.float16),
    "int64": lambda: torch.zeros(4, 3, dtype=torch.int64),
    "leaf": lambda: torch.zeros(4, 3, requires_grad=True),
    "parameter": lambda: torch.nn.Parameter(torch.zeros(4, 3)),
    "view of a leaf": lambda: torch.zeros(8, 3, requires_grad=True)[::2],
    "computed": lambda: torch.zeros(4, 3, requires_grad=True) * 2,
    "transposed": lambda: torch.zeros(3, 4).t(),
    "overlapping": lambda: torch.zeros(1, 3).expand(4, 3),
    "meta": lambda: torch.zeros(4, 3, device="meta"),
    "empty": lambda: torch.zeros(0, 3),
    "one axis": lambda: torch.zeros(12),
    "negated": lambda: torch._neg_view(torch.zeros(4, 3)),
    "sparse": lambda: torch.zeros(4, 3).to_sparse(),
    "inference": frozen,
    "freed": freed,
    "subclass": lambda: torch.zeros(4, 3).as_subclass(type("Mine", (torch.Tensor,), {})),
}
CONTEXTS = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
    "fake": FakeTensorMode,
    "intercept": lambda: init.intercept(3),
}
NUMBERS = [0.0, -0.0, 0, 1.0, 1, True, 0.5, np.float64(0.5), np.float32(0.5), -1.0, float("nan"), 1e39, "1", None]
FUNCTIONS = {
    "uniform_": ["a", "b"],
    "normal_": ["mean", "std"],
    "trunc_normal_": ["mean", "std", "a"],
    "xavier_normal_": ["gain"],
    "kaiming_uniform_": ["a"],
    "orthogonal_": ["gain"],
}


def call(choose):
    """A function's name, a tensor, arguments and a context, most of which nothing can be made of."""
    name = choose.choice(list(FUNCTIONS))
    keys = choose.sample(FUNCTIONS[name], choose.randrange(min(3, len(FUNCTIONS[name]) + 1)))
    arguments = {key: choose.choice(NUMBERS) for key in keys}
    key = choose.choice([{}, {}, {"seed": 0}, {"seed": True}, {"seed": 0, "name": "a"}, {"generator": 5}])
    context = choose.choice(["plain"] * 4 + list(CONTEXTS))
    return name, choose.choice(list(TENSORS)), arguments | key, context


def outcome(name, kind, arguments, context):
    """What a call leaves in a tensor and in torch's generator, or what it says."""
    tensor, version = TENSORS[kind](), None
    torch.manual_seed(5)
    with warnings.catch_warnings(record=True) as told, CONTEXTS[context]():
        warnings.simplefilter("always")
        try:
            said = getattr(init, name)(tensor, **arguments) is tensor
        except Exception as error:
            said = type(error), str(error).splitlines()[:1]
    if not tensor.is_inference():
        version = tensor._version
    held = tensor.layout is torch.strided and not tensor.is_meta and kind != "freed"
    values = bits(tensor.resolve_neg().as_subclass(torch.Tensor)).tolist() if held else None
    categories = sorted({warning.category.__name__ for warning in told})
    return said, values, version, tensor.requires_grad, tensor.grad_fn is None, categories, torch.rand(1).item()


@pytest.mark.parametrize("seed", range(10))
def test_a_call_does_what_it_does_by_itself(seed):
    choose = random.Random(seed)
    calls = [call(choose) for _ in range(100)]
    together = [outcome(*each) for each in calls]
    for each, expected in zip(calls, together):
        forget()
        assert repr(outcome(*each)) == repr(expected), each


@pytest.mark.parametrize("seed", [{}, {"seed": 0}])
def test_vmap_refuses_to_draw_also_what_has_been_drawn_before(seed):
    tensor = torch.empty(3)
    init.normal_(tensor, std=0.7, **seed)
    before = tensor.clone()
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda x: init.normal_(tensor, std=0.7, **seed) + x)(torch.zeros(2))
    assert torch.equal(tensor, before)


def test_what_torch_takes_for_one_dtype_it_refuses_for_another():
    narrow = torch.zeros(3, dtype=torch.float16)
    init.uniform_(torch.zeros(3), 0.0, 1e30)
    for module in (torch.nn.init, init):
        with pytest.raises(RuntimeError, match="out of bounds for c10::Half"):
            module.uniform_(narrow, 0.0, 1e30)
    assert not narrow.any()


def test_a_lower_end_that_is_first_asked_for_where_denormals_are_zero():
    _next_in_interval.cache_clear()
    assert torch.set_flush_denormal(True)
    try:
        _next_in_interval(0.0, 1.0, torch.float32)
    finally:
        torch.set_flush_denormal(False)
    assert _next_in_interval(0.0, 1.0, torch.float32) == 2.0**-149


def test_rows_that_are_not_neighbours():
    """As a process has them of a DTensor that is divided twice along one axis."""
    whole, local = fi.recipe("normal", (8, 3), seed=0), torch.zeros(4, 3)
    held = Held(local, [[range(2), range(4, 6)], [range(3)]])
    fill_checked(local, whole, [(held, check_memory(local))])
    assert same(local, whole[...][[0, 1, 4, 5]])


def in_a_thread(run):
    """What `run` returns in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    return found[0]


def test_a_seed_that_is_first_drawn_in_inference_mode():
    def draw():
        with torch.inference_mode():
            first = drawn_seed()
        return first, drawn_seed()

    torch.manual_seed(1)
    expected = drawn_seed(), drawn_seed()
    torch.manual_seed(1)
    assert in_a_thread(draw) == expected


def test_a_seed_that_is_drawn_while_a_function_is_transformed():
    found = []

    def loss(x):
        found.append(drawn_seed())
        return x.sum()

    torch.manual_seed(1)
    expected = drawn_seed()
    torch.manual_seed(1)
    torch.func.grad(loss)(torch.ones(2))
    assert found == [expected]


def test_threads_draw_seeds_of_their_own():
    count, threads = 3000, 4
    torch.manual_seed(2)
    expected = sorted(drawn_seed() for _ in range(count * threads))
    torch.manual_seed(2)
    found = [[] for _ in range(threads)]
    start = threading.Barrier(threads)

    def draw(mine):
        start.wait()
        mine.extend(drawn_seed() for _ in range(count))

    running = [threading.Thread(target=draw, args=(mine,)) for mine in found]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert sorted(itertools.chain(*found)) == expected
