"""Recipes: descriptions that round-trip, compare, pickle, index like arrays."""

import json
import pickle

import numpy as np
import pytest

import fastinit as fi
from conftest import DTYPES, bits


@pytest.fixture
def recipe():
    return fi.recipe("he_normal", (30, 20), dtype="float32", seed=5, name="w", in_axis=1, out_axis=0)


def test_describes(recipe):
    assert recipe.shape == (30, 20)
    assert recipe.dtype == np.float32
    assert (recipe.ndim, recipe.size, recipe.nbytes, recipe.seed, recipe.name) == (2, 600, 2400, 5, "w")
    assert len(recipe) == 30
    assert recipe.std == np.sqrt(2 / 20)


def test_indexing_is_numpys(recipe):
    w = np.asarray(recipe)
    for index in [np.s_[3], np.s_[-1], np.s_[3:9], np.s_[..., 3], np.s_[::2], np.s_[::-1, 5], np.s_[2, 3], np.s_[None, 4],
                  np.s_[:, None, 1:3], np.s_[...], (), np.s_[100:], np.s_[5:5, ::3], np.int32(4), np.s_[..., None]]:  # fmt: skip
        got = recipe[index]
        assert isinstance(got, np.ndarray)
        assert got.shape == w[index].shape
        assert (got == w[index]).all()
    assert recipe[2, 3].shape == ()


def test_iteration_ends(recipe):
    assert (np.stack(list(recipe)) == np.asarray(recipe)).all()


@pytest.mark.parametrize(
    "index", [30, -31, (0, 20), (0, 0, 0), (Ellipsis, Ellipsis), True, [1, 2], np.array([1]), 1.0, "a"]
)
def test_bad_indices(recipe, index):
    with pytest.raises(IndexError):
        recipe[index]


def test_take(recipe):
    w = np.asarray(recipe)
    assert (recipe.take([5, 29, 5]) == w[[5, 29, 5]]).all()
    assert (recipe.take([[0, -1], [3, 4]]) == w[np.array([[0, -1], [3, 4]])]).all()
    assert (recipe.take(7) == w[7]).all()
    assert recipe.take([]).shape == (0, 20)
    rows = np.empty((2, 20), np.float32)
    assert recipe.take(np.array([1, 2], np.uint8), out=rows) is rows
    assert (rows == w[1:3]).all()
    deep = np.empty((2, 2, 20), np.float32)[::-1]
    assert (recipe.take([[0, -1], [3, 4]], out=deep) == w[np.array([[0, -1], [3, 4]])]).all()
    for wrong in ([30], [-31], [2**40]):
        with pytest.raises(IndexError, match="out of bounds"):
            recipe.take(wrong)
    for wrong in ([1.5], [True], "a"):
        with pytest.raises(TypeError, match="integers"):
            recipe.take(wrong)


def test_one_description_for_equal_parts():
    r = fi.recipe("normal", (9, 4), seed=0)
    for a, b in [
        (r.part(np.s_[:4:3]), r.part(np.s_[:6:3])),
        (r.part(np.s_[:: 2**70]), r.part(np.s_[:1])),
        (r.part(...), r),
    ]:
        assert a == b
        assert hash(a) == hash(b)
        assert a.__dask_tokenize__() == b.__dask_tokenize__()
        assert (a.take([0, 0]) == b.take([0, 0])).all()


def test_a_dtype_of_none_is_the_default():
    assert fi.recipe("normal", 3, seed=0, dtype=None) == fi.recipe("normal", 3, seed=0)


def test_zero_dimensions_do_not_iterate():
    with pytest.raises(TypeError, match="0-d"):
        list(fi.recipe("normal", (), seed=0))


def test_the_initializer_survives_the_dict(recipe):
    assert fi.Recipe.from_dict(recipe.to_dict()).initializer == recipe.initializer
    plain = fi.recipe("he_normal", (3, 4), seed=0)
    assert fi.Recipe.from_dict(plain.to_dict()).initializer == plain.initializer


