"""Adapters without their frameworks: one line that says what to install. Frameworks are not imported by fastinit itself."""

import os
import subprocess
import sys

import pytest

BLOCKED = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import fastinit
try:
    {statement}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["torch", "jax", "keras", "dask"])
@pytest.mark.parametrize("statement", ["import fastinit.{0}", "fastinit.{0}", "from fastinit import {0}"])
def test_a_missing_framework_is_one_line_that_says_what_to_install(library, statement):
    code = BLOCKED.format(library=library, statement=statement.format(library))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == (
        f"fastinit.{library} needs {library}: pip install 'fastinit-weights[{library}]', or {library} itself\n"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import of_which_torch_is_made", "No module named 'of_which_torch_is_made'"),
        ("from torch import _C", "cannot import name '_C'"),
        ("import torch._missing", "No module named 'torch._missing'"),
    ],
)
def test_a_broken_framework_shows_its_own_error(tmp_path, source, message):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(source)
    code = "try:\n    import fastinit.torch\nexcept ImportError as error:\n    print(error)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.startswith(message)


def test_frameworks_are_imported_by_their_adapters_alone():
    code = "import sys, fastinit; print([m for m in ('torch', 'jax', 'keras', 'dask', 'zarr', 'ml_dtypes') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_unknown_attributes_stay_errors():
    import fastinit

    with pytest.raises(AttributeError, match="tourch"):
        _ = fastinit.tourch
