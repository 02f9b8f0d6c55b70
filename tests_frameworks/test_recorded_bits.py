"""One recording's values by every way to them: filled in place, shard by shard, from files, with modules inserted."""

import pytest
import torch
from safetensors.torch import load_file

import fastinit as fi
import fastinit.torch as ft
import plain_modules
import transformers_models
from conftest import same
from likeness import tensors
from plain_modules import Decoder, on_meta_first
from processes import in_processes
from recorded import recorded

SIZES = {"experts": 3, "width": 40, "hidden": 56, "words": 101}  # rows that two and four processes cannot share evenly


def titan():
    return on_meta_first(**SIZES)


def llama():
    return transformers_models.build("LlamaForCausalLM", tie_word_embeddings=True)


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [titan, llama, *plain_modules.MODULES.values()], ids=lambda build: build.__name__)
@pytest.mark.filterwarnings("ignore")
def test_files_hold_the_same_bits(build, tmp_path):
    model, recipes = recorded(build)
    fi.checkpoint.save(tmp_path / "model.safetensors", recipes)
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == recipes.keys()
    state = model.state_dict()
    for name, tensor in read.items():
        assert same(tensor, state[name]), name

    fi.checkpoint.save(tmp_path / "folder", recipes, max_shard_size=30_000)
    pieces = {}
    for path in (tmp_path / "folder").glob("*.safetensors"):
        pieces |= load_file(path)
    assert pieces.keys() == read.keys()
    assert all(same(tensor, read[name]) for name, tensor in pieces.items())


@pytest.mark.parametrize("build", [titan, llama, *plain_modules.MODULES.values()], ids=lambda build: build.__name__)
@pytest.mark.filterwarnings("ignore")
def test_manifests_hold_the_same_recipes(build, tmp_path):
    recipes = recorded(build)[1]
    fi.checkpoint.dump_manifest(tmp_path / "model.toml", recipes)
    assert fi.checkpoint.load_manifest(tmp_path / "model.toml") == recipes


# ---- other modules of the same names ----------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_a_module_inserted_before_changes_no_other(tied):
    one, recipes = recorded(lambda: on_meta_first(experts=3, tied=tied))
    two, more = recorded(lambda: on_meta_first(experts=3, tied=tied, inserted=True))
    assert more.keys() - recipes.keys() == {"adapter.weight", "adapter.bias"}
    for name, tensor in tensors(one).items():
        assert same(tensor, tensors(two)[name]), name
    assert all(more[name] == recipe for name, recipe in recipes.items())


def test_layers_the_other_way_round_have_the_same_values():
    """Construction in another order: other numbers from torch's generator, but the same names."""

    def build(order):
        return torch.nn.ModuleDict(sorted(((i, torch.nn.LSTM(8, 8)) for i in order), key=lambda pair: pair[0]))

    one, recipes = recorded(lambda: build("abc"))
    two, same_recipes = recorded(lambda: build("cba"))
    assert recipes == same_recipes
    assert all(same(a, b) for a, b in zip(one.parameters(), two.parameters()))


# ---- meta, FSDP2 ------------------------------------------------------------------------------------------------


def set_other_buffers(filled, recipes):
    """A function that gives a module on meta the buffers that are in no checkpoint."""

    def set_buffers(module):
        for name, buffer in filled.named_buffers():
            if name not in recipes:
                owner, _, last = name.rpartition(".")
                setattr(module.get_submodule(owner), last, buffer.clone())

    return set_buffers


def check_against(module, filled):
    """A module's tensors, gathered, are those of the one that was recorded and filled."""
    expected = tensors(filled)
    found = tensors(module)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        assert same(whole, expected[name]), name


@pytest.mark.parametrize(
    ("build", "bare"), [(titan, lambda: Decoder(**SIZES)), (llama, llama)], ids=["titan", "llama, tied"]
)
def test_on_meta(build, bare):
    filled, recipes = recorded(build)
    with torch.device("meta"):
        module = bare()
    ft.init_module_(module, recipes, buffers=set_other_buffers(filled, recipes))
    check_against(module, filled)


def check_fsdp(world, manifest):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    filled, recipes = recorded(titan)
    assert fi.checkpoint.load_manifest(manifest) == recipes
    mesh = init_device_mesh("cpu", (world,))
    for source in (recipes, fi.checkpoint.load_manifest(manifest)):
        with torch.device("meta"):
            module = Decoder(**SIZES)
        for layer in module.layers.values():
            fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)
        assert module.layers["0"].attention.wq.weight.is_meta
        ft.init_module_(module, source, buffers=set_other_buffers(filled, recipes))
        check_against(module, filled)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_fsdp(world, tmp_path):
    fi.checkpoint.dump_manifest(tmp_path / "model.toml", recorded(titan)[1])
    in_processes(world, check_fsdp, world, str(tmp_path / "model.toml"))
