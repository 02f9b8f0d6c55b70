"""Composed tensors for the tests of the adapters, and the same ones put together by NumPy."""

import numpy as np

import fastinit as fi

D, HEAD, GROUPS = 12, 4, 2


def drawn(name, *shape, kind="normal", dtype="float32", **parameters):
    return fi.recipe(kind, shape, dtype=dtype, seed=7, name=name, **parameters)


def fused():
    """Composed recipes with the same tensors put together by NumPy."""
    q, k, v = drawn("q", 4 * HEAD, D), drawn("k", GROUPS * HEAD, D), drawn("v", GROUPS * HEAD, D)
    qkv = [part for g in range(GROUPS) for part in (q[8 * g : 8 * g + 8], k[4 * g : 4 * g + 4], v[4 * g : 4 * g + 4])]
    gate, up = drawn("gate", 14, D), drawn("up", 14, D, std=0.3)
    experts = [drawn(f"experts.{i}", 6, D, kind="he_normal", dtype="bfloat16") for i in range(64)]
    square = [drawn(f"square.{i}", 5, 5, kind="orthogonal") for i in range(3)]
    table, row = drawn("emb", 19, D), fi.literal(np.arange(D, dtype=np.float32))
    padded = table[...]
    padded[3] = row[...]
    return {
        "qkv": (fi.concatenate([q, k, v], groups=GROUPS), np.concatenate(qkv)),
        "gate_up": (fi.concatenate([gate, up]), np.concatenate([gate[...], up[...]])),
        "experts": (fi.stack(experts), np.stack([expert[...] for expert in experts])),
        "orthogonal": (fi.stack(square, axis=1), np.stack([matrix[...] for matrix in square], axis=1)),
        "emb": (fi.paste(table, 3, row), padded),
        "head": (table.T, table[...].T),
        "reshaped": (q.reshape(8, 2, D), q[...].reshape(8, 2, D)),
        "cut": (fi.concatenate([gate, up]).part(np.s_[3:20, ::-2]), np.concatenate([gate[...], up[...]])[3:20, ::-2]),
    }
