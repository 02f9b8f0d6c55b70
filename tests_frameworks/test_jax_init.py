"""fastinit.jax.init and recipes: the bits of the eager call, whatever the initialising function does with its fills."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fastinit as fi
import fastinit.jax as init
from conftest import same
from fastinit.recipe import Part

KEY = jax.random.key(7)
NORMAL = init.normal(0.5)
UNIFORM = init.uniform(0.3)


def equal(a, b, weak=True):
    """Whether two trees are the same: structure, types, dtypes, `weak` ones too, and bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        name = jax.tree_util.keystr(path)
        assert type(x) is type(y), name
        if not hasattr(x, "dtype"):
            assert x == y, name
            continue
        assert x.dtype == y.dtype, name
        assert not weak or getattr(x, "weak_type", False) == getattr(y, "weak_type", False), name
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, name
        assert x.tobytes() == y.tobytes(), name


def is_recipe(leaf):
    return isinstance(leaf, Part)


def made(recipe_tree):
    """A tree with the values of its recipes."""
    return jax.tree.map(lambda r: jnp.asarray(r[...]) if is_recipe(r) else r, recipe_tree, is_leaf=is_recipe)


def follows(fn, *args, **options):
    """The recipes of a function; `init` and they have the bits of the eager call, and nothing is made whole."""
    eager = fn(*args)
    equal(init.init(fn, *args, strict=True, **options), eager)
    tree = init.recipes(fn, *args, strict=True, **options)
    equal(made(tree), eager, weak=False)
    return tree


def computes(fn, *args):
    """`init` has the bits of the eager call without making anything whole; recipes would be literals, and say so."""
    eager = fn(*args)
    equal(init.init(fn, *args, strict=True), eager)
    with pytest.warns(init.MadeWholeWarning):
        equal(made(init.recipes(fn, *args)), eager)


# ---- functions of keys -------------------------------------------------------------------------------------------


def test_a_fill_is_its_recipe():
    tree = follows(lambda key: {"w": NORMAL(key, (8, 6)), "b": jnp.zeros(6), "n": 3}, KEY)
    assert tree["w"] == fi.recipe("normal", (8, 6), std=0.5, seed=init.seed_of(KEY))
    assert tree["b"] == fi.recipe("zeros", (6,), seed=0)
    assert tree["n"] == 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.PRNGKey(3), jax.random.key(3, impl="rbg")], ids=str)
def test_kinds_of_keys_and_dtypes(key, dtype):
    make = init.lecun_normal(dtype=dtype)
    tree = follows(lambda key: [make(k, (7, 5)) for k in jax.random.split(key)], key)
    assert [r.dtype.name for r in tree] == [jnp.dtype(dtype).name] * 2
    assert tree[0].seed == init.seed_of(jax.random.split(key)[0])


def test_float64():
    with jax.enable_x64(True):
        (leaf,) = follows(lambda key: [NORMAL(key, (3, 4))], KEY)
        assert leaf == fi.recipe("normal", (3, 4), std=0.5, seed=init.seed_of(KEY), dtype="float64")
        several = follows(lambda key: jax.vmap(lambda key: NORMAL(key, (3, 4)))(jax.random.split(key, 2)), KEY)
        assert several.shape == (2, 3, 4)
        computes(lambda key: 0.3 * NORMAL(key, (3, 4)), KEY)


# ---- flax linen --------------------------------------------------------------------------------------------------


def test_linen_dense():
    import flax.linen as nn

    model = nn.Dense(5, kernel_init=init.he_normal())
    tree = follows(model.init, KEY, jnp.ones((2, 4)))
    assert tree["params"]["kernel"].initializer == fi.recipe("he_normal", (4, 5), truncated=True, seed=0).initializer


def test_jaxs_own_initializers_are_made_whole_and_said_so():
    import flax.linen as nn

    args = nn.Dense(5).init, KEY, jnp.ones((2, 4))
    with pytest.warns(init.MadeWholeWarning) as caught:
        equal(init.init(*args), args[0](*args[1:]))
    assert list(caught[0].message.arrays) == ["['params']['kernel']"]
    assert caught[0].filename == __file__
    with pytest.warns(init.MadeWholeWarning, match="1 of 2 arrays whole"):
        equal(made(init.recipes(*args)), args[0](*args[1:]))
    for function in (init.init, init.recipes):
        with pytest.raises(ValueError, match=r"strict: 1 of 2 arrays would have to be made whole: \['params'\]"):
            function(*args, strict=True)


def test_nothing_is_said_of_what_is_a_recipe():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        init.init(lambda key: (NORMAL(key, (8, 6)), jnp.arange(3), jax.random.split(key)), KEY)


def test_within_a_transform_it_is_refused():
    for function in (init.init, init.recipes):
        with pytest.raises(TypeError, match="called outside of jit, vmap and grad"):
            jax.jit(lambda key, function=function: function(NORMAL, key, (3,)))(KEY)


def test_errors_of_the_function_are_its_own():
    with pytest.raises(ZeroDivisionError):
        init.init(lambda key: 1 / 0, KEY)
    with pytest.raises(ValueError, match="std must not be negative"):
        init.recipes(lambda key: init.normal(-1.0)(key, (3,)), KEY)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        init.init(lambda key: NORMAL(key, (3,)) if NORMAL(key, (3,))[0] > 0 else 0, KEY)


def test_bits_of_a_single_element():
    """`same` would not see a tree that is empty."""
    assert same(np.asarray(init.init(lambda key: NORMAL(key, (3,)), KEY)), fi.normal(3, std=0.5, seed=7 << 32))
