"""Golden hashes: the values of stream version 1, on every instruction set."""

import pytest

import fastinit as fi
from make_golden import GOLDEN, GOLDEN_ORTHOGONAL, GOLDEN_SPARSE, GOLDENS, NAMES, hashed


def read(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


LINES, ORTHOGONAL_LINES, SPARSE_LINES = map(read, (GOLDEN, GOLDEN_ORTHOGONAL, GOLDEN_SPARSE))


@pytest.mark.parametrize("line", LINES, ids=[" ".join(line.split()[:3]) for line in LINES])
def test_golden(isa, line):
    kind, dtype, parameters, seed, name, key, stream, first, count, expected = line.split(" ")
    assert fi.stream_key(int(seed), name) == (int(key, 16), int(stream, 16) << 64)
    named = dict(zip(NAMES[kind], map(float.fromhex, parameters.split(","))))
    recipe = fi.recipe(kind, 2**40, dtype=dtype, seed=int(seed), name=name, **named)
    assert hashed(recipe[int(first) : int(first) + int(count)]) == expected


@pytest.mark.parametrize("line", ORTHOGONAL_LINES, ids=[" ".join(line.split()[:4]) for line in ORTHOGONAL_LINES])
def test_golden_orthogonal(isa, line):
    rows, columns, dtype, gain, seed, name, key, stream, expected = line.split(" ")
    assert fi.stream_key(int(seed), name) == (int(key, 16), int(stream, 16) << 64)
    q = fi.orthogonal((int(rows), int(columns)), float.fromhex(gain), seed=int(seed), name=name, dtype=dtype)
    assert hashed(q) == expected


@pytest.mark.parametrize("line", SPARSE_LINES, ids=[" ".join(line.split()[:3]) for line in SPARSE_LINES])
def test_golden_sparse(isa, line):
    rows, columns, dtype, sparsity, std, seed, name, key, stream, expected = line.split(" ")
    assert fi.stream_key(int(seed), name) == (int(key, 16), int(stream, 16) << 64)
    shape, part, std = (int(rows), int(columns)), float.fromhex(sparsity), float.fromhex(std)
    assert hashed(fi.sparse(shape, part, std=std, seed=int(seed), name=name, dtype=dtype)) == expected


def test_the_files_are_whole():
    for path, header, made in GOLDENS:
        assert header.splitlines() == path.read_text(encoding="utf-8").splitlines()[:2]
        assert [line.rsplit(" ", 1)[0] for line in made()] == [line.rsplit(" ", 1)[0] for line in read(path)]
