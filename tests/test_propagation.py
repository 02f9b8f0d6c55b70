"""`propagate`: the theory of the papers, the Jacobian, overflow and underflow as results, and how it is shown."""

import importlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest

import fastinit as fi
from fastinit.networks import NETWORKS
from fastinit.signals import growth

TORCH_LINEAR = fi.init("variance_scaling", scale=1 / 3, mode="fan_in", distribution="uniform")
#: Enough for the laws of large numbers: wide, and few layers; just too wide for a Jacobian, which takes its time.
WIDE = {"depth": 10, "width": 520, "batch": 128}
SMALL = {"depth": 6, "width": 32, "batch": 16}


def ratios(signal):
    """The factor of the variance a layer, forwards and backwards."""
    return growth(signal.activation_std) ** 2, growth(signal.gradient_std[::-1]) ** 2


@pytest.mark.parametrize(
    ("init", "activation", "expected"),
    [
        ("he_normal", "relu", 1),  # He et al. 2015
        ("he_uniform", "relu", 1),
        ("glorot_uniform", "relu", 1 / 2),
        ("glorot_normal", "linear", 1),  # Glorot and Bengio 2010
        ("lecun_normal", "linear", 1),
        (TORCH_LINEAR, "linear", 1 / 3),
        (TORCH_LINEAR, "relu", 1 / 6),
        (fi.init("normal", std=0.01), "linear", 520e-4),
        (fi.init("normal", std=1.0), "relu", 260),
    ],
)
def test_variance_a_layer(init, activation, expected):
    """Within 10 %: over ten layers of 520 units the std of this factor is about 2 %."""
    (signal,) = fi.propagate(init, activation, **WIDE)
    assert signal.input_std == pytest.approx(1, rel=0.02)
    assert ratios(signal) == pytest.approx((expected, expected), rel=0.1)


@pytest.mark.parametrize("slope", [0.01, 0.2, 0.5])
def test_the_slope_of_leaky_relu_counts(slope):
    he = fi.init("he_normal", negative_slope=slope)
    (signal,) = fi.propagate(he, "leaky_relu", negative_slope=slope, **WIDE)
    assert ratios(signal) == pytest.approx((1, 1), rel=0.1)
    (signal,) = fi.propagate("he_normal", "leaky_relu", negative_slope=slope, **WIDE)
    assert ratios(signal) == pytest.approx((1 + slope**2, 1 + slope**2), rel=0.1)


def test_selu_normalises_itself_with_lecun():
    """Klambauer et al. 2017: mean 0 and std 1 are an attracting fixed point, whatever the input's scale."""
    (signal,) = fi.propagate("lecun_normal", "selu", depth=30, width=520, batch=128)
    assert np.abs(signal.activation_mean).max() < 0.15
    assert signal.activation_std == pytest.approx(np.ones(30), rel=0.15)


def test_tanh_saturates_where_weights_are_wide():
    wide, glorot = fi.propagate([fi.init("normal", std=0.5), "glorot_uniform"], "tanh", **WIDE)
    assert (wide.saturated > 0.6).all()
    assert (glorot.saturated < 0.01).all()


def test_residual_networks():
    """relu and He: each branch adds its input's variance; scaled by 1/sqrt(depth) e in all (Hanin and Rolnick 2018)."""
    depth = {"depth": 20, "width": 520, "batch": 64, "network": "residual"}
    (plain,) = fi.propagate("he_normal", "relu", **depth)
    assert growth(plain.activation_std) ** 2 == pytest.approx(2, rel=0.1)
    assert growth(plain.gradient_std[::-1]) ** 2 == pytest.approx(2, rel=0.1)
    (scaled,) = fi.propagate("he_normal", "relu", branch_scale="1/sqrt(depth)", **depth)
    assert scaled.activation_std[-1] ** 2 == pytest.approx(math.e, rel=0.2)
    assert scaled.input_gradient_std**2 == pytest.approx(math.e, rel=0.2)
    (same,) = fi.propagate("he_normal", "relu", branch_scale=1 / math.sqrt(20), **depth)
    assert np.array_equal(same.activation_std, scaled.activation_std)
    (none,) = fi.propagate("he_normal", "relu", branch_scale=0, **depth)
    assert none.activation_std == pytest.approx(np.full(20, none.input_std))


