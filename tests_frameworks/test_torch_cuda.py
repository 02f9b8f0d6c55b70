"""torch's tensors on CUDA devices, with a driver in the place of CUDA's: tensors that say they are there."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DeviceMesh, Replicate, Shard, distribute_tensor

import fastinit as fi
import fastinit.cuda
import fastinit.torch as ft
from conftest import same
from fastinit.cuda import driver
from fastinit.torch import intercepting, memory

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cuda"))
from host.stand_in import StandIn

STREAM = 5


class Gpu:
    """Which storages are on the stand-in's device, and what has been asked of it."""

    def __init__(self):
        self.storages = set()
        self.driver = StandIn()

    def move(self, tensor):
        self.storages.add(tensor.untyped_storage().data_ptr())
        return tensor

    def has(self, tensor):
        return tensor.untyped_storage().data_ptr() in self.storages

    @property
    def launches(self):
        return [entry for entry in self.driver.log if entry[0] == "launch"]


@pytest.fixture
def gpu(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    made = Gpu()
    driver.use(made.driver)
    fastinit.cuda.why_unavailable.cache_clear()
    monkeypatch.setattr(memory, "on_host", lambda tensor: not made.has(tensor))
    monkeypatch.setattr(memory, "on_cuda", made.has)
    monkeypatch.setattr(memory, "stream_of", lambda tensor: STREAM)
    yield made
    gc.collect()
    assert not made.driver.allocated
    assert all(entry[2:] == (0, STREAM) for entry in made.launches)
    driver.use(None)
    fastinit.cuda.why_unavailable.cache_clear()


@pytest.fixture(scope="module")
def process_group():
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()
    else:
        yield


FILLS = {
    "uniform_": (ft.uniform_, {"a": -0.1, "b": 0.3}),
    "normal_": (ft.normal_, {"std": 0.02}),
    "trunc_normal_": (ft.trunc_normal_, {"std": 0.5, "a": -1.0, "b": 0.7}),
    "xavier_uniform_": (ft.xavier_uniform_, {}),
    "xavier_normal_": (ft.xavier_normal_, {}),
    "kaiming_uniform_": (ft.kaiming_uniform_, {"a": 5**0.5}),
    "kaiming_normal_": (ft.kaiming_normal_, {"nonlinearity": "relu"}),
    "sparse_": (ft.sparse_, {"sparsity": 0.3}),
}


@pytest.mark.parametrize("function", FILLS)
@pytest.mark.parametrize("layout", ["whole", "transposed", "sliced"])
def test_every_function_fills_there_what_it_fills_here(gpu, dtype, function, layout):
    fill_, given = FILLS[function]

    def tensor():
        if layout == "transposed":
            return torch.zeros(37, 50, dtype=dtype).T
        return (
            torch.zeros(50, 37, dtype=dtype) if layout == "whole" else torch.zeros(120, 40, dtype=dtype)[3:103:2, 1:38]
        )

    for seeded in ({"seed": 3, "name": "w"}, {}):
        torch.manual_seed(7)
        here = fill_(tensor(), **given, **seeded)
        torch.manual_seed(7)
        there = gpu.move(tensor())
        version = there._version
        assert fill_(there, **given, **seeded) is there
        assert same(here, there)
        assert there._version > version
        assert (
            torch.rand(1).item() == (torch.manual_seed(7), fill_(tensor(), **given, **seeded), torch.rand(1).item())[2]
        )
    assert gpu.launches


def test_dirac_and_a_parameter_that_requires_grad(gpu, dtype):
    here, there = torch.zeros(8, 4, 3, dtype=dtype), gpu.move(torch.zeros(8, 4, 3, dtype=dtype))
    assert same(ft.dirac_(here, 2), ft.dirac_(there, 2))
    parameter = torch.nn.Parameter(gpu.move(torch.zeros(5, dtype=dtype)))
    ft.normal_(parameter, seed=0, name="p")
    assert same(parameter, ft.normal_(torch.zeros(5, dtype=dtype), seed=0, name="p"))


def test_orthogonal_is_made_there(gpu, dtype, monkeypatch):
    """A square one, a tall one and a transposed one, from torch's generator and by name; nothing passes through the CPU."""
    monkeypatch.setattr(memory, "_copy", None)
    for rows, columns in [(40, 37), (150, 6), (6, 150)]:
        torch.manual_seed(7)
        here = ft.orthogonal_(torch.zeros(rows, columns, dtype=dtype), 0.5)
        torch.manual_seed(7)
        there = gpu.move(torch.zeros(rows, columns, dtype=dtype))
        assert same(ft.orthogonal_(there, 0.5), here)
        recipe = fi.recipe("orthogonal", (rows, columns), dtype=memory.DTYPES[dtype], seed=0, name="q")
        transposed = gpu.move(torch.zeros(columns, rows, dtype=dtype)).T
        assert same(ft.fill_(transposed, recipe), ft.tensor(recipe))
    delta = fi.recipe("delta_orthogonal", (8, 6, 3, 2), in_axis=1, out_axis=0, dtype=memory.DTYPES[dtype], seed=0)
    assert same(ft.fill_(gpu.move(torch.zeros(8, 6, 3, 2, dtype=dtype)), delta), ft.tensor(delta))
    assert gpu.launches


def test_composed_recipes(gpu):
    parts = [fi.recipe("normal", (16, 8), seed=0, name=name) for name in "qkv"]
    recipe = fi.paste(fi.concatenate(parts, groups=4), np.s_[::5], fi.literal(np.ones((10, 8), np.float32)))
    there = gpu.move(torch.zeros(48, 8))
    assert same(ft.fill_(there, recipe), recipe[...])
    assert same(ft.fill_(there[1::3].T, recipe.part(np.s_[1::3]).T), recipe[1::3].T)


def test_a_whole_module_with_ties_and_orthogonals(gpu):
    def model():
        torch.manual_seed(0)
        made = torch.nn.Sequential(
            torch.nn.Embedding(20, 8, padding_idx=3), torch.nn.Linear(8, 8), torch.nn.LSTM(8, 4), torch.nn.Linear(8, 20)
        )
        made[3].weight = made[0].weight
        return made

    rules = {"2.weight_hh*": "orthogonal", "*.weight": "normal", "*": fi.init("uniform", low=-0.1, high=0.1)}
    here, there = model(), model()
    for parameter in there.parameters():
        gpu.move(parameter)
    ft.init_module_(here, rules, seed=3)
    ft.init_module_(there, rules, seed=3)
    assert gpu.launches
    for (name, a), (_, b) in zip(here.named_parameters(), there.named_parameters()):
        assert same(a, b), name


def test_overlapping_parameters_are_told(gpu):
    module = torch.nn.Module()
    memory = gpu.move(torch.zeros(10))
    module.a, module.b = torch.nn.Parameter(memory[:6]), torch.nn.Parameter(memory[4:])
    with pytest.raises(ValueError, match="a and b share elements"):
        ft.init_module_(module, {"*": "uniform"})


def test_memory_that_is_refused(gpu):
    overlapping = gpu.move(torch.zeros(10)).as_strided((4, 4), (1, 1))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="overlaps itself"):
        ft.normal_(overlapping)
    assert (torch.get_rng_state() == before).all()


