"""The stream and the values, written a second time: slow, from docs/stream.md, with nothing of the package.

Exact arithmetic is Python's (int, Fraction); the functions of the normal distribution are SciPy's, and mpmath's where
float64 is not enough.
"""

import hashlib
import math
from fractions import Fraction

import mpmath
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


def exact_truncated(t: Fraction, lower: float, upper: float) -> mpmath.mpf:
    """The same to 25 digits of its distance from the nearer cut: by Newton's method on the logarithm of a tail."""
    if upper <= 0 and lower < 0:
        return -exact_truncated(1 - t, -upper, -lower)
    narrow = -math.log10(upper - lower) if 0 < upper - lower < 1 else 0
    with mpmath.workdps(60 + round(4 * math.log10(max(lower, 1)) + narrow)):

        def tail(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.erfc(x / mpmath.sqrt(2)) / 2

        low, high = tail(mpmath.mpf(lower)), tail(mpmath.mpf(upper))
        goal = mpmath.log(low - (low - high) * mpmath.mpf(t.numerator) / t.denominator)
        z = mpmath.mpf(max(lower, 0))  # ln of the tail is concave: Newton's method passes its root once, at the most
        for _ in range(60):
            q = tail(z)
            step = (mpmath.log(q) - goal) * q * mpmath.sqrt(2 * mpmath.pi) * mpmath.exp(z * z / 2)
            z += step
            if abs(step) <= min(abs(z - lower), 1) * mpmath.mpf(10) ** -25:
                break
        return z


def truncated_t(seed: int, name: str, i: int, dtype: str) -> Fraction:
    if dtype == "float64":
        return Fraction(2 * integer(seed, name, i) + 1, 2**54)
    return Fraction(2 * word(seed, name, i) + 1, 2**33)


# ---- orthogonal: docs/stream.md, section 6 ---------------------------------------------------------------


def two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a + b rounded, and the error of it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a b rounded, and the error of it (Dekker, Veltkamp)."""

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        high = x * 134217729.0 - (x * 134217729.0 - x)
        return high, x - high

    (a_high, a_low), (b_high, b_low), product = split(a), split(b), a * b
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def sum_to_odd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, of its two neighbours the one with an odd last bit unless it is exact."""
    total, error = two_sum(a, b)
    bits = np.ascontiguousarray(total).view(np.int64)
    odd = bits + np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error != 0) & (bits & 1 == 0), odd, bits).view(np.float64)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The fused multiply-add of float32 or float64 (Boldo and Melquiond, IEEE TC 2008)."""
    if a.dtype == np.float32:  # the product is exact in float64
        return sum_to_odd(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)).astype(np.float32)
    high, low = two_product(a, b)
    rest, small = two_sum(c, low)
    total, error = two_sum(high, rest)
    return total + sum_to_odd(small, error)


def matrix_product(a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None, sign: int = 1) -> np.ndarray:
    """A B, or C +- A B."""
    c = np.zeros((a.shape[0], b.shape[1]), a.dtype) if c is None else c
    for first in range(0, a.shape[1], 256):
        s = np.zeros_like(c)
        for k in range(first, min(first + 256, a.shape[1])):
            s = fma(*np.broadcast_arrays(a[:, k : k + 1], b[k : k + 1]), s)
        c = c + s if sign > 0 else c - s
    return c


def inverse_of_upper(u: np.ndarray) -> np.ndarray:
    n = len(u)
    x = np.zeros((n, n))
    for i in reversed(range(n)):
        s = np.zeros(n)
        for k in range(i + 1, n):
            s[k:] = s[k:] + u[i, k] * x[k, k:]
        x[i, i + 1 :] = -s[i + 1 :] / u[i, i]
        x[i, i] = 1 / u[i, i]
    return x


def orthogonal_of(g: np.ndarray) -> np.ndarray:
    """Q of the Gaussian G, float32 or float64, to the bit."""
    m, n = g.shape
    if m < n:
        return orthogonal_of(g.T).T
    return tall_orthogonal_of(g) if m >= 8 * n else general_orthogonal_of(g)


def general_orthogonal_of(g: np.ndarray) -> np.ndarray:
    m, n = g.shape
    q = np.zeros((m, n), g.dtype)
    for first in reversed(range(0, n, 128)):
        v = g[first:, first : first + 128].copy()
        for k in range(v.shape[1]):
            v[:k, k] = 0
            squares = 0.0
            for x in v[k:, k].astype(np.float64):
                squares += x * x
            t = math.sqrt(squares)
            sign = -1 if t > 0 and v[k, k] >= 0 else 1
            if k == len(v) - 1:
                sign = 1 if v[k, k] >= 0 else -1
            v[k, k] = 0 if k == len(v) - 1 else float(v[k, k]) - sign * t
            q[first + k, first + k] = sign
        u = np.triu(matrix_product(v.T, v).astype(np.float64))
        for k in range(len(u)):
            u[k, k] = 0.5 * u[k, k] if u[k, k] > 0 else 1
        t = inverse_of_upper(u).astype(g.dtype)
        b, part = v.shape[1], q[first:, first:]
        w = [matrix_product(v[:b].T, part[:b, :b]), matrix_product(v[b:].T, part[b:, b:])]
        q[first:, first:] = matrix_product(v, matrix_product(t, np.hstack(w)), part, -1)
    return q


def tall_orthogonal_of(g: np.ndarray) -> np.ndarray:
    m, n = g.shape
    s = np.zeros((n, n))
    for row in range(0, m, 1024):
        rows = g[row : row + 1024]
        s = s + matrix_product(rows.T, rows).astype(np.float64)
    blocks = [slice(j, min(j + 128, n)) for j in range(0, n, 128)]
    r, y, diagonal = np.zeros((n, n)), np.zeros((n, n)), []
    for j, columns in enumerate(blocks):
        for i, rows in enumerate(blocks[: j + 1]):
            own = s[rows, columns]
            if i > 0:
                own = matrix_product(r[: rows.start, rows].T, r[: rows.start, columns], own, -1)
            if i < j:
                r[rows, columns] = matrix_product(diagonal[i].T, own)
                continue
            own = own.copy()
            for k in range(len(own)):
                own[k, k] = math.sqrt(own[k, k])
                own[k, k + 1 :] = own[k, k + 1 :] / own[k, k]
                for i_ in range(k + 1, len(own)):
                    own[i_, i_:] = own[i_, i_:] - own[k, i_] * own[k, i_:]
            r[rows, columns] = np.triu(own)
            diagonal.append(inverse_of_upper(r[rows, columns]))
    for j, columns in enumerate(blocks):
        z = np.zeros((columns.start, columns.stop - columns.start))
        for rows in blocks[:j]:
            z[: rows.stop] = matrix_product(y[: rows.stop, rows], r[rows, columns], z[: rows.stop], 1)
        if j:
            y[: columns.start, columns] = matrix_product(z, diagonal[j], np.zeros_like(z), -1)
        y[columns, columns] = diagonal[j]
    return matrix_product(g, y.astype(g.dtype))
