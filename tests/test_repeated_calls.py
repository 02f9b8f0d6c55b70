"""What is kept from one call for the next gives no call the answer of another."""

import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import bits

#: Equal to one another, or alike in bytes or in print, and yet not the same parameter.
ALIKE = [
    0.0, -0.0, 0, False, np.False_, np.float64(0.0), np.float64(-0.0), np.float32(-0.0), np.int64(0), b"\0" * 8, None,
    1.0, 1, True, np.True_, np.float64(1.0), np.float32(1.0), np.int64(1), np.datetime64(1, "ns"), np.longdouble(1), "1", 1j,
    (), [], (0,), [0], (0.0,), (False,), (np.int64(0),), (np.float64(0.0),), (b"\0" * 8,), -1, (-1,), [-1], (1, 0),
    0.1, np.float64(0.1), np.float32(0.1), np.float16(0.1), 0.1 + 2**-56, 2, (2,), 2.0, np.uint8(2),
    float("inf"), "inf", float("nan"), "nan", np.array(1.0), np.array([1.0]), 10**400,
]  # fmt: skip
PARAMETERS = {
    "uniform": ["low", "high"],
    "normal": ["mean", "std"],
    "truncated_normal": ["lower", "upper", "std"],
    "constant": ["value"],
    "eye": ["gain"],
    "he_normal": ["in_axis", "out_axis", "batch_axis", "fan_in", "gain", "truncated", "negative_slope"],
    "glorot_uniform": ["in_axis", "out_axis", "fan_in", "fan_out", "gain"],
}


@st.composite
def described(draw):
    """An initializer's name with parameters, most of which nothing can be made of."""
    name = draw(st.sampled_from(list(PARAMETERS)))
    keys = draw(st.lists(st.sampled_from(PARAMETERS[name]), max_size=2, unique=True))
    return name, {key: draw(st.sampled_from(ALIKE)) for key in keys}


def outcome(make):
    """What a call makes, or what it says."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@given(st.lists(described(), max_size=12))
def test_an_initializer_is_that_of_its_own_parameters(calls):
    for name, parameters in calls:
        made = outcome(lambda: fi.init(name, **parameters).to_dict())  # noqa: B023
        assert repr(made) == repr(outcome(lambda: fi.Initializer(name, **parameters).to_dict()))  # noqa: B023


def forget():
    """Empties every cache of the package."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastinit":
            for thing in list(vars(module).values()):
                if hasattr(thing, "cache_clear"):
                    thing.cache_clear()


def memory(kind, shape):
    """Memory of zeros, and the keywords that a call on it needs."""
    if kind == "bits of bfloat16":
        return np.zeros(shape, np.uint16), {"dtype": "bfloat16"}
    dtype = {"bfloat16": ml_dtypes.bfloat16, "other order": ">f4", "uint16": np.uint16}.get(kind, kind)
    if kind in ("read-only", "overlapping", "strided", "Fortran", "subclass"):
        dtype = np.float32
    out = np.zeros(shape, dtype, order="F" if kind == "Fortran" else "C")
    if kind == "read-only":
        out.flags.writeable = False
    if kind == "overlapping":
        out = np.lib.stride_tricks.as_strided(out, strides=(4,) * out.ndim)
    if kind == "strided":
        out = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]
    return (np.ma.array(out) if kind == "subclass" else out), {}


KINDS = [
    "float32", "float64", "float16", "bfloat16", "bits of bfloat16", "uint16", "int32", "other order", "read-only",
    "overlapping", "strided", "Fortran", "subclass",
]  # fmt: skip


@st.composite
def fills(draw):
    """A call of a function with memory: the same few shapes, seeds and names again and again."""
    name, parameters = draw(described())
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.sampled_from([(4, 3), (3, 4), (12, 1), (12,), (0, 3)]))
    seed = draw(st.sampled_from([0, 1, 2**64, True, 0.0, np.int64(1), -1]))
    return name, parameters, kind, shape, {"seed": seed, "name": draw(st.sampled_from(["", "a", "b", b"a"]))}


@settings(max_examples=60)
@given(st.lists(fills(), min_size=2, max_size=8))
def test_a_fill_is_what_it_is_by_itself(calls):
    def fill(call):
        name, parameters, kind, shape, key = call
        out, keywords = memory(kind, shape)
        said = outcome(lambda: getattr(fi, name)(out, **key, **keywords, **parameters) is out)
        return said, bits(np.asarray(out)).tolist()

    together = [fill(call) for call in calls]
    alone = []
    for call in calls:
        forget()
        alone.append(fill(call))
    assert together == alone


def test_a_number_that_changes_counts_as_it_is_now():
    class Number:
        value = 1.0

        def __float__(self):
            return self.value

        def __repr__(self):
            return "1"

    number, out = Number(), np.empty(16, np.float32)
    first = fi.normal(out, std=number, seed=0).copy()
    number.value = 2.0
    assert (fi.normal(out, std=number, seed=0) == 2 * first).all()


@pytest.mark.parametrize("number", [np.float64(0.1), np.float32(0.1), np.float16(0.1), np.int64(2), np.uint8(3)])
def test_numpys_numbers_are_kept_too(number):
    assert fi.init("normal", std=number) is fi.init("normal", std=number.item())
    assert fi.init("normal", std=number).parameters == {"mean": 0.0, "std": float(number)}
