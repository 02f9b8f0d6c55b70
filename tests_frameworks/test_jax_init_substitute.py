"""fastinit.jax.init and recipes with substitute=True: JAX's own draws as fastinit's recipes, of the same distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.nn import initializers as theirs
from scipy import stats

import fastinit as fi
import fastinit.jax as init
from test_jax_init import KEY, equal, made

SEED = init.seed_of(KEY)


def described(fn, *args):
    """The recipes of a function whose draws are JAX's; `init` makes their values."""
    tree = init.recipes(fn, *args, substitute=True, strict=True)
    equal(init.init(fn, *args, substitute=True, strict=True), made(tree))
    return tree


def recipe(name, shape=(300, 40), **parameters):
    return fi.recipe(name, shape, seed=SEED, **parameters)


f32 = lambda number: float(np.float32(number))  # noqa: E731
STD = f32(np.sqrt(np.float32(1 / 300))) / f32(0.87962566103423978)

#: what is drawn -> the recipe
DRAWS = {
    "normal": (lambda key: jax.random.normal(key, (300, 40)), recipe("normal")),
    "uniform": (lambda key: jax.random.uniform(key, (300, 40)), recipe("uniform")),
    "uniform within bounds": (
        lambda key: jax.random.uniform(key, (300, 40), minval=-0.5, maxval=0.25),
        recipe("uniform", low=-0.5, high=0.25),
    ),
    "truncated normal": (
        lambda key: jax.random.truncated_normal(key, -1.0, 3.0, (300, 40)),
        recipe("truncated_normal", lower=-1.0, upper=3.0),
    ),
    "orthogonal": (lambda key: jax.random.orthogonal(key, 30), recipe("orthogonal", (30, 30))),
    "initializers.normal": (lambda key: theirs.normal(0.02)(key, (300, 40)), recipe("normal", std=f32(0.02))),
    "initializers.uniform": (lambda key: theirs.uniform(0.3)(key, (300, 40)), recipe("uniform", high=f32(0.3))),
    "initializers.truncated_normal": (
        lambda key: theirs.truncated_normal(0.02)(key, (300, 40)),
        recipe("truncated_normal", std=f32(0.02)),
    ),
    "initializers.orthogonal": (
        lambda key: theirs.orthogonal(0.5, column_axis=0)(key, (30, 4, 10)),
        recipe("orthogonal", (40, 30), gain=0.5).reshape(4, 10, 30).transpose(2, 0, 1),
    ),
    "mean and std": (
        lambda key: 3.0 + jax.random.normal(key, (300, 40)) * 0.5 - 1.0,
        recipe("normal", mean=2.0, std=0.5),
    ),
    "backwards": (
        lambda key: 1.0 - 0.5 * jax.random.uniform(key, (300, 40)),
        recipe("uniform", low=0.5, high=1.0),
    ),
    "over a number": (lambda key: jax.random.normal(key, (300, 40)) / 4, recipe("normal", std=0.25)),
    "truncated, negative": (
        lambda key: -0.5 * jax.random.truncated_normal(key, -1.0, jnp.inf, (300, 40)),
        recipe("truncated_normal", std=0.5, lower=-np.inf, upper=1.0),
    ),
    "half precision": (
        lambda key: theirs.normal(0.5, jnp.bfloat16)(key, (300, 40)),
        recipe("normal", std=0.5, dtype="bfloat16"),
    ),
    "cast": (
        lambda key: (jax.random.uniform(key, (300, 40)) * 0.5).astype(jnp.bfloat16),
        recipe("uniform", high=0.5, dtype="bfloat16"),
    ),
    "raw key": (lambda key: jax.random.normal(jax.random.key_data(key), (300, 40)), recipe("normal")),
    "transposed": (lambda key: 0.5 * jax.random.normal(key, (300, 40)).T, recipe("normal", std=0.5).T),
    "a row of zeros": (
        lambda key: (theirs.normal(0.5)(key, (300, 40))).at[0].set(0.0),
        fi.paste(recipe("normal", std=0.5), np.s_[0:1], fi.recipe("zeros", (1, 40), seed=0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("what", DRAWS)
def test_draws_of_jax(what, compiled):
    fn, expected = DRAWS[what]
    found = described(jax.jit(fn) if compiled else fn, KEY)
    assert (found[...] == expected[...]).all()
    assert found.shape == expected.shape
    if what != "orthogonal":
        theirs, ours = (np.asarray(array, np.float64).ravel() for array in (fn(KEY), found[...]))
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4  # false alarms: 1e-4 a case


@pytest.mark.parametrize("name", ["glorot", "he", "lecun"])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_scaled_initializers(name, kind):
    make = getattr(theirs, f"{name}_{kind}")()
    found = described(lambda key: make(key, (300, 40)), KEY)
    expected = fi.recipe(f"{name}_{kind}", (300, 40), seed=SEED, **({"truncated": True} if kind == "normal" else {}))
    np.testing.assert_allclose(found[...], expected[...], rtol=1e-5)  # JAX works the scale out in float32
    assert found.initializer.name == {"normal": "truncated_normal", "uniform": "uniform"}[kind]


def test_keys_in_a_stack():
    make = theirs.lecun_normal()
    found = described(lambda key: jax.vmap(lambda key: make(key, (30, 4)))(jax.random.split(key, 5)), KEY)
    assert [layer["init"] for layer in found.to_dict()["stack"]] == ["truncated_normal"] * 5
    scanned = described(
        lambda key: jax.lax.scan(lambda _, key: (None, make(key, (30, 4))), None, jax.random.split(key, 5))[1], KEY
    )
    assert (found[...] == scanned[...]).all()


def test_models_with_their_own_defaults():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Embed(20, 12)(x)
            x = linen.RNN(linen.LSTMCell(6))(x)
            x = linen.MultiHeadDotProductAttention(3)(x, x)
            x = linen.Conv(4, (3,))(x)
            return linen.LayerNorm()(linen.Dense(5)(x))

    tokens = jnp.zeros((2, 5), jnp.int32)
    tree = described(Net().init, KEY, tokens)
    eager = Net().init(KEY, tokens)
    assert jax.tree.structure(eager) == jax.tree.structure(made(tree))
    assert tree["params"]["Dense_0"]["kernel"].initializer.name == "truncated_normal"
    nets = described(lambda seed: nnx.state(nnx.Linear(6, 4, rngs=nnx.Rngs(seed)), nnx.Param), 0)
    assert len(jax.tree.leaves(made(nets))) == 2


def test_without_substitute_the_values_are_jaxs():
    with pytest.warns(init.MadeWholeWarning, match="substitute=True"):
        array = init.init(lambda key: theirs.normal(0.02)(key, (300, 40)), KEY)
    assert (array == theirs.normal(0.02)(KEY, (300, 40))).all()


LEFT = {
    "another distribution": lambda key: jax.random.laplace(key, (3, 4)),
    "bounds that are arrays": lambda key: jax.random.uniform(key, (3, 4), minval=jnp.arange(4.0), maxval=9.0),
    "times another draw": lambda key: jnp.exp(jax.random.normal(key, (3, 4))),
    "integers": lambda key: jax.random.randint(key, (3, 4), 0, 9).astype(jnp.float32),
    "complex numbers": lambda key: jax.random.normal(key, (3, 4), jnp.complex64),
    "somebody else's function of that name": lambda key: _normal(key),
}


@jax.jit
def _normal(key):
    return jax.random.bits(key, (3, 4), jnp.uint32).astype(jnp.float32)


@pytest.mark.parametrize("what", LEFT)
def test_other_draws_stay_jaxs(what):
    with pytest.warns(init.MadeWholeWarning):
        equal(init.init(LEFT[what], KEY, substitute=True), LEFT[what](KEY))


def test_our_own_draws_keep_their_bits():
    def fn(key):
        return init.normal(0.5)(key, (30, 4)) * 0.3, init.uniform(0.3)(key, (30, 4)).astype(jnp.bfloat16)

    equal(init.init(fn, KEY, substitute=True, strict=True), fn(KEY))
