"""Checks of fastinit.keras on the backend of KERAS_BACKEND; test_keras.py runs them on each."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import inspect

import keras
import ml_dtypes
import numpy as np
import pytest

import fastinit as fi
import fastinit.keras as init

BACKEND = keras.backend.backend()


def array(tensor):
    """A tensor as a NumPy array of its dtype; bfloat16 too, which torch cannot hand over."""
    if BACKEND == "torch" and str(tensor.dtype) == "torch.bfloat16":
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def same(a, b):
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


#: class -> (arguments, shape, the recipe's initializer and parameters)
CLASSES = {
    "RandomNormal": ({"mean": 1.0, "stddev": 0.5}, (6, 5), "normal", {"mean": 1.0, "std": 0.5}),
    "TruncatedNormal": ({"mean": 1.0, "stddev": 0.5}, (6, 5), "truncated_normal", {"mean": 1.0, "std": 0.5}),
    "RandomUniform": ({"minval": -2.0, "maxval": 1.0}, (6, 5), "uniform", {"low": -2.0, "high": 1.0}),
    "VarianceScaling": (
        {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"},
        (3, 3, 6, 5),
        "variance_scaling",
        {"scale": 3.0, "mode": "fan_out", "distribution": "normal"},
    ),
    "GlorotUniform": ({}, (6, 5), "glorot_uniform", {}),
    "GlorotNormal": ({}, (6, 5), "glorot_normal", {"truncated": True}),
    "HeUniform": ({}, (6, 5), "he_uniform", {}),
    "HeNormal": ({}, (3, 6, 5), "he_normal", {"truncated": True}),
    "LecunUniform": (
        {"input_axes": [0], "output_axes": [1, 2]},
        (6, 5, 4),
        "lecun_uniform",
        {"in_axis": 0, "out_axis": (1, 2)},
    ),
    "LecunNormal": ({}, (6, 5), "lecun_normal", {"truncated": True}),
    "Orthogonal": ({"gain": 2.0}, (2, 4, 5), "orthogonal", {"gain": 2.0}),
    "Identity": ({"gain": 2.0}, (6, 5), "eye", {"gain": 2.0}),
    "Constant": ({"value": 2.5}, (6, 5), "constant", {"value": 2.5}),
}
RANDOM = [name for name in CLASSES if name not in ("Identity", "Constant")]


def make(name, **extra):
    return getattr(init, name)(**CLASSES[name][0], **extra)


def test_every_class_is_here():
    assert set(CLASSES) == set(init.__all__)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", CLASSES)
def test_values_are_the_recipes(name, dtype):
    _, shape, kind, parameters = CLASSES[name]
    initializer = make(name, **({"seed": 11} if name in RANDOM else {}))
    if dtype == "float64" and BACKEND == "jax":
        with pytest.raises(ValueError, match="jax_enable_x64"):
            initializer(shape, dtype)
        return
    value = initializer(shape, dtype=dtype)
    assert keras.ops.is_tensor(value)
    assert same(array(value), fi.recipe(kind, shape, dtype=dtype, seed=11, **parameters)[...])


@pytest.mark.parametrize("name", CLASSES)
def test_a_keras_initializer(name):
    initializer = make(name)
    assert isinstance(initializer, getattr(keras.initializers, name))
    assert keras.initializers.get(initializer) is initializer
    theirs, ours = (inspect.signature(getattr(module, name)).parameters for module in (keras.initializers, init))
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]
    call = inspect.signature(initializer.__call__).parameters
    assert [(p.name, p.default) for p in call.values()][1:] == [("dtype", None), ("layout", None)]


@pytest.mark.parametrize("name", CLASSES)
def test_configurations(name):
    seeds = [7, None, keras.random.SeedGenerator(5)] if name in RANDOM else [None]
    for seed in seeds:
        initializer = make(name, **({} if seed is None else {"seed": seed}))
        reference = getattr(keras.initializers, name)(**CLASSES[name][0], **({} if seed is None else {"seed": seed}))
        assert initializer.get_config() == reference.get_config()
        config = keras.initializers.serialize(initializer)
        again = keras.initializers.deserialize(config)
        assert type(again) is type(initializer)
        assert again.get_config() == initializer.get_config()
        assert type(initializer.clone()) is type(initializer)
        if seed == 7:
            shape = CLASSES[name][1]
            assert same(array(again(shape)), array(initializer(shape)))


def test_default_dtype_is_floatx():
    before = keras.config.floatx()
    keras.config.set_floatx("float16")
    try:
        assert array(init.GlorotUniform(seed=0)((3, 3))).dtype == np.float16
    finally:
        keras.config.set_floatx(before)


# ---- seeds -----------------------------------------------------------------------------------------------------


def test_integer_seeds_give_the_same_values_each_time():
    initializer = init.HeNormal(seed=3)
    assert same(array(initializer((4, 4))), array(initializer((4, 4))))
    assert same(array(init.HeNormal(seed=3)((4, 4))), array(initializer((4, 4))))
    assert not same(array(init.HeNormal(seed=4)((4, 4))), array(initializer((4, 4))))


def test_no_seed_is_a_seed_of_ones_own():
    keras.utils.set_random_seed(1)
    first = init.HeNormal()
    assert isinstance(first.seed, int)
    assert same(array(first((4, 4))), array(first((4, 4))))
    assert not same(array(init.HeNormal()((4, 4))), array(first((4, 4))))
    keras.utils.set_random_seed(1)
    assert init.HeNormal().seed == first.seed


def test_seed_generators_advance():
    initializer = init.RandomNormal(seed=keras.random.SeedGenerator(9))
    draws = [array(initializer((50,))) for _ in range(3)]
    assert same(draws[0], array(init.RandomNormal(seed=9)((50,))))
    assert same(draws[2], fi.normal(50, std=0.05, seed=9 + (2 << 32)))
    assert not same(draws[0], draws[1])


def test_large_and_negative_seeds():
    for seed in (2**31, 2**32 - 1, 2**63, 2**100):
        assert same(array(init.RandomNormal(seed=seed)((5,))), fi.normal(5, std=0.05, seed=seed))
    assert same(array(init.RandomNormal(seed=-1)((5,))), fi.normal(5, std=0.05, seed=2**32 - 1))
    with pytest.raises(ValueError, match="seed"):
        init.RandomNormal(seed=1.5)


# ---- Keras's meanings ------------------------------------------------------------------------------------------


def test_fans_of_keras():
    """One axis is its own fan, none counts as 1; a layer of length 0 divides by 1."""
    assert same(array(init.HeUniform(seed=1)((9,))), fi.he_uniform(9, fan_in=9, seed=1))
    assert same(array(init.GlorotUniform(seed=1)(())), fi.glorot_uniform((), fan_in=1, fan_out=1, seed=1))
    assert array(init.GlorotUniform(seed=1)((0, 3))).shape == (0, 3)


def test_normal_means_truncated():
    for initializer in (init.VarianceScaling(distribution="normal", seed=0), init.HeNormal(seed=0)):
        value = array(initializer((300, 300))) / (initializer.scale / 300) ** 0.5
        assert value.std() == pytest.approx(1, rel=0.02)
        assert np.abs(value).max() <= 2 / 0.8796


def test_scalar_tensors_as_parameters():
    value = init.RandomNormal(mean=keras.ops.convert_to_tensor(1.0), stddev=keras.ops.convert_to_tensor(0.5), seed=2)(
        (5,)
    )
    assert same(array(value), fi.normal(5, mean=1.0, std=0.5, seed=2))


def test_other_dtypes_and_arrays_of_constants():
    assert (array(init.Constant(3)((2, 2), "int32")) == 3).all()
    assert (array(init.Constant([[1.0, 2.0]])((2, 2))) == [[1, 2], [1, 2]]).all()
    assert array(init.Identity(2)((2, 3), "int32")).dtype.kind == "i"
    for name in RANDOM:
        with pytest.raises(TypeError, match="not int32"):
            make(name)(CLASSES[name][1], "int32")


def message_of(call, module):
    try:
        call(module)
    except ValueError as error:
        return str(error)
    raise AssertionError("no error")


def test_errors_of_keras():
    for call in (
        lambda module: module.VarianceScaling(scale=-1.0),
        lambda module: module.VarianceScaling(mode="fan"),
        lambda module: module.VarianceScaling(distribution="gauss"),
        lambda module: module.Orthogonal()((3,)),
        lambda module: module.Identity()((2, 2, 2)),
    ):
        assert message_of(call, init).replace(" ", "") == message_of(call, keras.initializers).replace(" ", "")
    with pytest.raises(ValueError, match="std must not be negative"):
        init.RandomNormal(stddev=-1.0)((3,))


# ---- in models -------------------------------------------------------------------------------------------------


def test_models_and_saving(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(6, 3, kernel_initializer=init.HeNormal(seed=1)),
            keras.layers.Flatten(),
            keras.layers.Dense(5, kernel_initializer=init.Orthogonal(seed=2), bias_initializer=init.Constant(2.0)),
        ]
    )
    kernel = model.layers[0].kernel
    assert same(array(kernel), fi.he_normal((3, 3, 3, 6), truncated=True, seed=1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert all(same(array(a), array(b)) for a, b in zip(model.weights, loaded.weights))
    assert type(loaded.layers[0].kernel_initializer) is init.HeNormal
    fresh = keras.Sequential.from_config(model.get_config())
    assert same(array(fresh.layers[0].kernel), array(kernel))
    x = np.ones((2, 8, 8, 3), np.float32)
    assert np.allclose(array(loaded(x)), array(model(x)))


def test_layers_that_clone_an_initializer():
    """Without a seed every clone has its own, as Keras wants it."""
    layer = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=init.LecunNormal())
    layer.build((None, 10, 8), (None, 10, 8))
    kernels = [array(w) for w in layer.weights if len(w.shape) == 3]
    assert not same(kernels[0], kernels[1])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
def test_in_a_graph():
    import tensorflow as tf

    fixed, advancing = init.HeNormal(seed=1), init.HeNormal(seed=keras.random.SeedGenerator(1))

    @tf.function
    def draw():
        return fixed((4, 3)), advancing((4, 3)), advancing((4, 3))

    a, b, c = draw()
    assert same(array(a), array(b))
    assert not same(array(b), array(c))
    assert b.shape == (4, 3)


@pytest.mark.skipif(BACKEND != "jax", reason="jit and shardings of JAX")
def test_under_jit():
    import jax

    initializer = init.HeNormal(seed=1)
    value = jax.jit(initializer.__call__, static_argnames=["shape", "dtype"])(shape=(4, 3), dtype="float32")
    assert same(array(value), array(initializer((4, 3))))
    assert jax.eval_shape(lambda: initializer((10**9, 10**9))).shape == (10**9, 10**9)


@pytest.mark.skipif(BACKEND != "jax", reason="jit and shardings of JAX")
def test_layouts():
    mesh = keras.distribution.DeviceMesh((4, 2), axis_names=("batch", "model"))
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*kernel"] = keras.distribution.TensorLayout([None, "model"])
    layouts[".*bias"] = keras.distribution.TensorLayout(["model"])
    with keras.distribution.ModelParallel(layout_map=layouts).scope():
        layer = keras.layers.Dense(6, kernel_initializer=init.HeNormal(seed=1), bias_initializer=init.Constant(2.0))
        layer.build((None, 16))
    assert same(array(layer.kernel), fi.he_normal((16, 6), truncated=True, seed=1))
    assert (array(layer.bias) == 2).all()
    assert {shard.data.shape for shard in layer.kernel.value.addressable_shards} == {(16, 3)}
    with keras.distribution.ModelParallel(layout_map=layouts).scope():
        generator = keras.random.SeedGenerator(1)
        for kernel, expected in (
            (init.HeNormal(seed=generator), fi.he_normal((16, 6), truncated=True, seed=1)),
            (init.HeNormal(seed=generator), fi.he_normal((16, 6), truncated=True, seed=1 + (1 << 32))),
            (init.Constant(np.full((16, 6), 2.5).tolist()), np.full((16, 6), 2.5, np.float32)),
            (init.Identity(3.0), 3 * np.eye(16, 6, dtype=np.float32)),
        ):
            other = keras.layers.Dense(6, kernel_initializer=kernel)
            other.build((None, 16))
            assert same(array(other.kernel), expected)
            assert {shard.data.shape for shard in other.kernel.value.addressable_shards} == {(16, 3)}
        counts = keras.layers.Layer(name="bias").add_weight(shape=(6,), initializer=init.Constant(3), dtype="int32")
        assert (array(counts) == 3).all()
    value = init.HeNormal(seed=1)((16, 6), layout=keras.distribution.TensorLayout(["batch", None], mesh))
    assert {shard.data.shape for shard in value.addressable_shards} == {(4, 6)}
    assert same(array(value), array(layer.kernel))


def test_memory_is_not_shared_between_calls():
    initializer = init.HeNormal(seed=1)
    a, b = (keras.Variable(initializer, (64, 64)) for _ in range(2))
    a.assign(keras.ops.zeros((64, 64)))
    assert same(array(b), fi.he_normal((64, 64), truncated=True, seed=1))


def test_a_shape_may_be_a_number():
    assert same(array(init.RandomNormal(seed=1)(5)), fi.normal(5, std=0.05, seed=1))