def test_take_indices_may_lie_in_the_output():
    r = fi.recipe("normal", (50, 1), dtype="float64", seed=0)
    memory = np.array([[4], [9], [2]], np.int64)
    expected = r.take([4, 9, 2])
    assert (r.take(memory[:, 0], out=memory.view(np.float64)) == expected).all()


def test_array_protocol(recipe):
    assert np.asarray(recipe).dtype == np.float32
    assert np.asarray(recipe, dtype=np.float64).dtype == np.float64
    assert (np.asarray(recipe) == recipe[...]).all()
    with pytest.raises(ValueError, match="copy=False"):
        np.array(recipe, copy=False)


def test_dlpack(recipe):
    for whole in (recipe, recipe.part(np.s_[2:, ::3])):
        made = np.from_dlpack(whole)
        assert (made == whole[...]).all()
        assert whole.__dlpack_device__() == made.__dlpack_device__()
    with pytest.raises(BufferError, match=r"bfloat16 .* fastinit\.torch\.tensor"):
        np.from_dlpack(fi.recipe("normal", 3, dtype="bfloat16", seed=0))


def test_parts(recipe):
    part = recipe.part(np.s_[:, 4:8])
    assert part.shape == (30, 4)
    assert (part.std, part.bounds, part.seed, part.name) == (recipe.std, recipe.bounds, 5, "w")
    assert (part[...] == recipe[:, 4:8]).all()
    assert (part.take([3, 3]) == recipe[:, 4:8][[3, 3]]).all()
    again = pickle.loads(pickle.dumps(part))
    assert again == part
    assert hash(again) == hash(part)
    assert (again.part(2)[...] == recipe[2, 4:8]).all()
    assert part != recipe.part(np.s_[:, 4:9])
    assert recipe.part(np.s_[...]) == recipe
    out = np.empty((30, 2), np.float32)
    assert part.fill(out, np.s_[:, :2]) is out
    assert (out == recipe[:, 4:6]).all()


def test_dict_is_strict_canonical_json(recipe):
    d = recipe.to_dict()
    assert json.loads(json.dumps(d, allow_nan=False)) == d
    assert d["stream"] == 1
    assert d["init"] == "he_normal"
    assert d["in_axis"] == [1]
    assert fi.Recipe.from_dict(d) == recipe
    assert fi.Recipe.from_dict(d).to_dict() == d
    short = {k: d[k] for k in ("stream", "init", "shape", "dtype", "seed", "name", "in_axis", "out_axis")}
    assert fi.Recipe.from_dict(short) == recipe


@pytest.mark.parametrize("seed", [0, 2**53 - 1, 2**53, 2**128 - 1])
def test_large_seeds_survive_json(seed):
    r = fi.recipe("normal", 3, seed=seed)
    d = json.loads(json.dumps(r.to_dict()))
    assert d["seed"] == (seed if seed < 2**53 else str(seed))
    assert fi.Recipe.from_dict(d).seed == seed


def test_infinities_and_nan_survive_json():
    r = fi.recipe("truncated_normal", 3, seed=0, lower=-np.inf, upper=np.inf)
    d = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    assert (d["lower"], d["upper"]) == ("-inf", "inf")
    assert fi.Recipe.from_dict(d) == r
    n = fi.recipe("constant", 3, seed=0, value=float("nan"))
    assert fi.Recipe.from_dict(json.loads(json.dumps(n.to_dict(), allow_nan=False))) == n


def test_equality_sees_the_description_only(recipe):
    same = fi.recipe("kaiming_normal", [30, 20], dtype=np.float32, seed=5, name="w", in_axis=-1, out_axis=(-2,), gain=1)
    recipe[3]  # whatever is cached by use
    assert same == recipe
    assert hash(same) == hash(recipe)
    assert same.__dask_tokenize__() == recipe.__dask_tokenize__()
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    for other in ({"seed": 6}, {"name": "v"}, {"dtype": "float16"}, {"shape": (20, 30)}, {"truncated": True}):
        keywords = {"shape": (30, 20), "dtype": "float32", "seed": 5, "name": "w", "in_axis": 1, "out_axis": 0, **other}
        assert fi.recipe("he_normal", keywords.pop("shape"), **keywords) != recipe
    assert recipe != "recipe"


