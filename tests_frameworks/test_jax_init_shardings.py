"""fastinit.jax.init over eight devices: each shard made where it lives, as `jax.jit(fn, out_shardings=...)` places them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

import fastinit as fi
import fastinit.jax as init
from test_jax import Counting
from test_jax_init import KEY, NORMAL, UNIFORM, equal

SPECS = [(), ("x",), (None, "y"), ("x", "y"), ("y", "x"), (("x", "y"),)]


@pytest.fixture(scope="module")
def mesh():
    assert len(jax.devices()) == 8
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


def over(mesh, *spec):
    return NamedSharding(mesh, PartitionSpec(*spec))


def tree(key):
    keys = jax.random.split(key, 4)
    return {
        "fill": NORMAL(keys[0], (16, 24)),
        "matrix": init.orthogonal()(keys[1], (16, 24)),
        "constant": jnp.ones((16, 24)),
        "moved": NORMAL(keys[2], (3, 8, 16)).reshape(24, 16).T,
        "stacked": jax.vmap(lambda key: UNIFORM(key, (8, 24)))(jax.random.split(keys[3], 16)),
        "computed": 0.3 * UNIFORM(keys[3], (16, 24)) - NORMAL(keys[0], (16, 1)),
        "made": jnp.arange(16 * 24).reshape(16, 24),
    }


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_one_sharding_for_all(mesh, spec):
    sharding = over(mesh, *spec)
    eager, ours = tree(KEY), init.init(tree, KEY, out_shardings=sharding, strict=True)
    equal(ours, eager)
    for name, array in ours.items():
        assert array.sharding == sharding
        whole = np.asarray(eager[name])
        for shard in array.addressable_shards:  # of every device
            assert np.asarray(shard.data).tobytes() == whole[shard.index].tobytes(), name


def test_a_prefix_of_the_tree(mesh):
    x, y = over(mesh, "x"), over(mesh, None, "y")

    def fn(key):
        return {
            "a": (NORMAL(key, (8, 4)), [NORMAL(key, (8, 4)), 5, jnp.int32(3)]),
            "b": NORMAL(key, (8, 4)),
            "c": jnp.ones(3),
        }

    ours = init.init(fn, KEY, out_shardings={"a": (x, [y, None, over(mesh)]), "b": y, "c": None})
    theirs = jax.jit(fn, out_shardings={"a": (x, [y, None, over(mesh)]), "b": y, "c": None})(KEY)
    equal({**ours, "a": (ours["a"][0], [ours["a"][1][0], jnp.asarray(ours["a"][1][1]), ours["a"][1][2]])}, theirs)
    assert ours["a"][1][1] == 5  # a number stays one where no sharding asks for an array
    for a, b in zip(jax.tree.leaves(ours["a"]), jax.tree.leaves(theirs["a"])):
        assert isinstance(a, int) or a.sharding.is_equivalent_to(b.sharding, b.ndim)
    ours = init.init(fn, KEY, out_shardings={"a": over(mesh), "b": x, "c": over(mesh)})
    assert ours["a"][1][1].sharding.is_equivalent_to(over(mesh), 0)
    assert ours["b"].sharding == x


def test_shards_are_made_and_nothing_else(mesh, monkeypatch):
    counting = Counting(monkeypatch)
    array = init.init(lambda key: NORMAL(key, (16, 24)).T, KEY, out_shardings=over(mesh, "x"))
    assert array.shape == (24, 16)
    assert sorted(counting.made) == [6 * 16] * 4  # replicas once
    counting.made.clear()
    init.init(lambda key: NORMAL(key, (16, 24)) * 0.3, KEY, out_shardings=over(mesh, "x", "y"))
    assert counting.made == [4 * 12] * 8
    counting.made.clear()
    init.init(lambda key: NORMAL(key, (16, 24)), KEY)
    assert counting.made == [16 * 24]
    counting.made.clear()
    init.recipes(lambda key: NORMAL(key, (16, 24)), KEY)
    assert counting.made == []


def test_single_devices_and_keys_that_were_put_somewhere(mesh):
    there = jax.devices()[3]
    ours = init.init(tree, KEY, out_shardings=SingleDeviceSharding(there))
    equal(ours, tree(KEY))
    assert {array.device for array in jax.tree.leaves(ours)} == {there}
    key = jax.device_put(KEY, there)
    ours, eager = init.init(tree, key), tree(key)
    equal(ours, eager)
    assert {name: array.device for name, array in ours.items()} == {name: array.device for name, array in eager.items()}
    assert ours["fill"].device == there != ours["constant"].device


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_the_mesh_in_use(kind):
    kinds = (getattr(jax.sharding.AxisType, kind),) * 2
    with jax.set_mesh(jax.make_mesh((4, 2), ("x", "y"), axis_types=kinds)):
        for make in (tree, jax.jit(lambda key: {**tree(key), "computed": 0.3 * UNIFORM(key, (16, 24))})):
            ours, eager = init.init(make, KEY, strict=True), make(KEY)
            equal(ours, eager)
            for name in ours:
                assert ours[name].sharding.is_equivalent_to(eager[name].sharding, eager[name].ndim), name
        ours = init.init(tree, KEY, out_shardings=PartitionSpec("x", "y") if kind == "Auto" else None)
        equal(ours, tree(KEY))


def test_explicit_shardings_within_the_function():
    with jax.set_mesh(jax.make_mesh((4, 2), ("x", "y"))):
        spec = PartitionSpec("x", "y")

        def fn(key):
            return NORMAL(key, (16, 24), jnp.float32, spec), jax.sharding.reshard(
                NORMAL(key, (16, 24)), PartitionSpec("y")
            )

        for make in (fn, jax.jit(fn)):
            ours, eager = init.init(make, KEY, strict=True), make(KEY)
            equal(ours, eager)
            for a, b in zip(ours, eager):
                assert a.sharding.is_equivalent_to(b.sharding, 2)


def test_linen_partitioning(mesh):
    """The usual way: shapes first, shardings of the names, then the arrays."""

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            kernel = linen.with_partitioning(init.lecun_normal(), (None, "y"))
            return linen.Dense(24, kernel_init=kernel, bias_init=linen.with_partitioning(init.zeros, ("y",)))(x)

    args = KEY, jnp.ones((2, 16))
    shapes = jax.eval_shape(Net().init, *args)
    shardings = linen.get_sharding(shapes, mesh)
    ours = init.init(Net().init, *args, out_shardings=shardings, strict=True)
    theirs = jax.jit(Net().init, out_shardings=shardings)(*args)
    equal(ours, theirs)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.sharding == b.sharding, ours, theirs))
    assert ours["params"]["Dense_0"]["kernel"].value.sharding.spec == PartitionSpec(None, "y")


def test_what_is_made_whole_is_placed_too(mesh):
    sharding = over(mesh, "x", "y")
    with pytest.warns(init.MadeWholeWarning):
        array = init.init(lambda key: jnp.exp(NORMAL(key, (16, 24))), KEY, out_shardings=sharding)
    assert array.sharding == sharding
    assert (np.asarray(array) == jnp.exp(NORMAL(KEY, (16, 24)))).all()


ERRORS = {
    "another structure": (
        ValueError,
        "out_shardings is no prefix of what the function returns",
        lambda mesh: {"b": over(mesh)},
    ),
    "too deep": (ValueError, "out_shardings is no prefix", lambda mesh: {"a": {"b": over(mesh)}}),
    "no shardings": (TypeError, "out_shardings is made of shardings or None, not str", lambda mesh: {"a": "x"}),
    "no mesh": (ValueError, "enter jax.set_mesh", lambda mesh: PartitionSpec("x")),
    "a length that does not divide": (
        ValueError,
        r"\['a'\] of shape \(3, 2\) does not fit its sharding: .* evenly divide",
        lambda mesh: {"a": over(mesh, "x")},
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_shardings_that_do_not_fit(mesh, what):
    error, message, shardings = ERRORS[what]
    with pytest.raises(error, match=message):
        init.init(lambda key: {"a": NORMAL(key, (3, 2))}, KEY, out_shardings=shardings(mesh))


def test_an_array_that_is_several_leaves_is_made_once(mesh, monkeypatch):
    def fn(key):
        w = NORMAL(key, (16, 24))
        return w, {"tied": w}, w + 0.0

    counting = Counting(monkeypatch)
    first, tied, other = jax.tree.leaves(init.init(fn, KEY, out_shardings=over(mesh, "x")))
    assert first is tied is not other
    assert len(counting.made) == 4 + 8
    first, tied, _ = jax.tree.leaves(init.init(fn, KEY, out_shardings=(over(mesh, "x"), None, None)))
    assert first.sharding != tied.sharding


def test_parts_of_stacks_hold_no_values():
    tree = init.recipes(lambda key: jax.vmap(lambda key: NORMAL(key, (2, 3)))(jax.random.split(key, 5)), KEY)
    assert isinstance(tree, fi.Recipe)
    assert (tree[3] == NORMAL(jax.random.split(KEY, 5)[3], (2, 3))).all()
