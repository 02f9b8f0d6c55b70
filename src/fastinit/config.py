"""Which instruction set runs, what this build can do, and where its declarations are."""

from __future__ import annotations

import os
import sys

import numpy as np

from . import _kernels
from .stream import STREAM_VERSION
from .threads import get_num_threads
from .version import __version__
from .wording import near_match


def end_command(error: Exception) -> None:
    """Where this process is the command `fastinit`, say so in a line and end it: its 1 would be a mismatch."""
    if {"fastinit", "fastinit.exe"} & {os.path.basename(word) for word in sys.orig_argv[1:3]}:
        print(f"fastinit: {error}", file=sys.stderr)
        sys.exit(2)


def choose_isa(forced: str | None) -> str:
    """The instruction set to use: the one in FASTINIT_ISA, else the best that this CPU runs.

    ValueError for a name that is unknown, not compiled in, or beyond this CPU.
    """
    usable = _kernels.usable_isas()
    if not forced:
        return usable[0]
    if forced not in ("base", "avx2", "avx512", "neon"):
        raise ValueError(
            f"FASTINIT_ISA={forced!r} is unknown; {near_match(forced, ('base', 'avx2', 'avx512', 'neon'))}"
        )
    if forced not in usable:
        why = "this CPU does not run it" if forced in _kernels.compiled_isas() else "it is not compiled in"
        raise ValueError(f"FASTINIT_ISA={forced!r}: {why}; usable: {', '.join(usable)}")
    return forced


def config() -> dict[str, str | int]:
    """What `show_config` prints."""
    openmp = _kernels.openmp_version()
    return {
        "fastinit": __version__,
        "stream": STREAM_VERSION,
        "instruction sets": f"{', '.join(_kernels.compiled_isas())} compiled; "
        f"{', '.join(_kernels.usable_isas())} usable; {_kernels.isa()} chosen (FASTINIT_ISA)",
        "threads": f"{get_num_threads()} (set_num_threads, FASTINIT_NUM_THREADS)" if openmp else "1",
        "OpenMP": f"yes, version {openmp}" if openmp else "no: the compiler has none, fills use one thread",
        "NumPy": np.__version__,
        "Python": sys.version.split()[0],
    }


def show_config(file: object = None) -> None:
    """Print version, stream version, instruction sets, threads and OpenMP.

    Parameters
    ----------
    file : text file, optional
        Standard output unless given.
    """
    for what, value in config().items():
        print(f"{what + ':':<18}{value}", file=file or sys.stdout)  # type: ignore[arg-type]


def get_include() -> str:
    """The folder for the include path of Cython, from where ``cimport fastinit.kernels`` finds its declarations.

    Only needed where the compiling Python does not see fastinit. No C headers are needed.

    Examples
    --------
    ``cythonize("my_module.pyx", include_path=[fastinit.get_include()])``; examples/cython has two such modules.
    """
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
