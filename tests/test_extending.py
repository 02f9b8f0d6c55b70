"""The shipped examples of cimport compile against the installed package and run; what they cimport is checked bit for bit."""

import ctypes
import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi

EXAMPLES = Path(__file__).parent.parent / "examples" / "cython"

#: Hands `fill_range` to Python, arguments as they are.
BRIDGE = """
from fastinit.kernels cimport *
from libc.stdint cimport uint64_t
numbers = (FLOAT32, FLOAT64, FLOAT16, BFLOAT16), (CONSTANT, UNIFORM, NORMAL, TRUNCATED_NORMAL)
def fill(uint64_t address, size_t count, uint64_t first, int dtype, int distribution, parameters, uint64_t key,
         uint64_t stream, int threads):
    cdef double[4] p = parameters
    cdef const char *refused
    with nogil:
        refused = fill_range(<void *>address, count, first, dtype, distribution, p, key, stream, threads)
    return None if refused is NULL else refused.decode()
"""


def compiled(folder, name):
    """The module of NAME.pyx in a folder, built as another project would."""
    setup = (
        "from setuptools import setup, Extension; from Cython.Build import cythonize; setup(name='x', ext_modules="
        f"cythonize([Extension('{name}', ['{name}.pyx'])], include_path=[{fi.get_include()!r}]))"
    )
    command = [sys.executable, "-c", setup, "build_ext", "--inplace"]
    build = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    (path,) = folder.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_get_include_has_the_declarations():
    assert (Path(fi.get_include()) / "fastinit" / "kernels.pxd").is_file()
    assert (Path(fi.get_include()) / "fastinit" / "_kernels.pxd").is_file()


def test_words(tmp_path):
    shutil.copy(EXAMPLES / "pi.pyx", tmp_path)
    pi = compiled(tmp_path, "pi")
    estimate = pi.estimate(1_000_000, seed=0)
    assert abs(estimate - math.pi) < 5 * 1.64 / 1000  # five standard errors
    assert estimate == pi.estimate(1_000_000, seed=0)
    assert estimate != pi.estimate(1_000_000, seed=1)


def test_rows(tmp_path):
    shutil.copy(EXAMPLES / "rows.pyx", tmp_path)
    rows = compiled(tmp_path, "rows")
    table = fi.recipe("normal", (50_000_000, 64), std=0.02, seed=3, name="emb")
    wanted = [49_999_999, 0, 7, 7]
    expected = np.zeros(64, np.float32)
    for row in wanted:
        expected += table[row]
    assert (rows.bag(wanted, 50_000_000, 64, seed=3) == expected).all()
    assert (rows.bag([], 50_000_000, 64) == 0).all()
    for wrong, error in (([50_000_000], IndexError), ([-1], IndexError), ([1.5], TypeError)):
        with pytest.raises(error):
            rows.bag(wrong, 50_000_000, 64)
    for table in ((2**62, 8), (10, 0)):
        with pytest.raises(ValueError, match="table"):
            rows.bag([1], *table)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "bridge.pyx").write_text(BRIDGE)
    return compiled(folder, "bridge")


KINDS = {
    "constant": {"value": 0.3},
    "uniform": {"low": -0.7, "high": 0.1},
    "normal": {"mean": 0.1, "std": 0.5},
    "truncated_normal": {"mean": 0.1, "std": 0.5, "lower": -1.0, "upper": 3.0},
}


def padded(parameters):
    return (*parameters, 0.0, 0.0, 0.0)[:4]


def test_numbers_are_fixed(bridge):
    assert bridge.numbers == ((0, 1, 2, 3), (0, 1, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("first", "count"), [(0, 100_000), (1, 1), (2**34 - 3, 1001), (2**62 - 5, 5), (9, 0)])
def test_fill_range_is_the_recipe(bridge, kind, dtype, first, count):
    dtypes = ["float32", "float64", "float16", "bfloat16"]
    recipe = fi.recipe(kind, 2**62 - 1, dtype=dtype, seed=5, name="t", **KINDS[kind])
    key, counter = fi.stream_key(5, "t")
    itemsize = recipe.dtype.itemsize
    count = min(count, 2**62 - 1 - first)
    memory = np.full(64 + count * itemsize + 64, 0xA5, np.uint8)
    at = 64 + (1 if itemsize == 8 else 0)  # unaligned
    arguments = (dtypes.index(dtype), list(KINDS).index(kind), padded(KINDS[kind].values()), key, counter >> 64)
    for threads in (1, 3, -1):
        memory[:] = 0xA5
        assert bridge.fill(memory.ctypes.data + at, count, first, *arguments, threads) is None
        assert memory[at : at + count * itemsize].tobytes() == recipe[first : first + count].tobytes()
        assert (memory[:at] == 0xA5).all()
        assert (memory[at + count * itemsize :] == 0xA5).all()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dtype": 4}, "unknown dtype"),
        ({"dtype": -1}, "unknown dtype"),
        ({"distribution": 9}, "unknown distribution"),
        ({"first": 2**62}, "2\\*\\*62"),
        ({"first": 2**64 - 1}, "2\\*\\*62"),
        ({"parameters": (0.0, -1.0, 0.0, 0.0)}, "std"),
        ({"parameters": (math.nan, 1.0, 0.0, 0.0)}, "finite|nan|NaN"),
    ],
)
def test_what_is_refused_writes_nothing(bridge, change, why):
    out = (ctypes.c_uint32 * 4)(*[7] * 4)
    good = {"address": ctypes.addressof(out), "count": 4, "first": 0, "dtype": 0, "distribution": 2}
    good |= {"parameters": (0.0, 1.0, 0.0, 0.0), "key": 1, "stream": 2, "threads": 1}
    refused = bridge.fill(**(good | change))
    assert refused is not None
    assert re.search(why, refused)
    assert list(out) == [7] * 4
