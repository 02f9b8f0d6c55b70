"""init_module_: names, rules, wrappers, ties, and what is refused."""

import pytest
import torch
from torch import nn

import fastinit as fi
from conftest import DTYPES, same
from fastinit.torch import init_module_
from small_model import RULES, Model, check, expected


class Reversed(nn.Module):
    """The same parameters, constructed in another order."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.conv = nn.Conv1d(8, 8, 3)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.emb = nn.Embedding(20, 8, padding_idx=3)


def test_every_parameter_is_the_recipe_of_its_name(dtype):
    module = Model().to(dtype)
    assert init_module_(module, RULES, seed=5) is module
    check(module, DTYPES[dtype])
    assert module.head.weight is module.emb.weight


def test_order_of_construction_does_not_matter():
    module = init_module_(Reversed(), RULES, seed=5)
    check(module)


def test_first_match_wins_and_globs_match_whole_names():
    module = init_module_(nn.Linear(4, 4), {"bias": "zeros", "*ght": "ones", "*": "zeros"})
    assert (module.weight == 1).all()
    module = init_module_(module, {"weigh": "ones", "eight": "ones", "*": "zeros"})
    assert not module.weight.any()


def test_rules_of_none_leave_parameters():
    module = Model()
    before = module.conv.weight.clone()
    init_module_(module, {"conv*": None, **RULES}, seed=5)
    assert torch.equal(module.conv.weight, before)
    assert same(module.body[0].weight, expected("body.0.weight", (16, 8)))


def test_names_by_default_have_torchs_axes_and_initializers_their_own():
    module = nn.Linear(50, 2000, bias=False)
    init_module_(module, {"*": "he_normal"})
    assert module.weight.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.02)
    init_module_(module, {"*": fi.init("he_normal")})
    assert module.weight.std().item() == pytest.approx((2 / 2000) ** 0.5, rel=0.02)


# ---- wrappers --------------------------------------------------------------------------------------------------


def test_compile_and_checkpoint_wrappers_do_not_matter():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    module = Model()
    module.body[0] = checkpoint_wrapper(module.body[0])
    module.body[2] = torch.compile(module.body[2], backend="eager")
    module = torch.compile(checkpoint_wrapper(module), backend="eager")
    init_module_(module, RULES, seed=5)
    check(module)


def test_data_parallel_wrappers_do_not_matter():
    module = nn.DataParallel(Model())
    init_module_(module, RULES, seed=5)
    check(module.module)
    outer = nn.Module()
    outer.stage = nn.DataParallel(Model())
    init_module_(outer, {"stage.emb.weight": "normal", "*": "zeros"})
    assert same(outer.stage.module.head.weight[4:], fi.normal((20, 8), seed=0, name="stage.emb.weight")[4:])


def test_kinds_of_data_parallel_modules():
    class Mine(nn.DataParallel):
        pass

    class DataParallel(nn.Module):  # somebody else's, of that name
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(4, 4)

    for outer, name in ((Mine(nn.Linear(4, 4)), "weight"), (DataParallel(), "module.weight")):
        init_module_(outer, {name: "normal", "*bias": "zeros"})
        assert same(outer.module.weight, fi.normal((4, 4), seed=0, name=name))


def test_a_users_own_module_keeps_its_name():
    outer = nn.Module()
    outer.module = nn.Linear(4, 4)
    init_module_(outer, {"module.weight": "normal", "*": "zeros"})
    assert same(outer.module.weight, fi.normal((4, 4), seed=0, name="module.weight"))


def test_stages_of_a_pipeline():
    """A renumbered part of a model, with its prefix, has the values of the whole."""
    whole = nn.ModuleDict({"layers": nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))})
    init_module_(whole, {"layers.*.weight": "he_normal", "*": "zeros"}, seed=1)
    stage = nn.Linear(4, 4)
    init_module_(stage, {"layers.2.weight": "he_normal", "*": "zeros"}, seed=1, prefix="layers.2.")
    assert same(stage.weight, whole["layers"][2].weight)


def test_two_parameters_of_one_name_are_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Module()
            self.a.weight = nn.Parameter(torch.zeros(2))
            self.a._orig_mod = nn.Module()
            self.a._orig_mod.weight = nn.Parameter(torch.zeros(2))

    with pytest.raises(ValueError, match=r"a\.weight: both"):
        init_module_(Odd(), {"*": "normal"})


# ---- errors: all at once, before anything changes --------------------------------------------------------------


def test_unmatched_parameters_are_one_error():
    module = Model()
    before = {name: p.clone() for name, p in module.named_parameters()}
    with pytest.raises(ValueError, match="no rule") as caught:
        init_module_(module, {"conv.weight": "he_normal", "norm.*": "he_normal", "emb*": "normal"})
    first, *rest = str(caught.value).splitlines()
    assert first == "no rule matches body.0.weight, body.0.bias, body.2.weight, body.2.bias, conv.bias"
    assert [line.split(":")[0] for line in rest] == ["norm.weight", "norm.bias"]  # one axis has no fan
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_parameters_that_cannot_be_filled():
    module = Model()
    module.counts = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
    module.lazy = nn.LazyLinear(3)
    with pytest.raises(ValueError, match=r"counts: .*int64(.|\n)*lazy\.weight: a lazy parameter"):
        init_module_(module, {"counts": "zeros", "lazy.*": "zeros", **RULES})


def freed():
    tensor = torch.zeros(4)
    tensor.untyped_storage().resize_(0)
    return tensor


def two_tensor():
    from torch.testing._internal.two_tensor import TwoTensor

    return TwoTensor(torch.zeros(4), torch.zeros(4))


def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.zeros(4)


def frozen():
    with torch.inference_mode():
        return torch.zeros(4)


BAD = {
    "expanded": lambda: torch.zeros(1).expand(4),
    "overlapping": lambda: torch.zeros(10).as_strided((4, 4), (1, 2)),
    "sparse": lambda: torch.zeros(4, 4).to_sparse(),
    "freed": freed,
    "negated": lambda: torch._neg_view(torch.zeros(4)),
    "wrapping": two_tensor,
    "fake": fake,
    "inference": frozen,
}


@pytest.mark.parametrize("what", BAD)
def test_nothing_is_filled_if_one_cannot_be(what):
    module = nn.Module()
    module.a = nn.Parameter(torch.zeros(4))
    module.b = nn.Parameter(BAD[what](), requires_grad=False)
    with pytest.raises(ValueError, match=r"^b: "):
        init_module_(module, {"*": "normal"})
    assert not module.a.any()


def test_nothing_is_materialised_if_one_cannot_be():
    module = nn.Module()
    module.a = nn.Parameter(torch.zeros(4, device="meta"))
    module.b = nn.Parameter(torch.empty(4, 4, layout=torch.sparse_coo, device="meta"), requires_grad=False)
    with pytest.raises(ValueError, match=r"^b: .*layout"):
        init_module_(module, {"*": "normal"})
    assert module.a.is_meta
    with pytest.raises(ValueError, match="meta"):
        init_module_(nn.Linear(2, 2, device="meta"), {"*": "zeros"}, device="meta")


@pytest.mark.parametrize(
    ("rules", "options", "why"),
    [
        ({"*": "he_norml"}, {}, "he_normal"),
        ({"*": 3}, {}, "rule"),
        ({"*": lambda t: t}, {}, "rule"),
        ({1: "zeros"}, {}, "glob"),
        ([("*", "zeros")], {}, "mapping"),
        (None, {}, "mapping"),
        ({"*": "zeros"}, {"prefix": None}, "name"),
        ({"*": "zeros"}, {"seed": -1}, "seed"),
        ({"*": "zeros"}, {"seed": 1.5}, "seed"),
    ],
)
def test_bad_arguments(rules, options, why):
    with pytest.raises((TypeError, ValueError), match=why):
        init_module_(nn.Linear(2, 2), rules, **options)


def test_fsdp1_is_refused():
    from torch.distributed.fsdp import FullyShardedDataParallel

    class Wrapped(FullyShardedDataParallel):
        def __init__(self):  # without processes to shard over
            nn.Module.__init__(self)

    module = nn.Sequential(Wrapped())
    with pytest.raises(TypeError, match="fully_shard"):
        init_module_(module, {"*": "zeros"})


# ---- shared memory ---------------------------------------------------------------------------------------------


def test_parameters_with_the_same_memory_are_filled_once_under_the_first_name():
    module = Model(tied=False)
    module.head.weight = nn.Parameter(module.emb.weight.detach())  # another object
    init_module_(module, RULES, seed=5)
    assert same(module.head.weight, expected("emb.weight", (20, 8)))


def test_parameters_that_overlap_in_part_are_refused():
    base = torch.zeros(100)
    module = nn.ParameterDict({"a": nn.Parameter(base[:60].view(6, 10)), "b": nn.Parameter(base[50:].view(5, 10))})
    with pytest.raises(ValueError, match="a and b share elements"):
        init_module_(module, {"*": "normal"})
    assert not base.any()


def test_a_transpose_is_not_the_same_parameter():
    base = torch.zeros(6, 6)
    module = nn.ParameterDict({"a": nn.Parameter(base), "b": nn.Parameter(base.t())})
    with pytest.raises(ValueError, match="a and b share elements"):
        init_module_(module, {"*": "normal"})
    assert not base.any()


def test_parameters_that_are_not_filled_may_be_views_of_others():
    base = torch.zeros(6, 10)
    module = nn.ParameterDict({"a": nn.Parameter(base), "b": nn.Parameter(base[1:3], requires_grad=False)})
    init_module_(module, {"b": None, "*": "normal"})
    assert same(module["a"], fi.normal((6, 10), seed=0, name="a"))


class TiedByMemory(nn.Module):
    """Two parameters of the same elements, the embedding's second."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 6, bias=False)
        self.emb = nn.Embedding(6, 3, padding_idx=2)
        self.emb.weight = nn.Parameter(self.head.weight.detach())


def test_ties_by_memory_are_kept_and_padded_on_meta_too():
    with torch.device("meta"):
        meta = TiedByMemory()
    for module in (TiedByMemory(), meta):
        init_module_(module, {"*": "normal"})
        expected = fi.normal((6, 3), seed=0, name="head.weight")
        expected[2] = 0
        assert same(module.head.weight, expected)
        assert module.emb.weight.data_ptr() == module.head.weight.data_ptr()


def test_parameters_side_by_side_in_one_buffer_are_fine():
    base = torch.zeros(10, 12)
    module = nn.ParameterDict(
        {"q": nn.Parameter(base[:, :4]), "k": nn.Parameter(base[:, 4:8]), "v": nn.Parameter(base[:, 8:])}
    )
    init_module_(module, {"*": "normal"})
    for name in "qkv":
        assert same(module[name], fi.normal((10, 4), seed=0, name=name))
