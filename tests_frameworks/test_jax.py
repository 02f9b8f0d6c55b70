"""fastinit.jax: the factories against JAX's own, values against recipes, shardings over eight devices."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import fastinit as fi
import fastinit.jax as init
from conftest import same

KEY = jax.random.key(7)
SEED = 7 << 32  # jax.random.key_data(key(7)) is [0, 7]

#: factory -> (arguments, the recipe's initializer and parameters)
FACTORIES = {
    "uniform": ({"scale": 0.3}, "uniform", {"high": 0.3}),
    "normal": ({"stddev": 0.3}, "normal", {"std": 0.3}),
    "truncated_normal": (
        {"stddev": 0.3, "lower": -1.0, "upper": 3.0},
        "truncated_normal",
        {"std": 0.3, "lower": -1.0, "upper": 3.0},
    ),
    "variance_scaling": (
        {"scale": 2.0, "mode": "fan_geo_avg", "distribution": "normal"},
        "variance_scaling",
        {"scale": 2.0, "mode": "fan_geo_avg", "distribution": "normal"},
    ),
    "glorot_uniform": ({}, "glorot_uniform", {}),
    "glorot_normal": ({"in_axis": 0, "out_axis": 1}, "glorot_normal", {"truncated": True, "in_axis": 0, "out_axis": 1}),
    "he_uniform": ({}, "he_uniform", {}),
    "he_normal": ({}, "he_normal", {"truncated": True}),
    "lecun_uniform": ({}, "lecun_uniform", {}),
    "lecun_normal": ({"batch_axis": [0]}, "lecun_normal", {"truncated": True, "batch_axis": 0}),
    "orthogonal": ({"scale": 2.0, "column_axis": 0}, "orthogonal", {"gain": 2.0, "out_axis": 0}),
    "delta_orthogonal": ({}, "delta_orthogonal", {}),
}


def shape_of(name):
    return {"lecun_normal": (3, 8, 5), "delta_orthogonal": (3, 3, 4, 6)}.get(name, (8, 6))


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("name", FACTORIES)
def test_values_are_the_recipes(name, dtype):
    arguments, kind, parameters = FACTORIES[name]
    shape = shape_of(name)
    expected = fi.recipe(kind, shape, dtype=dtype, seed=SEED, **parameters)[...]
    initialize = getattr(init, name)(**arguments)
    for value in (
        initialize(KEY, shape, jnp.dtype(dtype)),
        getattr(init, name)(**arguments, dtype=dtype)(KEY, shape),
        jax.jit(initialize, static_argnums=(1, 2))(KEY, shape, jnp.dtype(dtype)),
        jax.jit(lambda: initialize(KEY, shape, dtype))(),
        initialize(jax.random.PRNGKey(7), list(shape), dtype),
    ):
        assert isinstance(value, jax.Array)
        assert value.dtype == dtype
        assert same(np.asarray(value), expected)


@pytest.mark.parametrize("name", FACTORIES)
def test_signatures_are_jaxs(name):
    theirs, ours = (inspect.signature(getattr(module, name)).parameters for module in (jax.nn.initializers, init))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]
    arguments = FACTORIES[name][0]
    theirs, ours = (
        inspect.signature(getattr(module, name)(**arguments)).parameters for module in (jax.nn.initializers, init)
    )
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_every_name_is_there():
    for name in jax.nn.initializers.__all__ if hasattr(jax.nn.initializers, "__all__") else dir(jax.nn.initializers):
        if not name.startswith("_"):
            assert hasattr(init, name), name


@pytest.mark.parametrize("name", FACTORIES)
def test_shapes_and_dtypes_without_filling(name):
    """eval_shape of tensors that no machine could hold, with the key traced or not."""
    shape = tuple(n * 10**6 if k >= len(shape_of(name)) - 2 else n for k, n in enumerate(shape_of(name)))
    initialize = getattr(init, name)(**FACTORIES[name][0])
    for expected in (
        jax.eval_shape(lambda key: initialize(key, shape, jnp.bfloat16), KEY),
        jax.eval_shape(lambda: initialize(KEY, shape, jnp.bfloat16)),
        jax.eval_shape(lambda: initialize(jax.random.PRNGKey(7), shape, jnp.bfloat16)),
    ):
        assert (expected.shape, expected.dtype) == (shape, jnp.bfloat16)


def test_vmap():
    keys = jax.random.split(KEY, 5)
    initialize = init.he_normal()
    for mapped in (
        jax.vmap(lambda key: initialize(key, (4, 3))),
        jax.jit(jax.vmap(lambda key: initialize(key, (4, 3)))),
    ):
        values = mapped(keys)
        assert values.shape == (5, 4, 3)
        for key, value in zip(keys, values):
            assert same(np.asarray(value), np.asarray(initialize(key, (4, 3))))
    grid = jax.vmap(jax.vmap(lambda key: initialize(key, (2, 2))))(jax.random.split(KEY, (2, 3)))
    assert grid.shape == (2, 3, 2, 2)
    assert len(np.unique(np.asarray(grid))) == 24


def test_scan_and_grad():
    """As modules use them: layers in a scan, and gradients that do not pass through the initializer."""
    initialize = init.lecun_normal()
    _, stacked = jax.lax.scan(lambda _, key: (None, initialize(key, (3, 3))), None, jax.random.split(KEY, 4))
    assert same(np.asarray(stacked[2]), np.asarray(initialize(jax.random.split(KEY, 4)[2], (3, 3))))
    gradient = jax.grad(lambda x: (initialize(KEY, (3,) * 2) * x).sum())(2.0)
    assert gradient == pytest.approx(float(initialize(KEY, (3, 3)).sum()), rel=1e-5)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_seeds_of_keys(implementation):
    key = jax.random.split(jax.random.key(3, impl=implementation))[1]
    words = np.asarray(jax.random.key_data(key))
    assert init.seed_of(key) == sum(int(word) << 32 * k for k, word in enumerate(words))
    assert same(np.asarray(init.normal(1.0)(key, (9,))), fi.normal(9, seed=init.seed_of(key)))
    assert init.seed_of(jax.random.PRNGKey(3)) == 3 << 32


# ---- errors ----------------------------------------------------------------------------------------------------

ERRORS = {
    "one axis": lambda module: module.he_normal()(KEY, (3,)),
    "no axis": lambda module: module.glorot_uniform()(KEY, ()),
    "mode": lambda module: module.variance_scaling(1, "fan", "normal")(KEY, (2, 2)),
    "distribution": lambda module: module.variance_scaling(1, "fan_in", "gauss")(KEY, (2, 2)),
    "several keys": lambda module: module.normal()(jax.random.split(KEY, 3), (2,)),
    "no key": lambda module: module.normal()(None, (2,)),
    "integer key": lambda module: module.normal()(5, (2,)),
    "integers": lambda module: module.normal()(KEY, (2,), jnp.int32),
    "uniform integers": lambda module: module.uniform()(KEY, (2,), jnp.int32),
    "shape": lambda module: module.normal()(KEY, (2.5,)),
    "axis": lambda module: module.he_normal(in_axis=5)(KEY, (2, 2)),
    "orthogonal of a vector": lambda module: module.orthogonal()(KEY, (3,)),
    "delta_orthogonal of a matrix": lambda module: module.delta_orthogonal()(KEY, (3, 3)),
    "more in than out": lambda module: module.delta_orthogonal()(KEY, (3, 4, 2)),
    "sharded orthogonal": lambda module: module.orthogonal()(KEY, (4, 4), jnp.float32, jax.sharding.PartitionSpec()),
    "spec without mesh": lambda module: module.normal()(KEY, (4, 4), jnp.float32, jax.sharding.PartitionSpec("x")),
}


def error_of(case, module):
    try:
        case(module)
    except Exception as error:
        return type(error), str(error).splitlines()[:1]
    raise AssertionError("no error")


@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_jaxs(what):
    assert error_of(ERRORS[what], init) == error_of(ERRORS[what], jax.nn.initializers)


def test_float64_is_an_error_unless_it_is_on():
    with pytest.raises(ValueError, match="jax_enable_x64"):
        init.normal()(KEY, (2,), jnp.float64)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        init.normal(dtype="float64")(KEY, (2,))
    with pytest.raises(ValueError, match="jax_enable_x64"):
        init.array(fi.recipe("normal", 4, dtype="float64", seed=0), jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    with jax.enable_x64(True):
        assert init.normal(1.0)(KEY, (2,)).dtype == jnp.float64
        for value in (init.normal(1.0)(KEY, (2,), jnp.float64), jax.jit(lambda key: init.normal(1.0)(key, (2,)))(KEY)):
            assert same(np.asarray(value), fi.normal(2, dtype="float64", seed=SEED))


def test_other_dtypes():
    with pytest.raises(TypeError, match="float8"):
        init.normal()(KEY, (2,), jnp.float8_e4m3fn)
    with pytest.raises(ValueError, match="std must not be negative"):
        init.normal(-1.0)(KEY, (2,))
    value = init.he_normal()(KEY, (4, 4), jnp.complex64)  # JAX's own
    assert (value == jax.nn.initializers.he_normal()(KEY, (4, 4), jnp.complex64)).all()


def test_scalars_of_jax_as_parameters():
    value = init.normal(jnp.array(0.5, jnp.float32), jnp.bfloat16)(KEY, (4, 4))
    assert value.dtype == jnp.bfloat16
    assert same(np.asarray(value), fi.normal((4, 4), std=0.5, seed=SEED, dtype="bfloat16"))


def test_distributions_are_jaxs():
    """Variance and bounds of JAX's initializer with the same arguments; two-sample KS, false alarms 1e-4."""
    for name, (arguments, _, _) in FACTORIES.items():
        if "orthogonal" in name:
            continue
        shape = {"lecun_normal": (3, 80, 50)}.get(name, (120, 100))
        ours, theirs = (
            np.asarray(getattr(module, name)(**arguments)(KEY, shape)).ravel() for module in (init, jax.nn.initializers)
        )
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4, name
        assert abs(np.abs(ours).max() - np.abs(theirs).max()) < 0.3 * np.abs(theirs).max()


