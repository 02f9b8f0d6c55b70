"""(seed, name) -> key and counter; raw words of the stream. The definition is docs/stream.md."""

from __future__ import annotations

import hashlib
import operator
import secrets
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import _kernels
from .threads import check_threads, threads_for

#: Version of the stream: a new one whenever any value changes.
STREAM_VERSION = 1

_MASK64 = (1 << 64) - 1
_HASHING = hashlib.blake2b(digest_size=16, person=b"fastinit-v1")
_TWO_WORDS = struct.Struct("<QQ")


def check_seed(seed: Any) -> int:
    """`seed` as an int; TypeError or ValueError unless it is an integer in [0, 2**128)."""
    if type(seed) is not int:
        if isinstance(seed, (bool, np.bool_)):
            raise TypeError("seed must be an integer, not a bool")
        try:
            seed = operator.index(seed)
        except TypeError:
            raise TypeError(f"seed must be an integer, not {type(seed).__name__}") from None
    if not 0 <= seed < 1 << 128:
        raise ValueError(f"seed must be at least 0 and below 2**128, got {seed}")
    return seed


def seed_from_text(seed: Any) -> int:
    """A seed in JSON or TOML: an integer, or a decimal string (JSON readers may round above 2**53)."""
    if isinstance(seed, str):
        if not (seed.isascii() and seed.isdecimal() and len(seed) < 64):
            raise ValueError(f"seed must be an integer or a decimal string, got {seed!r}")
        seed = int(seed)
    return check_seed(seed)


def seed_from_words(words: Iterable[int]) -> int:
    """The seed that words of 32 bits make, the lowest first; of wider numbers the lowest 32 bits."""
    return check_seed(sum((int(word) & 0xFFFFFFFF) << 32 * k for k, word in enumerate(words)))


def check_name(name: Any) -> str:
    """`name`; TypeError unless it is a str, ValueError unless UTF-8 encodes it."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"name {name!r} cannot be encoded in UTF-8: {error.reason}") from None
    return name


def fresh_seed() -> int:
    """A seed from the entropy of the operating system."""
    return secrets.randbits(128)


def stream_key(seed: int, name: str = "") -> tuple[int, int]:
    """The Philox key and the first counter of a tensor.

    Parameters
    ----------
    seed : int
        At least 0, below 2**128.
    name : str
        Any text that UTF-8 encodes; not normalised.

    Returns
    -------
    key : int
        64 bits: ``k0 | k1 << 32``.
    counter : int
        128 bits: ``c0 | c1 << 32 | c2 << 64 | c3 << 96`` of block 0, whose c0 and c1 are 0.

    Notes
    -----
    Both come from BLAKE2b (RFC 7693) of the seed's 16 bytes and the name: tensors with different seeds or
    names have unrelated streams.
    """
    key, stream = hashed(check_seed(seed), check_name(name))
    return key, stream << 64


def hashed(seed: int, name: str) -> tuple[int, int]:
    """Key and stream id of a checked seed and name."""
    hashing = _HASHING.copy()  # half the time of making a new one
    hashing.update(seed.to_bytes(16, "little") + name.encode())
    key, stream = _TWO_WORDS.unpack(hashing.digest())
    return key, stream


def philox4x32(out: np.ndarray, key: int, counter: int = 0, *, threads: int | None = None) -> np.ndarray:
    """Fill `out` with the raw words of consecutive Philox4x32-10 blocks.

    Parameters
    ----------
    out : ndarray of uint32
        C-contiguous, native byte order, any shape. A last partial block is cut.
    key : int
        ``k0 | k1 << 32``, below 2**64.
    counter : int
        128-bit counter of the first block, ``c0 | c1 << 32 | c2 << 64 | c3 << 96``; each further block adds
        one, modulo 2**128.
    threads : int, optional
        At most this many threads; default `get_num_threads()`.

    Returns
    -------
    ndarray
        `out`.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray of uint32, not {type(out).__name__}")
    if out.dtype != np.uint32 or not out.dtype.isnative:
        raise TypeError(f"out must be of dtype uint32, not {out.dtype}")
    if not out.flags.c_contiguous:
        raise ValueError("out must be C-contiguous")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    key, counter = operator.index(key), operator.index(counter)
    if not 0 <= key <= _MASK64:
        raise ValueError(f"key must be at least 0 and below 2**64, got {key}")
    if not 0 <= counter < 1 << 128:
        raise ValueError(f"counter must be at least 0 and below 2**128, got {counter}")
    threads = threads_for(None if threads is None else check_threads(threads), out.size)
    _kernels.fill_words(np.asarray(out), key, counter & _MASK64, counter >> 64, threads)
    return out
