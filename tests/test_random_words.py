"""tools/random_words.py writes what docs/quality.md says: words of fi.philox4x32, in three orders."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi

TOOL = Path(__file__).parent.parent / "tools" / "random_words.py"


def written(*arguments):
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<u4").astype(np.uint32)


def words(count, seed, name):
    return fi.philox4x32(np.empty(count, np.uint32), *fi.stream_key(seed, name))


@pytest.mark.parametrize("count", [1, 3, 1024])
def test_names_are_interleaved_word_by_word(count):
    n = 3_000_000 // count  # more than is made at a time
    expected = np.stack([words(n, 7, f"layer.{i}.weight") for i in range(count)], axis=1).ravel()
    assert np.array_equal(
        written("names", "--count", str(count), "--seed", "7", "--bytes", str(4 * n * count)), expected
    )


def test_seeds_are_interleaved_word_by_word():
    expected = np.stack([words(1000, 5 + i, "weight") for i in range(64)], axis=1).ravel()
    assert np.array_equal(written("seeds", "--count", "64", "--seed", "5", "--bytes", "256000"), expected)


@pytest.mark.parametrize("columns", [1, 3, 4096])
def test_columns_are_read_one_after_the_other(columns):
    rows = 4 * max(1, (1 << 20) // columns // 4)
    table = words(2 * rows * columns, 0, "table").reshape(2, rows, columns)
    got = written("columns", "--count", str(columns), "--bytes", str(table.nbytes))
    assert np.array_equal(got, np.concatenate([part.T.ravel() for part in table]))


def test_a_part_of_a_word_is_cut():
    done = subprocess.run([sys.executable, TOOL, "names", "--bytes", "7"], capture_output=True, check=True)
    assert done.stdout == written("names", "--bytes", "8").astype("<u4").tobytes()[:7]


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} {TOOL} names | head -c 8 | od -A n -t x4"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    first = [words(1, 0, f"layer.{i}.weight")[0] for i in range(2)]
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [f"{word:08x}" for word in first], "")


@pytest.mark.parametrize(
    "arguments", [[], ["rows"], ["names", "--count", "0"], ["seeds", "--seed", "-1"], ["seeds", "--seed", str(2**128)]]
)
def test_bad_arguments_are_refused(arguments):
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error:" in done.stderr.splitlines()[-1]