@pytest.mark.parametrize("network", ["mlp", "rnn"])
def test_orthogonal_linear_networks_are_isometric(network):
    """Saxe et al. 2014, to the rounding of 200 float32 products."""
    (signal,) = fi.propagate("orthogonal", "linear", network=network, depth=200, width=64, batch=32)
    x = fi.recipe("normal", (32, 64), seed=0, name="input")[...].astype(float)
    norms = np.sqrt(signal.activation_mean**2 + signal.activation_std**2)
    assert norms == pytest.approx(np.full(200, np.sqrt((x**2).mean())), rel=1e-4)
    values = signal.singular_values
    assert values.values == pytest.approx(np.ones(64), rel=1e-4)
    assert values.below_precision == 0


def test_delta_orthogonal_keeps_the_norm_through_convolutions():
    """Xiao et al. 2018; he_normal does not."""
    delta, he = fi.propagate(
        ["delta_orthogonal", "lecun_normal"], "linear", network="cnn", depth=100, width=256, batch=16
    )
    assert delta.singular_values.values == pytest.approx(np.ones(256), rel=1e-4)
    assert he.singular_values.values[0] > 3
    assert he.singular_values.below_precision > 10


def test_orthogonal_tanh_with_its_gain_keeps_the_gradient():
    tanh = fi.init("orthogonal", gain=1.1)
    (signal,) = fi.propagate(tanh, "tanh", depth=50, width=128, batch=64)
    assert 0.3 < signal.input_gradient_std < 3


# ---- the Jacobian --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "softmax"])
def test_singular_values_against_those_of_the_explicit_jacobian(activation):
    """In float64, column by column, by differences of a network written here."""
    depth, width = 4, 24
    (signal,) = fi.propagate("he_normal", activation, depth=depth, width=width, batch=3, seed=1)
    weights = [fi.recipe("he_normal", (width, width), seed=1, name=f"layer.{i}.weight")[...] for i in range(depth)]
    functions = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}
    functions["softmax"] = lambda z: np.exp(z) / np.exp(z).sum()

    def network(x):
        for weight in weights:
            x = functions[activation](x @ weight.astype(float))
        return x

    x = fi.recipe("normal", (3, width), seed=1, name="input")[0].astype(float)
    h = 1e-6
    jacobian = np.array([(network(x + h * e) - network(x - h * e)) / (2 * h) for e in np.eye(width)])
    expected, found = np.linalg.svd(jacobian, compute_uv=False), signal.singular_values
    resolved = found.values >= found.precision
    assert resolved.sum() >= 4
    np.testing.assert_allclose(found.values[resolved], expected[resolved], rtol=0.05)
    np.testing.assert_allclose(found.values[:4], expected[:4], rtol=1e-4)
    assert (expected[~resolved] < 2 * found.precision).all()


def test_values_below_the_precision_are_said_to_be_that():
    found = fi.propagate("lecun_normal", "linear", depth=50, width=128, batch=2)
    d = found.to_dict()["singular_values"]
    assert d["below_precision"] > 20
    assert d["smallest"] is None
    assert d["precision"] == pytest.approx(d["largest"] * math.sqrt(128) * 2**-23)
    assert f"{d['below_precision']} of them are below the precision of float32" in str(found)


def test_the_jacobian_goes_beyond_float32():
    (signal,) = fi.propagate(fi.init("normal", std=1e-6), "linear", depth=30, width=16, batch=2)
    assert signal.activation_std[-1] == 0
    assert 1e-180 < signal.singular_values.values[0] < 1e-100


def test_wide_layers_have_none():
    found = fi.propagate("zeros", depth=1, width=513, batch=1)
    assert found.to_dict()["singular_values"] is None
    assert fi.propagate("zeros", depth=1, width=512, batch=1)[0].singular_values is not None


# ---- what overflows, vanishes or dies ------------------------------------------------------------------------


def test_overflow_is_a_result():
    found = fi.propagate(fi.init("normal", std=1.0), **(SMALL | {"depth": 80}))
    (signal,) = found
    first = int(np.argmax(~np.isfinite(signal.activation_std)))
    assert np.isinf(signal.activation_std[first])
    assert f"activations: inf at layer {first + 1}" in str(found)
    d = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert d["activation_std"][first] == "inf"
    assert d["activation_std"][-1] == d["singular_values"]["largest"] == d["dead"][-1] == "nan"
    assert "Jacobian: nan" in str(found)


def test_underflow_is_a_result():
    found = fi.propagate(fi.init("normal", std=1e-5), **(SMALL | {"depth": 30}))
    std = found[0].activation_std
    first = int(np.argmax(std == 0))
    assert first > 0
    assert (std[first:] == 0).all()
    assert f"activations: std 0 from layer {first + 1} on" in str(found)
    assert "gradient: std 0 from layer" in str(found)
    assert found[0].dead[-1] == 1


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_zeros(activation):
    (signal,) = fi.propagate("zeros", activation, **SMALL)
    assert (signal.activation_std == 0).all()
    assert (signal.gradient_std[:-1] == 0).all()
    assert (signal.dead == (0 if activation == "sigmoid" else 1)).all()
    assert (signal.singular_values.values == 0).all()


