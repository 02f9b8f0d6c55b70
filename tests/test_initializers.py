"""Names to scales: fans, formulas, advice, and the spread of what is drawn."""

import json
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import fastinit as fi
from fastinit.initializers.parameters import PARAMETERS
from fastinit.initializers.scales import TRUNCATED_STD, fans, truncated_std
from fastinit.kinds.drawn import distribution


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((30, 20), {}, (30, 20)),
        ((20, 30), {"in_axis": (1,), "out_axis": (0,)}, (30, 20)),  # torch Linear
        ((3, 3, 16, 32), {}, (144, 288)),  # Keras and JAX convolution
        ((32, 16, 3, 3), {"in_axis": (1,), "out_axis": (0,)}, (144, 288)),  # torch convolution
        ((8, 30, 20), {"batch_axis": (0,)}, (30, 20)),
        ((8, 30, 4, 5), {"in_axis": (1,), "out_axis": (2, 3), "batch_axis": (0,)}, (30, 20)),
        ((2**40, 2**20), {}, (2**40, 2**20)),
        ((0, 5), {}, (0, 5)),
    ],
)
def test_fans(shape, axes, expected):
    assert fans(shape, **axes) == expected


SCALES = [
    ("glorot_uniform", {}, 2 / 50, "uniform"),
    ("glorot_normal", {}, 2 / 50, "normal"),
    ("he_uniform", {}, 2 / 30, "uniform"),
    ("he_normal", {}, 2 / 30, "normal"),
    ("he_normal", {"negative_slope": 0.5}, 2 / 1.25 / 30, "normal"),
    ("lecun_uniform", {}, 1 / 30, "uniform"),
    ("lecun_normal", {}, 1 / 30, "normal"),
    ("lecun_normal", {"truncated": True}, 1 / 30, "truncated_normal"),
    ("he_normal", {"gain": 3.0}, 9 * 2 / 30, "normal"),
    ("he_uniform", {"fan_in": 77}, 2 / 77, "uniform"),
    ("variance_scaling", {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"}, 1 / 90, "uniform"),
    ("variance_scaling", {"scale": 3.0, "mode": "fan_out", "distribution": "normal"}, 3 / 20, "normal"),
    ("variance_scaling", {"scale": 1, "mode": "fan_geo_avg", "distribution": "truncated_normal"}, 600**-0.5, "truncated_normal"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "variance", "kind"), SCALES)
def test_scales(name, parameters, variance, kind):
    drawn = distribution(fi.init(name, **parameters), (30, 20))
    assert drawn.kind == kind
    assert drawn.std == pytest.approx(math.sqrt(variance), rel=1e-15)
    if kind == "uniform":
        assert drawn.parameters == pytest.approx((-math.sqrt(3 * variance), math.sqrt(3 * variance)), rel=1e-15)
    elif kind == "normal":
        assert drawn.parameters == pytest.approx((0, math.sqrt(variance)), rel=1e-15)
    else:
        assert drawn.parameters == pytest.approx((0, math.sqrt(variance) / TRUNCATED_STD, -2, 2), rel=1e-15)


def test_order_of_operations_to_the_bit():
    """DESIGN section 4: var, then its root, in float64."""
    assert distribution(fi.init("glorot_uniform"), (4097, 11)).parameters[1] == math.sqrt(
        3.0 * (1.0 / ((4097 + 11) / 2))
    )
    assert distribution(fi.init("he_normal", negative_slope=0.3), (4097, 11)).parameters[1] == math.sqrt(
        2.0 / (1.0 + 0.3 * 0.3) / 4097
    )


@pytest.mark.parametrize(("name", "parameters", "variance", "kind"), SCALES)
def test_measured_spread(name, parameters, variance, kind):
    """Variance of 600,000 values: 5 standard errors, so a false alarm in 2 million runs; the seed is fixed."""
    shape = (30, 20)
    r = fi.recipe(name, shape, seed=11, name=name, **parameters)
    values = np.concatenate([fi.recipe(r.initializer, shape, seed=s, name=name)[...].ravel() for s in range(1000)])
    kurtosis = {"uniform": 1.8, "normal": 3.0, "truncated_normal": stats.truncnorm(-2, 2).stats("k") + 3.0}[kind]
    standard_error = math.sqrt((kurtosis - 1) / values.size)
    assert abs(values.astype(np.float64).var() / variance - 1) < 5 * standard_error


@pytest.mark.parametrize(("lower", "upper"), [(-2, 2), (-1, 3), (0, 2), (0, np.inf), (-np.inf, np.inf), (3, 4), (5, np.inf), (-9, -7),
                                              (0.5, 0.5), (30, np.inf), (-np.inf, 2), (-1e-3, 1e-3), (-60, 60)])  # fmt: skip
def test_truncated_std(lower, upper):
    got = truncated_std(float(lower), float(upper))
    if (lower, upper) == (30, np.inf):  # 1/a - 3/a^3 + ...; SciPy loses it
        assert got == pytest.approx(1 / 30 - 3 / 30**3, rel=1e-4)
    elif lower == upper:
        assert got == 0
    elif (lower, upper) == (-1e-3, 1e-3):
        assert got == pytest.approx(1e-3 / math.sqrt(3), rel=1e-6)
    else:
        assert got == pytest.approx(stats.truncnorm(lower, upper).std(), rel=1e-7)
    if (lower, upper) == (-2, 2):
        assert got == pytest.approx(TRUNCATED_STD, rel=1e-12)


def test_truncation_correction_is_for_variance_scaling_alone():
    """Direct truncated normals keep the std they are given; its parameter is before the cut."""
    assert distribution(fi.init("truncated_normal", std=0.02), (3,)).parameters == (0.0, 0.02, -2.0, 2.0)
    assert fi.recipe("truncated_normal", 3, seed=0, std=0.02).std == pytest.approx(0.02 * TRUNCATED_STD, rel=1e-9)


@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform", "lecun_normal"])
def test_one_axis_has_no_fans(name):
    with pytest.raises(ValueError, match="fan_in="):
        fi.recipe(name, 30, seed=0)


def test_one_axis_with_its_fan_given():
    assert fi.recipe("he_normal", 30, seed=0, fan_in=8).std == 0.5
    assert fi.recipe("glorot_uniform", 30, seed=0, fan_in=8, fan_out=24).std == 0.25


def test_a_torch_weight_with_its_axes():
    assert fi.recipe("he_normal", (64, 16, 3, 3), seed=0, in_axis=1, out_axis=0).std == math.sqrt(2 / (16 * 9))


def test_aliases_are_stored_under_the_canonical_name():
    for alias, name in [("xavier_uniform", "glorot_uniform"), ("xavier_normal", "glorot_normal"),
                        ("kaiming_uniform", "he_uniform"), ("kaiming_normal", "he_normal")]:  # fmt: skip
        assert fi.init(alias) == fi.init(name)
        assert fi.init(alias).to_dict()["init"] == name
        assert getattr(fi, alias) is getattr(fi, name)


def test_initializers_are_values():
    a = fi.init("he_normal", in_axis=1, out_axis=0)
    assert a == fi.init("he_normal", in_axis=(1,), out_axis=[0], gain=1)
    assert len({a, fi.init("kaiming_normal", in_axis=1, out_axis=0)}) == 1
    assert fi.init(a) is a
    assert pickle.loads(pickle.dumps(a)) == a
    assert fi.Initializer.from_dict(json.loads(json.dumps(a.to_dict(), allow_nan=False))) == a
    assert a.name == "he_normal"
    assert a.parameters["in_axis"] == (1,)
    assert fi.recipe("he_normal", (30, 20), seed=1, name="n", in_axis=1, out_axis=0) == fi.recipe(
        a, (30, 20), seed=1, name="n"
    )
    with pytest.raises(AttributeError, match="immutable"):
        a.name = "x"
    assert fi.init("constant", value=0.0) != fi.init("constant", value=-0.0)
    assert fi.init("uniform") != fi.init("normal")
    assert fi.init("uniform") != "uniform"


@pytest.mark.parametrize(
    ("activation", "name", "parameters"),
    [
        ("sigmoid", "glorot_uniform", {}),
        ("tanh", "glorot_uniform", {}),
        ("softmax", "glorot_uniform", {}),
        ("relu", "he_normal", {}),
        ("gelu", "he_normal", {}),
        ("silu", "he_normal", {}),
        ("leaky_relu", "he_normal", {"negative_slope": 0.01}),
        ("prelu", "he_normal", {"negative_slope": 0.25}),
        ("selu", "lecun_normal", {}),
        ("linear", "lecun_normal", {}),
    ],
)
def test_for_activation(activation, name, parameters):
    assert fi.for_activation(activation) == fi.init(name, **parameters)
    assert fi.for_activation(activation, in_axis=1, out_axis=0).parameters["in_axis"] == (1,)


def test_for_activation_refuses_unknown_ones():
    assert fi.for_activation("leaky_relu", negative_slope=0.2) == fi.init("he_normal", negative_slope=0.2)
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        fi.for_activation("rleu")


def test_calculate_gain_has_torchs_values():
    for name in (
        "linear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "sigmoid",
    ):
        assert fi.calculate_gain(name) == 1
    assert fi.calculate_gain("tanh") == 5 / 3
    assert fi.calculate_gain("relu") == math.sqrt(2)
    assert fi.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    assert fi.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / (1 + 0.2**2))
    assert fi.calculate_gain("leaky_relu", 1) == 1
    assert fi.calculate_gain("selu") == 0.75
    with pytest.raises(ValueError, match="Unsupported nonlinearity gelu"):
        fi.calculate_gain("gelu")
    for wrong in (True, "0.1"):
        with pytest.raises(ValueError, match="not a valid number"):
            fi.calculate_gain("leaky_relu", wrong)


FUNCTIONS = {
    "uniform": {"low": -1.0, "high": 2.0},
    "normal": {"std": 0.5},
    "truncated_normal": {"upper": 1.0},
    "constant": {"value": 2.5},
    "zeros": {},
    "ones": {},
    "eye": {"gain": 2.0},
    "dirac": {"groups": 2},
    "sparse": {"sparsity": 0.3, "std": 0.5},
    "variance_scaling": {"scale": 1.0, "mode": "fan_avg", "distribution": "normal"},
    "glorot_uniform": {"in_axis": 1, "out_axis": 0},
    "glorot_normal": {"truncated": True},
    "he_uniform": {"negative_slope": 0.1},
    "he_normal": {"gain": 2.0},
    "lecun_uniform": {"fan_in": 5},
    "lecun_normal": {},
    "orthogonal": {"gain": 0.5},
    "delta_orthogonal": {"out_axis": 2, "in_axis": 1},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_its_recipe(name, dtype):
    """In place, allocating, and a region: one way through."""
    function, parameters = getattr(fi, name), FUNCTIONS[name]
    shape = (40, 5, 6) if name in ("delta_orthogonal", "dirac") else (40, 30)
    expected = fi.recipe(name, shape, dtype=dtype, seed=2, name="f", **parameters)[...]
    made = function(shape, seed=2, name="f", dtype=dtype, **parameters)
    assert made.dtype == expected.dtype
    assert made.__array_interface__["data"][0] % 64 == 0
    assert (made == expected).all()
    out = np.empty(shape, expected.dtype)
    assert function(out, seed=2, name="f", **parameters) is out
    assert (out == expected).all()
    part = function((10, *shape[1:]), shape=shape, index=np.s_[5:15], seed=2, name="f", dtype=dtype, **parameters)
    assert (part == expected[5:15]).all()
    assert function.__doc__.count("{") == 0
    assert "Parameters" in function.__doc__


def test_every_initializer_has_its_function():
    assert set(FUNCTIONS) == set(PARAMETERS)
    assert all(name in fi.__all__ for name in FUNCTIONS)
    assert all(hasattr(fi, name) for name in fi.__all__)
