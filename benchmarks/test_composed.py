"""Tensors made of others, against as many normals in one run; transposed ones against the plain tensor, as strided."""

import numpy as np
import pytest

import fastinit as fi
from scale import laps

#: Elements of 64 KiB.
PIECE = 1 << 14


def normal(shape, name):
    return fi.recipe("normal", shape, seed=0, name=name)


def interleaved(n, length):
    """Three tensors, `length` elements of each in turn, of about n elements in all."""
    return fi.concatenate([normal((n // 3 // length * length,), name) for name in "qkv"], groups=n // 3 // length)


def grouped(n):
    """Fused queries, keys and values: for each group of heads 256 KiB of queries, 64 KiB of keys, 64 KiB of values."""
    groups = n // 6 // PIECE
    parts = [normal((heads * groups, PIECE), name) for heads, name in ((4, "q"), (1, "k"), (1, "v"))]
    return fi.concatenate(parts, groups=groups)


FORMS = {
    "64 KiB pieces": lambda n: interleaved(n, PIECE),
    "64 KiB pieces, grouped queries": grouped,
    "64 KiB rows of three": lambda n: fi.concatenate(
        [normal((n // 3 // PIECE, PIECE), name) for name in "qkv"], axis=1
    ),
    "64 KiB tensors, stacked": lambda n: fi.stack([normal(PIECE, f"expert {i}") for i in range(n // PIECE)]),
    "1 MiB tensors, stacked": lambda n: fi.stack([normal((512, 512), f"expert {i}") for i in range(n >> 18)]),
    "16-byte pieces": lambda n: interleaved(n, 4),
    "a row pasted": lambda n: fi.paste(normal((n >> 12, 1 << 12), "table"), 0, fi.recipe("zeros", 1 << 12, seed=0)),
    "reshaped": lambda n: normal((n >> 12, 1 << 12), "table").reshape(-1),
}


@pytest.mark.parametrize("contestant", ["fastinit", "one run"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("form", FORMS)
def test_composed(measure, memory, form, lap, contestant):
    recipe = FORMS[form](len(memory) // 4)
    if contestant == "one run":
        recipe = fi.recipe("normal", recipe.shape, seed=0)
    out = memory[: recipe.size].reshape(recipe.shape)
    measure(form, contestant, lambda: recipe.fill(out), out.nbytes)


@pytest.mark.parametrize("contestant", ["fastinit", "strided"])
@pytest.mark.parametrize("lap", range(laps(3, 5)))
@pytest.mark.parametrize("form", ["transposed", "transposed, one run"])
def test_transposed(measure, memory, form, lap, contestant):
    """`table.T` in C order is the table in Fortran order."""
    table = normal((len(memory) >> 15, 1 << 13), "table")
    out = memory[: table.size].reshape(table.shape[::-1])
    turned = table.T
    if form == "transposed, one run":  # whose pieces are columns of the table
        turned = turned.reshape(-1)
        filled = out.reshape(-1)
    else:
        filled = out
    runs = {"fastinit": lambda: turned.fill(filled), "strided": lambda: table.fill(out.T)}
    measure(form, contestant, runs[contestant], np.asarray(out).nbytes)
