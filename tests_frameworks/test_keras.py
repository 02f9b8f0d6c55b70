"""fastinit.keras on every backend, each in a Python of its own; Keras's own tests of its initializers with ours in place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "keras_checks"
BACKENDS = ["jax", "torch", "tensorflow", "numpy"]


def run(backend, *arguments, **environment):
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(HERE)} | environment
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=HERE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_backend(backend):
    run(backend, "checks.py")


@pytest.mark.parametrize("backend", BACKENDS)
def test_keras_own_tests(backend):
    """They are in Keras's wheel; substitute.py puts our classes where they look for Keras's."""
    found = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('keras').submodule_search_locations[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    tests = Path(found.stdout.strip()) / "src" / "initializers"
    files = [str(tests / f"{kind}_initializers_test.py") for kind in ("random", "constant")]
    out = run(backend, "-p", "substitute", "--import-mode=importlib", "--rootdir", str(HERE), *files)
    passed = int(out.rpartition(" passed")[0].split()[-1])
    assert passed >= 19, out
    assert "failed" not in out