def test_from_dict_refuses(recipe):
    d = recipe.to_dict()
    for change, words in [({"stream": 2}, "stream 2"), ({"streem": 1}, "streem"), ({"init": "he_norml"}, "he_normal"),
                          ({"seed": "0x1"}, "decimal"), ({"seed": None}, "seed"), ({"dtype": "float31"}, "float32"),
                          ({"shape": 5}, "list"), ({"gian": 2.0}, "gain")]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            fi.Recipe.from_dict({**d, **change})
    for key in ("seed", "shape", "init", "name", "dtype"):
        with pytest.raises(ValueError, match=key):
            fi.Recipe.from_dict({k: v for k, v in d.items() if k != key})


def test_bounds_hold_and_are_reached():
    for dtype in DTYPES:
        for name, parameters in [("uniform", {"low": -0.5, "high": 0.25}), ("normal", {"std": 0.02}),
                                 ("truncated_normal", {"std": 0.02}), ("truncated_normal", {"lower": 1.0, "upper": 1.2}),
                                 ("truncated_normal", {"lower": -np.inf, "upper": 0.5}), ("constant", {"value": 3.0}),
                                 ("eye", {"gain": 2.0}), ("glorot_uniform", {})]:  # fmt: skip
            r = fi.recipe(name, (300, 200), dtype=dtype, seed=0, **parameters)
            values, (low, high) = r[...].astype(np.float64), r.bounds
            assert low <= values.min()
            assert values.max() <= high
            for end in (low, high):
                assert np.float64(DTYPES[dtype].type(end)) == end
            if "normal" not in name or "upper" in parameters:
                assert values.max() >= high - 0.01 * abs(high)


ODD = [("eye", {"gain": -2.0}), ("orthogonal", {"gain": -2.0}), ("constant", {"value": -3.0}), ("uniform", {"low": -7.0, "high": -5.0}),
       ("normal", {"mean": -3.0, "std": 0.5}), ("truncated_normal", {"mean": -3.0, "lower": -5.0, "upper": -4.5}),
       ("truncated_normal", {"lower": -990.000999, "upper": -990.0}), ("truncated_normal", {"lower": 1.5, "upper": np.inf}),
       ("he_normal", {"negative_slope": -0.3}), ("he_uniform", {"negative_slope": -3.0, "gain": 0.5}),
       ("lecun_normal", {"truncated": True, "gain": 3.0})]  # fmt: skip
ZERO = [("eye", {"gain": -0.0}), ("orthogonal", {"gain": -0.0}), ("glorot_uniform", {"gain": -0.0}), ("he_normal", {"gain": -0.0}),
        ("variance_scaling", {"scale": -0.0, "mode": "fan_in", "distribution": "uniform"}), ("normal", {"std": -0.0}),
        ("uniform", {"low": 0.0, "high": -0.0}), ("truncated_normal", {"std": -0.0})]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters"), [*ODD, *ZERO, ("delta_orthogonal", {"gain": -2.0})])
def test_std_and_bounds_of_odd_parameters(name, parameters):
    """A standard deviation is never below zero, whatever the sign of the gain, and is that of the values."""
    shape = (3, 30, 40) if name == "delta_orthogonal" else (100, 300)
    r = fi.recipe(name, shape, dtype="float64", seed=0, name="odd", **parameters)
    values = r[...]
    assert np.signbit(r.std) == 0
    assert r.std == pytest.approx(values.std(), rel=0.03, abs=1e-12)
    low, high = r.bounds
    assert low <= values.min() <= values.max() <= high


