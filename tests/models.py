"""What the tests of checkpoints write."""

import numpy as np

import fastinit as fi


def everything():
    """A little of everything: dtypes, axes, sizes, an orthogonal matrix, nothing at all."""
    return {
        "emb": fi.recipe("normal", (300, 257), std=0.02, dtype="bfloat16", seed=1, name="emb"),
        "a/b.w": fi.recipe("he_normal", (64, 3, 5), in_axis=1, out_axis=0, dtype="float32", seed=1, name="a/b.w"),
        "q": fi.recipe("orthogonal", (40, 30), dtype="float64", seed=2**100, name="other"),
        "d": fi.recipe("delta_orthogonal", (3, 3, 4, 8), dtype="float16", seed=1, name="d"),
        "scalar": fi.recipe("uniform", (), dtype="float16", seed=1, name="scalar"),
        "none": fi.recipe("normal", (0, 5), dtype="float64", seed=1, name="none"),
        "s": fi.recipe("sparse", (70, 20), sparsity=0.3, dtype="float16", seed=1, name="s"),
        "c": fi.recipe("dirac", (12, 4, 3, 3), groups=2, dtype="float16", seed=1, name="c"),
        "i": fi.recipe("eye", (9, 7), seed=1, name="i"),
        "é": fi.recipe("truncated_normal", (1000,), lower=-np.inf, seed=1, name="é"),
    }


def three(seed=0, size=3000):
    """Two tensors that are written piece by piece, one that is made at once."""
    return {
        "a": fi.recipe("normal", (size, 7), seed=seed, name="a"),
        "q": fi.recipe("orthogonal", (20, 20), seed=seed, name="q"),
        "b": fi.recipe("uniform", (size, 3), dtype="float16", seed=seed, name="b"),
    }
