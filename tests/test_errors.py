"""Bad input: a clear error, and not a byte written."""

import re
import subprocess
import sys

import numpy as np
import pytest

import fastinit as fi

inf, nan = float("inf"), float("nan")


def out(shape=(6, 4), dtype=np.float32):
    return np.full(shape, 7, dtype)


class NotAnArray:
    pass


#: what is called with a fresh (6, 4) float32 array, the exception, words of the message
BAD = [
    # parameters
    (lambda w: fi.uniform(w, 1.0, 0.0, seed=0), ValueError, "low must not be above high"),
    (lambda w: fi.uniform(w, nan, 1.0, seed=0), ValueError, "low must not be NaN"),
    (lambda w: fi.uniform(w, -inf, 1.0, seed=0), ValueError, "finite"),
    (lambda w: fi.uniform(w, 0.0, 1e39, seed=0), ValueError, "finite in float32"),
    (lambda w: fi.uniform(w, 0.0, 2.0**-103, seed=0), ValueError, "2**-102"),
    (lambda w: fi.uniform(out(5, np.float64), 0.0, 2.0**-970, seed=0), ValueError, "2**-969"),
    (lambda w: fi.uniform(out(5, np.float16), -1e6, 0.0, seed=0), ValueError, "finite in the dtype"),
    (lambda w: fi.uniform(w, "a", seed=0), TypeError, "low must be a number"),
    (lambda w: fi.normal(w, std=-1.0, seed=0), ValueError, "std must not be negative"),
    (lambda w: fi.normal(w, std=nan, seed=0), ValueError, "std must not be NaN"),
    (lambda w: fi.normal(w, std=inf, seed=0), ValueError, "finite"),
    (lambda w: fi.normal(w, mean=inf, seed=0), ValueError, "finite"),
    (lambda w: fi.normal(w, mean=1e39, seed=0), ValueError, "mean must be finite in float32"),
    (lambda w: fi.normal(w, std=1e-50, seed=0), ValueError, "std vanishes in float32"),
    (lambda w: fi.normal(w, std=1e39, seed=0), ValueError, "std overflows float32"),
    (lambda w: fi.normal(w, std=True, seed=0), TypeError, "std must be a number"),
    (lambda w: fi.normal(w, std=np.True_, seed=0), TypeError, "std must be a real number"),
    (lambda w: fi.normal(w, std=10**400, seed=0), ValueError, "std is beyond float64"),
    (lambda w: fi.constant(w, np.array([1.0, 2.0])), TypeError, "value must be a number"),
    (lambda w: fi.constant(w, np.complex64(1 + 2j)), TypeError, "value must be a"),
    (lambda w: fi.he_normal(w, fan_in=10**400, seed=0), ValueError, "below 2**128"),
    (lambda w: fi.normal(w, std=1j, seed=0), TypeError, "std must be a number"),
    (lambda w: fi.truncated_normal(w, lower=3.0, seed=0), ValueError, "lower must not be above upper"),
    (lambda w: fi.truncated_normal(w, lower=nan, seed=0), ValueError, "lower must not be NaN"),
    (lambda w: fi.truncated_normal(w, lower=inf, upper=inf, seed=0), ValueError, "leave nothing"),
    (lambda w: fi.truncated_normal(w, lower=-inf, upper=-inf, seed=0), ValueError, "leave nothing"),
    (lambda w: fi.constant(w, 1e39), ValueError, "overflows the dtype"),
    (lambda w: fi.constant(w, None), TypeError, "value must be a number"),
    (lambda w: fi.eye(out(5)), ValueError, "two axes"),
    (lambda w: fi.he_normal(w, gain=-1.0, seed=0), ValueError, "gain must be finite"),
    (lambda w: fi.he_normal(w, gain=nan, seed=0), ValueError, "gain must not be NaN"),
    (lambda w: fi.he_normal(w, negative_slope=inf, seed=0), ValueError, "negative_slope must be finite"),
    (lambda w: fi.he_normal(w, truncated=1, seed=0), TypeError, "True or False"),
    (lambda w: fi.he_normal(w, in_axis=2, seed=0), ValueError, "in_axis=2"),
    (lambda w: fi.he_normal(w, in_axis=1, seed=0), ValueError, "share an axis"),
    (lambda w: fi.he_normal(w, in_axis=1.0, seed=0), TypeError, "in_axis must be an integer"),
    (lambda w: fi.he_normal(w, fan_in=0, seed=0), ValueError, "fan_in must be at least 1"),
    (lambda w: fi.he_normal(w, fan_in=2.5, seed=0), TypeError, "fan_in must be an integer"),
    (lambda w: fi.he_normal(out(5), seed=0), ValueError, "fan_in="),
    (lambda w: fi.variance_scaling(w, 1.0, "fan_inn", "normal", seed=0), ValueError, "did you mean 'fan_in'"),
    (lambda w: fi.variance_scaling(w, 1.0, "fan_in", "gauss", seed=0), ValueError, "known: uniform, normal"),
    (lambda w: fi.variance_scaling(w, -1.0, "fan_in", "normal", seed=0), ValueError, "scale must be finite"),
    # names
    (lambda w: fi.init("he_normall"), ValueError, "did you mean 'he_normal'"),
    (lambda w: fi.init("normal", sdt=1.0), TypeError, "did you mean 'std'"),
    (lambda w: fi.init("constant"), TypeError, "constant needs value="),
    (lambda w: fi.init(fi.init("normal"), std=2.0), TypeError, "its own"),
    (lambda w: fi.init(5), TypeError, "str"),
    # seed and name
    (lambda w: fi.normal(w, seed=-1), ValueError, "seed must be at least 0"),
    (lambda w: fi.normal(w, seed=2**128), ValueError, "below 2**128"),
    (lambda w: fi.normal(w, seed=True), TypeError, "not a bool"),
    (lambda w: fi.normal(w, seed=1.0), TypeError, "seed must be an integer"),
    (lambda w: fi.normal(w, seed=0, name=b"x"), TypeError, "name must be a str"),
    (lambda w: fi.normal(w, seed=0, name="\ud800"), ValueError, "UTF-8"),
    # regions
    (lambda w: fi.normal(w, shape=(12, 4), index=np.s_[:6]), ValueError, "need a seed"),
    (lambda w: fi.normal(w, shape=(6, 4)), ValueError, "need a seed"),
    (lambda w: fi.normal(w, index=np.s_[:6], seed=0), TypeError, "shape="),
    (lambda w: fi.normal(w, shape=(12, 4), index=np.s_[:5], seed=0), ValueError, "out has shape (6, 4), but the region has shape (5, 4)"),
    (lambda w: fi.normal(w, shape=(12, 4), seed=0), ValueError, "region has shape (12, 4)"),
    (lambda w: fi.normal((6, 4), shape=(12, 4), seed=0), ValueError, "region has shape (12, 4)"),
    (lambda w: fi.normal(w, shape=(12, 4), index=12, seed=0), IndexError, "out of bounds"),
    (lambda w: fi.normal(w, shape=(12, 4), index=[1, 2], seed=0), IndexError, "take()"),
    (lambda w: fi.recipe("normal", (12, 4), seed=0).fill(w, 3), ValueError, "region has shape (4,)"),
    (lambda w: fi.recipe("normal", (12, 4), seed=0).take([0, 1, 2, 3, 4, 12], out=w), IndexError, "row 12"),
    (lambda w: fi.recipe("normal", (12, 4), seed=0).take([0, 1], out=w), ValueError, "out has shape (6, 4)"),
    (lambda w: fi.recipe("normal", (), seed=0).take([0]), IndexError, "no rows"),
    (lambda w: len(fi.recipe("normal", (), seed=0)), TypeError, "0-d"),
    # memory
    (lambda w: fi.normal(out(dtype=np.int32), seed=0), TypeError, "int32 cannot be filled"),
    (lambda w: fi.normal(out(dtype=np.complex64), seed=0), TypeError, "complex64 cannot be filled"),
    (lambda w: fi.normal(out(dtype=np.uint16), seed=0), TypeError, "dtype='bfloat16'"),
    (lambda w: fi.normal(out(dtype=">f4"), seed=0), TypeError, "byte order"),
    (lambda w: fi.normal(w, seed=0, dtype="float64"), TypeError, "not the dtype float64"),
    (lambda w: fi.normal(w, seed=0, dtype="flaot32"), TypeError, "did you mean 'float32'"),
    (lambda w: fi.normal(5, seed=0, dtype="int8"), TypeError, "int8 cannot be filled"),
    (lambda w: fi.recipe("normal", (6, 4), seed=0, dtype="float64").fill(w), TypeError, "not the dtype float64"),
    (lambda w: fi.normal(np.broadcast_to(w, (3, 6, 4)), seed=0), ValueError, "read-only"),
    (lambda w: fi.normal(memoryview(bytes(16)).cast("f"), seed=0), ValueError, "read-only"),
    (lambda w: fi.normal(np.lib.stride_tricks.as_strided(w, (6, 4), (0, 4)), seed=0), ValueError, "overlaps itself"),
    (lambda w: fi.normal(np.lib.stride_tricks.as_strided(w, (5, 4), (8, 4)), seed=0), ValueError, "overlaps itself"),
    (lambda w: fi.normal(np.lib.stride_tricks.as_strided(w, (4,), (2,)), seed=0), ValueError, "overlaps itself"),
    (lambda w: fi.normal(NotAnArray(), seed=0), TypeError, "not NotAnArray"),
    (lambda w: fi.normal("abc", seed=0), TypeError, "not str"),
    (lambda w: fi.constant(np.float32(5), 1.0), TypeError, "not float32"),
    (lambda w: fi.recipe("normal", (6, 4), seed=0).fill((6, 4)), TypeError, "not tuple"),
    (lambda w: fi.normal(w, seed=0, dtype=[("a", "f4")]), TypeError, "unknown dtype"),
    (lambda w: fi.normal(None, seed=0), TypeError, "not NoneType"),
    # shapes
    (lambda w: fi.normal((3, -1), seed=0), ValueError, "negative length"),
    (lambda w: fi.normal((3, 1.5), seed=0), TypeError, "made of integers"),
    (lambda w: fi.normal((3, True), seed=0), TypeError, "made of integers"),
    (lambda w: fi.recipe("normal", (2**31, 2**31), seed=0), ValueError, "2**62"),
    (lambda w: fi.normal((2**50, 2**10), seed=0), MemoryError, "cannot allocate 4611686018427387904 bytes"),
    # threads
    (lambda w: fi.normal(w, seed=0, threads=0), ValueError, "threads must be at least 1"),
    (lambda w: fi.normal(w, seed=0, threads=1.0), TypeError, "threads must be an integer"),
    (lambda w: fi.set_num_threads(0), ValueError, "n must be at least 1"),
    (lambda w: fi.set_num_threads(True), TypeError, "not a bool"),
    # raw words
    (lambda w: fi.philox4x32(w, 0), TypeError, "uint32"),
    (lambda w: fi.philox4x32([0], 0), TypeError, "ndarray"),
    (lambda w: fi.philox4x32(out(5, np.uint32), -1), ValueError, "key must be"),
    (lambda w: fi.philox4x32(out(5, np.uint32), 2**64), ValueError, "key must be"),
    (lambda w: fi.philox4x32(out(5, np.uint32), 0, 2**128), ValueError, "counter must be"),
    (lambda w: fi.philox4x32(out(6, np.uint32)[::2], 0), ValueError, "C-contiguous"),
    (lambda w: fi.philox4x32(np.frombuffer(bytes(16), np.uint32), 0), ValueError, "read-only"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input(case):
    call, exception, words = BAD[case]
    w = out()
    with pytest.raises(exception, match=re.escape(words)) as caught:
        call(w)
    assert type(caught.value) is exception
    assert (w == 7).all()


def test_read_only_memory_is_left_alone():
    w = out()
    w.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fi.normal(w, seed=0)
    assert (w == 7).all()


def test_a_std_that_the_dtype_flushes_is_reported():
    with pytest.warns(RuntimeWarning, match="float16 flushes std"):
        fi.normal(5, std=1e-9, seed=0, dtype="float16")


def test_a_torch_tensor_is_shown_the_way():
    fake = type("Tensor", (), {"__module__": "torch"})
    with pytest.raises(TypeError, match=re.escape("fastinit.torch")):
        fi.normal(fake(), seed=0)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FASTINIT_ISA", "avx9", "unknown"),
        ("FASTINIT_ISA", "neon" if sys.platform != "darwin" else "avx2", "not compiled in"),
        ("FASTINIT_NUM_THREADS", "0", "at least 1"),
        ("FASTINIT_NUM_THREADS", "two", "at least 1"),
    ],
)
def test_bad_environment(variable, value, words):
    import os
    import platform

    if value == "neon" and platform.machine() in ("aarch64", "arm64"):
        value = "avx2"
    run = subprocess.run(
        [sys.executable, "-c", "import fastinit as fi; fi.normal(5, seed=0)"],
        env={**os.environ, variable: value}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert words in run.stderr


@pytest.mark.parametrize("shape", [(3, 4), (4, 3, 2)])
def test_interleaved_axes_that_do_not_overlap_are_filled(shape):
    """Strides that cross, but never meet: NumPy's exact solver decides."""
    memory = np.zeros(200, np.float32)
    strides = (8, 12) if len(shape) == 2 else (40, 56, 4)
    view = np.lib.stride_tricks.as_strided(memory, shape if len(shape) == 3 else (2, 3), strides)
    if len(shape) == 2:
        addresses = {8 * i + 12 * j for i in range(2) for j in range(3)}
        assert len(addresses) == 6
    fi.normal(view, seed=0)
    assert (view == fi.normal(view.shape, seed=0)).all()