def test_orthogonal():
    for shape, axis in [((8, 5), -1), ((5, 8), -1), ((4, 3, 6), 0), ((4, 3, 6), -1)]:
        value = np.moveaxis(np.asarray(init.orthogonal(2.0, axis)(KEY, shape)), axis, -1).reshape(-1, shape[axis])
        gram = value.T @ value if value.shape[0] >= value.shape[1] else value @ value.T
        assert np.allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
    kernel = np.asarray(init.delta_orthogonal()(KEY, (3, 5, 4, 6)))
    assert np.allclose(kernel[1, 2] @ kernel[1, 2].T, np.eye(4), atol=1e-5)
    assert np.count_nonzero(kernel) == 24


def test_the_memory_that_was_filled_stays_and_is_read_only():
    """It is handed to JAX without a copy."""
    made = [init.normal(1.0)(KEY, (1 << 20,)) for _ in range(3)]
    assert not np.asarray(made[0]).flags.writeable
    for _ in range(5):
        np.empty(1 << 20, np.float32).fill(7)  # would take the place of memory that had been given back
    assert all((np.asarray(value) == fi.normal(1 << 20, seed=SEED)).all() for value in made)


# ---- where arrays lie ------------------------------------------------------------------------------------------


def meshes():
    kinds = jax.sharding.AxisType
    return {
        "auto": jax.make_mesh((4, 2), ("x", "y"), axis_types=(kinds.Auto, kinds.Auto)),
        "explicit": jax.make_mesh((4, 2), ("x", "y")),
        "mixed": jax.make_mesh((4, 2), ("x", "y"), axis_types=(kinds.Explicit, kinds.Auto)),
    }


