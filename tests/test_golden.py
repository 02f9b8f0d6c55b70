"""Golden hashes: the values of stream version 1, on every instruction set."""

import hashlib

import pytest

import fastinit as fi
from make_golden import GOLDEN, HEADER, NAMES, lines

LINES = [line for line in GOLDEN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", LINES, ids=[" ".join(line.split()[:3]) for line in LINES])
def test_golden(isa, line):
    kind, dtype, parameters, seed, name, key, stream, first, count, expected = line.split(" ")
    assert fi.stream_key(int(seed), name) == (int(key, 16), int(stream, 16) << 64)
    named = dict(zip(NAMES[kind], map(float.fromhex, parameters.split(","))))
    recipe = fi.recipe(kind, 2**40, dtype=dtype, seed=int(seed), name=name, **named)
    values = recipe[int(first) : int(first) + int(count)]
    data = values.view(f"u{values.itemsize}").astype(f"<u{values.itemsize}").tobytes()
    assert hashlib.sha256(data).hexdigest() == expected


def test_the_file_is_whole():
    assert HEADER.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()[:2]
    assert [line.rsplit(" ", 1)[0] for line in lines()] == [line.rsplit(" ", 1)[0] for line in LINES]
