/* lanes_base.h - the named lane operations in plain C, four lanes at a time. Contract: lanes.md. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "round.h"

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "float arithmetic must be done in float (32-bit x86: -msse2 -mfpmath=sse; s390x: -fexcess-precision=fast)"
#endif

#define LANES 4
#define GROUPS 2
#define TILE_ROWS 4
#define TERMS (INT64_C(3) << 19) /* without an fma, 300 million a second and less */

typedef struct {
    uint32_t lane[4];
} u32v;
typedef struct {
    uint64_t lane[2];
} u64v;
typedef struct {
    float lane[4];
} f32v;
typedef struct {
    double lane[2];
} f64v;
typedef u32v m32;
typedef u64v m64;
#define LANE static inline __attribute__((unused))

#define MAP4(type, expression)                                                                                         \
    do {                                                                                                               \
        type r;                                                                                                        \
        for (int i = 0; i < 4; i++)                                                                                    \
            r.lane[i] = (expression);                                                                                  \
        return r;                                                                                                      \
    } while (0)
#define MAP2(type, expression)                                                                                         \
    do {                                                                                                               \
        type r;                                                                                                        \
        for (int i = 0; i < 2; i++)                                                                                    \
            r.lane[i] = (expression);                                                                                  \
        return r;                                                                                                      \
    } while (0)

LANE u64v u64_set(uint64_t x) { MAP2(u64v, x); }
LANE u64v u64_load(const uint64_t *p) { MAP2(u64v, p[i]); }
LANE void u64_store(uint64_t *p, u64v x) { memcpy(p, x.lane, sizeof x.lane); }
LANE u64v u64_load_slots(const uint64_t *p) { return u64_load(p); }
LANE u64v u64_of_u32(u32v x) { MAP2(u64v, x.lane[2 * i] | (uint64_t)x.lane[2 * i + 1] << 32); }
LANE u32v u32_of_u64(u64v x) { MAP4(u32v, (uint32_t)(x.lane[i / 2] >> (i & 1) * 32)); }
LANE u64v u64_add(u64v a, u64v b) { MAP2(u64v, a.lane[i] + b.lane[i]); }
LANE u64v u64_sub(u64v a, u64v b) { MAP2(u64v, a.lane[i] - b.lane[i]); }
LANE u64v u64_and(u64v a, u64v b) { MAP2(u64v, a.lane[i] & b.lane[i]); }
LANE u64v u64_or(u64v a, u64v b) { MAP2(u64v, a.lane[i] | b.lane[i]); }
LANE u64v u64_xor(u64v a, u64v b) { MAP2(u64v, a.lane[i] ^ b.lane[i]); }
LANE u64v u64_xor3(u64v a, u64v b, u64v c) { MAP2(u64v, a.lane[i] ^ b.lane[i] ^ c.lane[i]); }
LANE u64v u64_shl(u64v x, int n) { MAP2(u64v, x.lane[i] << n); }
LANE u64v u64_shr(u64v x, int n) { MAP2(u64v, x.lane[i] >> n); }
LANE u64v u64_high(u64v x) { return u64_shr(x, 32); }
LANE u64v u64_mul32(u64v a, u64v b) { MAP2(u64v, (uint64_t)(uint32_t)a.lane[i] * (uint32_t)b.lane[i]); }
LANE u64v u64_join(u64v low, u64v high) { MAP2(u64v, (uint32_t)low.lane[i] | high.lane[i] << 32); }
LANE u64v u64_join_high(u64v low, u64v high) { MAP2(u64v, low.lane[i] >> 32 | (high.lane[i] >> 32 << 32)); }
LANE u64v u64_blend(u64v low, u64v high) { MAP2(u64v, (uint32_t)low.lane[i] | (high.lane[i] >> 32 << 32)); }

LANE void u64_transpose(u64v row[2]) {
    const uint64_t x = row[0].lane[1];
    row[0].lane[1] = row[1].lane[0];
    row[1].lane[0] = x;
}

