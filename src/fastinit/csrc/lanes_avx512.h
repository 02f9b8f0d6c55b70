/* lanes_avx512.h - the named lane operations on AVX-512 (F, DQ, BW, VL). Contract: lanes.md. */
#ifndef __AVX512F__
#error "compile with AVX-512 F, DQ, BW and VL"
#endif
#include <immintrin.h>
#include <stdint.h>

#define LANES 16    /* 32-bit lanes in a vector */
#define GROUPS 8    /* vector pairs of Philox in flight: 17.0 cycles a pair on Zen 5, 18.5 with 6, 16.0 with 10 */
#define TILE_ROWS 8 /* of the matrix product, by three vectors each: what 32 registers hold */
#define TERMS (INT64_C(1) << 29)

typedef __m512i u32v;
typedef __m512i u64v;
typedef __m512 f32v;
typedef __m512d f64v;
typedef __mmask16 m32;
typedef __mmask8 m64;
#define LANE static inline __attribute__((always_inline, unused))

LANE u64v u64_set(uint64_t x) { return _mm512_set1_epi64((long long)x); }
LANE u64v u64_load(const uint64_t *p) { return _mm512_loadu_si512(p); }
LANE void u64_store(uint64_t *p, u64v x) { _mm512_storeu_si512(p, x); }
LANE u64v u64_load_slots(const uint64_t *p) {
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), u64_load(p));
}
LANE u64v u64_of_u32(u32v x) { return x; }
LANE u32v u32_of_u64(u64v x) { return x; }
LANE u64v u64_add(u64v a, u64v b) { return _mm512_add_epi64(a, b); }
LANE u64v u64_sub(u64v a, u64v b) { return _mm512_sub_epi64(a, b); }
LANE u64v u64_and(u64v a, u64v b) { return _mm512_and_si512(a, b); }
LANE u64v u64_or(u64v a, u64v b) { return _mm512_or_si512(a, b); }
LANE u64v u64_xor(u64v a, u64v b) { return _mm512_xor_si512(a, b); }
LANE u64v u64_xor3(u64v a, u64v b, u64v c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
#define u64_shl(x, n) _mm512_slli_epi64(x, n)
#define u64_shr(x, n) _mm512_srli_epi64(x, n)
LANE u64v u64_high(u64v x) { return _mm512_shuffle_epi32(x, 0xF5); }
LANE u64v u64_mul32(u64v a, u64v b) { return _mm512_mul_epu32(a, b); }
#ifdef __clang__ /* which else makes a slow vpermt2d of each: 19 cycles a pair instead of 17 */
LANE __mmask16 u64_mask(__mmask16 m) {
    __asm__("" : "+Yk"(m));
    return m;
}
#else
#define u64_mask(m) m
#endif
LANE u64v u64_join(u64v low, u64v high) { return _mm512_mask_shuffle_epi32(low, u64_mask(0xAAAA), high, 0xA0); }
LANE u64v u64_join_high(u64v low, u64v high) { return _mm512_mask_shuffle_epi32(high, u64_mask(0x5555), low, 0xF5); }
LANE u64v u64_blend(u64v low, u64v high) { return _mm512_mask_blend_epi32(0xAAAA, low, high); }

LANE void u64_transpose(u64v row[8]) {
    for (int i = 0; i < 8; i += 2) {
        const u64v a = row[i], b = row[i + 1];
        row[i] = _mm512_unpacklo_epi64(a, b);
        row[i + 1] = _mm512_unpackhi_epi64(a, b);
    }
    for (int k = 0; k < 2;
         k++) { /* row 2 i + k has, in each quarter, an even or an odd column of rows 2 i and 2 i + 1 */
        const u64v a = _mm512_shuffle_i64x2(row[k], row[k + 2], 0x88),
                   c = _mm512_shuffle_i64x2(row[k], row[k + 2], 0xDD);
        const u64v b = _mm512_shuffle_i64x2(row[k + 4], row[k + 6], 0x88);
        const u64v d = _mm512_shuffle_i64x2(row[k + 4], row[k + 6], 0xDD);
        row[k] = _mm512_shuffle_i64x2(a, b, 0x88);
        row[k + 2] = _mm512_shuffle_i64x2(c, d, 0x88);
        row[k + 4] = _mm512_shuffle_i64x2(a, b, 0xDD);
        row[k + 6] = _mm512_shuffle_i64x2(c, d, 0xDD);
    }
}

LANE u32v u32_set(uint32_t x) { return _mm512_set1_epi32((int)x); }
LANE u32v u32_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
LANE void u32_store(uint32_t *p, u32v x) { _mm512_storeu_si512(p, x); }
LANE void u32_copy_backwards(char *to, const char *from) {
    const __m512i order = _mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(to - 60, _mm512_permutexvar_epi32(order, _mm512_loadu_si512(from)));
}
LANE void u32_copy_to_every_second(char *to, const char *from) {
    for (int half = 0; half < 2; half++) {
        const __m512i apart = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(from + 32 * half)));
        _mm512_mask_storeu_epi32(to + 64 * half, 0x5555, apart);
    }
}
LANE u32v u32_zip_low(u32v a, u32v b) { return _mm512_unpacklo_epi32(a, b); }
LANE u32v u32_zip_high(u32v a, u32v b) { return _mm512_unpackhi_epi32(a, b); }
LANE u32v u16_zip_low(u32v a, u32v b) { return _mm512_unpacklo_epi16(a, b); }
LANE u32v u16_zip_high(u32v a, u32v b) { return _mm512_unpackhi_epi16(a, b); }
LANE void u32_stream(uint32_t *p, u32v x) { _mm512_stream_si512((__m512i *)p, x); }
LANE void stream_end(void) { _mm_sfence(); }
LANE u32v u32_add(u32v a, u32v b) { return _mm512_add_epi32(a, b); }
LANE u32v u32_sub(u32v a, u32v b) { return _mm512_sub_epi32(a, b); }
LANE u32v u32_and(u32v a, u32v b) { return _mm512_and_si512(a, b); }
LANE u32v u32_xor(u32v a, u32v b) { return _mm512_xor_si512(a, b); }
#define u32_shl(x, n) _mm512_slli_epi32(x, n)
#define u32_shr(x, n) _mm512_srli_epi32(x, n)
/* a ^ ((b ^ c) & m) */
LANE u32v u32_xor_masked(u32v a, u32v b, u32v c, u32v m) {
    return _mm512_ternarylogic_epi32(a, _mm512_xor_si512(b, c), m, 0x78);
}

