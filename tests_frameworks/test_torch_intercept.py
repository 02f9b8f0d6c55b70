"""fastinit.torch.intercept: what it fills, with which values, and what it leaves to torch."""

import math
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

import fastinit as fi
import fastinit.torch as ft
from conftest import DTYPES, same
from fastinit.torch import intercept


def recipe(kind, shape, k, seed=7, dtype="float32", **parameters):
    """The values of the k-th fill."""
    return fi.recipe(kind, shape, dtype=dtype, seed=seed, name=str(k), **parameters)[...]


def test_the_kth_fill_is_keyed_by_seed_and_k(dtype):
    a, b, c, d = (torch.empty(9, 8, dtype=dtype) for _ in range(4))
    with intercept(7) as filling:
        nn.init.normal_(a, 0.0, 0.02)
        nn.init.zeros_(d)  # draws nothing, counts for nothing
        b.uniform_(-1, 1)
        nn.init.normal_(torch.empty(0))
        nn.init.trunc_normal_(c, 1.0, 2.0, -1.0, 3.0)
        assert filling.fills == 3
        nn.init.orthogonal_(d, 0.5)
    name = DTYPES[dtype]
    assert same(a, recipe("normal", (9, 8), 0, std=0.02, dtype=name))
    assert same(b, recipe("uniform", (9, 8), 1, low=-1, high=1, dtype=name))
    assert same(c, recipe("truncated_normal", (9, 8), 2, mean=1, std=2, lower=-1, upper=1, dtype=name))
    assert same(d, recipe("orthogonal", (9, 8), 3, gain=0.5, out_axis=0, dtype=name))
    assert (filling.seed, filling.fills) == (7, 4)


XAVIER = math.sqrt(3.0) * math.sqrt(2.0 / 11)

