"""The stream and the values, written a second time: slow, from docs/stream.md, with nothing of the package.

Exact arithmetic is Python's (int, Fraction); the functions of the normal distribution are SciPy's.
"""

import hashlib
import math
from fractions import Fraction

import numpy as np
from scipy import special

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
MASK32 = 0xFFFFFFFF

#: (bits of precision, least exponent of the last bit, largest finite) of each dtype
FORMATS = {
    "float16": (11, -24, 65504.0),
    "bfloat16": (8, -133, float.fromhex("0x1.fep127")),
    "float32": (24, -149, float.fromhex("0x1.fffffep127")),
    "float64": (53, -1074, float.fromhex("0x1.fffffffffffffp1023")),
}


def philox(counter: list[int], key: list[int]) -> list[int]:
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK32, (p0 >> 32) ^ c3 ^ k1, p0 & MASK32
        k0, k1 = (k0 + W0) & MASK32, (k1 + W1) & MASK32
    return [c0, c1, c2, c3]


def stream(seed: int, name: str) -> tuple[int, int]:
    """Key and stream id."""
    data = seed.to_bytes(16, "little") + name.encode()
    digest = hashlib.blake2b(data, digest_size=16, person=b"fastinit-v1").digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def word(seed: int, name: str, i: int) -> int:
    key, stream_id = stream(seed, name)
    block = i // 4
    counter = [block & MASK32, block >> 32 & MASK32, stream_id & MASK32, stream_id >> 32]
    return philox(counter, [key & MASK32, key >> 32])[i % 4]


def round_to(x: Fraction | float, dtype: str) -> float:
    """x rounded once to the dtype, nearest even; overflow to infinity. Exact, as a Python float."""
    if isinstance(x, float) and not math.isfinite(x):
        return x
    precision, least, largest = FORMATS[dtype]
    x = Fraction(x)
    if x == 0:
        return 0.0
    exponent = math.floor(math.log2(abs(x))) if abs(x) < 2**1000 else int(abs(x)).bit_length() - 1
    while Fraction(2) ** exponent > abs(x):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= abs(x):
        exponent += 1
    quantum = Fraction(2) ** max(exponent - precision + 1, least)
    rounded = round(x / quantum) * quantum  # Python rounds halves to even
    if abs(rounded) > Fraction(largest):
        return math.copysign(math.inf, float(x > 0) - 0.5)
    return float(rounded)


def largest_below(x: float, dtype: str) -> float:
    """The largest value of the dtype below x, itself one of its values."""
    precision, least, largest = FORMATS[dtype]
    if math.isinf(x):
        return largest if x > 0 else x
    if x == 0:
        return -(2.0**least)
    exponent = math.frexp(abs(x))[1] - 1
    quantum = Fraction(2) ** max(exponent - precision + 1, least)
    if x > 0 and Fraction(x) == Fraction(2) ** exponent:  # the gap below a power of two is half as wide
        quantum = Fraction(2) ** max(exponent - precision, least)
    return float(Fraction(x) - quantum)


def uniform_of(k: int, low: float, high: float, dtype: str) -> float:
    """The value that the 24-bit (float64: 53-bit) integer k stands for: exact."""
    if dtype == "float64":
        s = round_to(
            Fraction(round_to(Fraction(high) / 2**53, dtype)) - Fraction(round_to(Fraction(low) / 2**53, dtype)), dtype
        )
        v = round_to(Fraction(k) * Fraction(s) + Fraction(low), dtype)
    else:
        l, h = round_to(low, "float32"), round_to(high, "float32")
        s = round_to(Fraction(round_to(Fraction(h) - Fraction(l), "float64")) / 2**24, "float32")
        v = round_to(round_to(Fraction(k) * Fraction(s) + Fraction(l), "float32"), dtype)
    lo, hi = round_to(low, dtype), round_to(high, dtype)
    if v < lo:
        return lo
    return max(largest_below(hi, dtype), lo) if v >= hi else v


def integer(seed: int, name: str, i: int) -> int:
    """k(i): 53 bits of two words, for float64."""
    return (word(seed, name, 2 * i) >> 5) * 2**26 + (word(seed, name, 2 * i + 1) >> 6)


def uniform(seed: int, name: str, i: int, low: float, high: float, dtype: str) -> float:
    k = integer(seed, name, i) if dtype == "float64" else word(seed, name, i) >> 8
    return uniform_of(k, low, high, dtype)


def z_normal(seed: int, name: str, i: int, dtype: str) -> float:
    """z(i) by libm in float64 (in 80 bits for float64, where the platform has them)."""
    pair = i // 2
    if dtype == "float64":
        k, turn = integer(seed, name, 2 * pair), Fraction(integer(seed, name, 2 * pair + 1), 2**53)
        u = round_to(Fraction(k, 2**53) + Fraction(1, 2**54), "float64")
    else:
        turn = Fraction(word(seed, name, 2 * pair + 1), 2**32)
        converted = round_to(Fraction(word(seed, name, 2 * pair) >> 1), "float32")
        u = round_to(Fraction(converted) / 2**31 + Fraction(1, 2**32), "float32")
    r = np.sqrt(-2 * np.log(np.longdouble(u)))
    angle = 2 * np.longdouble(math.pi) * np.longdouble(float(turn - round(turn)))
    return float(r * (np.sin(angle) if i % 2 else np.cos(angle)))


def z_truncated(t: Fraction, lower: float, upper: float) -> float:
    """Phi^-1(Phi(lower) + (Phi(upper) - Phi(lower)) t), from the tail that keeps accuracy."""
    if lower >= 0:  # mirror: the lower tail of SciPy's functions is the accurate one
        return -z_truncated(1 - t, -upper, -lower)
    log_low, log_high = special.log_ndtr(lower), special.log_ndtr(upper)
    if upper <= 0:
        share = float(t) + float(1 - t) * math.exp(log_low - log_high)
        return float(special.ndtri_exp(log_high + math.log(share)))
    low, high = special.ndtr(lower), special.ndtr(-upper)
    p = low + (1 - low - high) * float(t)
    if p <= 0.5:
        return float(special.ndtri(p))
    return -float(special.ndtri(high + (1 - low - high) * float(1 - t)))


def truncated_t(seed: int, name: str, i: int, dtype: str) -> Fraction:
    if dtype == "float64":
        return Fraction(2 * integer(seed, name, i) + 1, 2**54)
    return Fraction(2 * word(seed, name, i) + 1, 2**33)
