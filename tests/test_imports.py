"""The house of CONTRIBUTING.md: imports go down its table only, in no circle; frameworks stay in their adapters."""

import ast
import functools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fastinit"
#: The files that may import a framework. Keras's adapter also fills what its backends hold.
ADAPTERS = {
    "torch": r"torch/.*",
    "jax": r"jax/.*|keras\.py",
    "keras": r"keras\.py",
    "tensorflow": r"keras\.py",
    "dask": r"dask\.py",
}


def sources():
    """Every module's file, relative to the package, with its text; the package's own face is not one of them."""
    files = (path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py")))
    found = {file: (SOURCE / file).read_text(encoding="utf-8") for file in files if file != "__init__.py"}
    return found | {"_kernels.pyx": ""}  # imports NumPy alone


class Imports(ast.NodeVisitor):
    """What a file imports, in its functions too, but not what only a type checker reads."""

    def __init__(self):
        self.found = []  # (dots, module, name or None)

    def visit_If(self, node):
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        self.found += [(0, alias.name, None) for alias in node.names]

    def visit_ImportFrom(self, node):
        self.found += [(node.level, node.module or "", alias.name) for alias in node.names]

    def visit_Call(self, node):
        if ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                self.found.append((0, argument.value, None))
        self.generic_visit(node)


@functools.cache
def imports_of(text):
    visitor = Imports()
    visitor.visit(ast.parse(text))
    return visitor.found


def imported(file, text, files):
    """The files that a file imports, packages on the way included, and the names of what else it imports."""
    package = ["fastinit", *file.split("/")[:-1]]
    ours, others = set(), set()
    for dots, module, name in imports_of(text):
        words = [word for word in [*module.split("."), name] if word]
        if dots:
            words = package[: len(package) - dots + 1] + words
        if words[0] != "fastinit":
            others.add(words[0])
            continue
        reached = "__init__.py"
        for end in range(2, len(words) + 1):
            stem = "/".join(words[1:end])
            found = [path for path in (f"{stem}.py", f"{stem}/__init__.py", f"{stem}.pyx") if path in files]
            if not found:
                break
            (reached,) = found
            if words[:end] != package[:end]:  # a package runs before what is in it, but for who is within
                ours.add(reached)
        ours.add(reached)
    return ours, others


def graph(files):
    return {file: imported(file, text, files)[0] for file, text in files.items()}


def order():
    """The row of CONTRIBUTING's table in which each file stands."""
    text = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("\n## ")[0]
    )
    rows = {}
    for number, row in enumerate(line for line in text.splitlines() if line.startswith("| `")):
        folder = ""
        for path in re.findall(r"`([^`]+)`", row.split("|")[1]):
            path = path.removeprefix("src/fastinit/")
            if "/" in path:
                folder = path.rpartition("/")[0] + "/"
            elif folder:
                path = folder + path
            if path.endswith((".py", ".pyx")):
                assert path not in rows, f"{path} stands in CONTRIBUTING.md's table twice"
                rows[path] = number
    return rows


def circle(imports):
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def upward(imports, rows):
    """The imports of what stands higher in the table; of the package's face, which stands above all."""
    return [
        f"{file} imports {target}"
        for file, targets in imports.items()
        for target in targets
        if target == "__init__.py" or rows[target] < rows[file]
    ]


def strangers(files):
    """The imports of a framework outside its adapter."""
    return [
        f"{file} imports {framework}"
        for file, text in files.items()
        for framework in imported(file, text, files)[1] & ADAPTERS.keys()
        if not re.fullmatch(ADAPTERS[framework], file)
    ]


def test_imports_form_no_circle():
    assert circle(graph(sources())) is None


def test_imports_go_down_the_table_only():
    files = sources()
    rows = order()
    assert {row for row in rows if not row.startswith(("docs/", "tests/", "tools/"))} == {*files, "__init__.py"}
    assert upward(graph(files), rows) == []


def test_frameworks_are_imported_by_their_adapters_only():
    assert strangers(sources()) == []


@pytest.mark.parametrize(
    ("file", "line", "caught"),
    [
        ("arrays.py", "from .recipe import Recipe", "upward"),
        ("arrays.py", "def f():\n    from . import recipe", "upward"),
        ("arrays.py", "def f():\n    from .kinds.sides import Side", "upward"),
        ("kinds/drawn.py", "from ..recipe import Recipe", "upward"),
        ("kinds/drawn.py", "from .. import recipe", "upward"),
        ("kinds/drawn.py", "from . import KINDS", "circle"),
        ("kinds/drawn.py", "from fastinit.kinds.sparse import Sparse", "circle"),
        ("recipe.py", "from . import normal", "upward"),
        ("recipe.py", "import fastinit", "upward"),
        ("recipe.py", "import importlib\nimportlib.import_module('fastinit.functions')", "upward"),
        ("recipe.py", "def f():\n    import torch.nn", "strangers"),
        ("checkpoint/saving.py", "from jax import numpy", "strangers"),
        ("torch/fill.py", "import jax", "strangers"),
        ("arrays.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .recipe import Recipe", None),
        ("recipe.py", "from . import plan", None),
    ],
)
def test_what_is_wrong_is_found(file, line, caught):
    files = sources()
    files[file] += "\n" + line + "\n"
    found = {
        "circle": circle(graph(files)),
        "upward": upward(graph(files), order()),
        "strangers": strangers(files),
    }
    if caught is None:
        assert not any(found.values())
    else:
        assert found[caught]
