"""fastinit.jax.init and recipes: what each operation and transform of JAX makes of a fill."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fastinit as fi
import fastinit.jax as init
from test_jax_init import KEY, NORMAL, UNIFORM, computes, equal, follows, made

KEYS = jax.random.split(KEY, 4)
ORTHOGONAL = init.orthogonal()


def draw(key=KEY, shape=(6, 4)):
    return NORMAL(key, shape)


REARRANGED = {
    "reshape": lambda key: draw(key).reshape(3, 8),
    "reshape to one axis and back": lambda key: draw(key, (2, 3, 4)).ravel().reshape(4, 6),
    "transpose": lambda key: draw(key).T,
    "moveaxis": lambda key: jnp.moveaxis(draw(key, (2, 3, 4)), 0, -1),
    "expand_dims": lambda key: draw(key)[:, None],
    "squeeze": lambda key: draw(key, (3, 1, 2)).squeeze(1),
    "broadcast_to": lambda key: jnp.broadcast_to(draw(key), (3, 6, 4)),
    "broadcast a length of 1": lambda key: jnp.broadcast_to(draw(key, (3, 1)), (2, 3, 5)),
    "broadcast to nothing": lambda key: jnp.broadcast_to(draw(key, (3, 1)), (3, 0)),
    "tile": lambda key: jnp.tile(draw(key, (2, 3)), (2, 3)),
    "repeat": lambda key: jnp.repeat(draw(key, (2, 3)), 2, axis=0),
    "slices": lambda key: [draw(key)[1], draw(key)[::2], draw(key)[:, -1], draw(key)[2:4, 1:], draw(key)[::-1]],
    "dynamic_slice": lambda key: jax.lax.dynamic_slice(draw(key), (jnp.int32(4), 1), (3, 2)),
    "split": lambda key: jnp.split(draw(key), 3),
    "split in unequal pieces": lambda key: jnp.split(draw(key), [1, 4]),
    "concatenate": lambda key: jnp.concatenate([draw(key), jnp.zeros((2, 4)), NORMAL(KEYS[1], (1, 4))]),
    "concatenate with an array": lambda key: jnp.concatenate([draw(key), jnp.arange(4.0)[None]]),
    "stack": lambda key: jnp.stack([draw(key), draw(KEYS[1]), jnp.ones((6, 4))], 1),
    "pad": lambda key: jnp.pad(draw(key), ((1, 0), (2, 3))),
    "pad with less than nothing": lambda key: jax.lax.pad(draw(key), 3.0, ((-1, 2, 0), (0, -1, 0))),
    "a row of zeros": lambda key: draw(key).at[0].set(0.0),
    "a negative row": lambda key: draw(key).at[-1].set(0.0),
    "a region": lambda key: draw(key).at[1:3, :2].set(draw(KEYS[1], (2, 2))),
    "a region of zeros": lambda key: jnp.zeros((6, 4)).at[2:, 1:].set(draw(key, (4, 3))),
    "dynamic_update_slice": lambda key: jax.lax.dynamic_update_slice(draw(key), jnp.ones((2, 2)), (5, 1)),
    "an orthogonal matrix, rearranged": lambda key: ORTHOGONAL(key, (6, 4)).T.reshape(2, 12),
    "fused": lambda key: jnp.concatenate([UNIFORM(k, (2, 4, 3)) for k in jax.random.split(key, 3)], 1).reshape(2, -1),
    "constants": lambda key: [jnp.full((3, 4), -0.0), jnp.full((5,), jnp.inf), jnp.ones(3) * 0.1, -jnp.ones((2, 2))],
    "constants, further": lambda key: [jnp.full((3,), 1e-6).astype(jnp.bfloat16), jnp.zeros((2, 3)).T, jnp.ones((4, 2))[1]],
    "numbers": lambda key: [jnp.float32(3), jnp.zeros(()), jnp.arange(5), jnp.bool_(True), 4, None, "text"][:5],
    "nothing": lambda key: [draw(key, (0, 4)), draw(key, (3, 0)).T, jnp.zeros((0,))],
    "no axes": lambda key: draw(key, ()),
    "the same twice": lambda key: (lambda w: [w, w, w.T])(draw(key)),
}  # fmt: skip


@pytest.mark.parametrize("what", REARRANGED)
def test_rearranged(what):
    follows(REARRANGED[what], KEY)


@pytest.mark.parametrize("what", REARRANGED)
def test_rearranged_in_compiled_code(what):
    follows(jax.jit(REARRANGED[what]), KEY)


@jax.custom_jvp
def flipped(x):
    return x.T


flipped.defjvp(lambda primals, tangents: (flipped(*primals), tangents[0].T))


@jax.custom_vjp
def turned(x):
    return x.T


turned.defvjp(lambda x: (turned(x), None), lambda _, g: (g.T,))

TRANSFORMED = {
    "jit": jax.jit(draw),
    "jit in jit": jax.jit(lambda key: jax.jit(draw)(key).T),
    "vmap": lambda key: jax.vmap(draw)(jax.random.split(key, 3)),
    "vmap in vmap": lambda key: jax.vmap(jax.vmap(draw))(jax.random.split(key, (2, 3))),
    "vmap, last axis": lambda key: jax.vmap(draw, out_axes=2)(jax.random.split(key, 3)),
    "vmap of raw keys along another axis": lambda key: jax.vmap(draw, in_axes=1)(
        jax.random.key_data(jax.random.split(key, 3)).T
    ),
    "vmap of many": lambda key: jax.vmap(lambda k: ORTHOGONAL(k, (3, 3)))(jax.random.split(key, 50)),
    "vmap over nothing": lambda key: jax.vmap(draw)(jax.random.split(key, 3)[:0]),
    "scan": lambda key: jax.lax.scan(lambda carry, key: (carry + 1, draw(key)), 0, jax.random.split(key, 3)),
    "scan with a carried key": lambda key: jax.lax.scan(
        lambda key, _: (jax.random.split(key)[0], (draw(key), jnp.zeros(3))), key, None, length=4
    )[1],
    "scan backwards": lambda key: jax.lax.scan(
        lambda _, key: (None, draw(key)), None, jax.random.split(key, 3), reverse=True
    )[1],
    "scan over what is drawn": lambda key: jax.lax.scan(
        lambda _, w: (None, w.T), None, jax.vmap(draw)(jax.random.split(key, 3))
    )[1],
    "scan with a carried fill": lambda key: jax.lax.scan(lambda w, _: (w.T.reshape(6, 4), None), draw(key), None, 3)[0],
    "scan of no steps": lambda key: jax.lax.scan(lambda _, key: (None, draw(key)), None, jax.random.split(key, 3)[:0])[1],
    "map": lambda key: jax.lax.map(draw, jax.random.split(key, 3)),
    "fori_loop": lambda key: jax.lax.fori_loop(0, 2, lambda i, w: w.T.reshape(6, 4), draw(key)),
    "cond": lambda key: jax.lax.cond(jnp.int32(1) > 0, draw, lambda key: jnp.zeros((6, 4)), key),
    "switch": lambda key: jax.lax.switch(2, [draw, draw, lambda key: draw(key).reshape(4, 6).T], key),
    "checkpoint": jax.checkpoint(draw),
    "custom_jvp": lambda key: flipped(draw(key)),
    "custom_vjp": lambda key: turned(draw(key)),
    "grad": lambda key: jax.grad(lambda x: (x * 1.0).sum())(jnp.ones(3)),
    "named_call": lambda key: jax.named_call(draw, name="draw")(key),
    "named_scope": lambda key: jax.named_scope("draw")(draw)(key),
    "stop_gradient": lambda key: jax.lax.stop_gradient(draw(key)),
    "optimization_barrier": lambda key: jax.lax.optimization_barrier((draw(key), jnp.ones(2))),
    "fold_in": lambda key: [draw(jax.random.fold_in(key, k)) for k in range(3)],
    "clone, wrap": lambda key: draw(jax.random.wrap_key_data(jax.random.key_data(jax.random.clone(key)))),
}  # fmt: skip


@pytest.mark.parametrize("what", TRANSFORMED)
def test_transformed(what):
    follows(TRANSFORMED[what], KEY)


@pytest.mark.parametrize("what", TRANSFORMED)
def test_transformed_in_compiled_code(what):
    follows(jax.jit(TRANSFORMED[what]), KEY)


# ---- arithmetic --------------------------------------------------------------------------------------------------

COMPUTED = {
    "times a number": lambda key: draw(key) * 0.3,
    "over a number": lambda key: draw(key) / 0.3,
    "a difference": lambda key: 1.0 - UNIFORM(key, (6, 4)),
    "two draws": lambda key: draw(key) + draw(KEYS[1]),
    "several steps": lambda key: (draw(key) * 0.3 + 0.1) * 0.7,
    "by a row": lambda key: draw(key) * jnp.arange(4.0),
    "by a drawn column": lambda key: draw(key) * draw(KEYS[1], (6, 1)),
    "clip": lambda key: jnp.clip(draw(key), -0.3, 0.3),
    "relu": lambda key: jax.nn.relu(draw(key)),
    "abs, neg, sign": lambda key: [abs(draw(key)), -draw(key), jnp.sign(draw(key))],
    "where": lambda key: jnp.where(UNIFORM(key, (6, 4)) < 0.1, draw(KEYS[1]), 0.0),
    "where by a mask": lambda key: jnp.where(jnp.arange(6)[:, None] == 0, 0.0, draw(key)),
    "a mask": lambda key: (UNIFORM(key, (6, 4)) < 0.1).astype(jnp.float32),
    "a cast of a uniform": lambda key: UNIFORM(key, (64, 4)).astype(jnp.bfloat16),
    "a cast to more": lambda key: init.normal(1.0, jnp.bfloat16)(key, (6, 4)).astype(jnp.float32),
    "rearranged": lambda key: (draw(key) * 0.3).T[1:, ::2].reshape(-1)[None],
    "rearranged by a row": lambda key: jnp.concatenate([(draw(key) * jnp.arange(4.0)).T] * 2).reshape(4, 12),
    "broadcast": lambda key: jnp.broadcast_to((draw(key) * 0.3)[:, None], (6, 2, 4)),
    "stacked": lambda key: jnp.stack([draw(k) * 0.3 for k in jax.random.split(key)]),
    "stacked, by other numbers": lambda key: jnp.stack([draw(k) * (0.3 + i) for i, k in enumerate(jax.random.split(key))], 1),
    "scanned": lambda key: jax.lax.scan(lambda _, key: (None, draw(key) * 0.3), None, KEYS)[1],
    "vmapped": lambda key: jax.vmap(lambda key, s: draw(key) * s)(KEYS, jnp.arange(4.0)),
    "in compiled code": jax.jit(lambda key: draw(key) * 0.3),
    "in compiled code, cast before": jax.jit(lambda key: init.normal(1.0, "bfloat16")(key, (6, 4)) * jnp.float32(0.3)),
    "in compiled code, and on": lambda key: 0.1 + jax.jit(lambda key: draw(key) * 0.3)(key) * 0.7,
}  # fmt: skip


@pytest.mark.parametrize("what", COMPUTED)
def test_arithmetic(what):
    computes(COMPUTED[what], KEY)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_cast_of_a_normal_is_a_recipe(dtype):
    tree = follows(lambda key: [NORMAL(key, (300, 40)).astype(dtype), ORTHOGONAL(key, (4, 4))], KEY)
    assert tree[0].initializer.name == "normal"
    assert tree[0].dtype == dtype
    follows(lambda key: jax.vmap(NORMAL, (0, None))(jax.random.split(key, 3), (300, 40)).astype(dtype), KEY)
    follows(lambda key: init.normal(1e-6)(key, (300, 40)).astype(dtype), KEY)
    follows(lambda key: init.variance_scaling(1.0, "fan_in", "normal")(key, (30, 4)).astype(dtype), KEY)
    computes(lambda key: init.he_normal()(key, (30, 4)).astype(dtype), KEY)


def test_a_sum_of_constants_is_one():
    tree = follows(lambda key: [1e-6 * jnp.ones(5), jnp.ones((3, 4)) + jnp.full((3, 4), 2.0), jnp.zeros(3) - 1], KEY)
    assert tree[1] == fi.recipe("constant", (3, 4), value=3.0, seed=0)
    assert tree[2].initializer.name == "constant"


# ---- what is made as a whole -------------------------------------------------------------------------------------

WHOLE = {
    "exp": lambda key: jnp.exp(draw(key)),
    "norm": lambda key: jnp.linalg.norm(draw(key), axis=0),
    "divided by its norm": lambda key: draw(key) / jnp.linalg.norm(draw(key)),
    "qr": lambda key: jnp.linalg.qr(draw(key))[0],
    "cumsum": lambda key: jnp.cumsum(draw(key), 0),
    "gather": lambda key: draw(key)[jnp.array([3, 1])],
    "sort": lambda key: jnp.sort(draw(key), 0),
    "rows": lambda key: draw(key).at[jnp.array([1, 2])].set(0.0),
    "a row that is not there": lambda key: draw(key).at[9].set(0.0),
    "a row before the first": lambda key: jax.lax.scatter(
        draw(key), jnp.array([-2]), jnp.zeros(4), jax.lax.ScatterDimensionNumbers((0,), (0,), (0,))
    ),
    "a callback": lambda key: jax.pure_callback(lambda k: np.ones(3, "f4"), jax.ShapeDtypeStruct((3,), "f4"), key_sum(key)),
    "add at": lambda key: draw(key).at[1].add(1.0),
    "several steps in compiled code": jax.jit(lambda key: draw(key, (64, 64)) * 0.3 + 0.1),
    "several steps in a scan": lambda key: jax.lax.scan(
        lambda _, key: (None, draw(key, (64, 64)) * 0.3 + 0.1), None, jax.random.split(key, 3)
    )[1],
    "a number of several steps in a scan": lambda key: jax.lax.scan(
        lambda i, key: (i * 0.3, draw(key) * i), 1.0, jax.random.split(key, 3)
    )[1],
    "a cast there and back in compiled code": jax.jit(lambda key: draw(key).astype(jnp.bfloat16).astype(jnp.float32)),
    "over a number in compiled code": jax.jit(lambda key: draw(key, (64, 64)) / 0.3),
    "a number of several steps": jax.jit(lambda key: (draw(key), draw(key, (64, 64)) * jnp.sqrt(key_sum(key) * 0.3))),
    "while": lambda key: jax.lax.while_loop(lambda w: w[0, 0] < 9, lambda w: w + 1, draw(key)),
    "a key that is drawn": lambda key: draw(jax.random.key(jnp.int32(1000 * draw(key)[0, 0]))),
    "jax.random": lambda key: jax.random.normal(key, (3, 4)),
    "jax.random in compiled code": jax.jit(lambda key: (draw(key), jax.random.uniform(key, (3, 4)) * 0.3)),
    "stacked, computed in different ways": lambda key: jnp.stack([draw(key) * 0.3, draw(key) + 0.3]),
    "pasted, computed": lambda key: (draw(key) * 0.3).at[0].set(0.0),
    "too many": lambda key: jnp.tile(draw(key, (1, 1)), (70_000, 1)),
}  # fmt: skip


def key_sum(key):
    return jax.random.key_data(key).astype(jnp.float32).sum()


@pytest.mark.parametrize("what", WHOLE)
def test_made_whole_and_said_so(what):
    eager = WHOLE[what](KEY)
    with pytest.warns(init.MadeWholeWarning, match="1 of . arrays whole"):
        equal(init.init(WHOLE[what], KEY), eager)
    with pytest.warns(init.MadeWholeWarning):
        equal(made(init.recipes(WHOLE[what], KEY)), eager)
    with pytest.raises(ValueError, match=r"strict: 1 of . arrays would have to be made whole: .*\)"):
        init.init(WHOLE[what], KEY, strict=True)


def test_the_others_stay_recipes():
    with pytest.warns(init.MadeWholeWarning) as caught:
        tree = init.recipes(jax.jit(lambda key: {"a": draw(key), "b": jnp.exp(draw(key))}), KEY)
    assert tree["a"] == fi.recipe("normal", (6, 4), std=0.5, seed=init.seed_of(KEY))
    (why,) = caught[0].message.arrays.items()
    assert why[0] == "['b']"
    assert why[1].startswith("exp, test_jax_init_operations.py:")


def test_tables_of_compiled_code_have_its_bits():
    """XLA merges the product and the sum; one after the other they would be rounded twice."""

    @jax.jit
    def fn(key, x):
        return draw(key), x * 0.3 + 0.1

    x = jnp.arange(4096.0) / 7
    assert not (fn(KEY, x)[1] == x * 0.3 + 0.1).all()
    equal(init.init(fn, KEY, x, strict=True), fn(KEY, x))


def test_a_fill_that_is_not_found_is_not_passed_over(monkeypatch):
    """As it would be if JAX kept callbacks elsewhere."""
    monkeypatch.setattr("fastinit.jax.reading.drawn_by", lambda eqn: None)
    with pytest.warns(
        init.MadeWholeWarning, match="1 of 1 arrays whole: the result .*_later, test_jax_init_operations.py"
    ):
        equal(init.init(draw, KEY), draw(KEY))
    with pytest.raises(ValueError, match="strict"):
        init.recipes(draw, KEY, strict=True)


def test_tables_without_draws_are_said_where_they_are_large():
    def table(n):
        return jnp.sin(jnp.arange(float(n)))

    equal(init.init(table, 1 << 14, strict=True), table(1 << 14))
    for n, step in ((1 << 15, "sin"), (1 << 19, "iota")):
        with pytest.warns(init.MadeWholeWarning, match=rf"1 of 1 arrays whole: .*\({step}, test_jax"):
            equal(init.init(table, n), table(n))
    with pytest.warns(init.MadeWholeWarning, match=r"\(_randint, test_jax"):
        init.init(lambda key: jax.random.randint(key, (1 << 15,), 0, 9), KEY)
