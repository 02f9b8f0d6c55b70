"""Composed tensors described: dicts and equality, std and bounds, literals; errors and hostile dicts."""

import base64
import copy
import json
import math
import pickle
import tracemalloc

import ml_dtypes  # noqa: F401  (gives NumPy the dtype)
import numpy as np
import pytest

import fastinit as fi
from conftest import bits
from fastinit.kinds import composed
from test_composed import a

# ---- descriptions ----------------------------------------------------------------------------------------------


def test_the_forms_of_dicts():
    def d(recipe):
        described = recipe.to_dict()
        assert described.pop("stream") == 1
        assert "stream" not in json.dumps(described)
        return described

    x = d(a())
    assert d(fi.concatenate([a(), a()], -1, groups=2)) == {"concatenate": [x, x], "axis": 1, "groups": 2}
    assert d(fi.stack([a(), a()], -1)) == {"stack": [x, x], "axis": 2}
    assert d(a().T) == {"transpose": x, "axes": [1, 0]}
    assert d(a().transpose(-1, 0)) == {"transpose": x, "axes": [1, 0]}
    assert d(a().reshape(3, -1)) == {"reshape": x, "shape": [3, 8]}
    assert d(a().part(np.s_[1, ::-2])) == {"part": x, "at": [1, [5, -1, -2]]}
    assert d(a().part(np.s_[None, 1:3])) == {"reshape": {"part": x, "at": [[1, 3, 1], [0, 6, 1]]}, "shape": [1, 2, 6]}
    assert d(a().part(...)) == x
    y = d(a((6,), "row"))
    assert d(fi.paste(a(), -1, a((6,), "row"))) == {"paste": y, "onto": x, "at": [3, [0, 6, 1]]}
    values = np.array([[1.5, -0.0]], np.float32)
    text = base64.b64encode(values.astype("<f4").tobytes()).decode()
    assert d(fi.literal(values)) == {"literal": text, "dtype": "float32", "shape": [1, 2]}


def test_left_out_of_a_dict():
    x = {key: value for key, value in a().to_dict().items() if key != "stream"}
    assert fi.Recipe.from_dict({"stream": 1, "concatenate": [x, x]}) == fi.concatenate([a(), a()])
    assert fi.Recipe.from_dict({"stream": 1, "stack": [x, x]}) == fi.stack([a(), a()])


def test_composed_recipes_are_recipes():
    part = a().part(np.s_[1:3])
    for made in (fi.concatenate([a(), part]), fi.stack([a()]), a().T, part.T, part.reshape(-1), fi.literal(np.ones(2))):
        assert isinstance(made, fi.Recipe)
        assert made.seed is None
        assert made.name is None
        assert made.initializer is None
        assert np.asarray(made).shape == made.shape
        assert made._repr_html_()
        assert repr(made)
        assert copy.deepcopy(made) == made
        assert made.__dask_tokenize__() == pickle.loads(pickle.dumps(made)).__dask_tokenize__()
        assert (np.from_dlpack(made) == made[...]).all()
        assert made.T.T.shape == made.shape
    assert part._repr_html_()
    assert pickle.loads(pickle.dumps(part)) == part
    assert fi.Recipe.from_dict(part.to_dict()) == part
    assert hash(fi.Recipe.from_dict(part.to_dict())) == hash(part)
    covering = a().part(...)
    assert covering == a()
    assert a().transpose(0, 1) != a().T
    assert len({a().T, a().T, a().reshape(6, 4)}) == 2


def test_std_and_bounds_are_of_all_values_together():
    far = a((50, 40), "far", mean=3.0, std=0.5)
    near = fi.recipe("uniform", (150, 40), seed=2, low=-1.0, high=0.5)
    cut = fi.recipe("truncated_normal", (100, 40), seed=3, mean=1.0, lower=-1.0, upper=2.5)
    ones = fi.recipe("eye", (40, 40), seed=3)
    for made in (
        fi.concatenate([far, near, cut, ones]),
        fi.stack([far, near.part(np.s_[:50])]).T,
        fi.paste(near, np.s_[10:60], far).reshape(-1),
        fi.concatenate([fi.recipe("dirac", (20, 20, 3), seed=0), fi.recipe("ones", (20, 20, 3), seed=0)]),
        fi.literal(np.array([1.0, 4.0])),
        fi.concatenate([fi.recipe("truncated_normal", 9999, seed=4, lower=-3.0, upper=-1.0), fi.recipe("ones", 9999)]),
    ):
        values = made[...].astype(np.float64)
        assert made.std == pytest.approx(values.std(), rel=0.03)
        assert made.bounds[0] <= values.min()
        assert made.bounds[1] >= values.max()
    assert fi.concatenate([far, near]).bounds == (
        min(far.bounds[0], near.bounds[0]),
        max(far.bounds[1], near.bounds[1]),
    )
    assert fi.stack([far, far]).std == pytest.approx(far.std)
    assert fi.concatenate([near.part(np.s_[:0]), near]).std == near.std
    infinite = [fi.recipe("constant", 2, seed=0, value=value) for value in (math.inf, -math.inf)]
    assert math.isnan(fi.concatenate(infinite).std)


