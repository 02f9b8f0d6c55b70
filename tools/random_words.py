"""Random words of many tensors, without end, to standard output: for PractRand, dieharder and the like.

    python tools/random_words.py names | RNG_test stdin32 -tlmax 64GB
    python tools/random_words.py seeds --count 64 | dieharder -a -g 200
    python tools/random_words.py columns --count 4096 --bytes 1048576 > words.bin

A test of one stream says little about a model, whose tensors are many short streams with related names. So words that
might be related are written next to each other. Each is 4 bytes, little-endian, and word i of a tensor is
what docs/stream.md calls w(i).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

import numpy as np

import fastinit as fi

BLOCK = 4  # words that one counter gives
WORDS = 1 << 20  # about as many at a time


def interleaved(keys: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Word 0 of every stream, then word 1 of every stream, and so on."""
    length = max(BLOCK, WORDS // len(keys) // BLOCK * BLOCK)
    words = np.empty((len(keys), length), np.uint32)
    for done in range(0, 1 << 66, length):
        for row, (key, counter) in zip(words, keys):
            fi.philox4x32(row, key, counter + done // BLOCK, threads=1)
        yield words.T


def names(count: int, seed: int) -> Iterator[np.ndarray]:
    """Tensors layer.0.weight, layer.1.weight, ... of one seed, word by word."""
    return interleaved([fi.stream_key(seed, f"layer.{number}.weight") for number in range(count)])


def seeds(count: int, seed: int) -> Iterator[np.ndarray]:
    """One name under the seeds seed, seed + 1, ..., word by word."""
    return interleaved([fi.stream_key(seed + number, "weight") for number in range(count)])


def columns(count: int, seed: int) -> Iterator[np.ndarray]:
    """One tensor as a table of `count` columns: its first rows column by column, then the next rows."""
    key, counter = fi.stream_key(seed, "table")
    rows = max(1, WORDS // count // BLOCK) * BLOCK
    words = np.empty((rows, count), np.uint32)
    for done in range(0, 1 << 66, words.size):
        yield fi.philox4x32(words, key, counter + done // BLOCK, threads=1).T


ORDERS = {"names": names, "seeds": seeds, "columns": columns}


def number(text: str, least: int, below: int) -> int:
    """An integer of [least, below)."""
    if not text.isdecimal() or not least <= int(text) < below:
        raise argparse.ArgumentTypeError(f"an integer from {least} to {below - 1} is needed, not {text!r}")
    return int(text)


def count(text: str) -> int:
    """How many tensors or columns: one block of each must fit into memory."""
    return number(text, 1, WORDS + 1)


def main() -> None:
    """Write until there are enough, or until nobody reads on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("order", choices=ORDERS, help=" ".join(f"{name}: {f.__doc__}" for name, f in ORDERS.items()))
    parser.add_argument("--count", type=count, default=1024, help="tensors, or columns (default: 1024)")
    parser.add_argument(
        "--seed", type=lambda text: number(text, 0, (1 << 128) - WORDS), default=0, help="the first one (default: 0)"
    )
    parser.add_argument("--bytes", type=lambda text: number(text, 1, 1 << 63), help="how many (default: without end)")
    arguments = parser.parse_args()
    left = arguments.bytes
    try:
        for words in ORDERS[arguments.order](arguments.count, arguments.seed):
            data = np.ascontiguousarray(words, "<u4").reshape(-1).view(np.uint8)[:left]
            sys.stdout.buffer.write(data)
            if left is not None:
                left -= len(data)
                if not left:
                    break
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