def placed(module, way, mesh):
    """An array made in one of the ways below, by a module's `normal`."""
    spec = jax.sharding.PartitionSpec
    replicated = jax.device_put(KEY, jax.sharding.NamedSharding(mesh, spec()))

    def draw(key, *sharding):
        return module.normal(1.0)(key, (16, 24), jnp.float32, *sharding)

    return {
        "plain": lambda: draw(KEY),
        "another device": lambda: draw(jax.device_put(KEY, jax.devices()[3])),
        "replicated key": lambda: draw(replicated),
        "replicated key, jit": lambda: jax.jit(draw)(replicated),
        "replicated key, jit, added to": lambda: jax.jit(draw)(replicated) + 0,
        "mesh": lambda: within(mesh, lambda: draw(KEY)),
        "mesh, jit": lambda: within(mesh, lambda: jax.jit(draw)(KEY)),
        "mesh, spec": lambda: within(mesh, lambda: draw(KEY, spec("x"))),
        "mesh, spec, jit": lambda: within(mesh, lambda: jax.jit(lambda key: draw(key, spec("x")))(KEY)),
    }[way]()


def within(mesh, make):
    with jax.set_mesh(mesh):
        return make()


WAYS = [
    "plain", "another device", "replicated key", "replicated key, jit", "replicated key, jit, added to",
    "mesh", "mesh, jit", "mesh, spec", "mesh, spec, jit",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["auto", "explicit", "mixed"])
