"""The shipped example of cimport compiles against the installed package and runs."""

import importlib.util
import math
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "cython" / "pi.pyx"


def test_cython_example(tmp_path):
    shutil.copy(EXAMPLE, tmp_path)
    build = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "pi.pyx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    (path,) = tmp_path.glob("pi.*.so")
    spec = importlib.util.spec_from_file_location("pi", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    estimate = module.estimate(1_000_000, seed=0)
    assert abs(estimate - math.pi) < 5 * 1.64 / 1000  # five standard errors
    assert estimate == module.estimate(1_000_000, seed=0)
    assert estimate != module.estimate(1_000_000, seed=1)
