"""The main job: all 1.1 billion parameters of TinyLlama-1.1B, initialised into one preallocated float32 arena.

    python examples/tinyllama.py [--layers N]

Prints a table per kind of tensor, the total and its ratio to a constant fill of the same arena, and a hash of the
values that is the same on every machine. Takes 4.1 GiB of memory.
"""

import argparse
import hashlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

import fastinit as fi

ROUNDS = 5  # of every timing: medians
VOCABULARY, HIDDEN, LAYERS, MLP, KEY_VALUE = 32_000, 2_048, 22, 5_632, 256

EMBEDDING = fi.init("normal", std=0.02)
MATRIX = fi.init("he_normal", in_axis=1, out_axis=0)  # torch: (out, in)
NORM = fi.init("ones")


def tensors(layers):
    """Name, kind, shape and initializer of every parameter, in the order of the checkpoint."""
    yield "model.embed_tokens.weight", "embedding", (VOCABULARY, HIDDEN), EMBEDDING
    for i in range(layers):
        layer = f"model.layers.{i}"
        yield f"{layer}.self_attn.q_proj.weight", "attention q, o", (HIDDEN, HIDDEN), MATRIX
        yield f"{layer}.self_attn.k_proj.weight", "attention k, v", (KEY_VALUE, HIDDEN), MATRIX
        yield f"{layer}.self_attn.v_proj.weight", "attention k, v", (KEY_VALUE, HIDDEN), MATRIX
        yield f"{layer}.self_attn.o_proj.weight", "attention q, o", (HIDDEN, HIDDEN), MATRIX
        yield f"{layer}.mlp.gate_proj.weight", "mlp gate, up", (MLP, HIDDEN), MATRIX
        yield f"{layer}.mlp.up_proj.weight", "mlp gate, up", (MLP, HIDDEN), MATRIX
        yield f"{layer}.mlp.down_proj.weight", "mlp down", (HIDDEN, MLP), MATRIX
        yield f"{layer}.input_layernorm.weight", "norm", (HIDDEN,), NORM
        yield f"{layer}.post_attention_layernorm.weight", "norm", (HIDDEN,), NORM
    yield "model.norm.weight", "norm", (HIDDEN,), NORM
    yield "lm_head.weight", "head", (VOCABULARY, HIDDEN), EMBEDDING


def arena_views(arena, listed):
    """The tensors as views of one buffer, one behind the other."""
    at = 0
    for _, _, shape, _ in listed:
        size = math.prod(shape)
        yield arena[at : at + size].reshape(shape)
        at += size


def std_of(view):
    """Standard deviation about 0 or 1 in float64, in pieces, so that no copy of the tensor is made."""
    flat, total, square = view.ravel(), 0.0, 0.0
    for at in range(0, flat.size, 1 << 20):
        piece = flat[at : at + (1 << 20)].astype(np.float64)
        total += piece.sum()
        square += piece @ piece
    return math.sqrt(max(square / flat.size - (total / flat.size) ** 2, 0.0))


def hash_of(arena):
    """SHA-256 over the SHA-256 of each 64 MiB, which several threads can take at once."""
    pieces = [arena[at : at + (1 << 24)] for at in range(0, arena.size, 1 << 24)]
    if arena.dtype.byteorder == ">" or (arena.dtype.isnative and not np.little_endian):
        pieces = [piece.byteswap() for piece in pieces]
    with ThreadPoolExecutor(fi.get_num_threads()) as pool:
        digests = pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--layers", type=int, default=LAYERS, help="fewer layers, for a quick look (default: 22)")
    listed = list(tensors(arguments.parse_args().layers))
    arena = np.empty(sum(math.prod(shape) for _, _, shape, _ in listed), np.float32)
    views = list(arena_views(arena, listed))

    recipes = [fi.recipe(initializer, shape, seed=0, name=name) for name, _, shape, initializer in listed]
    kinds = [kind for _, kind, _, _ in listed]

    cold = timed(lambda: fi.zeros(arena))  # the first touch of every page
    fills = [[timed(lambda r=r, v=v: r.fill(v)) for r, v in zip(recipes, views)] for _ in range(ROUNDS)]
    filled = median(map(sum, fills))
    digest = hash_of(arena)
    squares = [std_of(view) ** 2 * view.size for view in views]

    print(f"TinyLlama-1.1B, {fi.get_num_threads()} threads, float32, one arena of {arena.nbytes / 2**30:.2f} GiB\n")
    print(f"{'kind':<16}{'count':>6}{'parameters':>15}  {'distribution':<22}{'std':>10}{'measured':>11}{'GB/s':>7}")
    for kind in dict.fromkeys(kinds):
        members = [i for i, other in enumerate(kinds) if other == kind]
        parameters = sum(recipes[i].size for i in members)
        seconds = median(sum(fill[i] for i in members) for fill in fills)
        recipe = recipes[members[0]]
        drawn = {"normal": "N(0, 0.02^2)", "he_normal": f"N(0, 2/{recipe.shape[-1]})", "ones": "1"}
        print(
            f"{kind:<16}{len(members):>6}{parameters:>15,}  {drawn[recipe.initializer.name]:<22}{recipe.std:>10.6f}"
            f"{math.sqrt(sum(squares[i] for i in members) / parameters):>11.6f}{parameters * 4 / seconds / 1e9:>7.1f}"
        )
    constant = median(timed(lambda: fi.constant(arena, 0.5)) for _ in range(ROUNDS))
    print(
        f"\n{'total':<16}{len(listed):>6}{arena.size:>15,}  in {filled:.3f} s, {arena.nbytes / filled / 1e9:.1f} GB/s"
    )
    print(f"constant fill of the same arena: {constant:.3f} s, so {constant / filled:.2f} of its speed")
    print(f"first touch of the arena, before: {cold:.3f} s")
    print(f"hash of the values, the same everywhere: {digest}")


if __name__ == "__main__":
    main()