LANE u32v u32_set(uint32_t x) { MAP4(u32v, x); }
LANE u32v u32_load(const uint32_t *p) {
    u32v r;
    memcpy(&r, p, sizeof r);
    return r;
}
LANE void u32_store(uint32_t *p, u32v x) { memcpy(p, x.lane, sizeof x.lane); }
LANE u32v u32_zip_low(u32v a, u32v b) { MAP4(u32v, (i & 1 ? b : a).lane[i / 2]); }
LANE u32v u32_zip_high(u32v a, u32v b) { MAP4(u32v, (i & 1 ? b : a).lane[2 + i / 2]); }
/* Of the 16-bit lanes as they lie in memory, on a CPU of either byte order. */
LANE u32v u16_zip(const u32v *a, const u32v *b, int first) {
    uint16_t x[8], y[8], zipped[8];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    for (int i = 0; i < 8; i++)
        zipped[i] = (i & 1 ? y : x)[first + i / 2];
    u32v r;
    memcpy(&r, zipped, sizeof r);
    return r;
}
LANE u32v u16_zip_low(u32v a, u32v b) { return u16_zip(&a, &b, 0); }
LANE u32v u16_zip_high(u32v a, u32v b) { return u16_zip(&a, &b, 4); }
LANE void u32_copy_backwards(char *to, const char *from) {
    for (int i = 0; i < 4; i++)
        memcpy(to - 4 * i, from + 4 * i, 4);
}
LANE void u32_copy_to_every_second(char *to, const char *from) {
    for (int i = 0; i < 4; i++)
        memcpy(to + 8 * i, from + 4 * i, 4);
}
LANE void u32_stream(uint32_t *p, u32v x) { u32_store(p, x); }
LANE void stream_end(void) {}
LANE u32v u32_add(u32v a, u32v b) { MAP4(u32v, a.lane[i] + b.lane[i]); }
LANE u32v u32_sub(u32v a, u32v b) { MAP4(u32v, a.lane[i] - b.lane[i]); }
LANE u32v u32_and(u32v a, u32v b) { MAP4(u32v, a.lane[i] & b.lane[i]); }
LANE u32v u32_xor(u32v a, u32v b) { MAP4(u32v, a.lane[i] ^ b.lane[i]); }
LANE u32v u32_shl(u32v x, int n) { MAP4(u32v, x.lane[i] << n); }
LANE u32v u32_shr(u32v x, int n) { MAP4(u32v, x.lane[i] >> n); }
LANE u32v u32_xor_masked(u32v a, u32v b, u32v c, u32v m) {
    MAP4(u32v, a.lane[i] ^ ((b.lane[i] ^ c.lane[i]) & m.lane[i]));
}

LANE f32v f32_set(float x) { MAP4(f32v, x); }
/* All at once: on i686 a function returns a float in an x87 register, which changes the bits of a signalling NaN. */
LANE f32v f32_of_bits(u32v x) {
    f32v r;
    memcpy(&r, &x, sizeof r);
    return r;
}
LANE u32v f32_bits(f32v x) { MAP4(u32v, fi_bits_of_float(x.lane[i])); }
LANE f32v f32_of_i32(u32v x) { MAP4(f32v, (float)(int32_t)x.lane[i]); }
LANE f32v f32_load(const float *p) { MAP4(f32v, p[i]); }
LANE void f32_store(float *p, f32v x) { memcpy(p, x.lane, sizeof x.lane); }
LANE f32v f32_add(f32v a, f32v b) { MAP4(f32v, a.lane[i] + b.lane[i]); }
LANE f32v f32_sub(f32v a, f32v b) { MAP4(f32v, a.lane[i] - b.lane[i]); }
LANE f32v f32_mul(f32v a, f32v b) { MAP4(f32v, a.lane[i] * b.lane[i]); }
LANE f32v f32_div(f32v a, f32v b) { MAP4(f32v, a.lane[i] / b.lane[i]); }
LANE f32v f32_sqrt(f32v a) { MAP4(f32v, sqrtf(a.lane[i])); }
LANE f32v f32_fma(f32v a, f32v b, f32v c) { MAP4(f32v, fi_fma32(a.lane[i], b.lane[i], c.lane[i])); }
LANE m32 f32_lt(f32v a, f32v b) { MAP4(m32, a.lane[i] < b.lane[i]); }
LANE f32v f32_select(m32 m, f32v yes, f32v no) { MAP4(f32v, m.lane[i] ? yes.lane[i] : no.lane[i]); }