def test_dead_units_are_those_that_no_input_wakes():
    """A bias of -100 for relu; a smaller batch has more of them."""
    (signal,) = fi.propagate("he_normal", bias=fi.init("constant", value=-100.0), **SMALL)
    assert (signal.dead == 1).all()
    many, few = (fi.propagate("he_normal", **(SMALL | {"batch": batch}))[0].dead[0] for batch in (2, 64))
    assert many > few
    x = fi.recipe("normal", (2, 32), seed=0, name="input")[...]
    w = fi.recipe("he_normal", (32, 32), seed=0, name="layer.0.weight")[...]
    assert many == ((x @ w) <= 0).all(axis=0).mean()


def test_saturated_is_within_a_hundredth_of_an_asymptote():
    (signal,) = fi.propagate(fi.init("eye"), "tanh", depth=1, width=512, batch=64)
    x = fi.recipe("normal", (64, 512), seed=0, name="input")[...]
    assert signal.saturated[0] == (np.abs(np.tanh(x)) > 0.99).mean() > 0.005
    (signal,) = fi.propagate(fi.init("eye", gain=4.0), "selu", depth=1, width=512, batch=64)
    assert signal.saturated[0] == pytest.approx((1.7581 * np.exp(np.minimum(4 * x, 0)) < 0.01).mean(), abs=1e-3)
    assert fi.propagate("eye", "relu", **SMALL)[0].saturated is None


# ---- arguments -----------------------------------------------------------------------------------------------


def test_several_are_compared_on_the_same_input():
    alone = [fi.propagate(name, "tanh", **SMALL) for name in ("he_normal", "orthogonal")]
    both = fi.propagate(["he_normal", fi.init("orthogonal")], "tanh", **SMALL)
    assert len(both) == 2
    for one, among in zip(alone, both):
        assert np.array_equal(one[0].activation_std, among.activation_std)
        assert np.array_equal(one[0].gradient_std, among.gradient_std)
    d, results = alone[0].to_dict(), both.to_dict()["results"]
    assert [result["label"] for result in results] == ["he_normal", "orthogonal"]
    assert results[0].items() <= d.items()
    assert "results" not in d


def test_labels():
    found = fi.propagate({"mine": "he_normal", "other": fi.init("normal", std=0.02)}, **SMALL)
    assert [signal.label for signal in found] == ["mine", "other"]
    (signal,) = fi.propagate(fi.init("he_normal", gain=2.0, in_axis=1, out_axis=0), **SMALL)
    assert signal.label == "he_normal(in_axis=(1,), out_axis=(0,), gain=2)"


def test_seeds_and_gain():
    a, b, c = (fi.propagate("he_normal", seed=seed, **SMALL).to_dict() for seed in (1, 1, 2))
    assert a == b
    assert a["activation_std"] != c["activation_std"]
    fresh = fi.propagate("he_normal", seed=None, **SMALL)
    assert fi.propagate("he_normal", seed=int(fresh.to_dict()["seed"]), **SMALL).to_dict() == fresh.to_dict()
    assert isinstance(fresh.to_dict()["seed"], str)  # beyond 2**53
    doubled = fi.propagate("he_normal", gain=2.0, **SMALL)
    assert doubled.to_dict()["activation_std"] == fi.propagate(fi.init("he_normal", gain=2.0), **SMALL).to_dict()["activation_std"]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"init": "he_norml"}, ValueError, "did you mean 'he_normal'"),
        ({"init": []}, ValueError, "no initializer"),
        ({"init": ["zeros", "zeros"]}, ValueError, "twice"),
        ({"init": 3}, TypeError, "not int"),
        ({"init": "delta_orthogonal"}, ValueError, "spatial axes"),
        ({"activation": "rellu"}, ValueError, "did you mean 'relu'"),
        ({"network": "mpl"}, ValueError, "did you mean 'mlp'"),
        ({"depth": 0}, ValueError, "depth must be at least 1"),
        ({"width": 2.0}, TypeError, "width must be an integer"),
        ({"batch": True}, TypeError, "not a bool"),
        ({"network": "cnn", "width": 20}, ValueError, "8 positions"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"bias": "he_normal"}, ValueError, "bias: in_axis"),
        ({"gain": math.nan}, ValueError, "gain must not be NaN"),
        ({"gain": "2"}, TypeError, "gain must be"),
        ({"gain": -1.0}, ValueError, "gain must be"),
        ({"branch_scale": 2.0}, ValueError, "goes with a residual network"),
        ({"branch_scale": "sqrt", "network": "residual"}, ValueError, "branch_scale is a number"),
        ({"branch_scale": math.inf, "network": "residual"}, ValueError, "finite"),
        ({"negative_slope": 0.1}, ValueError, "goes with leaky_relu"),
    ],
)
def test_what_does_not_go_together_is_said(given, error, words):
    with pytest.raises(error, match=words) as caught:
        fi.propagate(**({"init": "he_normal", **SMALL} | given))
    assert len(str(caught.value).splitlines()) == 1