def test_a_zero_size_read_computes_nothing():
    r = fi.recipe("normal", (0, 2**40, 2**20), seed=0)
    assert r[...].shape == (0, 2**40, 2**20)
    assert fi.he_normal((0, 5), seed=0).shape == (0, 5)
    assert fi.recipe("he_normal", (0, 5), seed=0).std == 0


def test_fresh_seeds_differ_and_are_kept():
    a, b = fi.recipe("normal", 5), fi.recipe("normal", 5)
    assert a.seed != b.seed
    assert (a[...] == a[...]).all()
    assert (a[...] != b[...]).any()
    assert not (fi.normal(100) == fi.normal(100)).all()


def test_eye():
    for shape in [(5, 5), (7, 4), (4, 7), (1, 9), (0, 3)]:
        for dtype in DTYPES:
            assert (fi.eye(shape, gain=0.5, dtype=dtype) == 0.5 * np.eye(*shape)).all()
    r = fi.recipe("eye", (50, 40), seed=0)
    e = np.eye(50, 40, dtype=np.float32)
    for index in [np.s_[3:20, 5:9], np.s_[::-1], np.s_[::3, ::5], np.s_[::-7, 1::4], np.s_[4], np.s_[:, 7], np.s_[3, 3], np.s_[3, 4],
                  np.s_[None, 2:9, None, ::2], np.s_[45:], np.s_[39::-2, ::-1], np.s_[10:12, 11]]:  # fmt: skip
        assert (r[index] == e[index]).all(), index
    assert (r.take([3, 49, 3]) == e[[3, 49, 3]]).all()
    assert (r.part(np.s_[3]).take([1, 3]) == e[3][[1, 3]]).all()
    assert (r.part(np.s_[:, 3]).take([1, 3]) == e[:, 3][[1, 3]]).all()
    assert (fi.eye((2, 3), gain=-1.0) == -np.eye(2, 3)).all()
    assert (r.part(np.s_[5:, ::2]).take([[3, 1]]) == e[5:, ::2][[[3, 1]]]).all()


def test_bfloat16_without_ml_dtypes(monkeypatch):
    """uint16 bits where the package that has the dtype is missing."""
    import sys

    expected = fi.normal(100, seed=0, dtype="bfloat16")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    got = fi.normal(100, seed=0, dtype="bfloat16")
    assert got.dtype == np.uint16
    assert (got == bits(expected)).all()
    given = np.empty(100, np.uint16)
    fi.normal(given, seed=0, dtype="bfloat16")
    assert (given == got).all()
    fi.recipe("normal", 100, seed=0, dtype="bfloat16").fill(given)


@pytest.mark.parametrize(
    "recipe",
    [
        fi.recipe("eye", (4, 6), gain=0.5, seed=0, dtype="bfloat16"),
        fi.recipe("dirac", (4, 6, 3), seed=0, dtype="bfloat16"),
        fi.recipe("sparse", (40, 6), sparsity=0.5, seed=0, dtype="bfloat16"),
        fi.recipe("orthogonal", (4, 6), seed=0, dtype="bfloat16"),
        fi.recipe("constant", (4, 6), value=0.3, seed=0, dtype="bfloat16"),
        fi.literal(np.arange(24.0, dtype="bfloat16").reshape(4, 6) / 8),
        fi.paste(
            fi.recipe("normal", (4, 6), seed=0, dtype="bfloat16"), 1, fi.literal(np.arange(6.0, dtype="bfloat16"))
        ),
    ],
    ids=lambda recipe: repr(recipe).partition("(")[0] + str(recipe.shape),
)
def test_bfloat16_by_its_bits(recipe):
    """Of any kind: as torch's tensors are filled."""
    given = np.empty(recipe.shape, np.uint16)
    recipe.fill(given)
    assert (given == bits(recipe[...])).all()
    assert (recipe.take([2, 0], out=given[:2]) == bits(recipe[...])[[2, 0]]).all()


def test_repr_shows_what_makes_it(recipe):
    assert repr(recipe) == (
        "recipe('he_normal', (30, 20), dtype='float32', seed=5, name='w', in_axis=(1,), out_axis=(0,))"
    )