LANE f64v f64_set(double x) { MAP2(f64v, x); }
LANE f64v f64_of_bits(u64v x) { MAP2(f64v, fi_double_of_bits(x.lane[i])); }
LANE u64v f64_bits(f64v x) { MAP2(u64v, fi_bits_of_double(x.lane[i])); }
LANE f64v f64_of_u53(u64v x) { MAP2(f64v, (double)x.lane[i]); }
LANE f64v f64_load(const double *p) { MAP2(f64v, p[i]); }
LANE void f64_store(double *p, f64v x) { memcpy(p, x.lane, sizeof x.lane); }
LANE f64v f64_add(f64v a, f64v b) { MAP2(f64v, a.lane[i] + b.lane[i]); }
LANE f64v f64_sub(f64v a, f64v b) { MAP2(f64v, a.lane[i] - b.lane[i]); }
LANE f64v f64_mul(f64v a, f64v b) { MAP2(f64v, a.lane[i] * b.lane[i]); }
LANE f64v f64_div(f64v a, f64v b) { MAP2(f64v, a.lane[i] / b.lane[i]); }
LANE f64v f64_sqrt(f64v a) { MAP2(f64v, sqrt(a.lane[i])); }
LANE f64v f64_fma(f64v a, f64v b, f64v c) { MAP2(f64v, fi_fma64(a.lane[i], b.lane[i], c.lane[i])); }
LANE m64 f64_lt(f64v a, f64v b) { MAP2(m64, a.lane[i] < b.lane[i]); }
LANE f64v f64_select(m64 m, f64v yes, f64v no) { MAP2(f64v, m.lane[i] ? yes.lane[i] : no.lane[i]); }
LANE int m64_any(m64 m) { return (m.lane[0] | m.lane[1]) != 0; }
LANE int m64_all(m64 m) { return (m.lane[0] & m.lane[1]) != 0; }
LANE f32v f32_of_f64_pair(f64v low, f64v high) { MAP4(f32v, (float)(i & 1 ? high.lane[i / 2] : low.lane[i / 2])); }

/* Element 2i of `out` from even lane i, element 2i + 1 from odd lane i. */
#define STORE_PAIRS(type, count, even_value, odd_value)                                                                \
    do {                                                                                                               \
        type pairs[2 * (count)];                                                                                       \
        for (int i = 0; i < (count); i++) {                                                                            \
            pairs[2 * i] = (even_value);                                                                               \
            pairs[2 * i + 1] = (odd_value);                                                                            \
        }                                                                                                              \
        memcpy(out, pairs, sizeof pairs);                                                                              \
    } while (0)
LANE void u32_store_pairs(void *out, u32v even, u32v odd) { STORE_PAIRS(uint32_t, 4, even.lane[i], odd.lane[i]); }
LANE void f32_store_pairs(void *out, f32v even, f32v odd) { STORE_PAIRS(float, 4, even.lane[i], odd.lane[i]); }
LANE void f64_store_pairs(void *out, f64v even, f64v odd) { STORE_PAIRS(double, 2, even.lane[i], odd.lane[i]); }
LANE void f16_store_pairs(void *out, f32v even, f32v odd) {
    STORE_PAIRS(uint16_t, 4, fi_float16_of_float(even.lane[i]), fi_float16_of_float(odd.lane[i]));
}
LANE void u16_store_upper_pairs(void *out, u32v even, u32v odd) {
    STORE_PAIRS(uint16_t, 4, (uint16_t)(even.lane[i] >> 16), (uint16_t)(odd.lane[i] >> 16));
}