#: Ways to draw -> what is drawn, of shape (6, 5)
WAYS = {
    "init.uniform_": (lambda w: nn.init.uniform_(w, -2, 2), ("uniform", {"low": -2, "high": 2})),
    "init.normal_": (lambda w: nn.init.normal_(w, std=3), ("normal", {"std": 3})),
    "init.trunc_normal_": (
        lambda w: nn.init.trunc_normal_(w, a=-1, b=1),
        ("truncated_normal", {"lower": -1, "upper": 1}),
    ),
    # scales as torch.nn.init computes them, but for kaiming_uniform_, which comes to us as it is
    "init.xavier_uniform_": (nn.init.xavier_uniform_, ("uniform", {"low": -XAVIER, "high": XAVIER})),
    "init.xavier_normal_": (nn.init.xavier_normal_, ("normal", {"std": math.sqrt(2.0 / 11)})),
    "init.kaiming_uniform_": (nn.init.kaiming_uniform_, ("he_uniform", {"in_axis": 1, "out_axis": 0})),
    "init.kaiming_normal_": (nn.init.kaiming_normal_, ("normal", {"std": math.sqrt(2.0) / math.sqrt(5)})),
    "init.orthogonal_": (nn.init.orthogonal_, ("orthogonal", {"out_axis": 0})),
    "normal_": (lambda w: w.normal_(), ("normal", {})),
    "normal_ of numbers": (lambda w: w.normal_(0.5, std=2), ("normal", {"mean": 0.5, "std": 2})),
    "uniform_": (lambda w: w.uniform_(), ("uniform", {})),
    "uniform_ from to": (lambda w: w.uniform_(**{"from": -1, "to": 0}), ("uniform", {"low": -1, "high": 0})),
    "data.normal_": (lambda w: w.data.normal_(0.0, 0.1), ("normal", {"std": 0.1})),
    "detach().uniform_": (lambda w: w.detach().uniform_(), ("uniform", {})),
}
MAKERS = {
    "randn": (lambda **k: torch.randn(6, 5, **k), ("normal", {})),
    "randn of a size": (lambda **k: torch.randn(size=(6, 5), **k), ("normal", {})),
    "randn of a Size": (lambda **k: torch.randn(torch.Size([6, 5]), **k), ("normal", {})),
    "rand": (lambda **k: torch.rand((6, 5), **k), ("uniform", {})),
    "normal": (lambda **k: torch.normal(1.0, 2.0, (6, 5), **k), ("normal", {"mean": 1, "std": 2})),
    "normal of names": (lambda **k: torch.normal(mean=1, std=2, size=(6, 5), **k), ("normal", {"mean": 1, "std": 2})),
    "randn_like": (lambda **k: torch.randn_like(torch.empty(6, 5), **k), ("normal", {})),
    "rand_like": (lambda **k: torch.rand_like(torch.empty(5, 6).t(), **k), ("uniform", {})),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_fill(way, dtype):
    fill, (kind, parameters) = WAYS[way]
    tensor = torch.empty(6, 5, dtype=dtype)
    with intercept(7) as filling:
        fill(tensor)
    assert filling.fills == 1
    assert same(tensor, recipe(kind, (6, 5), 0, dtype=DTYPES[dtype], **parameters))


@pytest.mark.parametrize("way", MAKERS)
def test_ways_to_make(way, dtype):
    make, (kind, parameters) = MAKERS[way]
    with intercept(7) as filling:
        tensor = make(dtype=dtype, requires_grad=True)
    assert filling.fills == 1
    assert tensor.dtype is dtype
    assert tensor.requires_grad
    assert tensor.is_leaf
    assert same(tensor, recipe(kind, (6, 5), 0, dtype=DTYPES[dtype], **parameters))


def test_uniform_never_gives_its_lower_end(dtype):
    """Float32 has it once in 2^24 elements: at one of the first 4096 of this seed; 16 bits have it in many places."""
    plain = torch.from_numpy(fi.recipe("uniform", (4096,), low=-1, seed=12910, name="0")[...])
    assert plain[1725] == -1
    for way in (
        lambda w: w.uniform_(-1),
        lambda w: nn.init.uniform_(w, a=-1),
        lambda w: w.data.uniform_(to=1, **{"from": -1}),
    ):
        tensor = torch.empty(4096, dtype=dtype)
        with intercept(12910):
            way(tensor)
        recorded = ft.tensor(fi.recipe("uniform", (4096,), dtype=DTYPES[dtype], low=-1, seed=12910, name="0"))
        following = torch.nextafter(torch.tensor(-1.0, dtype=dtype), torch.tensor(1.0, dtype=dtype))
        assert same(tensor, torch.where(recorded == -1, following, recorded))
        assert dtype is torch.float64 or bool((recorded == -1).any())


def test_uniform_of_an_interval_without_another_float():
    low, high = 1.0, 1.0 + 2.0**-23
    with intercept(7):
        assert bool((torch.empty(64).uniform_(low, high) == low).all())


def test_sparse():
    with intercept(7) as filling:
        tensor = nn.init.sparse_(torch.empty(20, 5), 0.5, std=2)
    assert filling.fills == 1
    assert same(tensor, fi.torch.sparse_(torch.empty(20, 5), 0.5, std=2, seed=7, name="0"))


def test_results_are_the_tensors_that_were_given():
    with intercept(7):
        for way in ("normal_", "trunc_normal_", "orthogonal_", "xavier_uniform_", "kaiming_uniform_"):
            parameter = nn.Parameter(torch.empty(4, 4))
            assert getattr(nn.init, way)(parameter) is parameter
            assert parameter.requires_grad
            assert parameter.is_leaf
        w = torch.empty(3)
        assert w.normal_() is w


def test_trunc_normal_warns_as_torch_does():
    with intercept(7), pytest.warns(UserWarning, match="more than 2 std") as caught:
        nn.init.trunc_normal_(torch.empty(4), 5.0, 1.0)
    assert len(caught) == 1


# ---- constructors ----------------------------------------------------------------------------------------------


def test_constructors_of_torch():
    """Every parameter of these is drawn, by us."""
    makers = {
        "linear": (lambda: nn.Linear(30, 20), 2),
        "bilinear": (lambda: nn.Bilinear(4, 5, 6), 2),
        "conv": (lambda: nn.Conv2d(3, 8, 3), 2),
        "transposed": (lambda: nn.ConvTranspose1d(3, 8, 3), 2),
        "embedding": (lambda: nn.Embedding(10, 4, padding_idx=2), 1),
        "bag": (lambda: nn.EmbeddingBag(10, 4), 1),
        "lstm": (lambda: nn.LSTM(4, 6, 2), 8),
        "attention": (lambda: nn.MultiheadAttention(8, 2), 3),
        "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16), 7),
    }
    for name, (make, fills) in makers.items():
        torch.manual_seed(0)
        state = torch.get_rng_state()
        with intercept(7) as filling:
            first = make()
        assert filling.fills == fills, name
        assert torch.equal(torch.get_rng_state(), state), name  # torch drew nothing
        with intercept(7):
            second = make()
        assert all(same(a, b) for a, b in zip(first.parameters(), second.parameters()))
        if name == "embedding":
            assert not first.weight[2].any()


@pytest.fixture(scope="module")
def llama():
    """A small Llama's configuration, and its class."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000}
    return LlamaForCausalLM, LlamaConfig(**sizes, **heads, initializer_range=0.05)


def test_llama(llama):
    """Every matrix is drawn by us, with the standard deviation that transformers asks for."""
    make, config = llama
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with intercept(7) as filling:
        model = make(config)
    assert torch.equal(torch.get_rng_state(), state)
    assert filling.fills >= sum(p.ndim == 2 for p in model.parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.05), name
            assert parameter.abs().max() < 0.05 * 6.7
        else:
            assert (parameter == 1).all(), name
    assert torch.isfinite(model.model.rotary_emb.inv_freq).all()
    with intercept(7):
        again = make(config)
    assert all(same(a, b) for a, b in zip(model.parameters(), again.parameters()))
    plain = make(config)
    assert not torch.equal(plain.lm_head.weight, model.lm_head.weight)


IMPORTED_INSIDE = """
import torch
import fastinit.torch
originals = {name: getattr(torch.nn.init, name) for name in torch.nn.init.__all__}
with fastinit.torch.intercept(7) as filling:
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    state = torch.get_rng_state()
    LlamaForCausalLM(config)
    assert torch.equal(torch.get_rng_state(), state)
assert filling.fills > 9, filling.fills
assert originals == {name: getattr(torch.nn.init, name) for name in torch.nn.init.__all__}
state = torch.get_rng_state()
LlamaForCausalLM(config)
assert not torch.equal(torch.get_rng_state(), state)  # by torch again
import importlib
initialization = importlib.import_module("transformers.initialization")
assert initialization.TORCH_INIT_FUNCTIONS["normal_"] is originals["normal_"]
print("fine")
"""


def test_transformers_first_imported_inside():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTED_INSIDE], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "fine", run.stderr


def test_functions_of_transformers():
    from transformers import initialization

    weight = torch.zeros(6, 5)
    with intercept(7) as filling:
        for name in ("normal_", "uniform_", "trunc_normal_", "orthogonal_", "xavier_uniform_", "kaiming_normal_"):
            getattr(initialization, name)(weight)
        initialization.lecun_normal_(weight)
        assert filling.fills == 7
        weight._is_hf_initialized = True
        before = weight.clone()
        initialization.normal_(weight)
        initialization.lecun_normal_(weight)
    assert torch.equal(weight, before)


def test_loaded_weights_are_left_alone_while_transformers_guards_them():
    """Then torch.nn.init's functions look up transformers' own as themselves, and must ask the flag."""
    from transformers.initialization import guard_torch_init_functions

    original = torch.nn.init.normal_
    loaded, fresh = torch.zeros(4, 4), torch.zeros(4, 4)
    loaded._is_hf_initialized = True
    with intercept(7) as filling, guard_torch_init_functions():
        for function in (original, torch.nn.init.normal_, torch.nn.init.kaiming_uniform_):
            function(loaded)
        assert filling.fills == 0
        original(fresh)
        nn.Linear(4, 4)
    assert filling.fills == 3
    assert not loaded.any()
    assert same(fresh, recipe("normal", (4, 4), 0))


def test_without_a_guard_the_flag_means_nothing_as_in_torch():
    weight = torch.zeros(4, 4)
    weight._is_hf_initialized = True
    with intercept(7):
        nn.init.normal_(weight)
    assert same(weight, recipe("normal", (4, 4), 0))


# ---- seeds, nesting, threads -----------------------------------------------------------------------------------


def test_without_a_seed_manual_seed_governs():
    def drawn():
        with intercept() as filling:
            return torch.randn(5), filling.seed

    torch.manual_seed(1)
    first, seed = drawn()
    assert not torch.equal(drawn()[0], first)
    torch.manual_seed(1)
    again, same_seed = drawn()
    assert torch.equal(again, first)
    assert seed == same_seed
    assert same(first, recipe("normal", (5,), 0, seed=seed))


def test_a_generator_that_is_given_governs():
    with intercept(7) as filling:
        a = torch.randn(5, generator=torch.Generator().manual_seed(3))
        b = torch.empty(5).normal_(generator=torch.Generator().manual_seed(3))
        c = nn.init.trunc_normal_(torch.empty(5), generator=torch.Generator().manual_seed(3))
        d = torch.randn(5)
    assert torch.equal(a, b)
    assert same(c, fi.torch.trunc_normal_(torch.empty(5), generator=torch.Generator().manual_seed(3)))
    assert filling.fills == 4
    assert same(d, recipe("normal", (5,), 3))


def test_nested():
    with intercept(1) as outer:
        a = torch.randn(4)
        with intercept(2) as inner:
            b = torch.randn(4)
        c = torch.randn(4)
    assert (outer.fills, inner.fills) == (2, 1)
    assert same(a, recipe("normal", (4,), 0, seed=1))
    assert same(b, recipe("normal", (4,), 0, seed=2))
    assert same(c, recipe("normal", (4,), 1, seed=1))


def test_other_modes_inside_and_outside():
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    for outside, inside in ((True, False), (False, True)):
        weight = torch.empty(8, 8)
        with (
            Watching() if outside else torch.no_grad(),
            intercept(7) as filling,
            Watching() if inside else torch.no_grad(),
        ):
            nn.init.trunc_normal_(weight)
            nn.init.orthogonal_(weight)
        assert filling.fills == 2
        assert same(weight, recipe("orthogonal", (8, 8), 1, out_axis=0))


def test_restored_after_an_exception():
    torch.manual_seed(0)
    expected = torch.randn(4)
    with pytest.raises(ZeroDivisionError), intercept(7):
        raise ZeroDivisionError
    torch.manual_seed(0)
    assert torch.equal(torch.randn(4), expected)


def test_other_threads_are_not_affected():
    inside, done, made = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        made.append(torch.empty(4).normal_(generator=torch.Generator().manual_seed(0)))
        made.append(nn.init.trunc_normal_(torch.empty(4), generator=torch.Generator().manual_seed(0)))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    expected = [
        torch.empty(4).normal_(generator=torch.Generator().manual_seed(0)),
        nn.init.trunc_normal_(torch.empty(4), generator=torch.Generator().manual_seed(0)),
    ]
    with intercept(7) as filling:
        inside.set()
        done.wait()
        assert filling.fills == 0
    thread.join()
    assert all(map(torch.equal, made, expected))


def test_as_a_decorator():
    @intercept(7)
    def build():
        return torch.randn(3)

    assert torch.equal(build(), build())


def test_compiled_code_runs():
    """By whom it is filled, depends on the backend; the graph is torch's business."""

    @torch.compile(backend="aot_eager")
    def draw(x):
        return x + torch.empty_like(x).normal_()

    with intercept(7):
        assert draw(torch.zeros(4)).std() > 0


def test_captured_graphs_have_nothing_of_ours():
    def draw(x):
        return x + torch.rand(x.size())

    from torch.fx.experimental.proxy_tensor import make_fx

    plain = [str(node.target) for node in torch.fx.symbolic_trace(draw).graph.nodes]
    exact = [str(node.target) for node in make_fx(draw)(torch.zeros(3)).graph.nodes]
    with intercept(7):
        assert [str(node.target) for node in torch.fx.symbolic_trace(draw).graph.nodes] == plain
        assert [str(node.target) for node in make_fx(draw)(torch.zeros(3)).graph.nodes] == exact


def test_autograd_sees_fills():
    weight, x = torch.ones(4), torch.ones(4, requires_grad=True)
    loss = (x * weight).sum()
    with intercept(7):
        weight.normal_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_entering_under_a_fake_mode():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), intercept() as filling:
        nn.Linear(3, 3)
    assert filling.fills == 0
    assert filling.seed > 0
    with FakeTensorMode(), pytest.raises(TypeError, match="FakeTensor"):
        fi.torch.normal_(torch.empty(3))


def test_our_own_functions_inside():
    """A library that has adopted fastinit.torch counts like the rest; given names and seeds stay."""
    with intercept(7) as filling:
        a = fi.torch.normal_(torch.empty(3))
        b = nn.init.normal_(torch.empty(3))
        c = fi.torch.normal_(torch.empty(3), name="c")
        d = fi.torch.normal_(torch.empty(3), seed=1, name="d")
        fi.torch.normal_(torch.empty(0))
        with pytest.raises(ValueError, match="finite"):
            fi.torch.normal_(torch.empty(3), mean=float("inf"))
    assert filling.fills == 3
    assert same(a, recipe("normal", (3,), 0))
    assert same(b, recipe("normal", (3,), 1))
    assert same(c, fi.normal(3, seed=7, name="c"))
    assert same(d, fi.normal(3, seed=1, name="d"))


@pytest.mark.parametrize("seed", [-1, 1 << 128, 1.5, True, "1"])
def test_bad_seeds(seed):
    with pytest.raises((TypeError, ValueError), match="seed"), intercept(seed):
        pass
