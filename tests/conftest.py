"""Fixtures: every usable instruction set, and memory with guard bytes around it."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastinit import _kernels

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)

ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
GUARD = 0xA5


@pytest.fixture(autouse=True)
def _restore_isa():
    """A test may choose instruction sets: the next one finds what was there before."""
    before = _kernels.isa()
    yield
    _kernels.use_isa(before)


@pytest.fixture(params=_kernels.usable_isas())
def isa(request):
    """Each instruction set in turn."""
    _kernels.use_isa(request.param)
    return request.param


@pytest.fixture(params=list(DTYPES))
def dtype(request):
    return request.param


def preloaded(folder, source, *libraries):
    """LD_PRELOAD with a library of that C code, made in `folder`."""
    if not sys.platform.startswith("linux"):
        pytest.skip("LD_PRELOAD is Linux's")
    (folder / "library.c").write_text(source)
    made, compiler = folder / "library.so", os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", folder / "library.c", "-o", made, *libraries], check=True)
    return " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(made)])  # a sanitizer comes first


@pytest.fixture
def command(monkeypatch, capfd):
    """`command("plan", "m.toml")`: exit code, standard output, standard error."""
    from fastinit import cli  # needs the extra of that name

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fastinit", *arguments])
        code = cli.run()
        out, err = capfd.readouterr()
        return code, out, err

    return call


def bits(array):
    """An array's elements as integers, in C order: NaN and signed zeros compare as they are."""
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.itemsize}")


class Guarded:
    """An array of any layout in a buffer of guard bytes.

    `order` is a permutation of the axes, slowest in memory first; each axis has a `gap` (elements skipped between
    two) and may run backwards; `offset` bytes before the first element unalign it.
    """

    def __init__(self, shape, dtype, order=None, gaps=None, backward=None, offset=0):
        dtype = DTYPES[dtype]
        naxes = len(shape)
        order = tuple(range(naxes)) if order is None else order
        gaps = gaps or (0,) * naxes
        backward = backward or (False,) * naxes
        strides, extent = [0] * naxes, dtype.itemsize
        for axis in reversed(order):
            strides[axis] = extent * (1 + gaps[axis])
            extent = strides[axis] * max(shape[axis], 1)
        self.memory = np.full(64 + offset + extent + 64, GUARD, np.uint8)
        view = np.ndarray(shape, dtype, self.memory, 64 + offset, strides)
        self.array = view[(*(slice(None, None, -1) if b else slice(None) for b in backward), ...)]

    def untouched(self):
        """Whether every byte outside the elements still is a guard byte."""
        after = self.memory.copy()
        view = np.ndarray(self.array.shape, self.array.dtype, after, self._offset_of_first(), self.array.strides)
        view.view(f"u{view.itemsize}")[...] = int.from_bytes(bytes([GUARD]) * view.itemsize, "little")
        return bool((after == GUARD).all())

    def _offset_of_first(self):
        return self.array.__array_interface__["data"][0] - self.memory.__array_interface__["data"][0]
