"""A wrongly built extension fails at import, and cannot be compiled where that is known beforehand."""

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastinit import _kernels, self_check

CORE = Path(__file__).parent.parent / "src" / "fastinit" / "csrc"
COMPILER = shutil.which("gcc") or shutil.which("cc")
X86 = platform.machine() == "x86_64"

#: Turns denormal numbers off, or on, in the thread that calls it.
SWITCH = """
#include <xmmintrin.h>
void switch_denormals(int on) { _mm_setcsr(on ? 0x1F80 : 0x9FC0); }
"""
#: Imports fastinit and does `THEN` while its extension is being loaded, as crtfastmath.o would.
WHILE_LOADING = """
import ctypes, importlib.machinery, sys
switch = ctypes.CDLL({library!r}).switch_denormals
class Loader(importlib.machinery.ExtensionFileLoader):
    def create_module(self, spec):
        if spec.name == "fastinit._kernels":
            switch(0)
        return super().create_module(spec)
find = importlib.machinery.PathFinder.find_spec
class Finder:
    def find_spec(name, path=None, target=None):
        spec = find(name, path, target)
        if name == "fastinit._kernels":
            spec.loader = Loader(spec.name, spec.origin)
        return spec
sys.meta_path.insert(0, Finder)
{then}
"""


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    """Path of a library with `switch_denormals`."""
    if not X86:
        pytest.skip("the switch is written for x86-64")
    folder = tmp_path_factory.mktemp("switch")
    (folder / "switch.c").write_text(SWITCH)
    subprocess.run([COMPILER, "-shared", "-fPIC", "switch.c", "-o", "switch.so"], cwd=folder, check=True)
    return str(folder / "switch.so")


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_answers(isa):
    assert dict(self_check.answers()) == self_check.ANSWERS


@pytest.mark.parametrize("case", self_check.ANSWERS)
def test_a_wrong_answer_is_an_import_error(case, monkeypatch):
    self_check.check()
    monkeypatch.setitem(self_check.ANSWERS, case, "0" * 16)
    with pytest.raises(ImportError, match="wrong values") as raised:
        self_check.check()
    assert case in str(raised.value)
    assert _kernels.isa() in str(raised.value)


def test_every_kernel_and_dtype_has_an_answer():
    assert {case.rsplit(", ")[1] for case in self_check.ANSWERS} == {"float32", "float64", "float16", "bfloat16"}
    assert {case.split()[0].rstrip(",") for case in self_check.ANSWERS} == {
        "uniform", "normal", "truncated", "denormal", "product", "reflectors",
    }  # fmt: skip


def test_an_extension_that_turns_denormals_off_is_refused_and_undone(switch):
    then = "try:\n import fastinit\nexcept ImportError as error:\n print(error); print(sys.float_info.min / 2 > 0)"
    done = python(WHILE_LOADING.format(library=switch, then=then))
    assert done.returncode == 0, done.stderr
    message, denormals = done.stdout.splitlines()
    assert "denormal" in message
    assert "-ffast-math" in message
    assert denormals == "True"


def test_denormals_that_others_turned_off_are_their_business(switch):
    """The values are right all the same, and the thread stays as it was."""
    done = python(
        f"import ctypes, sys; ctypes.CDLL({switch!r}).switch_denormals(0); import fastinit as fi\n"
        "x = fi.normal(100, std=1e-40, seed=0); print(sys.float_info.min / 2 > 0)\n"
        f"ctypes.CDLL({switch!r}).switch_denormals(1); print((fi.normal(100, std=1e-40, seed=0) == x).all(), x.any())"
    )
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_denormals_work_tells(switch):
    library = ctypes.CDLL(switch)
    assert self_check.denormals_work()
    try:
        library.switch_denormals(0)
        without = self_check.denormals_work()
    finally:
        library.switch_denormals(1)
    assert not without


@pytest.mark.parametrize(
    "flags",
    [["-ffast-math"], ["-ffinite-math-only"], ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"], []],
    ids=" ".join,
)
def test_fast_math_does_not_compile(flags):
    command = [COMPILER, "-std=c11", *flags, "-fsyntax-only", str(CORE / "isa_base.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(flags), done.stderr
    assert ("without -ffast-math" in done.stderr) == bool(flags)