@pytest.mark.parametrize("way", WAYS)
def test_arrays_lie_where_jaxs_would(way, kind):
    if kind == "auto" and "spec" in way:
        for module in (init, jax.nn.initializers):
            with pytest.raises(ValueError, match="cannot contain axis names that are of type Auto"):
                placed(module, way, meshes()[kind])
        return
    ours, theirs = (placed(module, way, meshes()[kind]) for module in (init, jax.nn.initializers))
    assert ours.sharding.is_equivalent_to(theirs.sharding, 2)
    assert ours.committed == theirs.committed
    expected = fi.normal((16, 24), seed=SEED)
    for shard in ours.addressable_shards:  # of every device
        assert same(np.asarray(shard.data), expected[shard.index])


def test_shardings_that_name_no_devices():
    abstract = jax.sharding.NamedSharding(meshes()["explicit"].abstract_mesh, jax.sharding.PartitionSpec("x"))
    for module in (jax.nn.initializers, init):
        with pytest.raises(ValueError, match=r"jax\.set_mesh"):
            module.normal()(KEY, (16, 2), jnp.float32, abstract)


@pytest.mark.parametrize("kind", ["auto", "explicit", "mixed"])
def test_transforms_within_a_mesh(kind):
    mesh = meshes()[kind]
    keys = jax.random.split(KEY, 4)
    replicated = jax.device_put(keys, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))

    def draw(key):
        return init.normal(1.0)(key, (16, 24))

    expected = np.stack([np.asarray(draw(key)) for key in keys])
    for value in (
        jax.vmap(draw)(replicated),
        within(mesh, lambda: jax.vmap(draw)(keys)),
        within(mesh, lambda: jax.jit(jax.vmap(draw))(keys)),
        within(mesh, lambda: jax.lax.scan(lambda carry, key: (carry, draw(key)), None, keys)[1]),
    ):
        for shard in value.addressable_shards:
            assert same(np.asarray(shard.data), expected[shard.index])
    gradient = within(mesh, lambda: jax.grad(lambda x: (draw(KEY) * x).sum())(2.0))
    assert gradient == pytest.approx(float(np.asarray(draw(KEY)).sum()), rel=1e-4)


def test_repeated_transforms_compile_once(caplog):
    keys = jax.random.split(KEY, 4)
    with jax.log_compiles():
        for _ in range(3):
            jax.vmap(lambda key: init.he_normal()(key, (9, 7)))(keys)
    assert sum("Finished XLA compilation of jit(_later)" in record.getMessage() for record in caplog.records) == 1


def test_float64_where_only_the_context_has_it():
    """Callbacks may run in threads to which the context says nothing."""
    with jax.enable_x64(True):
        several = jax.pmap(lambda key: init.normal(1.0)(key, (5, 4)))(jax.random.split(KEY, 8))
        compiled = jax.jit(lambda key: init.normal(1.0)(key, (5, 4))).lower(KEY).compile()
        assert same(np.asarray(several[3]), np.asarray(init.normal(1.0)(jax.random.split(KEY, 8)[3], (5, 4))))
    assert same(np.asarray(compiled(KEY)), fi.normal((5, 4), dtype="float64", seed=SEED))


def test_parameters_are_refused_while_tracing():
    for case in (
        lambda: jax.eval_shape(lambda key: init.normal(1e-50)(key, (3, 4)), KEY),
        lambda: jax.make_jaxpr(lambda key: init.he_normal(0, 0)(key, (3, 4)))(KEY),
        lambda: jax.jit(lambda key: init.truncated_normal(1.0, jnp.float32, 2.0, -2.0)(key, (3, 4)))(KEY),
        lambda: jax.eval_shape(lambda key: init.normal()(key, (-1, 4)), KEY),
    ):
        with pytest.raises(ValueError, match=r"std|share|lower|negative"):
            case()


def test_numbers_of_numpy_as_axes():
    value = init.orthogonal(np.float32(2.0), np.int64(0))(KEY, (4, 3, 6))
    assert same(np.asarray(value), fi.orthogonal((4, 3, 6), gain=2.0, out_axis=0, seed=SEED))
    value = init.he_normal(0, [np.int64(1)], (np.int32(2),))(KEY, (4, 3, 6))
    assert same(
        np.asarray(value), fi.he_normal((4, 3, 6), in_axis=0, out_axis=1, batch_axis=2, truncated=True, seed=SEED)
    )
    with pytest.raises(ValueError, match="one key"):
        init.seed_of(jax.random.split(KEY, 3))


