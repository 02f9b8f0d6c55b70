"""Composed tensors in torch: whole, in shards, under FSDP2 and tensor parallel, equal to the parts."""

import itertools

import pytest
import torch
from torch import nn

import fastinit as fi
import fastinit.torch
from conftest import same
from fastinit.torch import fill_, init_module_
from fused_tensors import D, drawn, fused
from processes import in_processes


@pytest.mark.parametrize("which", fused())
def test_torch_tensors(which):
    recipe, wanted = fused()[which]
    made = fi.torch.tensor(recipe)
    assert made.dtype == (torch.bfloat16 if which == "experts" else torch.float32)
    assert same(made, wanted)
    strided = torch.zeros(*recipe.shape[:-1], 3 * recipe.shape[-1], dtype=made.dtype)[..., 1::3]
    assert same(fill_(strided, recipe), wanted)


def test_a_shard_of_one_process():
    recipe, wanted = fused()["gate_up"]
    for rank in range(4):
        columns = slice(None), slice(3 * rank, 3 * rank + 3)
        assert same(fill_(torch.empty(28, 3), recipe.part(columns)), wanted[columns])


def placed(like, mesh, placements):
    """A DTensor full of sevens, cut by torch's placements, one after the other."""
    from torch.distributed.tensor import DTensor, Replicate

    local = whole = torch.full_like(like, 7)
    for axis, placement in enumerate(placements):
        if not isinstance(placement, Replicate):
            pieces, _ = placement._split_tensor(local, mesh.size(axis), with_padding=False)
            local = pieces[mesh.get_coordinate()[axis]]
    return DTensor.from_local(
        local.clone(), mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def check_every_placement(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    meshes = {(world,): [(Shard(0),), (Shard(1),), (Replicate(),)]}
    if world == 4:
        meshes[2, 2] = [
            *itertools.product([Shard(0), Shard(1), Replicate()], repeat=2),
            (_StridedShard(0, split_factor=2), Shard(0)),
            (_StridedShard(1, split_factor=2), Shard(1)),
            (Replicate(), _StridedShard(0, split_factor=2)),
        ]
    for shape, all_placements in meshes.items():
        mesh = init_device_mesh("cpu", shape)
        for placements, (which, (recipe, wanted)) in itertools.product(all_placements, fused().items()):
            tensor = fill_(placed(fi.torch.tensor(recipe), mesh, placements), recipe)
            assert same(tensor.full_tensor(), wanted), (which, placements)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_placement(world):
    in_processes(world, check_every_placement, world)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(19, D, padding_idx=1)
        self.qkv = nn.Linear(D, 32, bias=False)
        self.gate_up = nn.Linear(D, 28)
        self.down = nn.Linear(28, D)
        self.head = nn.Linear(19, D, bias=False)


def rules():
    recipes = {name: recipe for name, (recipe, _) in fused().items()}
    down = fi.concatenate([drawn("down.0", D, 14), drawn("down.1", D, 14)], axis=1)
    return {
        **{f"{name}.weight": recipes[name] for name in ("emb", "qkv", "gate_up", "head")},
        "down.weight": down,
        "*.bias": "zeros",
    }


def check_module(module):
    given, wanted = rules(), fused()
    for name, parameter in module.named_parameters():
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        which = name.partition(".")[0]
        if name.endswith("bias"):
            assert not whole.any()
        else:
            assert same(whole, wanted[which][1] if which in wanted else given[name][...]), name


def test_init_module_takes_recipes():
    check_module(init_module_(Fused(), rules()))
    with torch.device("meta"):
        module = Fused()
    check_module(init_module_(module, rules(), seed=3))


def test_init_module_refuses_recipes_that_do_not_fit():
    module = Fused()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    good = rules()
    wide = good["qkv.weight"].T
    half = fi.torch.tensor(drawn("q", 32, D, dtype="float16"))
    for wrong, what in [
        ({"qkv.weight": wide}, r"qkv.weight: its recipe is of shape \(12, 32\) and float32"),
        ({"qkv.weight": drawn("q", 32, D, dtype="float16")}, "float16"),
        ({"*.bias": drawn("b", 28)}, "down.bias: its recipe is that of gate_up.bias already"),
        ({"qkv.weight": half}, "a name, an Initializer or a Recipe is needed, not Tensor"),
    ]:
        with pytest.raises((ValueError, TypeError), match=what):
            init_module_(module, {**wrong, **{k: v for k, v in good.items() if k not in wrong}})
    twins = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
    with pytest.raises(ValueError, match=r"1.weight: its recipe is that of 0.weight already"):
        init_module_(twins, {"*": drawn("w", 4, 4)})
    assert all(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_computed_weight_takes_a_composed_recipe(norm):
    recipe = fi.concatenate([drawn("a", 30, 80), drawn("b", 50, 80)])
    module = norm(nn.Linear(80, 80, bias=False)).eval()
    init_module_(module, {"weight": recipe})
    expected = torch.as_tensor(recipe[...])
    if norm is nn.utils.parametrizations.spectral_norm:
        expected = expected / torch.linalg.matrix_norm(expected, 2)
    assert torch.allclose(module.weight, expected, atol=1e-5)
    again = init_module_(norm(nn.Linear(80, 80, bias=False)), {"weight": recipe}).state_dict()
    assert all(same(tensor, again[name]) for name, tensor in module.state_dict().items())
    with pytest.raises(ValueError, match=r"transpose (leaves|makes)"):
        init_module_(norm(nn.Linear(8, 8, bias=False)), {"weight": drawn("a", 8, 8, kind="zeros").T})


def check_fsdp(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for meta in (True, False):
        with torch.device("meta" if meta else "cpu"):
            module = Fused()
        check_module(init_module_(fully_shard(module, mesh=init_device_mesh("cpu", (world,))), rules()))
    mesh = init_device_mesh("cpu", (max(1, world // 2), min(world, 2)), mesh_dim_names=("dp", "tp"))
    plan = {"qkv": ColwiseParallel(), "gate_up": ColwiseParallel(), "down": RowwiseParallel(), "emb": RowwiseParallel()}
    with torch.device("meta"):
        module = parallelize_module(Fused(), mesh["tp"], plan)
    check_module(init_module_(fully_shard(module, mesh=mesh["dp"]), rules()))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_fsdp_and_tensor_parallel(world):
    in_processes(world, check_fsdp, world)
