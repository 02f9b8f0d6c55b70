/* round.h - rounding to the narrow formats by integers, and a correctly rounded fma for CPUs without. */
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

/* Correctly rounded a * b + c. Where the ISA has no fma, float32 goes through float64 rounded to
 * odd: the product is exact there, and 53 bits >= 2 * 24 + 2 make the second rounding harmless
 * (Boldo & Melquiond 2008). float64 is left to libm's fma, which is correctly rounded. */
static inline float fi_fma32(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__s390x__)
    return __builtin_fmaf(a, b, c);
#else
    double product = (double)a * b, addend = c;
    double sum = product + addend, part = sum - product;
    double error = (product - (sum - part)) + (addend - part);
    uint64_t u = fi_bits_of_double(sum);
    /* inexact, finite, last bit even: step to the odd neighbour on the side of the error */
    if (error != 0 && (u & 1) == 0 && (u >> 52 & 0x7FF) != 0x7FF)
        u = (error > 0) == (sum > 0) ? u + 1 : u - 1;
    return (float)fi_double_of_bits(u);
#endif
}
static inline double fi_fma64(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__s390x__)
    return __builtin_fma(a, b, c);
#else
    return fma(a, b, c);
#endif
}

#endif
