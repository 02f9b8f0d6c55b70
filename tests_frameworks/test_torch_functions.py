"""fastinit.torch in the place of torch.nn.init: signatures, errors and warnings against torch's, values against recipes."""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

import fastinit as fi
import fastinit.torch as init
from conftest import DTYPES, same

#: How each function draws, as a recipe.
RECIPES = {
    "uniform_": ({"a": -0.3, "b": 0.7}, ("uniform", {"low": -0.3, "high": 0.7})),
    "normal_": ({"mean": 0.1, "std": 0.4}, ("normal", {"mean": 0.1, "std": 0.4})),
    "trunc_normal_": (
        {"mean": 0.5, "std": 2.0, "a": -1.5, "b": 3.5},
        ("truncated_normal", {"mean": 0.5, "std": 2.0, "lower": -1.0, "upper": 1.5}),
    ),
    "xavier_uniform_": ({"gain": 1.5}, ("glorot_uniform", {"gain": 1.5, "in_axis": 1, "out_axis": 0})),
    "xavier_normal_": ({}, ("glorot_normal", {"in_axis": 1, "out_axis": 0})),
    "kaiming_uniform_": (
        {"a": math.sqrt(5)},
        ("he_uniform", {"negative_slope": math.sqrt(5), "in_axis": 1, "out_axis": 0}),
    ),
    "kaiming_normal_": ({"nonlinearity": "relu"}, ("he_normal", {"in_axis": 1, "out_axis": 0})),
    "orthogonal_": ({"gain": 0.5}, ("orthogonal", {"gain": 0.5, "out_axis": 0})),
}
SHAPES = [(12, 7), (5, 40), (6, 4, 3, 3), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", RECIPES)
def test_values_are_the_recipes(name, shape, dtype):
    arguments, (kind, parameters) = RECIPES[name]
    tensor = torch.full(shape, 7.0, dtype=dtype)
    result = getattr(init, name)(tensor, **arguments, seed=11, name="layer.weight")
    assert result is tensor
    expected = fi.recipe(kind, shape, dtype=DTYPES[dtype], seed=11, name="layer.weight", **parameters)[...]
    assert same(tensor, expected)


def test_orthogonal_axes_are_those_of_torch():
    """A weight of shape[0] rows, orthonormal if there are fewer of them than columns."""
    weight = init.orthogonal_(torch.empty(6, 4, 3), seed=0)
    matrix = weight.view(6, 12)
    assert torch.allclose(matrix @ matrix.T, torch.eye(6), atol=1e-6)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "FAN_OUT"])
@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_kaiming_scale(mode, nonlinearity):
    weight = init.kaiming_normal_(torch.empty(2000, 300), a=0.3, mode=mode, nonlinearity=nonlinearity, seed=0)
    fan = 300 if mode == "fan_in" else 2000
    assert weight.std().item() == pytest.approx(init.calculate_gain(nonlinearity, 0.3) / math.sqrt(fan), rel=0.01)
    bound = init.kaiming_uniform_(weight, a=0.3, mode=mode, nonlinearity=nonlinearity, seed=0).abs().max().item()
    expected = math.sqrt(3) * init.calculate_gain(nonlinearity, 0.3) / math.sqrt(fan)
    assert expected * 0.999 < bound <= expected * 1.000001


def test_layouts_are_filled_where_they_are():
    """Views get the values of their own shape, and nothing around them changes."""
    base = torch.full((40, 30), 7.0)
    view = base.t()[3:20:2, 5:31:3]
    init.normal_(view, seed=3)
    assert same(view, fi.normal(tuple(view.shape), seed=3))
    mask = torch.ones_like(base, dtype=torch.bool)
    mask.t()[3:20:2, 5:31:3] = False
    assert (base[mask] == 7).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_shapes_of_few_elements(shape):
    tensor = torch.full(shape, 7.0)
    assert init.normal_(tensor, seed=3) is tensor
    assert same(tensor, fi.normal(shape, seed=3))