def test_dtensor_shards(gpu, process_group):
    mesh = DeviceMesh("cpu", [0])
    for placements in ([Shard(0)], [Shard(1)], [Replicate()]):
        tensor = distribute_tensor(torch.zeros(12, 10), mesh, placements)
        gpu.move(tensor.to_local())
        ft.kaiming_normal_(tensor, seed=1, name="w")
        assert same(tensor.to_local(), ft.kaiming_normal_(torch.zeros(12, 10), seed=1, name="w"))
    assert gpu.launches


def test_without_a_device_it_is_said(gpu, monkeypatch):
    monkeypatch.setattr(gpu.driver, "devices", lambda: [])
    fastinit.cuda.why_unavailable.cache_clear()
    there = gpu.move(torch.zeros(5, 5))
    with pytest.raises(RuntimeError, match="there is no CUDA device here"):
        ft.normal_(there)
    assert not memory.fills_on("cuda")
    assert memory.fills_on("cpu")
    assert not memory.fills_on("mps")


def test_intercept_fills_what_is_there(gpu):
    there, here = gpu.move(torch.zeros(30, 20)), torch.zeros(30, 20)
    for tensor in (here, there):
        with ft.intercept(seed=2) as count:
            torch.nn.init.kaiming_uniform_(tensor)
            tensor.normal_(0, 0.3)
            torch.nn.init.trunc_normal_(tensor, std=0.02)
        assert count.fills == 3
    assert same(here, there)
    assert len(gpu.launches) == 3
    assert intercepting._is_fillable(there)


def test_intercept_and_shards_of_orthogonal_matrices(gpu, process_group):
    there, here = gpu.move(torch.zeros(30, 20)), torch.zeros(30, 20)
    for tensor in (here, there):
        with ft.intercept(seed=2) as count:
            torch.nn.init.orthogonal_(tensor)
        assert count.fills == 1
    assert same(here, there)
    mesh = DeviceMesh("cpu", [0])
    for shape in ((20, 20), (200, 6)):
        tensor = distribute_tensor(torch.zeros(shape), mesh, [Shard(0)])
        gpu.move(tensor.to_local())
        ft.orthogonal_(tensor, seed=1, name="w")
        assert same(tensor.to_local(), ft.orthogonal_(torch.zeros(shape), seed=1, name="w"))
    assert gpu.launches


def test_fill_by_the_general_function(gpu):
    """`fastinit.cuda.fill` of a tensor: by DLPack, on torch's current stream."""

    class Tensor(torch.Tensor):
        __cuda_array_interface__ = property(lambda self: None)

        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, **given):
            assert given["stream"] == -1
            return self.as_subclass(torch.Tensor).__dlpack__()

    Tensor.__module__ = "torch"
    recipe = fi.recipe("normal", (6, 5), dtype="bfloat16", seed=0, name="w")
    there = torch.zeros(5, 6, dtype=torch.bfloat16).T.as_subclass(Tensor)
    stream = type("Stream", (), {"cuda_stream": STREAM})()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "current_stream", lambda device: stream)
        fi.cuda.fill(there, recipe)
    assert same(there.as_subclass(torch.Tensor), ft.tensor(recipe))
