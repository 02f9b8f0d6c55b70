"""fastinit.jax.init and recipes on models: Flax linen and nnx, an optimizer's state, modules as Equinox has them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import fastinit as fi
import fastinit.jax as init
from test_jax_init import KEY, equal, follows, is_recipe, made

KERNEL, TABLE, TURN = init.lecun_normal(), init.normal(0.02), init.orthogonal()
TOKENS = jnp.zeros((2, 5), jnp.int32)
IMAGE = jnp.ones((2, 8, 8, 3))


class Block(linen.Module):
    """A block of a transformer."""

    width: int = 12

    @linen.compact
    def __call__(self, x, _=None):
        y = linen.LayerNorm()(x)
        y = linen.MultiHeadDotProductAttention(3, kernel_init=init.glorot_uniform())(y, y)
        x = x + linen.Dropout(0.1, deterministic=True)(y)
        y = linen.Dense(4 * self.width, kernel_init=KERNEL)(linen.RMSNorm()(x))
        return x + linen.Dense(self.width, kernel_init=KERNEL, bias_init=init.normal(1e-6))(jax.nn.gelu(y)), None


class Transformer(linen.Module):
    layers: int = 3
    scanned: bool = False
    remat: bool = False

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(20, 12, embedding_init=TABLE)(tokens)
        block = linen.remat(Block) if self.remat else Block
        if self.scanned:
            axes = {"params": 0}
            x, _ = linen.scan(block, axes, split_rngs={"params": True}, length=self.layers)()(x, None)
        else:
            for _ in range(self.layers):
                x, _ = block()(x)
        return linen.Dense(20, kernel_init=init.zeros, use_bias=False)(x)


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Conv(8, (3, 3), kernel_init=init.he_normal(), param_dtype=jnp.bfloat16)(x)
        x = linen.BatchNorm(use_running_average=False)(x)
        x = linen.ConvTranspose(8, (2, 2), kernel_init=init.delta_orthogonal())(x)
        x = linen.GroupNorm(2)(x)
        return linen.DenseGeneral((2, 3), axis=(-3, -2, -1), kernel_init=KERNEL)(x)


class Recurrent(linen.Module):
    @linen.compact
    def __call__(self, x):
        cell = linen.LSTMCell(6, kernel_init=KERNEL, recurrent_kernel_init=TURN)
        x = linen.RNN(cell)(x)
        return linen.RNN(linen.GRUCell(4, kernel_init=KERNEL, recurrent_kernel_init=TURN))(x)


class Ensemble(linen.Module):
    @linen.compact
    def __call__(self, x):
        many = linen.vmap(linen.Dense, {"params": 0}, {"params": True}, in_axes=None, axis_size=4)
        return many(5, kernel_init=KERNEL)(x)


LINEN = {
    "transformer": (Transformer(), TOKENS),
    "transformer, scanned": (Transformer(scanned=True), TOKENS),
    "transformer, rematerialized": (Transformer(remat=True), TOKENS),
    "transformer, scanned and rematerialized": (Transformer(scanned=True, remat=True), TOKENS),
    "convolutions": (Net(), IMAGE),
    "recurrent": (Recurrent(), jnp.ones((2, 5, 3))),
    "ensemble": (Ensemble(), jnp.ones((2, 3))),
}


@pytest.mark.parametrize("name", LINEN)
def test_linen(name):
    model, x = LINEN[name]
    tree = follows(model.init, KEY, x)
    assert all(map(is_recipe, jax.tree.leaves(tree, is_leaf=is_recipe)))


@pytest.mark.parametrize("name", LINEN)
def test_linen_in_compiled_code(name):
    model, x = LINEN[name]
    follows(jax.jit(model.init), KEY, x)


def test_scanned_layers_are_stacks():
    tree = init.recipes(Transformer(scanned=True).init, KEY, TOKENS, strict=True)
    kernel = tree["params"]["ScanBlock_0"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 12, 48)
    assert [layer["init"] for layer in kernel.to_dict()["stack"]] == ["lecun_normal"] * 3


def test_what_reads_its_weight_is_made_whole():
    model = linen.WeightNorm(linen.Dense(5, kernel_init=KERNEL))
    with pytest.warns(
        init.MadeWholeWarning, match=r"1 of 3 arrays whole: .*'kernel'\] \(reduce_sum, normalization.py:"
    ):
        equal(init.init(model.init, KEY, jnp.ones((2, 3))), model.init(KEY, jnp.ones((2, 3))))


def test_shapes_are_enough_where_no_value_is_needed():
    model, tokens = LINEN["transformer"]
    equal(
        init.init(model.init, KEY, jax.ShapeDtypeStruct(tokens.shape, tokens.dtype), strict=True),
        model.init(KEY, tokens),
    )
    with pytest.raises(
        ValueError, match=r"\['a'\] depends on the values of an argument of which only the shape is given"
    ):
        init.init(lambda key, x: {"a": x * 2, "b": TABLE(key, (3,))}, KEY, jax.ShapeDtypeStruct((3,), jnp.float32))


@pytest.mark.parametrize("compiled", [False, True])
def test_train_state_with_an_optimizer(compiled):
    import optax
    from flax.training.train_state import TrainState

    model = Transformer(scanned=True)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 100)))

    def start(key):
        params = model.init(key, TOKENS)["params"]
        state = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)
        return state, jax.tree.map(lambda w: w.astype(jnp.bfloat16), params), jax.random.fold_in(key, 1)

    start = jax.jit(start) if compiled else start
    eager = start(KEY)
    equal(init.init(start, KEY, strict=True), eager)
    with pytest.warns(
        init.MadeWholeWarning, match=r"6 of 72 arrays whole: .*\(convert_element_type, test_jax_init_models"
    ):
        equal(
            made(init.recipes(start, KEY)), eager, weak=False
        )  # casts of truncated normals are not recipes of the other dtype


# ---- nnx ---------------------------------------------------------------------------------------------------------


class Stack(nnx.Module):
    """Layers in one, by vmap over their keys."""

    def __init__(self, layers, width, rngs):
        @nnx.split_rngs(splits=layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def build(rngs):
            return nnx.Linear(width, width, kernel_init=KERNEL, rngs=rngs)

        self.layers = build(rngs)
        self.head = nnx.Linear(width, 3, kernel_init=TURN, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, width, kernel_init=KERNEL, decode=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)


def state_of(build):
    return lambda *args: nnx.state(build(*args))


def test_nnx():
    follows(lambda seed: nnx.state(nnx.Linear(6, 4, kernel_init=KERNEL, rngs=nnx.Rngs(seed)), nnx.Param), 0)
    follows(lambda key: nnx.state(Stack(3, 8, nnx.Rngs(key)), nnx.Param), KEY)


def test_nnx_modules():
    def build(seed):
        return Stack(3, 8, nnx.Rngs(seed))

    eager, ours = build(3), init.init(build, 3, strict=True)
    assert isinstance(ours, Stack)
    equal(nnx.state(ours), nnx.state(eager))
    assert ours.head(jnp.ones((2, 8))).shape == (2, 3)
    ours.head.bias[...] = jnp.ones(3)  # not of another trace


# ---- modules that are pytrees ------------------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Linear:
    """As Equinox has them: arrays, functions and numbers are fields alike, some of them static."""

    weight: Any
    bias: Any
    activation: Any
    rate: float
    width: int = dataclasses.field(metadata={"static": True}, default=3)


def linear(key, inner, outer):
    weight, bias = jax.random.split(key)
    return Linear(init.uniform(0.3)(weight, (outer, inner)), init.uniform(0.3)(bias, (outer,)), jax.nn.gelu, 0.1)


def test_modules_that_are_pytrees():
    tree = follows(lambda key: [linear(k, 4, 5) for k in jax.random.split(key, 3)], KEY)
    assert tree[0].activation is jax.nn.gelu
    stacked = follows(lambda key: jax.vmap(lambda key: linear(key, 4, 5).weight)(jax.random.split(key, 3)), KEY)
    assert stacked.shape == (3, 5, 4)
    follows(linear, KEY, 4, 5)  # numbers among the arguments are numbers


def test_arguments_as_they_are():
    def build(config, key, sizes, scale):
        assert isinstance(sizes, np.ndarray)
        return {name: init.normal(scale)(key, tuple(sizes)) for name in config["names"]}

    tree = follows(build, {"names": ["a", "b"]}, KEY, np.array([3, 4]), 0.1)
    assert tree["a"] == fi.recipe("normal", (3, 4), std=0.1, seed=init.seed_of(KEY))


def test_the_files_of_a_tree(tmp_path):
    tree = init.recipes(Transformer(scanned=True).init, KEY, TOKENS, strict=True)
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, fi.Recipe))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): recipe for path, recipe in leaves}
    fi.checkpoint.save(tmp_path / "model.safetensors", named)
    from safetensors.numpy import load_file

    loaded = load_file(tmp_path / "model.safetensors")
    eager = Transformer(scanned=True).init(KEY, TOKENS)
    for path, value in jax.tree_util.tree_leaves_with_path(eager):
        assert (loaded[jax.tree_util.keystr(path, simple=True, separator=".")] == np.asarray(value)).all()
