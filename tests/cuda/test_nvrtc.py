"""NVRTC compiles every kernel for every architecture, to instructions that the contract allows."""

import functools
import re

import pytest

from fastinit.cuda import compiling
from fastinit.cuda.driver import Nvidia

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
MODULES = [
    *(
        compiling.module_of(distribution, dtype)
        for distribution in compiling.DISTRIBUTIONS
        for dtype in compiling.DTYPES
    ),
    compiling.COPYING,
    *map(compiling.matrix_module, ("float32", "float64")),
]

#: Floating-point instructions that may occur: one IEEE operation each, rounded to nearest even, denormals kept.
ALLOWED = re.compile(
    r"(?:(?:add|sub|mul|div|rcp|sqrt|fma)\.rn|abs|neg|mov|setp\.\w+|selp|ld\.\w+|st\.\w+)(?:\.v\d)?\.f(?:32|64)"
    r"|cvt\.rn\.f(?:32|64)\.[su](?:8|16|32|64)|cvt\.rn\.f32\.f64|cvt\.f64\.f32|cvt\.rn\.f16\.f32"
)
FORBIDDEN = re.compile(
    r"\.approx|\.ftz|\.rz\b|\.rm\b|\.rp\b|\.full|\bex2|\blg2|\brcp\.(?!rn)|\brsqrt|\bmad\.[a-z.]*f(?:32|64)"
)


@pytest.fixture(scope="module")
def nvrtc():
    return Nvidia()


def instructions(ptx):
    """The instructions of a PTX text, without operands and predicates."""
    for line in ptx.splitlines():
        words = line.split("//")[0].replace("{", " ").split()
        if words and words[0].startswith("@"):
            words = words[1:]
        if words and re.fullmatch(r"[a-z][\w.]*;?", words[0]):
            yield words[0].rstrip(";")


def wrong_in(ptx):
    """The floating-point instructions that must not be there."""
    return [
        name
        for name in instructions(ptx)
        if FORBIDDEN.search(name) or (re.search(r"\.(?:bf|f)\d\d", name) and not ALLOWED.fullmatch(name))
    ]


@functools.lru_cache(maxsize=64)
def compile_to_ptx(nvrtc, file, macros, architecture="compute_75", extra=()):
    source = (compiling.CSRC / file).read_text()
    given = [*compiling.options(architecture, macros), *extra]
    return nvrtc.compile(source, file, given, binary=False).rstrip(b"\0").decode()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: " ".join([module[0], *module[2][:2]]))
def test_every_kernel_compiles_everywhere(nvrtc, module, architecture):
    file, names, macros = module
    binary = nvrtc.compile(
        (compiling.CSRC / file).read_text(), file, compiling.options(architecture, macros), binary=True
    )
    assert binary[:4] == b"\x7fELF"
    assert all(name.encode() in binary for name in names)


@pytest.mark.parametrize("architecture", ["compute_75", "compute_120"])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: " ".join([module[0], *module[2][:2]]))
def test_only_allowed_instructions(nvrtc, module, architecture):
    file, names, macros = module
    ptx = compile_to_ptx(nvrtc, file, macros, architecture)
    assert all(f".entry {name}(" in ptx for name in names)
    assert wrong_in(ptx) == []


@pytest.mark.parametrize(
    ("dtype", "needed"),
    [
        ("float32", ["fma.rn.f32", "sqrt.rn.f32"]),
        ("float64", ["fma.rn.f64", "sqrt.rn.f64"]),
        ("float16", ["cvt.rn.f16.f32"]),
    ],
)
def test_the_instructions_are_read(nvrtc, dtype, needed):
    file, _, macros = compiling.module_of("normal", dtype)
    assert set(needed) <= set(instructions(compile_to_ptx(nvrtc, file, macros)))


def test_contracted_operations_are_found(nvrtc):
    """What the options forbid, and named operations prevent, is there without both: one fma for a product and a sum."""
    text = 'extern "C" __global__ void f(float *a) { a[3] = a[0] * a[1] + a[2]; a[4] = a[0] / a[1]; }'
    exact = nvrtc.compile(text, "f.cu", ["--gpu-architecture=compute_75", *compiling.EXACT], binary=False).decode()
    fast = nvrtc.compile(text, "f.cu", ["--gpu-architecture=compute_75", "--use_fast_math"], binary=False).decode()
    assert [name for name in instructions(exact) if name.startswith("fma")] == []
    assert wrong_in(exact) == []
    assert len(wrong_in(fast)) >= 2


@pytest.mark.parametrize("module", MODULES, ids=lambda module: " ".join([module[0], *module[2][:2]]))
def test_no_operation_is_contracted_whatever_the_options(nvrtc, module):
    """Each fma is written as one: with --fmad=true there are no more of them."""
    file, _, macros = module
    counts = [
        sum(name.startswith("fma.") for name in instructions(compile_to_ptx(nvrtc, file, macros, extra=extra)))
        for extra in ((), ("--fmad=true",))
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("precision", "fmas"), [("float32", 8 * 8 * 16), ("float64", 4 * 4 * 16)])
def test_products_alone_have_fmas_and_keep_to_registers(nvrtc, precision, fmas):
    """One for each term of a slice and element of a thread's; no array of a thread went to memory."""
    file, _, macros = compiling.matrix_module(precision)
    found = list(instructions(compile_to_ptx(nvrtc, file, macros)))
    assert sum(name.startswith("fma.") for name in found) == fmas
    assert {"sqrt.rn.f64", "div.rn.f64"} <= set(found)
    assert not any(name.startswith(("ld.local", "st.local")) for name in found)


def test_what_does_not_compile_says_where(nvrtc):
    with pytest.raises(RuntimeError, match=r"NVRTC does not compile cuda\.cu: cuda\.cu\(\d+\): .*define DTYPE"):
        nvrtc.compile((compiling.CSRC / "cuda.cu").read_text(), "cuda.cu", compiling.options("sm_90", []), binary=True)


def test_structs_of_another_size_are_refused(nvrtc):
    file, _, macros = compiling.module_of("normal", "float32")
    wrong = [macro if not macro.startswith("VALUES_BYTES") else "VALUES_BYTES=8" for macro in macros]
    with pytest.raises(RuntimeError, match="the host lays structs out otherwise"):
        nvrtc.compile((compiling.CSRC / file).read_text(), file, compiling.options("sm_90", wrong), binary=True)


def test_without_a_driver_one_line_says_so(nvrtc):
    try:
        found = nvrtc.devices()
    except RuntimeError as error:
        said = str(error)
    else:
        pytest.skip(f"{len(found)} devices here")
    assert said in (
        "no CUDA driver was found: NVIDIA's display driver is not installed",
        "there is no CUDA device here",
    )
