"""The small networks: gradients and tangents against finite differences, convolutions against loops, their recipes."""

import itertools

import numpy as np
import pytest

import fastinit as fi
from fastinit.activation_functions import ACTIVATIONS
from fastinit.networks import KERNEL, NETWORKS, POSITIONS, Architecture, CircularConvolution, draw_weight

DEPTH, WIDTH, BATCH = 3, 16, 5


def in_float64(network, activation):
    """Blocks with biases, in float64 so that differences are accurate."""
    architecture = Architecture(network, ACTIVATIONS[activation], DEPTH, WIDTH, branch_scale=0.7)
    blocks = architecture.build(fi.init("he_normal"), fi.init("normal", std=0.3), None, 5)
    for block in blocks:
        block.linear.weight = block.linear.weight.astype(np.float64)
        block.bias = block.bias.astype(np.float64)
    return blocks, np.random.default_rng(2).normal(size=(BATCH, *architecture.input_shape))


def through(blocks, x):
    for block in blocks:
        x = block.forward(x)
    return x


def difference(function, h=1e-6):
    return (function(h) - function(-h)) / (2 * h)


@pytest.mark.parametrize(("network", "activation"), list(itertools.product(NETWORKS, ACTIVATIONS)))
def test_gradients_and_tangents_against_differences(network, activation):
    blocks, x = in_float64(network, activation)
    rng = np.random.default_rng(3)
    given, direction = rng.normal(size=x.shape), rng.normal(size=x.shape)

    through(blocks, x)
    tangents = direction
    for block in blocks:
        tangents = block.tangents(tangents)
    d, weight_gradients = given, []
    for block in reversed(blocks):
        d, weight_gradient = block.backward(d)
        weight_gradients.insert(0, weight_gradient)

    along = difference(lambda h: through(blocks, x + h * direction))
    assert (d * direction).sum() == pytest.approx((given * along).sum(), rel=1e-6)

    first = x[:1] + np.zeros_like(x)  # tangents are those at the first input
    moved = difference(lambda h: through(blocks, first + h * direction))
    np.testing.assert_allclose(tangents, moved, rtol=1e-5, atol=1e-7)

    if network == "rnn":  # one weight: the steps add up
        weight_gradients, blocks_of_weights = [sum(weight_gradients)], blocks[:1]
    else:
        blocks_of_weights = blocks
    for block, gradient in zip(blocks_of_weights, weight_gradients):
        weight, change = block.linear.weight, rng.normal(size=block.linear.weight.shape)

        def loss(h, block=block, weight=weight, change=change):
            block.linear.weight = weight + h * change
            return (given * through(blocks, x)).sum() / BATCH

        assert (gradient * change).sum() == pytest.approx(difference(loss), rel=1e-5)
        block.linear.weight = weight


def test_convolution_against_loops():
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=(2, 5, 3)), rng.normal(size=(KERNEL, 3, 4))
    expected = np.zeros((2, 5, 4))
    for p, k in itertools.product(range(5), range(KERNEL)):
        expected[:, p] += x[:, (p + k - 1) % 5] @ weight[k]
    np.testing.assert_allclose(CircularConvolution(weight).apply(x), expected, atol=1e-13)


def test_weights_are_those_of_recipes():
    blocks = Architecture("mlp", ACTIVATIONS["relu"], 2, 8).build(fi.init("he_normal"), fi.init("ones"), None, 7)
    for layer, block in enumerate(blocks):
        recipe = fi.recipe("he_normal", (8, 8), seed=7, name=f"layer.{layer}.weight")
        assert np.array_equal(block.linear.weight, recipe[...])
        assert block.bias.tolist() == [1] * 8
    convolution, _ = Architecture("cnn", ACTIVATIONS["relu"], 2, 4 * POSITIONS).build(fi.init("normal"), None, None, 7)
    assert np.array_equal(
        convolution.linear.weight, fi.recipe("normal", (KERNEL, 4, 4), seed=7, name="layer.0.weight")[...]
    )
    first, second = Architecture("rnn", ACTIVATIONS["relu"], 2, 8).build(fi.init("normal"), None, None, 7)
    assert first.linear is second.linear
    assert np.array_equal(first.linear.weight, fi.recipe("normal", (8, 8), seed=7, name="recurrent.weight")[...])


def test_torch_order_of_axes():
    torch = fi.init("he_normal", in_axis=1, out_axis=0, gain=2.0)
    drawn = draw_weight(torch, (KERNEL,), 4, None, 0, "w")
    assert np.array_equal(drawn, fi.recipe(torch, (4, 4, KERNEL), seed=0, name="w")[...].T)
    assert drawn.std() == pytest.approx(2 * np.sqrt(2 / (4 * KERNEL)), rel=0.3)
    square = draw_weight(fi.init("orthogonal", out_axis=0), (), 4, None, 0, "w")
    np.testing.assert_allclose(square @ square.T, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("name", ["he_normal", "orthogonal", "lecun_uniform"])
def test_gain_goes_into_the_initializer(name):
    made = draw_weight(fi.init(name, gain=2.0), (), 16, 3.0, 0, "w")
    assert np.array_equal(made, fi.recipe(name, (16, 16), seed=0, name="w", gain=6.0)[...])


def test_gain_multiplies_weights_that_have_none():
    made = draw_weight(fi.init("uniform", low=-1.0), (), 16, 0.5, 0, "w")
    assert np.array_equal(made, fi.recipe("uniform", (16, 16), seed=0, name="w", low=-1.0)[...] / 2)