# ---- seeds -----------------------------------------------------------------------------------------------------


def test_manual_seed_governs():
    def drawn():
        return init.normal_(torch.empty(100)), init.normal_(torch.empty(100))

    torch.manual_seed(5)
    first = drawn()
    assert not torch.equal(*first)
    torch.manual_seed(5)
    assert all(map(torch.equal, first, drawn()))
    torch.manual_seed(6)
    assert not torch.equal(first[0], drawn()[0])


def test_a_generator_governs_and_leaves_the_default_one_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(42)
    first = init.uniform_(torch.empty(100), generator=generator)
    second = init.uniform_(torch.empty(100), generator=generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)
    torch.manual_seed(42)
    assert torch.equal(first, init.uniform_(torch.empty(100)))
    with pytest.raises(ValueError, match="either"):
        init.uniform_(first, generator=generator, seed=0)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_refused_or_empty_draws_from_no_generator(name):
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kaiming's, of empty tensors
        getattr(init, name)(torch.empty(0, 4))
    with pytest.raises((TypeError, ValueError)):
        getattr(init, name)(torch.empty(1, 4).expand(4, 4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RECIPES)
def test_a_seed_draws_from_no_generator(name):
    state = torch.get_rng_state()
    getattr(init, name)(torch.empty(4, 4), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    getattr(init, name)(torch.empty(4, 4))
    assert not torch.equal(torch.get_rng_state(), state)


# ---- as torch has it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", torch.nn.init.__all__)
def test_every_function_is_there_with_torchs_arguments(name):
    theirs, ours = (inspect.signature(getattr(module, name)).parameters for module in (torch.nn.init, init))
    if name.endswith("_") or name == "calculate_gain":
        shared = list(ours.values())[: len(theirs)]
        assert [(p.name, p.default, p.kind) for p in shared] == [(p.name, p.default, p.kind) for p in theirs.values()]
        rest = list(ours.values())[len(theirs) :]
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in rest)


def outcome(function, *args, **kwargs):
    """What a call does that a caller can see: error or warnings, and whether it returns its tensor."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            returned = function(*args, **kwargs)
        except Exception as error:
            return type(error), str(error)
    return [(w.category, str(w.message)) for w in caught], returned is (args[0] if args else kwargs.get("tensor"))


CALLS = [
    ("uniform_", (torch.empty(3), 1.0, 0.0), {}),
    ("uniform_", (torch.empty(3), 0.0, math.inf), {}),
    ("uniform_", (torch.empty(3), math.nan, 1.0), {}),
    ("uniform_", (torch.empty(3), -3e38, 3e38), {}),
    ("uniform_", (torch.empty(3), "a"), {}),
    ("uniform_", (torch.empty(3),), {"generator": 5}),
    ("uniform_", (torch.empty(3), 0.5, 0.5), {}),
    ("normal_", (torch.empty(3), 0.0, -1.0), {}),
    ("normal_", (torch.empty(3), 0.0, math.nan), {}),
    ("normal_", (torch.empty(3), 0.0, 0.0), {}),
    ("normal_", (torch.empty(0),), {}),
    ("trunc_normal_", (torch.empty(3), 0.0, 1.0, 2.0, -2.0), {}),
    ("trunc_normal_", (torch.empty(3), 0.0, 0.0), {}),
    ("trunc_normal_", (torch.empty(3), 5.0, 1.0, -2.0, 2.0), {}),
    ("trunc_normal_", (torch.empty(3), -5.0, 1.0, -2.0, 2.0), {}),
    ("trunc_normal_", (torch.empty(3), 0.0, 1.0, 0.5, 0.5), {}),
    ("xavier_uniform_", (torch.empty(3),), {}),
    ("xavier_uniform_", (torch.empty(()),), {}),
    ("xavier_uniform_", (torch.empty(0, 3),), {}),
    ("xavier_normal_", (torch.empty(3),), {}),
    ("xavier_normal_", (torch.empty(0, 3),), {}),
    ("kaiming_uniform_", (torch.empty(3),), {}),
    ("kaiming_uniform_", (torch.empty(0, 1),), {}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"mode": "fan_avg"}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"nonlinearity": "gelu"}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"a": "x"}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"a": None}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"a": math.inf}),
    ("kaiming_uniform_", (torch.empty(2, 2),), {"generator": 5}),
    ("kaiming_normal_", (torch.empty(2, 2),), {"a": None}),
    ("kaiming_normal_", (torch.empty(2, 2),), {"generator": 5}),
    ("xavier_uniform_", (torch.empty(2, 2),), {"generator": 5}),
    ("xavier_normal_", (torch.empty(2, 2),), {"generator": 5}),
    ("orthogonal_", (torch.empty(2, 2),), {"generator": 5}),
    ("kaiming_normal_", (torch.empty(3),), {}),
    ("kaiming_normal_", (torch.empty(0, 1),), {}),
    ("kaiming_normal_", (torch.empty(2, 2),), {"mode": "fan_avg"}),
    ("orthogonal_", (torch.empty(3),), {}),
    ("orthogonal_", (torch.empty(0, 3),), {}),
    ("sparse_", (torch.empty(3), 0.5), {}),
    ("sparse_", (torch.empty(3, 3), 0.5), {}),
    ("sparse_", (torch.empty(3, 3), 1.5), {}),
    ("sparse_", (torch.empty(3, 3), 0.5, -1.0), {}),
    ("constant_", (torch.empty(3, dtype=torch.int64), 2), {}),
    ("ones_", (torch.empty(3),), {}),
    ("zeros_", (torch.empty(3),), {}),
    ("eye_", (torch.empty(3),), {}),
    ("eye_", (torch.empty(3, 4),), {}),
    ("dirac_", (torch.empty(3, 4),), {}),
    ("dirac_", (torch.empty(3, 4, 5), 2), {}),
    ("dirac_", (torch.empty(4, 4, 5), 2), {}),
    ("uniform", (torch.empty(3),), {}),
    ("normal", (torch.empty(3), 0.0, 2.0), {}),
    ("constant", (torch.empty(3), 2.0), {}),
    ("eye", (torch.empty(3, 3),), {}),
    ("dirac", (torch.empty(3, 3, 3),), {}),
    ("xavier_uniform", (torch.empty(3, 3),), {}),
    ("xavier_normal", (torch.empty(3, 3),), {}),
    ("kaiming_uniform", (torch.empty(3, 3),), {}),
    ("kaiming_normal", (torch.empty(3, 3),), {}),
    ("orthogonal", (torch.empty(3, 3),), {}),
    ("sparse", (torch.empty(3, 3), 0.5), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_errors_warnings_and_results_are_torchs(name, args, kwargs):
    assert outcome(getattr(init, name), *args, **kwargs) == outcome(getattr(torch.nn.init, name), *args, **kwargs)


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_"])
def test_a_negative_gain_is_torchs_error_too(name):
    with pytest.raises(RuntimeError):
        getattr(torch.nn.init, name)(torch.empty(3, 3), gain=-1.0)
    with pytest.raises(RuntimeError):
        getattr(init, name)(torch.empty(3, 3), gain=-1.0)


def test_warnings_point_at_the_caller():
    with pytest.warns(UserWarning, match="no-op") as caught:
        init.kaiming_normal_(torch.empty(0, 1))
    assert caught[0].filename == __file__
    with pytest.warns(FutureWarning, match="deprecated") as caught:
        init.normal(torch.empty(2))
    assert caught[0].filename == __file__


# ---- distributions ---------------------------------------------------------------------------------------------

FALSE_ALARMS = 1e-4  # for each test; seeds are fixed


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [(0.0, 1.0, -2.0, 2.0), (1.0, 0.5, 0.9, 1.2), (0.0, 1.0, 2.0, 3.0), (-2.0, 3.0, -math.inf, 0.0)],
)
def test_trunc_normal_has_torchs_bounds(mean, std, a, b):
    tensor = init.trunc_normal_(torch.empty(20_000, dtype=torch.float64), mean, std, a, b, seed=1)
    assert a <= tensor.min() <= tensor.max() <= b
    law = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert stats.kstest(tensor.numpy(), law.cdf).pvalue > FALSE_ALARMS


def test_trunc_normal_never_leaves_its_bounds(dtype):
    """Bounds as the dtype has them, also where (a - mean) / std * std + mean is not a."""
    random = np.random.default_rng(0)
    for _ in range(200):
        mean, std = random.uniform(-3, 3), random.uniform(0.01, 1)
        a, b = random.uniform(mean - 2 * std, mean), random.uniform(mean, mean + 2 * std)
        tensor = init.trunc_normal_(torch.empty(64, dtype=dtype), mean, std, a, b, seed=0)
        lowest, highest = (torch.tensor(bound, dtype=dtype) for bound in (a, b))
        assert lowest <= tensor.min() <= tensor.max() <= highest


def test_cuts_multiplied_back_lie_within_the_bounds():
    """Rounding would put some of them an ulp outside, and a value there as well."""
    random = np.random.default_rng(1)
    outside = 0
    for _ in range(2000):
        mean, std = random.uniform(-3, 3), 10 ** random.uniform(-3, 2)
        a, b = sorted(random.uniform(-9, 9, 2))
        lower, upper = init.functions.cuts(mean, std, a, b)
        assert a <= mean + lower * std <= a + 1e-14
        assert b - 1e-14 <= mean + upper * std <= b
        outside += mean + (a - mean) / std * std < a
    assert outside > 20


def test_sparse():
    rows, columns = 40, 200
    tensor = init.sparse_(torch.full((rows, columns), 7.0), 0.3, std=0.5, seed=2, name="w")
    zeros = tensor == 0
    assert (zeros.sum(0) == math.ceil(0.3 * rows)).all()
    assert same(tensor[~zeros], torch.from_numpy(fi.normal((rows, columns), std=0.5, seed=2, name="w"))[~zeros])
    # every row is as likely to be 0: chi-squared over rows, columns being independent
    counts = zeros.sum(1).numpy()
    expected = 0.3 * columns
    spread = ((counts - expected) ** 2).sum() / (expected * (1 - 0.3)) * (rows - 1) / rows
    assert stats.chi2.sf(spread, rows - 1) > FALSE_ALARMS
    assert stats.chi2.cdf(spread, rows - 1) > FALSE_ALARMS


# ---- autograd --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RECIPES, "sparse_"])
def test_leaves_that_require_grad(name):
    weight = torch.nn.Parameter(torch.zeros(4, 4))
    arguments = (0.5,) if name == "sparse_" else ()
    result = getattr(init, name)(weight, *arguments, seed=0)
    assert result is weight
    assert weight.requires_grad
    assert weight.is_leaf
    assert weight.grad_fn is None
    assert weight.abs().sum() > 0


@pytest.mark.parametrize("name", [*RECIPES, "sparse_"])
def test_a_fill_invalidates_what_autograd_saved(name):
    """A write that autograd does not see would leave stale tensors, and wrong gradients."""
    weight = torch.ones(4, 4)
    x = torch.ones(4, 4, requires_grad=True)
    loss = (x * weight).sum()
    version = weight._version
    getattr(init, name)(weight, *((0.5,) if name == "sparse_" else ()), seed=0)
    assert weight._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_version_of_a_base_counts_too():
    base = torch.ones(4, 4)
    version = base._version
    init.normal_(base[1:3, ::2], seed=0)
    assert base._version > version


# ---- what is refused -------------------------------------------------------------------------------------------

NOT_FILLED = {
    "int64": lambda: torch.zeros(4, 4, dtype=torch.int64),
    "complex64": lambda: torch.zeros(4, 4, dtype=torch.complex64),
    "float8": lambda: torch.zeros(4, 4).to(torch.float8_e4m3fn),
    "meta": lambda: torch.zeros(4, 4, device="meta"),
    "expanded": lambda: torch.zeros(4, 1).expand(4, 4),
    "overlapping": lambda: torch.zeros(10).as_strided((4, 4), (1, 2)),
    "sparse": lambda: torch.zeros(4, 4).to_sparse(),
    "negated": lambda: torch._neg_view(torch.zeros(4, 4)),
}


@pytest.mark.parametrize("name", [*RECIPES, "sparse_"])
@pytest.mark.parametrize("what", NOT_FILLED)
def test_what_cannot_be_filled_is_refused_and_left_alone(name, what):
    tensor = NOT_FILLED[what]()
    with pytest.raises((TypeError, ValueError, RuntimeError, NotImplementedError)) as caught:
        getattr(init, name)(tensor, *((0.5,) if name == "sparse_" else ()), seed=0)
    assert str(caught.value)
    if what not in ("meta", "sparse", "float8"):
        assert not tensor.resolve_neg().any()


def test_errors_say_why():
    with pytest.raises(TypeError, match="memory; this one is on meta"):
        init.normal_(torch.empty(3, device="meta"))
    with pytest.raises(TypeError, match=r"torch\.int64.*float32"):
        init.normal_(torch.empty(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="overlaps itself"):
        init.normal_(torch.empty(1).expand(3))
    with torch.inference_mode():
        frozen = torch.zeros(3)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        init.normal_(frozen, seed=0)
    assert not frozen.any()
    with torch.inference_mode():
        assert init.normal_(frozen, seed=0).any()
    freed = torch.empty(1000)
    freed.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="storage has been freed"):
        init.normal_(freed)
    with pytest.raises(ValueError, match="seed"):
        init.normal_(torch.empty(3), seed=-1)
    with pytest.raises(TypeError, match="seed"):
        init.normal_(torch.empty(3), seed=1.5)


# ---- fill_ and tensor ------------------------------------------------------------------------------------------


def test_fill_takes_any_recipe(dtype):
    recipe = fi.recipe("he_normal", (50, 40), dtype=DTYPES[dtype], seed=1)
    tensor = torch.zeros(40, 50, dtype=dtype).t()
    assert init.fill_(tensor, recipe) is tensor
    assert same(tensor, recipe[...])
    part = init.fill_(torch.zeros(10, 40, dtype=dtype), recipe.part(np.s_[20:30]))
    assert same(part, recipe[20:30])
    assert same(init.tensor(recipe), recipe[...])
    assert init.tensor(recipe.part(np.s_[::3]), requires_grad=True).requires_grad


def test_fill_refuses_other_shapes_and_dtypes():
    recipe = fi.recipe("normal", (5, 4), seed=1)
    tensor = torch.zeros(4, 5)
    with pytest.raises(ValueError, match=r"shape \(4, 5\)"):
        init.fill_(tensor, recipe)
    with pytest.raises(TypeError, match="dtype"):
        init.fill_(torch.zeros(5, 4, dtype=torch.float64), recipe)
    with pytest.raises(TypeError, match="Recipe"):
        init.fill_(tensor, "normal")
    with pytest.raises(TypeError, match="Recipe"):
        init.tensor("normal")
    with pytest.raises(TypeError, match="a tensor is needed, not ndarray"):
        init.fill_(np.zeros((5, 4), np.float32), recipe)
    with pytest.raises(TypeError, match="on meta"):
        init.fill_(torch.zeros(5, 4, device="meta"), recipe, staged=True)
    assert not tensor.any()
