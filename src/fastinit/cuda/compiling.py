"""The kernels' sources, compiled for a device by NVRTC when one is first needed, and kept."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from .. import _kernels
from .cache import cached
from .driver import Driver

CSRC = Path(__file__).parent.parent / "csrc"
#: What the kernels are made of: the files of the CPU's kernels, but for those of CUDA, and headers for NVRTC.
SOURCES = (
    "cuda.cu", "cuda_copy.cu", "cuda_matrix.cu", "cuda_product.h", "cuda_common.h", "lanes_cuda.h", "values.h",
    "matrices.h", "coefficients.h", "philox.h", "log.h", "sincos.h", "inverse_normal.h", "transforms.h", "narrow.h",
    "nvrtc/stdint.h", "nvrtc/stddef.h",
)  # fmt: skip
#: Every operation is rounded as IEEE 754 has it, and denormals are kept.
EXACT = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")

DTYPES = {"float32": "FI_FLOAT32", "float64": "FI_FLOAT64", "float16": "FI_FLOAT16", "bfloat16": "FI_BFLOAT16"}
DISTRIBUTIONS = {
    "constant": "FI_CONSTANT",
    "uniform": "FI_UNIFORM",
    "normal": "FI_NORMAL",
    "truncated_normal": "FI_TRUNCATED",
}
#: sizeof the struct of cuda_copy.cu
COPY_BYTES = 24 + 40 * 64

#: The least compute capability: kernels take their parameters as __grid_constant__.
OLDEST = 70


@functools.cache
def module_of(distribution: str, dtype: str) -> tuple[str, Sequence[str], Sequence[str]]:
    """The file, the kernels and the macros of a distribution in a dtype."""
    macros = (
        f"DTYPE={DTYPES[dtype]}",
        f"DISTRIBUTION={DISTRIBUTIONS[distribution]}",
        f"VALUES_BYTES={_kernels.VALUES_BYTES}",
        f"PLAN_BYTES={_kernels.PLAN_BYTES}",
    )
    return "cuda.cu", ("fill_run", "fill_plan"), macros


#: Of cuda_matrix.cu: how many steps a launch carries, and 8-byte words of each.
STEPS, STEP_WORDS = 16, 25


@functools.cache
def matrix_module(precision: str) -> tuple[str, Sequence[str], Sequence[str]]:
    """The same for what orthogonal matrices are made of, in float32 or float64."""
    return "cuda_matrix.cu", ("stage",), (f"DTYPE={DTYPES[precision]}", f"STAGE_BYTES={16 + 8 * STEP_WORDS * STEPS}")


#: The same for what moves bytes that are given.
COPYING = ("cuda_copy.cu", ("upload", "copy"), (f"COPY_BYTES={COPY_BYTES}",))


@functools.cache
def source_hash() -> str:
    """Of all the files that the kernels are made of."""
    found = hashlib.sha256()
    for name in SOURCES:
        text = (CSRC / name).read_bytes()
        found.update(f"{name} {len(text)}\n".encode() + text)
    return found.hexdigest()


def target(driver: Driver, capability: int) -> tuple[str, bool]:
    """What NVRTC is to compile for, and whether that is machine code or, for newer devices than it knows, PTX."""
    known = driver.architectures()
    if capability < max(OLDEST, known[0]):
        major, minor = driver.compiler_version()
        least = max(OLDEST, known[0])
        raise RuntimeError(
            f"the device has compute capability {capability / 10:.1f}; NVRTC {major}.{minor} and these kernels need "
            f"{least / 10:.1f} or more"
        )
    if capability in known:
        return f"sm_{capability}", True
    return f"compute_{max(arch for arch in known if arch <= capability)}", False


def options(architecture: str, macros: Sequence[str]) -> list[str]:
    """NVRTC's options."""
    return [
        f"--gpu-architecture={architecture}",
        *EXACT,
        "--std=c++17",
        "--device-as-default-execution-space",
        f"--include-path={CSRC}",
        f"--include-path={CSRC / 'nvrtc'}",
        *(f"--define-macro={macro}" for macro in macros),
    ]


def compiled(driver: Driver, capability: int, file: str, macros: Sequence[str]) -> bytes:
    """A module for devices of that compute capability, from the cache or from NVRTC."""
    architecture, binary = target(driver, capability)
    major, minor = driver.compiler_version()
    key = " ".join([source_hash(), architecture, f"nvrtc-{major}.{minor}", *EXACT, file, *macros])

    def make() -> bytes:
        return driver.compile(
            (CSRC / file).read_text(encoding="utf-8"), file, options(architecture, macros), binary=binary
        )

    return cached(key, make)
