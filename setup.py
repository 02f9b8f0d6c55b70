"""Builds the extension: one object per instruction set, each with its own flags, chosen at run time.

The compiler is asked what it can do; the machine that builds is not. Everything else is in pyproject.toml.
FASTINIT_BUILD_OPENMP=1 makes a build without OpenMP an error, 0 leaves OpenMP out.
"""

import os
import re
import sys
import tempfile
import tomllib
from importlib import metadata


def check_build_requirements():
    """One line instead of the errors of old tools, which pip does not replace with --no-build-isolation."""
    with open("pyproject.toml", "rb") as file:
        requires = tomllib.load(file)["build-system"]["requires"]
    for name, least in (requirement.split(">=") for requirement in requires):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if [int(n) for n in re.findall(r"\d+", found)[:2]] < [int(n) for n in least.split(".")]:
            needed = f"{name}>={least}"
            sys.exit(f"fastinit-weights needs {needed} to be built, found {found}; pip install '{needed}'")


check_build_requirements()

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = "src/fastinit/csrc"
#: The values are defined operation by operation. These come after CFLAGS and undo what changes operations there; a
#: compiler that does not know one of them is not asked for it.
EXACT = [
    "-ffp-contract=off", "-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-associative-math",
    "-fno-reciprocal-math", "-fno-finite-math-only", "-fsigned-zeros", "-fno-approx-func", "-fno-rounding-math",
    "-fno-single-precision-constant", "-fdenormal-fp-math=ieee", "-fexcess-precision=fast", "-mfpmath=sse",
]  # fmt: skip
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
#: With these in the line that links, a library turns denormals off in the whole process that loads it.
FLUSHING = ["-Ofast", "-ffast-math", "-funsafe-math-optimizations", "-mdaz-ftz", "-ffp-model=fast"]
AVX2 = ["-mavx2", "-mfma", "-mf16c", "-mprfchw"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"]
#: instruction set -> (condition on the target, flags)
ISAS = {
    "avx2": ("defined(__x86_64__)", AVX2),
    "avx512": ("defined(__x86_64__)", AVX512),
    "neon": ("defined(__aarch64__)", []),
}
#: 32-bit x86 computes in its old registers unless it is told not to, which rounds twice
SSE2 = ("defined(__i386__)", ["-msse2"])

TARGET = "#if !({})\n#error other target\n#endif\nint main(void) {{ return 0; }}"
OPENMP = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }"


def openmp_ways():
    """Flags to compile with OpenMP, and to link, that some compiler takes.

    Apple's clang understands OpenMP behind its preprocessor only and comes without the library; where Homebrew, conda
    and MacPorts keep it is tried.
    """
    yield ["-fopenmp"], ["-fopenmp"]
    behind = ["-Xpreprocessor", "-fopenmp"]
    yield behind, ["-lomp"]
    prefixes = [
        os.environ.get("CONDA_PREFIX"), os.environ.get("HOMEBREW_PREFIX"),
        "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp",
    ]  # fmt: skip
    folders = [(f"{prefix}/include", f"{prefix}/lib") for prefix in prefixes if prefix]
    folders.append(("/opt/local/include/libomp", "/opt/local/lib/libomp"))
    for include, lib in folders:
        yield [*behind, f"-I{include}"], [f"-L{lib}", f"-Wl,-rpath,{lib}", "-lomp"]


class BuildExt(build_ext):
    """build_ext that compiles csrc/isa_*.c one by one and links what the compiler supports."""

    def build_extensions(self):
        for command in ("linker_so", "linker_so_cxx", "linker_exe"):
            words = getattr(self.compiler, command, None) or []
            setattr(self.compiler, command, [word for word in words if word not in FLUSHING])
        super().build_extensions()

    def build_extension(self, ext):
        flags = []
        for flag in EXACT:
            if self.compiles("int main(void) { return 0; }", [*flags, flag]):
                flags.append(flag)
        flags += FLAGS
        if self.compiles(TARGET.format(SSE2[0]), []):
            flags += SSE2[1]
        macros = list(ext.define_macros)
        for isa, (condition, own) in ISAS.items():
            if self.compiles(TARGET.format(condition), own):
                ext.extra_objects += self.compiler.compile(
                    [f"{CORE}/isa_{isa}.c"], output_dir=self.build_temp, extra_postargs=flags + own, depends=ext.depends
                )
                macros.append((f"FI_HAVE_{isa.upper()}", None))
        ext.define_macros = macros
        to_compile, to_link = self.openmp()
        ext.extra_compile_args = flags + to_compile
        ext.extra_link_args += to_link
        super().build_extension(ext)

    def openmp(self):
        """Flags to compile with OpenMP and to link with it; none without."""
        wanted = os.environ.get("FASTINIT_BUILD_OPENMP", "")
        if wanted != "0":
            for to_compile, to_link in openmp_ways():
                if self.compiles(OPENMP, to_compile, to_link):
                    return to_compile, to_link
        if wanted == "1":
            sys.exit("fastinit: FASTINIT_BUILD_OPENMP=1, but no OpenMP was found (on macOS: brew install libomp)")
        print("fastinit: no OpenMP: fills will use one thread")
        return [], []

    def compiles(self, source, flags, to_link=None):
        """Whether the compiler takes `source` with `flags`, and links it where flags for that are given."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "probe.c")
            with open(path, "w") as file:
                file.write(source)
            try:
                objects = self.compiler.compile([path], output_dir=folder, extra_postargs=flags)
                if to_link is not None:
                    # as the extension will be linked: an executable would be without LDFLAGS
                    self.compiler.link_shared_object(objects, os.path.join(folder, "probe.so"), extra_postargs=to_link)
            except Exception:  # each compiler class has its own
                return False
        return True


headers = [os.path.join(CORE, name) for name in sorted(os.listdir(CORE)) if name.endswith(".h")]
extension = Extension(
    "fastinit._kernels",
    [
        "src/fastinit/_kernels.pyx",
        *(
            f"{CORE}/{name}.c"
            for name in (
                "prepare",
                "steps",
                "product",
                "matrix",
                "elementwise",
                "tiles",
                "stages",
                "parallel",
                "team",
                "dispatch",
                "isa_base",
            )
        ),
    ],
    include_dirs=["src/fastinit", CORE, np.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    depends=[*headers, *(f"{CORE}/isa_{isa}.c" for isa in ISAS)],
    libraries=["m", "pthread"] if os.name == "posix" else [],
)
setup(ext_modules=cythonize([extension]), cmdclass={"build_ext": BuildExt})