def test_literals_are_copied_and_keep_their_bits():
    values = np.array([np.nan, np.inf, -0.0, 1e-45], np.float32)
    values.view(np.uint32)[0] = 0x7FC12345
    made = fi.literal(values)
    kept = values.copy()
    values[...] = 0
    assert (bits(made[...]) == bits(kept)).all()
    assert (bits(fi.Recipe.from_dict(made.to_dict())[...]) == bits(kept)).all()
    assert (fi.literal(kept.astype(">f4"))[1:] == kept[1:]).all()
    raw = np.array([0x3F80, 0x4000], np.uint16)
    half = fi.literal(raw, dtype="bfloat16")
    assert half.to_dict()["dtype"] == "bfloat16"
    assert (bits(half[...]) == raw).all()
    assert half.bounds == (1.0, 2.0)
    made[...][...] = 5  # a copy, too
    assert (bits(made[...]) == bits(kept)).all()


def test_progress_of_orthogonal_pieces_and_notes():
    made = fi.stack([fi.recipe("orthogonal", (200, 200), seed=i) for i in range(2)] + [a((200, 200))])
    calls = []
    made.fill(np.empty(made.shape, np.float32), progress=lambda done, total: calls.append((done, total)))
    assert len(calls) > 3
    assert calls[-1] == (made.size, made.size)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        made.fill(np.empty(made.shape, np.float32), progress=stop)
    assert "incomplete" in caught.value.__notes__[0]


