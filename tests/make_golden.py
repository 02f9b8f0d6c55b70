"""Writes the files tests/data/golden*.txt anew: python tests/make_golden.py

To be run only where values change on purpose: that is a new stream version (CONTRIBUTING.md).
"""

import hashlib
from pathlib import Path

import fastinit as fi

GOLDEN = Path(__file__).parent / "data" / "golden.txt"
GOLDEN_ORTHOGONAL = GOLDEN.with_name("golden_orthogonal.txt")
GOLDEN_SPARSE = GOLDEN.with_name("golden_sparse.txt")
COUNT = 5000
PARAMETERS = {
    "constant": [(0.1,)],
    "uniform": [(0.0, 1.0), (-0.05, 0.05), (1e-20, 0.9), (-3e38, 3e38)],
    "normal": [(0.0, 1.0), (1.0, 0.03), (0.0, 0.02), (0.0, 3e-39), (0.0, 3e-310)],
    "truncated_normal": [(0.0, 1.0, -2.0, 2.0), (0.5, 0.02, -2.0, 2.0), (0.0, 1.0, -0.5, 1.5), (0.0, 1.0, -3.0, 3.0),
                         (0.0, 1.0, float("-inf"), float("inf")), (0.0, 1.0, -1.0, 8.0), (0.0, 1.0, 0.0, float("inf")),
                         (0.0, 1.0, 4.0, 5.0), (0.0, 1.0, float("-inf"), -6.0), (0.0, 1.0, 40.0, float("inf")),
                         (0.0, 1.0, 0.25, 0.2505), (0.0, 1.0, 1200.0, 1200.01), (0.0, 1.0, 990.0, 990.000999)],
}  # fmt: skip
#: which of them make denormals of which dtype; the others would flush them to zero
SMALL_STDS = {("float32", 3e-39), ("bfloat16", 3e-39), ("float64", 3e-310)}
NAMES = {
    "constant": ("value",),
    "uniform": ("low", "high"),
    "normal": ("mean", "std"),
    "truncated_normal": ("mean", "std", "lower", "upper"),
}
#: first elements: the start, one that splits pairs and blocks, and the carry into the counter's second word
FIRSTS = (0, 12_345, 2**34 - 2001)

HEADER = """\
# Golden hashes, for every front end: distribution, dtype, parameters (C's hexadecimal floats), seed, name, the key and
# stream id they hash to, the first flat index, how many elements, and SHA-256 of these, little-endian.
"""

#: shape, dtype, gain: one and two blocks of reflectors, wide and tall; one and two blocks of R and Gram rows
ORTHOGONAL = [
    ((1, 1), "float32", 1.0),
    ((9, 6), "float64", 1.0),
    ((40, 40), "float32", -0.7),
    ((150, 140), "float32", 1.0),
    ((420, 140), "float32", 1.0),
    ((140, 150), "bfloat16", 1.7),
    ((140, 133), "float64", 1.0),
    ((3, 40), "float16", 1.0),
    ((1100, 5), "float32", 1.0),
    ((300, 30), "float64", 1.7),
    ((1040, 130), "float32", 1.0),
]
ORTHOGONAL_HEADER = """\
# Golden hashes of orthogonal matrices: rows, columns, dtype, gain (C's hexadecimal float), seed, name, the key and
# stream id they hash to, and SHA-256 of the elements, little-endian.
"""

#: shape, dtype, sparsity, std: no zeros, some in each column, all but one, all
SPARSE = [
    ((7, 5), "float32", 0.0, 0.01),
    ((40, 30), "float32", 0.1, 0.01),
    ((1000, 9), "float64", 0.5, 1.5),
    ((300, 40), "float16", 0.9, 0.02),
    ((300, 40), "bfloat16", 0.25, 1.0),
    ((6, 2000), "float32", 0.8, 1.0),
    ((5, 5), "float32", 1.0, 1.0),
]
SPARSE_HEADER = """\
# Golden hashes of sparse matrices: rows, columns, dtype, sparsity and std (C's hexadecimal floats), seed, name, the key
# and stream id they hash to, and SHA-256 of the elements, little-endian.
"""


def hashed(values):
    return hashlib.sha256(values.view(f"u{values.itemsize}").astype(f"<u{values.itemsize}").tobytes()).hexdigest()


def lines():
    for kind, sets in PARAMETERS.items():
        for dtype in fi.arrays.DTYPES:
            for i, parameters in enumerate(sets):
                if dtype == "float16" and kind == "uniform" and abs(parameters[0]) > 65504:
                    continue
                if kind == "normal" and parameters[1] < 1e-30 and (dtype, parameters[1]) not in SMALL_STDS:
                    continue
                for first in FIRSTS if i == 0 else FIRSTS[:1]:
                    seed, name = (0, "golden") if i % 2 == 0 else (2**127 + i, "g\u00f6lden")
                    key, counter = fi.stream_key(seed, name)
                    named = dict(zip(NAMES[kind], parameters))
                    recipe = fi.recipe(kind, 2**40, dtype=dtype, seed=seed, name=name, **named)
                    values = recipe[first : first + COUNT]
                    shown = ",".join(float(p).hex() for p in parameters)
                    yield (
                        f"{kind} {dtype} {shown} {seed} {name} {key:016x} {counter >> 64:016x} {first} {COUNT} "
                        f"{hashed(values)}"
                    )


def orthogonal_lines():
    for shape, dtype, gain in ORTHOGONAL:
        key, counter = fi.stream_key(1, "golden")
        values = fi.orthogonal(shape, gain, seed=1, name="golden", dtype=dtype)
        shown = " ".join(map(str, shape))
        yield f"{shown} {dtype} {gain.hex()} 1 golden {key:016x} {counter >> 64:016x} {hashed(values)}"


def sparse_lines():
    for shape, dtype, sparsity, std in SPARSE:
        key, counter = fi.stream_key(1, "golden")
        values = fi.sparse(shape, sparsity, std=std, seed=1, name="golden", dtype=dtype)
        shown = " ".join(map(str, shape))
        yield (
            f"{shown} {dtype} {sparsity.hex()} {std.hex()} 1 golden {key:016x} {counter >> 64:016x} {hashed(values)}"
        )


GOLDENS = [
    (GOLDEN, HEADER, lines),
    (GOLDEN_ORTHOGONAL, ORTHOGONAL_HEADER, orthogonal_lines),
    (GOLDEN_SPARSE, SPARSE_HEADER, sparse_lines),
]


def main():
    for path, header, made in GOLDENS:
        path.write_text(header + "".join(line + "\n" for line in made()), encoding="utf-8")


if __name__ == "__main__":
    main()
