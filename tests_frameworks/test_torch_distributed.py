"""DTensor, FSDP2, tensor parallel, ShardedTensor: gathered, they are the single-process result bit for bit."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import fastinit as fi
from conftest import same
from fastinit.torch import fill_, init_module_, intercept, shards
from fastinit.torch import normal_ as our_normal_
from processes import in_processes

# ---- which rows, without processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 7, 8, 9, 16, 17, 23])
def test_positions_are_torchs(size):
    """For every coordinate of a 2 x 3 mesh: what torch cuts out of a list of all positions."""
    from torch.distributed.tensor.placement_types import Shard, _StridedShard

    choices = [Shard(0), *(_StridedShard(0, split_factor=factor) for factor in (1, 2, 3, 5))]
    for placements in itertools.product(choices, choices):
        for coordinate in itertools.product(range(2), range(3)):
            theirs, mine = torch.arange(size), [range(size)]
            for placement, among, k in zip(placements, (2, 3), coordinate):
                theirs = placement._split_tensor(theirs, among, with_padding=False)[0][k]
                mine = shards.divide(mine, getattr(placement, "split_factor", 1), among, k)
            assert [position for run in mine for position in run] == theirs.tolist()
            assert all(a.stop < b.start for a, b in itertools.pairwise(mine) if b.start > a.start)


# ---- DTensor ---------------------------------------------------------------------------------------------------

DRAWS = [
    ("normal", {"std": 0.5}, "float32"),
    ("he_normal", {"in_axis": 1, "out_axis": 0}, "bfloat16"),
    ("truncated_normal", {}, "float64"),
    ("orthogonal", {"out_axis": 0}, "float32"),
    ("eye", {}, "float32"),
]
SHAPES = [(8, 6), (7, 5), (3, 4), (1, 9), (40, 3)]


def placed(recipe, mesh, placements):
    """A DTensor of the recipe's shape, full of sevens; cut by torch's placements, one after the other."""
    from torch.distributed.tensor import DTensor, Replicate

    dtype = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}[recipe.to_dict()["dtype"]]
    whole = local = torch.full(recipe.shape, 7.0, dtype=dtype)
    for axis, placement in enumerate(placements):
        if not isinstance(placement, Replicate):
            shards, _ = placement._split_tensor(local, mesh.size(axis), with_padding=False)
            local = shards[mesh.get_coordinate()[axis]]
    local = local.clone()
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride())


def check_every_placement(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    meshes = [(init_device_mesh("cpu", (world,)), [(Shard(0),), (Shard(1),), (Replicate(),)])]
    if world == 4:
        meshes.append(
            (
                init_device_mesh("cpu", (2, 2)),
                [
                    (Shard(0), Shard(1)),
                    (Shard(1), Shard(0)),
                    (Shard(0), Shard(0)),
                    (Replicate(), Shard(0)),
                    (Shard(1), Replicate()),
                    (_StridedShard(0, split_factor=2), Shard(0)),
                    (_StridedShard(1, split_factor=2), Shard(1)),
                ],
            )
        )
    for mesh, all_placements in meshes:
        for placements, shape, (kind, parameters, dtype) in itertools.product(all_placements, SHAPES, DRAWS):
            recipe = fi.recipe(kind, shape, dtype=dtype, seed=4, name="w", **parameters)
            tensor = placed(recipe, mesh, placements)
            assert fill_(tensor, recipe) is tensor
            assert same(tensor.full_tensor(), recipe[...]), (placements, shape, kind)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_placement(world):
    in_processes(world, check_every_placement, world)


def check_the_rest():
    """What needs four processes, and no more than one start of them."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    rank = dist.get_rank()
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))

    # partial sums belong to nobody
    partial = DTensor.from_local(torch.full((4, 4), 7.0), mesh, [Replicate(), Partial()])
    for fill in (lambda: our_normal_(partial, seed=0), lambda: fill_(partial, fi.recipe("normal", (4, 4), seed=0))):
        with pytest.raises(ValueError, match="sum"):
            fill()
    assert (partial.to_local() == 7).all()

    # fans come from the global shape, and torch's arguments stay what they are
    weight = distribute_tensor(torch.zeros(64, 32), mesh, [Shard(0), Shard(1)])
    fi.torch.kaiming_uniform_(weight, seed=2, name="w")
    assert same(weight.full_tensor(), fi.he_uniform((64, 32), in_axis=1, out_axis=0, seed=2, name="w"))
    fi.torch.sparse_(weight, 0.4, seed=2, name="w")
    assert same(weight.full_tensor(), fi.torch.sparse_(torch.empty(64, 32), 0.4, seed=2, name="w"))

    kernel = distribute_tensor(torch.full((8, 6, 3), 7.0), mesh, [Shard(0), Shard(1)])
    fi.torch.dirac_(kernel, 2)
    assert same(kernel.full_tensor(), torch.nn.init.dirac_(torch.empty(8, 6, 3), 2))

    # without a seed, all processes draw from the seed of the first, whatever their generators say
    torch.manual_seed(0)
    expected = our_normal_(torch.empty(9, 5))
    torch.manual_seed(rank)
    for placements in ([Replicate(), Replicate()], [Shard(0), Replicate()], [Shard(1), Shard(0)]):
        torch.manual_seed(rank)
        tensor = our_normal_(distribute_tensor(torch.zeros(9, 5), mesh, placements))
        assert same(tensor.full_tensor(), expected)

    # intercept
    with intercept(3) as filling:
        tensor = distribute_tensor(torch.zeros(9, 5), mesh, [Shard(0), Shard(1)])
        nn.init.trunc_normal_(tensor, std=0.5, a=-1, b=1)
        other = nn.init.orthogonal_(distribute_tensor(torch.zeros(9, 5), mesh, [Shard(1), Shard(0)]))
    assert filling.fills == 2
    assert same(tensor.full_tensor(), fi.truncated_normal((9, 5), std=0.5, seed=3, name="0"))
    assert same(other.full_tensor(), fi.orthogonal((9, 5), out_axis=0, seed=3, name="1"))
    torch.manual_seed(rank)
    with intercept():
        for _ in range(rank):  # fills of their own
            torch.randn(2)
        tensor = nn.init.normal_(distribute_tensor(torch.zeros(9, 5), mesh, [Replicate(), Shard(1)]))
    whole = tensor.full_tensor()
    gathered = [torch.empty_like(whole) for _ in range(4)]
    dist.all_gather(gathered, whole)
    assert all(torch.equal(whole, other) for other in gathered)

    # versions, so that autograd knows
    leaf = nn.Parameter(distribute_tensor(torch.zeros(8, 8), mesh, [Shard(0), Replicate()]))
    version = leaf._version, leaf._local_tensor._version
    assert our_normal_(leaf, seed=0) is leaf
    assert leaf._version > version[0]
    assert leaf._local_tensor._version > version[1]

    # two parameters on the same shards are one
    shared = distribute_tensor(torch.zeros(8, 8), mesh, [Shard(0), Shard(1)])
    module = nn.ParameterDict({"a": nn.Parameter(shared), "b": nn.Parameter(shared.detach())})
    init_module_(module, {"*": "normal"}, seed=1)
    assert same(module["b"].full_tensor(), fi.normal((8, 8), seed=1, name="a"))

    # inference tensors
    with torch.inference_mode():
        frozen = distribute_tensor(torch.zeros(8, 8), mesh, [Shard(0), Shard(1)])
    with pytest.raises(RuntimeError, match="inference"):
        our_normal_(frozen, seed=0)

    # processes outside a mesh hold nothing
    pair = distribute_tensor(torch.zeros(6, 4), DeviceMesh("cpu", [1, 2]), [Shard(0)])
    our_normal_(pair, seed=5)
    if rank in (1, 2):
        assert same(pair.full_tensor(), fi.normal((6, 4), seed=5))

    # an embedding's padding row lies in one shard of the rows, and in all of the columns
    for placement in (Shard(0), Shard(1)):
        module = nn.Embedding(13, 6, padding_idx=8)
        module.weight = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [placement, placement]))
        init_module_(module, {"*": "normal"}, seed=1)
        expected = fi.normal((13, 6), seed=1, name="weight")
        expected[8] = 0
        assert same(module.weight.full_tensor(), expected)

    check_sharded_tensor(rank)


