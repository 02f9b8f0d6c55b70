"""`symmetry`: constants keep one unit to the last bit, draws do not; the gradient is the gradient; what is counted."""

import json
import math

import numpy as np
import pytest

import fastinit as fi
from fastinit import symmetry_breaking
from fastinit.activation_functions import ACTIVATIONS
from fastinit.symmetry_breaking import (
    Units,
    cross_entropy,
    distinct_units,
    forward_and_backward,
    mean_distance,
    problem,
    rank,
)

UNITWISE = [name for name in ACTIVATIONS if name != "softmax"]
CONSTANTS = ["zeros", "ones", *(fi.init("constant", value=value) for value in (0.5, -0.3, 1e-3, 0.1, 30.0))]


@pytest.mark.parametrize("activation", UNITWISE)
def test_constants_keep_one_unit_to_the_last_bit(activation, monkeypatch):
    """For 13 units, so that no width of a vector divides them."""
    seen = []

    def kept(rows):
        seen.append(rows.copy())
        return distinct_units(rows)

    monkeypatch.setattr(symmetry_breaking, "distinct_units", kept)
    found = fi.symmetry(CONSTANTS, activation, hidden=13, steps=300)
    for training in found:
        assert (training.distinct_units == 1).all()
        assert (training.rank <= 1).all()
        assert (training.distance == 0).all()
        assert "one distinct unit from the first step to the last" in str(found)
    assert len(seen) == 301 * len(CONSTANTS)
    for rows in seen:
        bits = rows.view(np.uint32)
        assert (bits == bits[0]).all()


def test_zeros_learn_nothing_and_constants_not_enough():
    zeros, constant, drawn = fi.symmetry(["zeros", fi.init("constant", value=0.5), "he_normal"])
    assert zeros.loss == pytest.approx(np.full(301, math.log(2)))
    assert zeros.rank.tolist() == [0] * 301
    assert constant.loss[-1] < constant.loss[0]
    assert constant.accuracy.max() <= 0.8
    assert drawn.accuracy[-1] == 1
    assert drawn.loss[-1] < 0.05


@pytest.mark.parametrize("activation", ["relu", "tanh", "selu", "gelu", "silu"])
@pytest.mark.parametrize("init", ["he_normal", "glorot_uniform", "orthogonal", fi.init("normal", std=0.01)])
def test_a_draw_keeps_its_units_apart(init, activation):
    for seed in range(3):
        (training,) = fi.symmetry(init, activation, seed=seed, steps=100)
        assert (training.distinct_units == 8).all()
        assert training.rank.max() >= 3
        assert (training.distance > 0.1).all()


def test_units_that_are_equal_in_part():
    (training,) = fi.symmetry("eye")
    assert training.distinct_units[0] == 3
    assert (training.distinct_units == 3).all()


@pytest.mark.parametrize("activation", UNITWISE)
def test_the_gradient_against_differences(activation):
    points, classes = (array.astype(np.float64) for array in problem())
    rng = np.random.default_rng(0)
    units = Units(rng.normal(size=(5, 4)), rng.normal(size=1))
    direction = Units(rng.normal(size=(5, 4)), rng.normal(size=1))

    def loss(h):
        moved = Units(*(value + h * d for value, d in zip(units, direction)))
        return cross_entropy(forward_and_backward(moved, points, classes, ACTIVATIONS[activation])[0], classes)

    _, gradient = forward_and_backward(units, points, classes, ACTIVATIONS[activation])
    along = sum(float((g * d).sum()) for g, d in zip(gradient, direction))
    assert along == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-5)


def test_the_loss_is_the_cross_entropy():
    outputs, classes = np.array([-3.0, 0.5, 2.0]), np.array([0.0, 1.0, 0.0])
    p = 1 / (1 + np.exp(-outputs))
    expected = -(classes * np.log(p) + (1 - classes) * np.log(1 - p)).mean()
    assert cross_entropy(outputs, classes) == pytest.approx(expected)
    assert cross_entropy(np.array([1e30]), np.array([1.0])) == 0


