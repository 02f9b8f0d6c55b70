"""Bits: known answers, the stream of a name, counters that carry."""

from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
import reference

KAT = Path(__file__).parent / "data" / "philox4x32_kat.txt"


def known_answers():
    for line in KAT.read_text().splitlines():
        if line and not line.startswith("#"):
            numbers = [int(word, 16) for word in line.split()]
            yield numbers[:4], numbers[4:6], numbers[6:]


def packed(words):
    return sum(word << 32 * i for i, word in enumerate(words))


@pytest.mark.parametrize(("counter", "key", "output"), list(known_answers()))
def test_known_answers(isa, counter, key, output):
    assert reference.philox(counter, key) == output
    out = np.full(4, 0xDEADBEEF, np.uint32)
    fi.philox4x32(out, packed(key), packed(counter))
    assert [int(word) for word in out] == output


def test_there_are_three_known_answers():
    assert len(list(known_answers())) == 3


@pytest.mark.parametrize("counter", [0, 2**32 - 5, 2**64 - 7, 2**96 - 3, 2**128 - 6, 12345 << 64 | 2**32 - 1])
@pytest.mark.parametrize("count", [1, 3, 4, 7, 100, 1001])
def test_consecutive_blocks_carry(isa, counter, count):
    out = np.full(count + 2, 0xDEADBEEF, np.uint32)
    fi.philox4x32(out[1:-1], 77, counter)
    expected = []
    for block in range(-(-count // 4)):
        c = (counter + block) % 2**128
        expected += reference.philox([c >> 32 * i & 0xFFFFFFFF for i in range(4)], [77, 0])
    assert [int(word) for word in out[1:-1]] == expected[:count]
    assert out[0] == out[-1] == 0xDEADBEEF


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_words_of_many_blocks(isa, threads):
    counter = 2**64 - 30_000
    out = fi.philox4x32(np.empty(300_001, np.uint32), 99, counter, threads=threads)
    for at in (0, 1, 119_999, 120_000, 120_001, 299_999, 300_000):
        c = counter + at // 4
        assert out[at] == reference.philox([c >> 32 * i & 0xFFFFFFFF for i in range(4)], [99, 0])[at % 4]


@pytest.mark.parametrize("seed", [0, 1, 2**64, 2**128 - 1])
@pytest.mark.parametrize("name", ["", "a", "model.layers.0.weight", "\u00e9", "e\u0301", "\U0001f600"])
def test_stream_key(seed, name):
    key, counter = fi.stream_key(seed, name)
    expected_key, stream = reference.stream(seed, name)
    assert (key, counter) == (expected_key, stream << 64)


def test_stream_key_known_answer():
    # written out so that the hash, its personalisation and the byte order cannot change together with the reference
    assert fi.stream_key(0, "") == (0xC958B8094F0BBCF8, 0xAB2C814EE1EAE957 << 64)


def test_names_are_not_normalised():
    assert fi.stream_key(0, "\u00e9") != fi.stream_key(0, "e\u0301")


def test_seed_and_name_do_not_run_into_each_other():
    assert fi.stream_key(0x61, "") != fi.stream_key(0, "a")


def test_words_of_a_tensor_are_words_of_its_key(isa):
    """A uniform on [0, 1) shows the upper 24 bits of each word."""
    key, counter = fi.stream_key(5, "t")
    words = fi.philox4x32(np.empty(1000, np.uint32), key, counter)
    values = fi.uniform(1000, seed=5, name="t")
    assert ((words >> 8).astype(np.float32) * np.float32(2**-24) == values).all()
