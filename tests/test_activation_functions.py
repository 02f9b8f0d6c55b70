"""Activations: their values, derivatives and limits, against SciPy and finite differences."""

import math

import numpy as np
import pytest
from scipy import special

from fastinit.activation_functions import ACTIVATIONS, SELU_ALPHA, SELU_SCALE, activation_function, normal_cdf
from fastinit.initializers import activations

#: Written down once more, with SciPy where it has them.
EXPECTED = {
    "linear": lambda x: x,
    "relu": lambda x: x * (x > 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * (np.exp(np.minimum(x, 0)) - 1)),
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softmax": lambda x: special.softmax(x, axis=-1),
}


def points():
    """Away from the kink at 0."""
    return np.linspace(-12, 12, 1000).reshape(10, 100)


def test_every_activation_that_an_initializer_is_recommended_for_is_there():
    assert set(activations._FOR_ACTIVATION) <= set(ACTIVATIONS)
    assert set(EXPECTED) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    x = points()
    np.testing.assert_allclose(ACTIVATIONS[name].value(x), EXPECTED[name](x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_against_differences(name):
    activation, x, h = ACTIVATIONS[name], points(), 1e-5
    direction = np.random.default_rng(0).normal(size=x.shape)
    difference = (activation.value(x + h * direction) - activation.value(x - h * direction)) / (2 * h)
    np.testing.assert_allclose(activation.times_jacobian(x, direction), difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_stays_float32_and_close(name):
    x = points().astype(np.float32)
    activation = ACTIVATIONS[name]
    assert activation.value(x).dtype == np.float32
    assert activation.slope(x).dtype == np.float32
    assert activation.times_jacobian(x, x).dtype == np.float32
    np.testing.assert_allclose(activation.value(x), EXPECTED[name](x.astype(float)), rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "softmax"])
def test_far_out_it_is_its_limit(name):
    """Neither overflow, nor 0 times infinity."""
    activation = ACTIVATIONS[name]
    x = np.array([-1e38, -1e4, -90, 90, 1e4, 1e38], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"), np.errstate(under="ignore"):
        values, slopes = activation.value(x) / np.maximum(x, 1), activation.slope(x)
    bounded, steep = name in ("tanh", "sigmoid"), SELU_SCALE if name == "selu" else 1
    assert values[3:] == pytest.approx([1 / 90, 1e-4, 1e-38] if bounded else [steep] * 3, rel=1e-5)
    assert slopes[3:] == pytest.approx([0 if bounded else steep] * 3, abs=1e-6)
    left = {"linear": 1, "leaky_relu": 0.01, "prelu": 0.25}.get(name, 0)
    assert slopes[:3] == pytest.approx([left] * 3, abs=1e-6)
    if activation.asymptotes:
        assert activation.value(x[:3]) == pytest.approx([activation.asymptotes[0]] * 3, abs=1e-6)


def test_softmax_of_large_numbers():
    with np.errstate(over="raise", invalid="raise"):
        assert ACTIVATIONS["softmax"].value(np.array([[1e38, 1e38, -1e38]], np.float32)).tolist() == [[0.5, 0.5, 0]]


def test_jacobian_of_softmax():
    z = np.random.default_rng(1).normal(size=(1, 6))
    (y,) = ACTIVATIONS["softmax"].value(z)
    made = ACTIVATIONS["softmax"].times_jacobian(z, np.eye(6))
    np.testing.assert_allclose(made, np.diag(y) - np.outer(y, y), atol=1e-15)
    np.testing.assert_allclose(ACTIVATIONS["softmax"].slope(z)[0], np.diag(made), atol=1e-15)


def test_the_normal_distribution_function_to_the_last_tail():
    x = np.concatenate([np.linspace(-36.5, 8, 20_000), [-1e300, 1e300, -math.inf, math.inf, 0]])
    with np.errstate(over="ignore"):
        made = normal_cdf(x)
    np.testing.assert_allclose(made, special.ndtr(x), rtol=1e-11, atol=0)


def test_slopes_of_leaky_activations():
    x = np.array([-2.0, 3.0])
    assert activation_function("leaky_relu", 0.2).value(x).tolist() == [-0.4, 3]
    assert activation_function("prelu", 0.5).slope(x).tolist() == [0.5, 1]
    assert activation_function("leaky_relu", 0.2).name == "leaky_relu(0.2)"
    assert activation_function("swish") is ACTIVATIONS["silu"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("rellu",), ValueError, "did you mean 'relu'"),
        ((3,), TypeError, "not int"),
        (("relu", 0.1), ValueError, "goes with leaky_relu"),
        (("prelu", "x"), TypeError, "must be a number"),
        (("prelu", True), TypeError, "must be a number"),
        (("prelu", math.inf), ValueError, "finite"),
    ],
)
def test_bad_names_and_slopes(arguments, error, words):
    with pytest.raises(error, match=words):
        activation_function(*arguments)


def test_nan_stays_nan_in_the_step():
    assert np.isnan(ACTIVATIONS["relu"].slope(np.array([np.nan], np.float32))).all()