def test_the_problem_is_exclusive_or_and_fixed():
    points, classes = problem()
    assert points.shape == (2, 64)
    assert classes.sum() == 32
    assert (((points[0] > 0) != (points[1] > 0)) == (classes == 1)).mean() > 0.98
    a, b = (fi.symmetry("he_normal", seed=seed, steps=1).to_dict() for seed in (0, 1))
    assert a["loss"] != b["loss"]
    assert np.array_equal(problem()[0], points)


def test_weights_are_those_of_recipes():
    (training,) = fi.symmetry("he_normal", hidden=4, steps=1, seed=9)
    rows = np.zeros((4, 4), np.float32)
    rows[:, :2] = fi.recipe("he_normal", (2, 4), seed=9, name="hidden.weight")[...].T
    rows[:, 3] = fi.recipe("he_normal", (4, 1), seed=9, name="output.weight")[:, 0]
    outputs, _ = forward_and_backward(Units(rows, np.zeros(1, np.float32)), *problem(), ACTIVATIONS["relu"])
    assert training.loss[0] == cross_entropy(outputs, problem()[1])


# ---- what is counted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0, 0], [0, 0]], 1),
        ([[1, 2], [1, 2], [1, 3]], 2),
        ([[1, 2], [1, 2 + 1e-6]], 1),  # within a millionth of the largest
        ([[1, 2], [1, 2 + 1e-5]], 2),
        ([[1e-9, 0], [2e-9, 0], [0, 3]], 2),
        ([[math.nan, 1], [math.nan, 1], [math.inf, 1]], 2),
        ([[math.inf, 1], [math.inf, 1]], 1),
        ([[math.nan, math.nan]], 1),
    ],
)
def test_distinct_units(rows, expected):
    assert distinct_units(np.array(rows, float)) == expected


def test_rank_and_distance():
    assert rank(np.array([[1.0, 0], [2, 0], [3, 0]])) == 1
    assert rank(np.array([[1.0, 0], [0, 1], [1, 1]])) == 2
    assert rank(np.array([[math.nan, 0]])) == 0
    assert mean_distance(np.zeros((3, 2))) == mean_distance(np.ones((3, 2), np.float32) / 3) == 0
    rows = np.random.default_rng(0).normal(size=(6, 4))
    pairs = [((a - b) ** 2).sum() for i, a in enumerate(rows) for b in rows[:i]]
    assert mean_distance(rows) == pytest.approx(math.sqrt(np.mean(pairs) / (rows**2).sum(axis=1).mean()))


# ---- arguments, and how it is shown --------------------------------------------------------------------------


def test_overflow_is_a_result():
    found = fi.symmetry(fi.init("constant", value=1e30), "selu", steps=20)
    d = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert d["loss"][-1] == "nan"
    assert set(d["distinct_units"]) == {1}


def test_to_dict_has_every_step_and_the_start():
    found = fi.symmetry("he_normal", steps=10)
    d = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for key in ("loss", "accuracy", "distinct_units", "rank", "distance"):
        assert len(d[key]) == 11, key
    assert (d["hidden"], d["steps"], d["seed"], d["tolerance"]) == (8, 10, 0, 1e-6)
    assert all(type(count) is int for count in d["distinct_units"])
    both = fi.symmetry(["he_normal", "zeros"], steps=10).to_dict()["results"]
    assert both[0].items() <= d.items()
    assert "one distinct unit" not in str(found)


def test_shown():
    found = fi.symmetry(["zeros", "he_normal"], steps=100)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["step", "loss", "accuracy", "distinct", "units", "rank", "distance"]
    assert [line.split()[0] for line in lines[4:15]] == [str(step) for step in range(0, 101, 10)]
    assert found._repr_html_().count("<svg") == 5


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"activation": "softmax"}, ValueError, "no function of one"),
        ({"hidden": 0}, ValueError, "hidden must be at least 1"),
        ({"steps": "3"}, TypeError, "steps must be an integer"),
        ({"init": "delta_orthogonal"}, ValueError, "spatial axes"),
        ({"init": ["zeros", "zeros"]}, ValueError, "twice"),
        ({"seed": 1 << 128}, ValueError, "seed must be"),
    ],
)
def test_what_does_not_go_together_is_said(given, error, words):
    with pytest.raises(error, match=words):
        fi.symmetry(**({"init": "he_normal"} | given))