# ---- shardings -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh():
    assert len(jax.devices()) == 8
    return jax.make_mesh((4, 2), ("x", "y"))


SPECS = [(), ("x",), (None, "y"), ("x", "y"), ("y", "x"), (("x", "y"),), (None, ("y", "x"))]


class Counting:
    """Remembers what was asked of a recipe."""

    def __init__(self, monkeypatch):
        self.made = []
        original = fi.Recipe.__getitem__

        def getitem(recipe, index):
            value = original(recipe, index)
            self.made.append(value.size)
            return value

        monkeypatch.setattr(fi.Recipe, "__getitem__", getitem)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", [fi.init("he_normal"), fi.init("orthogonal"), fi.init("sparse", sparsity=0.3)])
def test_arrays_over_eight_devices(mesh, spec, kind, monkeypatch):
    recipe = fi.recipe(kind, (16, 24), seed=2, name="w")
    whole = recipe[...]
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    counting = Counting(monkeypatch)
    value = init.array(recipe, sharding)
    assert value.sharding.is_equivalent_to(sharding, 2)
    assert same(np.asarray(value), whole)
    assert len(value.addressable_shards) == 8
    for shard in value.addressable_shards:
        assert same(np.asarray(shard.data), whole[shard.index])
    assert sum(counting.made) == whole.size  # replicas are made once
    assert max(counting.made) == math.prod(sharding.shard_shape((16, 24)))


def test_arrays_of_parts(mesh, dtype):
    part = fi.recipe("normal", (100, 24), seed=2, dtype=dtype).part(np.s_[10:26])
    value = init.array(part, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x")))
    assert same(np.asarray(value), part[...])
    with pytest.raises(TypeError, match="Recipe"):
        init.array("normal", value.sharding)


def test_out_sharding(mesh):
    """Eagerly and under jit, as JAX's own."""
    spec = jax.sharding.PartitionSpec("x", "y")
    named = jax.sharding.NamedSharding(mesh, spec)
    expected = fi.normal((16, 24), seed=SEED)
    initialize = init.normal(1.0)
    values = [initialize(KEY, (16, 24), jnp.float32, named)]
    with jax.set_mesh(mesh):
        theirs = jax.nn.initializers.normal(1.0)(KEY, (16, 24), jnp.float32, spec)
        values.append(initialize(KEY, (16, 24), jnp.float32, named))
        values.append(initialize(KEY, (16, 24), jnp.float32, spec))
        values.append(jax.jit(lambda key: initialize(key, (16, 24), jnp.float32, spec))(KEY))
    for value in values:
        assert value.sharding.is_equivalent_to(theirs.sharding, 2)
        assert jax.typeof(value) == jax.typeof(theirs)
        assert same(np.asarray(value), expected)


# ---- flax ------------------------------------------------------------------------------------------------------


def test_flax_linen():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), kernel_init=init.he_normal())(x)
            return nn.Dense(5, kernel_init=init.orthogonal(), bias_init=init.zeros)(x.reshape(len(x), -1))

    x = jnp.ones((2, 4, 4, 3))
    eager = Net().init(KEY, x)
    jitted = jax.jit(Net().init)(KEY, x)
    assert jax.tree.all(jax.tree.map(lambda a, b: same(np.asarray(a), np.asarray(b)), eager, jitted))
    kernel = np.asarray(eager["params"]["Conv_0"]["kernel"])
    assert kernel.shape == (3, 3, 3, 8)
    assert kernel.std() == pytest.approx(math.sqrt(2 / 27), rel=0.2)
    Net().apply(eager, x)
    shapes = jax.eval_shape(Net().init, KEY, x)
    assert shapes["params"]["Dense_0"]["kernel"].shape == (128, 5)


def test_flax_nnx():
    from flax import nnx

    def build():
        return nnx.Linear(6, 4, kernel_init=init.lecun_normal(), rngs=nnx.Rngs(0))

    model, again = build(), nnx.jit(build)()
    assert same(np.asarray(model.kernel[...]), np.asarray(again.kernel[...]))
    assert np.asarray(model.kernel[...]).std() > 0
    abstract = nnx.eval_shape(build)
    assert abstract.kernel.get_value().shape == (6, 4)