# ---- how it is shown -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_to_dict_is_strict_json_with_a_number_for_each_layer(network):
    found = fi.propagate("he_normal", "selu", network=network, **SMALL)
    d = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for key in ("activation_mean", "activation_std", "dead", "saturated", "gradient_std", "weight_gradient_std"):
        assert len(d[key]) == 6, key
        assert all(isinstance(value, float) for value in d[key])
    assert (d["network"], d["activation"], d["depth"], d["width"], d["batch"]) == (network, "selu", 6, 32, 16)
    assert fi.Initializer.from_dict(d["initializer"]) == fi.init("he_normal")
    assert d["singular_values"]["count"] == 32
    assert d["branch_scale"] == (1.0 if network == "residual" else None)


def test_the_last_gradient_is_standard_normal_and_weights_mean_over_the_batch():
    (signal,) = fi.propagate("eye", "linear", depth=3, width=64, batch=512)
    assert signal.gradient_std == pytest.approx([1, 1, 1], rel=0.02)
    assert signal.weight_gradient_std == pytest.approx([1 / math.sqrt(512)] * 3, rel=0.05)


def test_text_fits_80_columns():
    text = str(
        fi.propagate([fi.init("normal", std=0.02), TORCH_LINEAR, "glorot_uniform"], "tanh", **(SMALL | {"depth": 60}))
    )
    table = [line for line in text.splitlines() if not line.startswith("variance_scaling")]
    assert max(map(len, table)) <= 80
    head = "layer mean std dead saturated gradient weight gradient"
    assert sum(line.split() == head.split() for line in table) == 3
    assert [line.split()[0] for line in text.splitlines() if line[:5].strip().isdigit()][:8] == [
        "1",
        "10",
        "20",
        "30",
        "40",
        "50",
        "60",
        "1",
    ]


def test_repr_html():
    found = fi.propagate({"<b>": "he_normal", "zeros": "zeros"}, **SMALL)
    text = found._repr_html_()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert text.count("<svg") == 6  # four panels, two keys of the legend
    assert "http" not in text
    assert "<script" not in text
    assert "nan" not in text


def test_only_numpy_is_imported_and_only_when_asked_for():
    code = (
        "import sys, fastinit as fi\n"
        "before = [m for m in sys.modules if m.startswith('fastinit.') and m.split('.')[1] in ('propagation', 'symmetry_breaking', 'notebook', 'comparison')]\n"
        "fi.propagate('zeros', depth=1, width=8, batch=1); fi.symmetry('zeros', steps=1)\n"
        "str(fi.propagate), fi.recipe('zeros', 3)._repr_html_()\n"
        "print(before, [m for m in ('matplotlib', 'rich', 'click', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[] []\n"


def test_the_functions_are_no_modules():
    for module in ("propagation", "symmetry_breaking", "cli_propagation"):
        importlib.import_module(f"fastinit.{module}")
    assert callable(fi.propagate)
    assert callable(fi.symmetry)
    assert {"propagate", "symmetry"} <= set(fi.__all__)


def test_gradients_of_two_layers_by_hand():
    (signal,) = fi.propagate("he_normal", "linear", depth=2, width=8, batch=4, seed=3)
    x, d = (fi.recipe("normal", (4, 8), seed=3, name=name)[...].astype(float) for name in ("input", "gradient"))
    first, second = (fi.recipe("he_normal", (8, 8), seed=3, name=f"layer.{i}.weight")[...] for i in range(2))
    assert signal.activation_std == pytest.approx([(x @ first).std(), (x @ first @ second).std()], rel=1e-5)
    assert signal.gradient_std == pytest.approx([(d @ second.T).std(), d.std()], rel=1e-5)
    assert signal.input_gradient_std == pytest.approx((d @ second.T @ first.T).std(), rel=1e-5)
    weights = [(x.T @ d @ second.T / 4).std(), ((x @ first).T @ d / 4).std()]
    assert signal.weight_gradient_std == pytest.approx(weights, rel=1e-5)