def check_sharded_tensor(rank):
    """The shards of a table, as TorchRec keeps them in a state dict."""
    from torch.distributed._shard import sharded_tensor
    from torch.distributed._shard.sharding_spec import ChunkShardingSpec

    for dim in (0, 1):
        spec = ChunkShardingSpec(dim, placements=[f"rank:{r}/cpu" for r in range(4)])
        table = sharded_tensor.zeros(spec, 10, 7)
        recipe = fi.recipe("uniform", (10, 7), seed=6, name="table")
        fill_(table, recipe)
        for shard in table.local_shards():
            where = tuple(slice(o, o + n) for o, n in zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes))
            assert same(shard.tensor, recipe[where])
            assert shard.tensor.numel()


def test_the_rest():
    in_processes(4, check_the_rest)


# ---- FSDP2 and tensor parallel ---------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(10, 22)
        self.down = nn.Linear(22, 10)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(19, 10, padding_idx=1)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.BatchNorm1d(10)
        self.head = nn.Linear(10, 19, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, tokens):
        x = self.emb(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


RULES = {
    "emb.weight": fi.init("normal", std=0.3),
    "*.bias": "zeros",
    "norm.weight": "ones",
    "*.down.weight": "orthogonal",
    "*": "he_normal",
}


def check_against_one_process(module):
    alone = init_module_(Net(), RULES, seed=8)
    expected = dict(alone.named_parameters())
    names = set()
    for name, parameter in module.named_parameters():
        clean = name.replace("_orig_mod.", "")
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        assert same(whole, expected[clean]), name
        names.add(clean)
    assert names == set(expected)
    tokens = torch.arange(12).remainder(19)
    with torch.no_grad():
        assert torch.allclose(module(tokens), alone(tokens), atol=1e-5)


def check_fsdp(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (world,))
    for compiled in (False, True):
        with torch.device("meta"):
            module = Net()
        for block in module.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        assert module.blocks[0].up.weight.is_meta
        module.blocks[0].up.weight.mark = module.emb.weight.mark = "kept"
        module.blocks[1].up.weight.requires_grad_(False)
        init_module_(torch.compile(module, backend="eager") if compiled else module, RULES, seed=8)
        assert module.blocks[0].up.weight.mark == module.emb.weight.mark == "kept"
        assert module.head.weight is module.emb.weight
        assert not module.blocks[1].up.weight.requires_grad
        check_against_one_process(module)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_fsdp_from_meta(world):
    in_processes(world, check_fsdp, world)


def check_fsdp_and_tensor_parallel():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    for meta in (True, False):
        with torch.device("meta" if meta else "cpu"):
            module = Net()
        for block in module.blocks:
            parallelize_module(block, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
            fully_shard(block, mesh=mesh["dp"])
        fully_shard(module, mesh=mesh["dp"])
        init_module_(module, RULES, seed=8)
        placements = module.blocks[0].up.weight.placements
        assert type(placements[0]).__name__ == "_StridedShard", placements  # the rows are not neighbours
        check_against_one_process(module)

    # replicated over dp, sharded over tp's axis
    with torch.device("meta"):
        module = Net()
    fully_shard(module, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
    init_module_(module, RULES, seed=8)
    check_against_one_process(module)

    # intercept fills what an existing model's own reset_parameters asks for, shard by shard
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(10, 22), nn.Linear(22, 10))
    fully_shard(module, mesh=mesh["dp"])
    module.to_empty(device="cpu")
    with intercept(9) as filling:
        for child in module:
            child.reset_parameters()
    with intercept(9):
        alone = nn.Sequential(nn.Linear(10, 22), nn.Linear(22, 10))
    assert filling.fills == 4
    for mine, theirs in zip(module.parameters(), alone.parameters()):
        assert same(mine.full_tensor(), theirs)


def test_fsdp_and_tensor_parallel():
    in_processes(4, check_fsdp_and_tensor_parallel)


def check_torchrec():
    """Tables cut by rows, by columns and whole; TorchRec's own objects, of which a process has its pieces."""
    import torchrec
    from torchrec.distributed import DistributedModelParallel
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.sharding_plan import column_wise, construct_module_sharding_plan, row_wise, table_wise
    from torchrec.distributed.types import ShardingPlan

    for cut in (
        lambda table: row_wise(),
        lambda table: column_wise(ranks=[0, 1]),
        lambda table: table_wise(rank=table),
    ):
        tables = [
            torchrec.EmbeddingBagConfig(name=f"t{i}", embedding_dim=16, num_embeddings=101 + i, feature_names=[f"f{i}"])
            for i in range(2)
        ]
        module = nn.Module()
        module.bags = torchrec.EmbeddingBagCollection(device=torch.device("meta"), tables=tables)
        sharder = EmbeddingBagCollectionSharder()
        plan = construct_module_sharding_plan(
            module.bags, {f"t{i}": cut(i) for i in range(2)}, sharder, local_size=2, world_size=2, device_type="cpu"
        )
        module = DistributedModelParallel(
            module, device=torch.device("cpu"), plan=ShardingPlan({"bags": plan}), sharders=[sharder]
        )
        init_module_(module, {"*": fi.init("normal", std=0.02)}, seed=3)
        for name, tensor in module.state_dict().items():
            recipe = fi.recipe("normal", tuple(tensor.size()), std=0.02, seed=3, name=name)
            for shard in tensor.local_shards():
                offsets, sizes = shard.metadata.shard_offsets, shard.metadata.shard_sizes
                assert same(shard.tensor, recipe[tuple(slice(o, o + n) for o, n in zip(offsets, sizes))])


def test_torchrec():
    pytest.importorskip("torchrec", reason="torchrec is tried where it is installed: 1.8.0 with fbgemm-gpu-cpu 1.8.0")
    in_processes(2, check_torchrec)


def check_data_parallel():
    from torch.nn.parallel import DistributedDataParallel

    module = DistributedDataParallel(Net())
    init_module_(module, RULES, seed=8)
    check_against_one_process(module.module)


def test_data_parallel():
    in_processes(2, check_data_parallel)


def test_rows_of_a_column_shard():
    """`take` of evicted rows of a table that is cut by columns."""
    table = fi.recipe("normal", (1000, 64), std=0.02, seed=1, name="emb")
    shard = table.part(np.s_[:, 16:32])
    assert (shard.take([999, 3, 3]) == table.take([999, 3, 3])[:, 16:32]).all()