LANE f32v f32_set(float x) { return _mm512_set1_ps(x); }
LANE f32v f32_of_bits(u32v x) { return _mm512_castsi512_ps(x); }
LANE u32v f32_bits(f32v x) { return _mm512_castps_si512(x); }
LANE f32v f32_of_i32(u32v x) { return _mm512_cvtepi32_ps(x); }
LANE f32v f32_load(const float *p) { return _mm512_loadu_ps(p); }
LANE void f32_store(float *p, f32v x) { _mm512_storeu_ps(p, x); }
LANE f32v f32_add(f32v a, f32v b) { return _mm512_add_ps(a, b); }
LANE f32v f32_sub(f32v a, f32v b) { return _mm512_sub_ps(a, b); }
LANE f32v f32_mul(f32v a, f32v b) { return _mm512_mul_ps(a, b); }
LANE f32v f32_div(f32v a, f32v b) { return _mm512_div_ps(a, b); }
LANE f32v f32_sqrt(f32v a) { return _mm512_sqrt_ps(a); }
LANE f32v f32_fma(f32v a, f32v b, f32v c) { return _mm512_fmadd_ps(a, b, c); }
LANE m32 f32_lt(f32v a, f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
LANE f32v f32_select(m32 m, f32v yes, f32v no) { return _mm512_mask_blend_ps(m, no, yes); }

LANE f64v f64_set(double x) { return _mm512_set1_pd(x); }
LANE f64v f64_of_bits(u64v x) { return _mm512_castsi512_pd(x); }
LANE u64v f64_bits(f64v x) { return _mm512_castpd_si512(x); }
LANE f64v f64_of_u53(u64v x) { return _mm512_cvtepu64_pd(x); }
LANE f64v f64_load(const double *p) { return _mm512_loadu_pd(p); }
LANE void f64_store(double *p, f64v x) { _mm512_storeu_pd(p, x); }
LANE f64v f64_add(f64v a, f64v b) { return _mm512_add_pd(a, b); }
LANE f64v f64_sub(f64v a, f64v b) { return _mm512_sub_pd(a, b); }
LANE f64v f64_mul(f64v a, f64v b) { return _mm512_mul_pd(a, b); }
LANE f64v f64_div(f64v a, f64v b) { return _mm512_div_pd(a, b); }
LANE f64v f64_sqrt(f64v a) { return _mm512_sqrt_pd(a); }
LANE f64v f64_fma(f64v a, f64v b, f64v c) { return _mm512_fmadd_pd(a, b, c); }
LANE m64 f64_lt(f64v a, f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
LANE f64v f64_select(m64 m, f64v yes, f64v no) { return _mm512_mask_blend_pd(m, no, yes); }
LANE int m64_any(m64 m) { return m != 0; }
LANE int m64_all(m64 m) { return m == 0xFF; }
/* Each 64-bit lane: float32(low) below float32(high). */
LANE f32v f32_of_f64_pair(f64v low, f64v high) {
    __m512i a = _mm512_cvtepu32_epi64(_mm256_castps_si256(_mm512_cvtpd_ps(low)));
    __m512i b = _mm512_cvtepu32_epi64(_mm256_castps_si256(_mm512_cvtpd_ps(high)));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi64(b, 32)));
}

LANE void u32_store_pairs(void *out, u32v even, u32v odd) {
    _mm512_storeu_si512(out, _mm512_unpacklo_epi32(even, odd));
    _mm512_storeu_si512((char *)out + 64, _mm512_unpackhi_epi32(even, odd));
}
LANE void f32_store_pairs(void *out, f32v even, f32v odd) {
    _mm512_storeu_ps((float *)out, _mm512_unpacklo_ps(even, odd));
    _mm512_storeu_ps((float *)((char *)out + 64), _mm512_unpackhi_ps(even, odd));
}
LANE void f64_store_pairs(void *out, f64v even, f64v odd) {
    _mm512_storeu_pd((double *)out, _mm512_unpacklo_pd(even, odd));
    _mm512_storeu_pd((double *)((char *)out + 64), _mm512_unpackhi_pd(even, odd));
}
LANE void f16_store_pairs(void *out, f32v even, f32v odd) {
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    __m256i low = _mm512_cvtps_ph(_mm512_unpacklo_ps(even, odd), NEAREST);
    __m256i high = _mm512_cvtps_ph(_mm512_unpackhi_ps(even, odd), NEAREST);
    _mm256_storeu_si256((__m256i *)out, low);
    _mm256_storeu_si256((__m256i *)((char *)out + 32), high);
}
/* even and odd hold bfloat16 bits in their upper halves. */
LANE void u16_store_upper_pairs(void *out, u32v even, u32v odd) {
    __m512i lanes = _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(even, 16), odd);
    const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(order, lanes));
}
