/* round.h - rounding to the narrow formats by integers, and fma for CPUs without. */
#ifndef FASTINIT_ROUND_H
#define FASTINIT_ROUND_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t fi_bits_of_float(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float fi_float_of_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline uint64_t fi_bits_of_double(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline double fi_double_of_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* float32 bits -> float16 bits, nearest even, overflow to infinity. Not for NaN. */
static inline uint16_t fi_float16_of_float(float x) {
    uint32_t u = fi_bits_of_float(x), sign = (u >> 16) & 0x8000, a = u & 0x7FFFFFFF;
    if (a >= 0x477FF000) /* 65520 and above */
        return (uint16_t)(sign | 0x7C00);
    if (a < 0x38800000) { /* below 2^-14: the sum leaves the multiple of 2^-24 in the last bits */
        float sum = fi_float_of_bits(a) + 0.5f;
        return (uint16_t)(sign | (fi_bits_of_float(sum) - 0x3F000000));
    }
    a -= 112u << 23; /* exponent bias 127 -> 15 */
    return (uint16_t)(sign | ((a + 0x0FFF + ((a >> 13) & 1)) >> 13));
}

/* float32 bits with bfloat16 in the upper half, nearest even; the lower half is left over. Not for NaN. */
static inline uint32_t fi_bfloat16_upper(uint32_t u) { return u + 0x7FFF + ((u >> 16) & 1); }

/* ---- fma: a * b + c, rounded once ------------------------------------------------------------------ */

/* FI_OWN_FMA, for tests/test_fma.py: the functions below even where the CPU has the instruction. */
#if !defined(FI_OWN_FMA) &&                                                                                            \
    ((defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)) || defined(__FMA__) || defined(__aarch64__) ||                \
     defined(__s390x__) || defined(__powerpc64__) || (defined(__riscv_flen) && __riscv_flen >= 64))
