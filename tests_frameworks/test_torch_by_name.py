"""init_module_ by recipes under names: meta, FSDP2, tensor parallel, ties, buffers, dtypes; what is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import fastinit as fi
from conftest import DTYPES, same
from fastinit.torch import init_module_
from processes import in_processes


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(10, 30), nn.Linear(30, 10)

    def forward(self, x):
        return self.out(self.qkv(x))


class Net(nn.Module):
    """Ties, a fused weight, buffers that are kept and one that is not."""

    def __init__(self, tied=True):
        super().__init__()
        self.emb = nn.Embedding(19, 10, padding_idx=2)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.BatchNorm1d(10)
        self.register_buffer("freq", torch.ones(5))
        self.register_buffer("scratch", torch.ones(3), persistent=False)
        self.head = nn.Linear(10, 19, bias=False)
        if tied:
            self.head.weight = self.emb.weight


def recipes_of(prefix="", dtype="float32"):
    """What a recording of `Net` would give: drawn, constant, fused, pasted, a transpose, literals."""

    def drawn(name, shape, kind="normal", **given):
        return fi.recipe(kind, shape, seed=3, name=name, dtype=dtype, **given)

    made = {"emb.weight": fi.paste(drawn("emb.weight", (19, 10)), np.s_[2], drawn("", (10,), "zeros"))}
    for n in range(2):
        block = f"blocks.{n}"
        made[f"{block}.qkv.weight"] = fi.concatenate([drawn(f"{block}.{x}", (10, 10)) for x in "qkv"])
        made[f"{block}.qkv.bias"] = drawn(f"{block}.qkv.bias", (30,), "uniform", low=-0.3, high=0.3)
        made[f"{block}.out.weight"] = drawn(f"{block}.out.weight", (30, 10), "truncated_normal", std=0.1).T
        made[f"{block}.out.bias"] = drawn(f"{block}.out.bias", (10,), "zeros")
    made["norm.weight"], made["norm.bias"] = drawn("norm.weight", (10,), "ones"), drawn("norm.bias", (10,), "zeros")
    made["norm.running_mean"] = drawn("norm.running_mean", (10,), "constant", value=0.25)
    values = np.linspace(0, 1, 5, dtype=np.float32)
    made["freq"] = (
        fi.literal(torch.from_numpy(values).to(getattr(torch, dtype)).view(torch.uint16).numpy(), dtype)
        if dtype == "bfloat16"
        else fi.literal(values.astype(dtype))
    )
    return {prefix + name: recipe for name, recipe in made.items()}


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def check(module, recipes, clean=lambda name: name):
    found = {clean(name): tensor for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    for name, recipe in recipes.items():
        assert same(whole(found[name]), recipe[...]), name


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_every_named_tensor_gets_its_recipe(meta, tied):
    recipes = recipes_of()
    if not tied:
        recipes["head.weight"] = fi.recipe("normal", (19, 10), seed=3, name="head.weight")
    with torch.device("meta" if meta else "cpu"):
        module = Net(tied)
    given = {"buffers": lambda module: module.scratch.fill_(7)} if meta else {}
    assert init_module_(module, recipes, **given) is module
    check(module, recipes)
    assert (module.head.weight is module.emb.weight) == tied
    assert (module.emb.weight[2] == 0).all()
    assert (module.norm.running_var == 1).all()
    assert int(module.norm.num_batches_tracked) == 0
    assert (module.scratch == (7 if meta else 1)).all()


def test_a_buffer_that_is_not_kept_is_set_where_it_is_named():
    module = Net()
    recipes = recipes_of() | {"scratch": fi.literal(np.arange(3.0, dtype=np.float32))}
    check(init_module_(module, recipes), recipes)


def test_buffers_on_meta_need_a_recipe_or_buffers():
    with torch.device("meta"):
        module = Net()
    with pytest.raises(ValueError, match="buffers on meta would be left without values: scratch"):
        init_module_(module, recipes_of())
    assert module.emb.weight.is_meta


def test_wrappers_and_a_prefix_do_not_count():
    recipes = recipes_of("model.") | {"other.weight": fi.recipe("ones", 3, seed=0)}
    module = torch.compile(nn.DataParallel(Net()), backend="eager")
    init_module_(module, recipes, prefix="model.")
    del recipes["other.weight"]
    check(module, recipes, lambda name: "model." + name.replace("_orig_mod.", "").removeprefix("module."))


def test_names_that_look_like_globs():
    module = nn.ParameterDict({"a[0]": torch.empty(3), "b*": torch.empty(3)})
    recipes = {name: fi.recipe("normal", 3, seed=0, name=name) for name in ("a[0]", "b*")}
    check(init_module_(module, recipes), recipes)
    single = nn.ParameterList([torch.empty(3)])
    init_module_(single, {"*": recipes["b*"]})  # a rule, as before
    assert same(single[0], recipes["b*"][...])


def test_either_name_of_a_tie_will_do():
    recipes = recipes_of()
    recipes["head.weight"] = recipes.pop("emb.weight")
    check(init_module_(Net(), recipes), {"emb.weight": recipes.pop("head.weight"), **recipes})
    both = recipes_of() | {"head.weight": recipes_of()["emb.weight"]}
    check(init_module_(Net(), both), recipes)


def without(name):
    return {key: recipe for key, recipe in recipes_of().items() if key != name}


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        (lambda: without("emb.weight"), "there is no recipe for emb.weight"),
        (lambda: recipes_of() | {"more": fi.recipe("ones", 3, seed=0)}, "the module has no more"),
        (
            lambda: recipes_of() | {"norm.weight": fi.recipe("ones", 11, seed=0)},
            r"norm.weight: .* shape \(11,\), .* \(10,\)",
        ),
        (lambda: recipes_of() | {"freq": fi.recipe("ones", (5, 1), seed=0)}, r"freq: its recipe has shape \(5, 1\)"),
        (
            lambda: recipes_of() | {"head.weight": fi.recipe("ones", (19, 10), seed=0)},
            "emb.weight and head.weight are one tensor, and their recipes differ",
        ),
        (
            lambda: {"x": fi.recipe("ones", 3, seed=0)},
            "there is no recipe for emb.weight, blocks.0.qkv.weight, .* and 6 more; the module has no x",
        ),
        (
            lambda: recipes_of() | {"norm.num_batches_tracked": fi.recipe("zeros", (), seed=0)},
            "norm.num_batches_tracked: a tensor of torch.int64 cannot be filled",
        ),
        (lambda: recipes_of(dtype="float64"), "float64 has other random numbers"),
    ],
)
@pytest.mark.parametrize("meta", [False, True])
def test_what_does_not_fit_is_refused_in_one_line_before_anything_changes(meta, recipes, message):
    with torch.device("meta" if meta else "cpu"):
        module = Net()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=message) as caught:
        init_module_(module, recipes(), buffers=lambda module: None)
    assert "\n" not in str(caught.value)
    for name, tensor in module.state_dict().items():
        assert tensor.is_meta == before[name].is_meta, name
        assert meta or torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("own", [name for name in DTYPES.values() if name != "float64"])
@pytest.mark.parametrize("wanted", [torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_is_the_modules(own, wanted):
    """The values are those that a recipe of the module's dtype has; literals are rounded once."""
    recipes = recipes_of(dtype=own)
    module = init_module_(Net().to(wanted), recipes)
    asked = recipes_of(dtype=DTYPES[wanted])
    for name in ("emb.weight", "blocks.1.qkv.weight", "blocks.0.out.weight", "norm.running_mean"):
        assert same(module.state_dict()[name], asked[name][...]), name
    literal = torch.empty(5, dtype=getattr(torch, own))
    fi.torch.fill_(literal, recipes["freq"])
    assert same(module.freq, literal.to(wanted))


