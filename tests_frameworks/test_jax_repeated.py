"""What JAX keeps of its own initializers gives no call of ours the answer of another."""

import contextlib
import random
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fastinit as fi
import fastinit.jax as init
from conftest import same
from fastinit.jax import initializers

KEYS = {
    "key": lambda: jax.random.key(7),
    "words": lambda: jax.random.PRNGKey(7),
    "words of NumPy": lambda: np.array([0, 7], np.uint32),
    "keys": lambda: jax.random.split(jax.random.key(7), 3),
    "words of keys": lambda: jax.random.split(jax.random.PRNGKey(7), 3),
    "four words": lambda: jnp.arange(4, dtype=jnp.uint32),
    "none": lambda: None,
    "integer": lambda: 5,
}
#: Equal to one another, some of them, and yet not the same to JAX.
SHAPES = [
    (4, 3),
    [4, 3],
    (4.0, 3),
    (4.0, 3.0),
    (np.int64(4), 3),
    (4, 1),
    (4, True),
    (4, 1.0),
    (1, 1),
    (0, 3),
    (-4, 3),
    4,
]
DTYPES = [
    None,
    float,
    jnp.float32,
    np.float32,
    "float32",
    np.dtype("float32"),
    jnp.bfloat16,
    np.float16,
    jnp.int32,
    "x",
]
AXES = [-2, (-2,), [-2], -2.0, (-2.0,), True, (True,), 1, 1.0, 0, (), np.int64(0), 5]
SETTINGS = {
    "plain": contextlib.nullcontext,
    "x64": lambda: jax.enable_x64(True),
    "no words": lambda: jax.legacy_prng_key("error"),
    "words with a warning": lambda: jax.legacy_prng_key("warn"),
    "another generator": lambda: jax.default_prng_impl("rbg"),
    "strict": lambda: jax.numpy_dtype_promotion("strict"),
}
SCALES = [0.5, 1.0, 1, np.float32(1.0), np.float64(0.5), jnp.float32(0.5), "1", None]


def call(choose):
    name = choose.choice(["normal", "uniform", "he_normal", "glorot_uniform", "variance_scaling", "orthogonal"])
    if name in ("normal", "uniform"):
        arguments = (choose.choice(SCALES),)
    elif name == "variance_scaling":
        mode, drawn = choose.choice(["fan_in", "fan_avg", "fan"]), choose.choice(["normal", "uniform", "gauss"])
        arguments = (choose.choice(SCALES), mode, drawn)
    else:
        arguments = (choose.choice([-1, 0, 1]),) if name == "orthogonal" else (choose.choice(AXES),)
    key = choose.choice(["key"] * 6 + list(KEYS))
    setting = choose.choice(["plain"] * 4 + list(SETTINGS))
    return name, arguments, key, choose.choice(SHAPES[:1] * 4 + SHAPES), choose.choice(DTYPES), setting


def outcome(name, arguments, key, shape, dtype, setting):
    """The bits of what is made, or the error; and what is warned of."""
    with warnings.catch_warnings(record=True) as told, SETTINGS[setting]():
        warnings.simplefilter("always")
        try:
            given = KEYS[key]()
            made = getattr(init, name)(*arguments)(given, shape, *(() if dtype is None else (dtype,)))
            found = made.shape, str(made.dtype), np.asarray(made).tobytes()
        except Exception as error:
            found = type(error), str(error).splitlines()[:1]
    return found, {str(warning.message) for warning in told}


@pytest.mark.parametrize("seed", range(5))
def test_a_call_is_what_it_is_by_itself(seed, monkeypatch):
    choose = random.Random(seed)
    calls = [call(choose) for _ in range(80)]
    together = [outcome(*each) for each in calls]
    monkeypatch.setattr(initializers, "_kept", lambda name, args, _: initializers._made(name, args))
    monkeypatch.setattr(initializers, "_as_argument", lambda key: None)  # then JAX traces each time
    for each, expected in zip(calls, together):
        assert outcome(*each) == expected, each


def test_complex_numbers_are_jaxs_of_the_same_scale():
    key, shape = jax.random.key(7), (4, 3)
    for scale in (0.5, 1.0, 1, True):
        ours, theirs = (module.normal(scale)(key, shape, jnp.complex64) for module in (init, jax.nn.initializers))
        assert (ours == theirs).all()


def test_words_as_a_key_where_settings_change():
    initialize, words = init.normal(), jax.random.PRNGKey(7)
    made = initialize(words, (4, 3))
    with jax.legacy_prng_key("error"), pytest.raises(ValueError, match="Legacy uint32 key"):
        initialize(words, (4, 3))
    with jax.legacy_prng_key("warn"), pytest.warns(UserWarning, match="Legacy uint32 key"):
        initialize(words, (4, 3))
    with jax.default_prng_impl("rbg"), pytest.raises(TypeError, match="invalid PRNG key data"):
        initialize(words, (4, 3))
    assert (initialize(words, (4, 3)) == made).all()


def test_a_default_float_that_changes():
    initialize = init.he_normal()
    for wide in (False, True, False):
        with jax.enable_x64(wide):
            made = initialize(jax.random.key(0), (4, 3))
            expected = fi.recipe("he_normal", (4, 3), dtype="float64" if wide else "float32", seed=0, truncated=True)
            assert same(np.asarray(made), expected[...])


def test_a_number_that_stays_the_same_object():
    scale = np.array(0.5)
    first = np.asarray(init.normal(scale)(jax.random.key(0), (8,)))
    scale[()] = 1.0
    assert same(np.asarray(init.normal(scale)(jax.random.key(0), (8,))), 2 * first)