static inline float fi_fma32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fi_fma64(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
/* The sum, and what rounding took from it (Knuth's TwoSum). */
static inline double fi_two_sum(double a, double b, double *error) {
    const double sum = a + b, part = sum - a;
    *error = (a - (sum - part)) + (b - part);
    return sum;
}
/* a + b, of its two neighbours the one whose last bit is odd unless it is exact: rounded again to fewer bits, or added
 * to something larger, it gives what the exact sum would (Boldo and Melquiond, IEEE TC 2008). Not for
 * infinities; NaN stays NaN. */
static inline double fi_sum_to_odd(double a, double b) {
    double error;
    uint64_t u = fi_bits_of_double(fi_two_sum(a, b, &error));
    const uint64_t inexact = error != 0, inward = (u ^ fi_bits_of_double(error)) >> 63;
    return fi_double_of_bits((u - (inexact & inward)) | inexact);
}

/* The product is exact in float64, so only the sum is rounded twice. That does harm where its float64 is a tie of
 * float32, or float32 is denormal, whose ties lie elsewhere. To look for these few first makes normals of float32 twice
 * as fast as always to round to odd. */
static inline float fi_fma32(float a, float b, float c) {
    const double product = (double)a * b, sum = product + c;
    const int is_tie = (fi_bits_of_double(sum) & 0x1FFFFFFF) == 0x10000000;
    if (__builtin_expect(!is_tie && (fabs(sum) >= 0x1p-126 || sum == 0), 1))
        return (float)sum;
    return (float)fi_sum_to_odd(product, c);
}

/* float64 by integers, for any numbers: a product of 128 bits. */
typedef struct {
    uint64_t high, low;
} fi_u128;

static inline fi_u128 fi_product_of_u64(uint64_t x, uint64_t y) {
    const uint64_t x0 = (uint32_t)x, x1 = x >> 32, y0 = (uint32_t)y, y1 = y >> 32;
    const uint64_t first = x1 * y0 + (x0 * y0 >> 32), second = x0 * y1 + (uint32_t)first;
    return (fi_u128){x1 * y1 + (first >> 32) + (second >> 32), x * y};
}
/* x / 2^n, rounded to odd. */
static inline fi_u128 fi_shift_to_odd(fi_u128 x, int n) {
    for (; n >= 64; n -= 64)
        x = (fi_u128){0, x.high | (x.low != 0)};
    if (n == 0)
        return x;
    return (fi_u128){x.high >> n, x.high << (64 - n) | x.low >> n | (x.low << (64 - n) != 0)};
}
/* The 53-bit integer of a finite number that is not 0, and its biased exponent. */
static inline uint64_t fi_significand(uint64_t magnitude, int *exponent) {
    const uint64_t fraction = magnitude & ((UINT64_C(1) << 52) - 1);
    const int zeros = magnitude == fraction ? __builtin_clzll(fraction) - 11 : 0; /* of a denormal */
    *exponent = zeros ? 1 - zeros : (int)(magnitude >> 52);
    return zeros ? fraction << zeros : fraction | UINT64_C(1) << 52;
}
static double __attribute__((noinline, unused)) fi_fma64_by_integers(double a, double b, double c) {
    const uint64_t top = UINT64_C(1) << 63, infinity = UINT64_C(0x7FF) << 52;
    const uint64_t x = fi_bits_of_double(a) & ~top, y = fi_bits_of_double(b) & ~top, z = fi_bits_of_double(c) & ~top;
    if (x == 0 || y == 0 || x >= infinity || y >= infinity) /* the product is exact */
        return a * b + c;
    if (z == 0)
        return a * b;
    if (z >= infinity)
        return c + c;

    /* Both as 128-bit integers of one scale, with bit 127 to spare; `exponent` is that of bit 126. What is shifted out
     * is far below the last bit of the result, and that the rest is odd keeps it from looking like a tie. */
    int x_exponent, y_exponent, z_exponent;
    const uint64_t x_bits = fi_significand(x, &x_exponent) << 10, y_bits = fi_significand(y, &y_exponent) << 11;
    fi_u128 sum = fi_product_of_u64(x_bits, y_bits), addend = {fi_significand(z, &z_exponent) << 10, 0};
    int exponent = x_exponent + y_exponent - 1022;
    if (exponent > z_exponent) {
        addend = fi_shift_to_odd(addend, exponent - z_exponent);
    } else {
        sum = fi_shift_to_odd(sum, z_exponent - exponent);
        exponent = z_exponent;
    }
    uint64_t sign = (fi_bits_of_double(a) ^ fi_bits_of_double(b)) & top;
    if ((fi_bits_of_double(c) & top) == sign) {
        sum.low += addend.low;
        sum.high += addend.high + (sum.low < addend.low);
    } else {
        sum.high -= addend.high + (sum.low < addend.low);
        sum.low -= addend.low;
        if (sum.high & top) {
            sum.low = -sum.low;
            sum.high = ~sum.high + (sum.low == 0);
            sign ^= top;
        }
    }

    /* The first bit to bit 127, lower only in a denormal; then round. */
    if (sum.high == 0) {
        if (sum.low == 0)
            return 0;
        sum = (fi_u128){sum.low, 0};
        exponent -= 64;
    }
    const int zeros = __builtin_clzll(sum.high);
    if (zeros)
        sum = (fi_u128){sum.high << zeros | sum.low >> (64 - zeros), sum.low << zeros};
    exponent += 1 - zeros;
    if (exponent < 1) {
        sum = fi_shift_to_odd(sum, 1 - exponent);
        exponent = 1;
    }
    if (exponent >= 0x7FF)
        return fi_double_of_bits(sign | infinity);
    const uint64_t rest = (sum.high & 0x7FF) << 1 | (sum.low != 0);      /* of 2^12: what is below the last bit */
    uint64_t bits = ((uint64_t)(exponent - 1) << 52) + (sum.high >> 11); /* the first bit adds 1 to the exponent */
    bits += rest > 0x800 || (rest == 0x800 && (bits & 1));
    return fi_double_of_bits(sign | bits);
}

/* The two halves of a number, 26 bits each, whose products are exact (Veltkamp). */
static inline double fi_upper_half(double x) {
    const double t = (0x1p27 + 1) * x;
    return t - (t - x);
}
/* By error-free transformations (Boldo and Melquiond, section 5), which take less than half the time of the integers.
 * An overflow within them leaves infinity or NaN. An underflow takes a product's last bits, which matters where the
 * addend is small, too. A function of its own: inlined, it is no faster. */
static double __attribute__((noinline, unused)) fi_fma64(double a, double b, double c) {
    const double a1 = fi_upper_half(a), a0 = a - a1, b1 = fi_upper_half(b), b0 = b - b1;
    const double product = a * b, rest = ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0;
    double small, error;
    const double large = fi_two_sum(product, fi_two_sum(c, rest, &small), &error);
    const double result = large + fi_sum_to_odd(small, error);
    const int is_sound = (fabs(product) + fabs(c) >= 0x1p-900) & (result - result == 0);
    return __builtin_expect(is_sound, 1) ? result : fi_fma64_by_integers(a, b, c);
}
#endif

#endif