def test_parameters_of_a_dtype_each():
    module = Net()
    module.norm.to(torch.float64)
    module.blocks[0].to(torch.bfloat16)
    recipes = recipes_of()
    for name in ("norm.weight", "norm.bias", "norm.running_mean"):
        recipes[name] = fi.recipe("normal", 10, dtype="float64", seed=0, name=name)
    init_module_(module, recipes)
    assert same(module.blocks[0].qkv.weight, recipes_of(dtype="bfloat16")["blocks.0.qkv.weight"][...])
    assert same(module.norm.weight, recipes["norm.weight"][...])


def test_weights_that_are_computed_go_by_their_parts():
    """As state_dict names them: nothing is derived, all parts are given."""
    module = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)),
        nn.utils.spectral_norm(nn.Linear(3, 3)),
    )
    recipes = {
        name: fi.recipe("normal", tuple(tensor.shape), seed=0, name=name)
        for name, tensor in module.state_dict().items()
    }
    init_module_(module, recipes)
    for name, tensor in module.state_dict().items():
        assert same(tensor, recipes[name][...]), name
    copied = copy.deepcopy(module.eval())
    assert torch.equal(copied(torch.ones(4)), module(torch.ones(4)))
    u, v, w = (module[2].state_dict()[name] for name in ("weight_u", "weight_v", "weight_orig"))
    assert torch.allclose(module[2].weight, w / (u @ w @ v))


def check_sharded(world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    recipes = recipes_of()
    given = {"buffers": lambda module: module.scratch.fill_(7)}
    for parallel in (False, True) if world == 4 else (False,):
        with torch.device("meta"):
            module = Net()
        shape, names = ((2, 2), ("dp", "tp")) if parallel else ((world,), ("dp",))
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        for block in module.blocks:
            if parallel:
                parallelize_module(block, mesh["tp"], {"qkv": ColwiseParallel(), "out": RowwiseParallel()})
            fully_shard(block, mesh=mesh["dp"])
        fully_shard(module, mesh=mesh["dp"])
        with pytest.raises(ValueError, match=r"there is no recipe for norm\.bias"):
            init_module_(module, without("norm.bias"), **given)
        assert module.emb.weight.is_meta
        init_module_(module, recipes, **given)
        check(module, recipes)
        assert module.head.weight is module.emb.weight
    with torch.device("meta"):
        module = Net().to(torch.bfloat16)
    fully_shard(module, mesh=init_device_mesh("cpu", (world,)))
    init_module_(module, recipes, **given)
    asked = recipes_of(dtype="bfloat16")
    check(module, {name: asked[name] for name in asked if name != "freq"})


@pytest.mark.parametrize("world", [1, 2, 4])
def test_fsdp_and_tensor_parallel_from_meta(world):
    in_processes(world, check_sharded, world)


def test_the_written_checkpoint_holds_the_same(tmp_path):
    from safetensors.torch import load_file

    recipes = recipes_of()
    fi.checkpoint.dump_manifest(tmp_path / "m.toml", recipes)
    fi.checkpoint.save(tmp_path / "out", fi.checkpoint.load_manifest(tmp_path / "m.toml"), max_shard_size="1KB")
    module = init_module_(Net(), recipes)
    stored = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        stored |= load_file(file)
    state = module.state_dict()
    assert set(stored) == set(recipes)
    assert all(torch.equal(state[name], stored[name]) for name in stored)
