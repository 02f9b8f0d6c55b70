"""Builds the extension: one object per instruction set, each with its own flags, chosen at run time.

The compiler is asked what it can do; the machine that builds is not. Everything else is in pyproject.toml.
"""

import os
import tempfile

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = "src/fastinit/csrc"
# No contraction to fma and no fast-math: the values are defined operation by operation.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
AVX2 = ["-mavx2", "-mfma", "-mf16c", "-mprfchw"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"]
#: instruction set -> (condition on the target, flags); base needs neither
ISAS = {
    "avx2": ("defined(__x86_64__)", AVX2),
    "avx512": ("defined(__x86_64__)", AVX512),
    "neon": ("defined(__aarch64__)", []),
}


class BuildExt(build_ext):
    """build_ext that compiles csrc/isa_*.c one by one and links what the compiler supports."""

    def build_extension(self, ext):
        macros = list(ext.define_macros)
        for isa, (condition, flags) in ISAS.items():
            if self.compiles(f"#if !({condition})\n#error other target\n#endif\nint main(void) {{ return 0; }}", flags):
                ext.extra_objects += self.compiler.compile(
                    [f"{CORE}/isa_{isa}.c"], output_dir=self.build_temp, extra_postargs=FLAGS + flags,
                    depends=ext.depends,
                )  # fmt: skip
                macros.append((f"FI_HAVE_{isa.upper()}", None))
        ext.define_macros = macros
        ext.extra_compile_args = list(FLAGS)
        openmp = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }"
        if os.environ.get("FASTINIT_BUILD_OPENMP", "1") != "0" and self.compiles(openmp, ["-fopenmp"], link=True):
            ext.extra_compile_args.append("-fopenmp")
            ext.extra_link_args.append("-fopenmp")
        else:
            print("fastinit: no OpenMP: fills will use one thread")
        super().build_extension(ext)

    def compiles(self, source, flags, link=False):
        """Whether the compiler takes `source` with `flags`."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "probe.c")
            with open(path, "w") as file:
                file.write(source)
            try:
                objects = self.compiler.compile([path], output_dir=folder, extra_postargs=flags)
                if link:
                    self.compiler.link_executable(objects, os.path.join(folder, "probe"), extra_postargs=flags)
            except Exception:  # each compiler class has its own
                return False
        return True


headers = [os.path.join(CORE, name) for name in sorted(os.listdir(CORE)) if name.endswith(".h")]
extension = Extension(
    "fastinit._kernels",
    [
        "src/fastinit/_kernels.pyx",
        *(f"{CORE}/{name}.c" for name in ("prepare", "matrix", "tiles", "parallel", "dispatch", "isa_base")),
    ],
    include_dirs=["src/fastinit", CORE, np.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    depends=[*headers, *(f"{CORE}/isa_{isa}.c" for isa in ISAS)],
    libraries=["m"] if os.name == "posix" else [],
)
setup(ext_modules=cythonize([extension]), cmdclass={"build_ext": BuildExt})