# ---- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fi.concatenate([]), ValueError, "concatenate needs at least one recipe"),
        (lambda: fi.stack([]), ValueError, "stack needs at least one recipe"),
        (lambda: fi.concatenate(a()), TypeError, "concatenate takes a list of recipes"),
        (lambda: fi.concatenate([np.zeros(3)]), TypeError, "concatenate takes recipes, not ndarray"),
        (lambda: fi.concatenate([a(), a(dtype="float64")]), ValueError, "one dtype, got float32 and float64"),
        (lambda: fi.concatenate([a(), a((4, 5))]), ValueError, r"equal shapes but for axis 0, got (4, 6) and (4, 5)"),
        (lambda: fi.concatenate([a(), a((4,))], 1), ValueError, "equal shapes but for axis 1"),
        (lambda: fi.concatenate([a(()), a(())]), ValueError, "0-d tensors cannot be concatenated"),
        (lambda: fi.concatenate([a()], 2), ValueError, "axis 2 is out of bounds for 2 axes"),
        (lambda: fi.concatenate([a()], True), TypeError, "axis must be an integer, not bool"),
        (lambda: fi.concatenate([a()], groups=3), ValueError, "3 groups do not divide axis 0 of shape (4, 6)"),
        (
            lambda: fi.concatenate([a((0, 6))], groups=10**30),
            ValueError,
            "0 groups do not divide axis 0 of shape (0, 6)",
        ),
        (
            lambda: fi.literal(np.ma.masked_array([1.0], [True])),
            TypeError,
            "a masked array has elements without values",
        ),
        (lambda: fi.concatenate([a()], groups=0), ValueError, "groups must be at least 1, got 0"),
        (lambda: fi.concatenate([a()], groups=1.5), TypeError, "groups must be an integer"),
        (lambda: fi.stack([a(), a((6, 4))]), ValueError, "stacked tensors need equal shapes"),
        (lambda: fi.stack([a()], 3), ValueError, "axis 3 is out of bounds for 3 axes"),
        (lambda: fi.stack([a((1 << 60,))] * 4), ValueError, "2**62 elements or more"),
        (lambda: a().transpose(0, 0), ValueError, "are not the 2 axes"),
        (lambda: a().transpose(0), ValueError, "are not the 2 axes"),
        (lambda: a().transpose(0, 2), ValueError, "axis 2 is out of bounds"),
        (lambda: a().transpose("ab"), TypeError, "the axes must be integers"),
        (lambda: a().reshape(5, 5), ValueError, "cannot be reshaped to (5, 5)"),
        (lambda: a().reshape(-1, 5), ValueError, "cannot be reshaped to (-1, 5)"),
        (lambda: a().reshape(-1, -1), ValueError, "one length alone may be -1"),
        (lambda: a().reshape(2.0, 12), TypeError, "the lengths of a shape must be integers"),
        (lambda: fi.paste(a(), 0, a((5,))), ValueError, "shape (5,) cannot be pasted onto a region of shape (6,)"),
        (lambda: fi.paste(a(), 4, a((6,))), IndexError, "out of bounds"),
        (lambda: fi.paste(a(), [0], a((6,))), IndexError, "only integers, slices"),
        (lambda: fi.paste(a(), None, a((1, 4, 6))), ValueError, "no new axes"),
        (lambda: fi.paste(a(), 0, a((6,), dtype="float16")), ValueError, "one dtype"),
        (lambda: fi.paste(a(), 0, np.zeros(6)), TypeError, "paste takes recipes, not ndarray"),
        (lambda: fi.literal([1, 2]), TypeError, "not int64: convert it first"),
        (lambda: fi.literal(["a"]), TypeError, "convert it first"),
        (lambda: fi.literal(np.ones(2, np.uint16)), TypeError, "not uint16"),
        (lambda: fi.literal(np.ones(2), dtype="float32"), TypeError, "dtype float64, not the dtype float32"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def nested(depth):
    d = {key: value for key, value in a().to_dict().items() if key != "stream"}
    for _ in range(depth):
        d = {"transpose": d, "axes": [1, 0]}
    return {"stream": 1, **d}


def test_the_deepest_nesting_and_one_more():
    made = fi.Recipe.from_dict(nested(composed.DEEPEST - 1))
    assert (made[...] == (a().T if composed.DEEPEST % 2 == 0 else a())[...]).all()
    with pytest.raises(ValueError, match="nested at most 64 deep"):
        made.T  # noqa: B018
    with pytest.raises(ValueError, match="nested at most 64 deep"):
        made.part(0)
    with pytest.raises(ValueError, match="nested at most 64 deep"):
        fi.Recipe.from_dict(nested(composed.DEEPEST))


@pytest.mark.parametrize("index", [0, np.s_[1:3, ::2], np.s_[None, 1], np.s_[None, :, 1]])
def test_a_part_that_is_made_can_be_described(index):
    for depth in range(composed.DEEPEST - 4, composed.DEEPEST):
        made = fi.Recipe.from_dict(nested(depth))
        try:
            part = made.part(index)
        except ValueError:
            assert depth >= composed.DEEPEST - 3
            continue
        again = fi.Recipe.from_dict(part.to_dict())
        assert again.shape == part.shape
        assert (again[...] == part[...]).all()
        assert hash(part) == hash(made.part(index))
    assert depth == composed.DEEPEST - 1


def test_shared_tensors_count_each_time_that_they_occur():
    made = a((1,))
    for _ in range(15):  # 2^15 times the one, and 2^15 - 1 concatenated ones
        made = fi.concatenate([made, made])
    with pytest.raises(ValueError, match="at most 65536 tensors"):
        fi.concatenate([made, made])


def pasted_tree(depth):
    """A dict in which every level has the next one twice."""
    d = {key: value for key, value in a().to_dict().items() if key != "stream"}
    for _ in range(depth):
        d = {"paste": d, "onto": d, "at": [[0, 4, 1], [0, 6, 1]]}
    return d


#: What some of the messages say.
SAID = {
    "deep": "nested at most 64 deep",
    "many parts": "at most 65536 tensors",
    "a tree of pastes": "at most 65536 tensors",
    "unknown key": "did you mean 'axis'?",
    "two forms": "one of 'concatenate' and 'stack', not both",
    "unknown form": "no key 'concat'; did you mean 'concatenate'?",
    "stream true": "stream True",
    "stream inside": "'stream'",
    "literal long": "its base64 has another length",
    "literal not base64": "has other characters",
    "literal padded wrongly": "is 4 bytes, got 5",
    "paste": "cannot be pasted",
}

HOSTILE = {
    "deep": lambda x: nested(100_000),
    "many parts": lambda x: {"concatenate": [x] * 1_000_000},
    "many parts that are none": lambda x: {"stack": [None] * 1_000_000},
    "many parts in many": lambda x: {"stack": [{"concatenate": [x] * 1000}] * 1000},
    "a tree of pastes": lambda x: pasted_tree(40),
    "no parts": lambda x: {"concatenate": []},
    "parts no list": lambda x: {"concatenate": x},
    "parts a text": lambda x: {"stack": "abc"},
    "unknown key": lambda x: {"concatenate": [x], "axes": 0},
    "two forms": lambda x: {"concatenate": [x], "stack": [x]},
    "unknown form": lambda x: {"concat": [x], "axis": 0},
    "stream true": lambda x: {"stream": True, **x},
    "stream inside": lambda x: {"stack": [{"stream": 1, **x}]},
    "axis a text": lambda x: {"concatenate": [x], "axis": "0"},
    "axis true": lambda x: {"concatenate": [x], "axis": True},
    "axis far": lambda x: {"concatenate": [x], "axis": 10**30},
    "groups": lambda x: {"concatenate": [x], "groups": 10**9},
    "groups a float": lambda x: {"concatenate": [x], "groups": 1.0},
    "shapes": lambda x: {"concatenate": [x, {**x, "shape": [4, 5]}]},
    "dtypes": lambda x: {"concatenate": [x, {**x, "dtype": "float64"}]},
    "too large": lambda x: {"stack": [{**x, "shape": [1 << 61]}] * 3},
    "transpose axes": lambda x: {"transpose": x, "axes": [0, 0]},
    "transpose many axes": lambda x: {"transpose": x, "axes": [0] * 1_000_000},
    "transpose needs": lambda x: {"transpose": x},
    "reshape": lambda x: {"reshape": x, "shape": [5]},
    "reshape many": lambda x: {"reshape": x, "shape": [1] * 1_000_000 + [24]},
    "reshape to what": lambda x: {"reshape": x, "shape": [24.0]},
    "part short": lambda x: {"part": x, "at": [0]},
    "part beyond": lambda x: {"part": x, "at": [4, 0]},
    "part negative": lambda x: {"part": x, "at": [-1, 0]},
    "part slice beyond": lambda x: {"part": x, "at": [[0, 5, 1], 0]},
    "part step 0": lambda x: {"part": x, "at": [[0, 4, 0], 0]},
    "part slice of two": lambda x: {"part": x, "at": [[0, 4], 0]},
    "part entry": lambda x: {"part": x, "at": ["0", 0]},
    "part nested entry": lambda x: {"part": x, "at": [nested(100_000), 0]},
    "paste": lambda x: {"paste": x, "onto": x, "at": [0, [0, 6, 1]]},
    "paste without onto": lambda x: {"paste": x, "at": [0, 0]},
    "literal short": lambda x: {"literal": "AAAA", "dtype": "float32", "shape": [1]},
    "literal long": lambda x: {"literal": "A" * 10_000_000, "dtype": "float32", "shape": [1]},
    "literal huge": lambda x: {"literal": "AAAAAA==", "dtype": "float32", "shape": [1 << 60]},
    "literal bytes": lambda x: {"literal": b"AAAAAA==", "dtype": "float32", "shape": [1]},
    "literal not base64": lambda x: {"literal": "AA!AAA==", "dtype": "float32", "shape": [1]},
    "literal not ASCII": lambda x: {"literal": "AAäAAA==", "dtype": "float32", "shape": [1]},
    "literal padded wrongly": lambda x: {"literal": "AAAAAAA=", "dtype": "float32", "shape": [1]},
    "literal of integers": lambda x: {"literal": "AAAAAA==", "dtype": "int32", "shape": [1]},
    "literal dtype": lambda x: {"literal": "AAAAAA==", "dtype": ["float32"], "shape": [1]},
    "no dict": lambda x: {"transpose": 5, "axes": []},
    "a list": lambda x: {"transpose": [x], "axes": [1, 0]},
    "nothing": lambda x: {"transpose": {}, "axes": [1, 0]},
    "stream nested": lambda x: {"stream": nested(100_000)},
    "seed nested": lambda x: {**x, "seed": nested(100_000)},
    "shape nested": lambda x: {**x, "shape": nested(100_000)},
    "shape nested in a list": lambda x: {**x, "shape": [nested(100_000)]},
    "dtype nested": lambda x: {**x, "dtype": nested(100_000)},
    "init nested": lambda x: {**x, "init": nested(100_000)},
    "name nested": lambda x: {**x, "name": nested(100_000)},
    "mean nested": lambda x: {**x, "mean": nested(100_000)},
    "keys no text": lambda x: {"transpose": x, "axes": [1, 0], 5: 5},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_dicts_in_bounded_time_and_memory(case):
    x = {key: value for key, value in a().to_dict().items() if key != "stream"}
    d = {"stream": 1, **HOSTILE[case](x)}
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (which one, each says)
            fi.Recipe.from_dict(d)
        many = case in ("many parts in many", "a tree of pastes")  # which have to be read until they are too many
        assert tracemalloc.get_traced_memory()[1] < (64 << 20 if many else 1 << 20)
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert SAID.get(case, "") in message
    assert message
    assert "\n" not in message
    assert len(message) < 400, message[:500]
