/* lanes_avx2.h - the named lane operations on AVX2, FMA and F16C. Contract: lanes.md. */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile with AVX2, FMA and F16C"
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define GROUPS 6    /* vector pairs of Philox in flight: what 16 registers hold */
#define TILE_ROWS 4 /* of the matrix product, by three vectors each: what 16 registers hold */
#define TERMS (INT64_C(1) << 29)

typedef __m256i u32v;
typedef __m256i u64v;
typedef __m256 f32v;
typedef __m256d f64v;
typedef __m256 m32;
typedef __m256d m64;
#define LANE static inline __attribute__((always_inline, unused))

LANE u64v u64_set(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
LANE u64v u64_load(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
LANE void u64_store(uint64_t *p, u64v x) { _mm256_storeu_si256((__m256i *)p, x); }
LANE u64v u64_load_slots(const uint64_t *p) { return _mm256_permute4x64_epi64(u64_load(p), 0xD8); }
LANE u64v u64_of_u32(u32v x) { return x; }
LANE u32v u32_of_u64(u64v x) { return x; }
LANE u64v u64_add(u64v a, u64v b) { return _mm256_add_epi64(a, b); }
LANE u64v u64_sub(u64v a, u64v b) { return _mm256_sub_epi64(a, b); }
LANE u64v u64_and(u64v a, u64v b) { return _mm256_and_si256(a, b); }
LANE u64v u64_or(u64v a, u64v b) { return _mm256_or_si256(a, b); }
LANE u64v u64_xor(u64v a, u64v b) { return _mm256_xor_si256(a, b); }
/* a is the operand that comes late: b and c first. GCC would put them in another order, which makes
 * Philox 1.1 to 1.2 times slower (measured on Zen 5). */
LANE u64v u64_xor3(u64v a, u64v b, u64v c) {
    u64v early = u64_xor(b, c);
    __asm__("" : "+x"(early));
    return u64_xor(a, early);
}
#define u64_shl(x, n) _mm256_slli_epi64(x, n)
#define u64_shr(x, n) _mm256_srli_epi64(x, n)
LANE u64v u64_high(u64v x) { return _mm256_shuffle_epi32(x, 0xF5); }
LANE u64v u64_mul32(u64v a, u64v b) { return _mm256_mul_epu32(a, b); }
LANE u64v u64_join(u64v low, u64v high) { return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA); }
LANE u64v u64_blend(u64v low, u64v high) { return _mm256_blend_epi32(low, high, 0xAA); }

/* Philox: AVX2 has no shuffle of two vectors that keeps each 64-bit lane's words in it, only
 * vshufps: two words of one, then two of the other. Thus the order of x0 and x2 in 128 bits goes
 * round in four rounds: x2 x0 x2 x0; x0 x0 x2 x2; x0 x2 x0 x2; x2 x2 x0 x0. The lower halves of the
 * products stay where x is, which is where the next round wants them. */
#define PHILOX_ORDER
#define SHUFFLE2(a, b, n) _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), n))
LANE u64v philox_set(int round, uint32_t a, uint32_t b) {
    const int swapped = round % 4 == 1 || round % 4 == 2;
    const uint32_t first = swapped ? b : a, second = swapped ? a : b;
    return round & 1 ? SHUFFLE2(u64_set(first), u64_set(second), 0x88) : u64_set(first | (uint64_t)second << 32);
}
LANE u64v philox_highs(int round, u64v p, u64v q) { return round & 1 ? SHUFFLE2(p, q, 0x77) : SHUFFLE2(p, q, 0xDD); }
LANE u64v philox_lows(int round, u64v x, u64v m, u64v p, u64v q) {
    return round < 9 ? _mm256_mullo_epi32(x, m) : SHUFFLE2(p, q, 0x88);
}
LANE u64v philox_listed_highs(u64v counter, u64v p) { return SHUFFLE2(p, counter, 0xDD); }
LANE u64v philox_first_lows(u64v p, u64v q) { return SHUFFLE2(p, q, 0x88); }
LANE u64v philox_last(u64v x) { return _mm256_shuffle_epi32(x, 0xB1); }

LANE void u64_transpose(u64v row[4]) {
    for (int i = 0; i < 4; i += 2) {
        const u64v a = row[i], b = row[i + 1];
        row[i] = _mm256_unpacklo_epi64(a, b);
        row[i + 1] = _mm256_unpackhi_epi64(a, b);
    }
    for (int k = 0; k < 2; k++) {
        const u64v a = row[k], b = row[k + 2];
        row[k] = _mm256_permute2x128_si256(a, b, 0x20);
        row[k + 2] = _mm256_permute2x128_si256(a, b, 0x31);
    }
}

LANE u32v u32_set(uint32_t x) { return _mm256_set1_epi32((int)x); }
LANE u32v u32_load(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
LANE void u32_store(uint32_t *p, u32v x) { _mm256_storeu_si256((__m256i *)p, x); }
LANE u32v u32_zip_low(u32v a, u32v b) { return _mm256_unpacklo_epi32(a, b); }
LANE u32v u32_zip_high(u32v a, u32v b) { return _mm256_unpackhi_epi32(a, b); }
LANE u32v u16_zip_low(u32v a, u32v b) { return _mm256_unpacklo_epi16(a, b); }
LANE u32v u16_zip_high(u32v a, u32v b) { return _mm256_unpackhi_epi16(a, b); }
LANE void u32_copy_backwards(char *to, const char *from) {
    const __m256i order = _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i x = _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)from), order);
    _mm256_storeu_si256((__m256i *)(to - 28), x);
}
LANE void u32_copy_to_every_second(char *to, const char *from) {
    for (int i = 0; i < 8; i++)
        memcpy(to + 8 * i, from + 4 * i, 4);
}
LANE void u32_stream(uint32_t *p, u32v x) { _mm256_stream_si256((__m256i *)p, x); }
LANE void stream_end(void) { _mm_sfence(); }
LANE u32v u32_add(u32v a, u32v b) { return _mm256_add_epi32(a, b); }
LANE u32v u32_sub(u32v a, u32v b) { return _mm256_sub_epi32(a, b); }
LANE u32v u32_and(u32v a, u32v b) { return _mm256_and_si256(a, b); }
LANE u32v u32_xor(u32v a, u32v b) { return _mm256_xor_si256(a, b); }
#define u32_shl(x, n) _mm256_slli_epi32(x, n)
#define u32_shr(x, n) _mm256_srli_epi32(x, n)
LANE u32v u32_xor_masked(u32v a, u32v b, u32v c, u32v m) { return u32_xor(a, u32_and(u32_xor(b, c), m)); }

LANE f32v f32_set(float x) { return _mm256_set1_ps(x); }
LANE f32v f32_of_bits(u32v x) { return _mm256_castsi256_ps(x); }
LANE u32v f32_bits(f32v x) { return _mm256_castps_si256(x); }
LANE f32v f32_of_i32(u32v x) { return _mm256_cvtepi32_ps(x); }
LANE f32v f32_load(const float *p) { return _mm256_loadu_ps(p); }
LANE void f32_store(float *p, f32v x) { _mm256_storeu_ps(p, x); }
LANE f32v f32_add(f32v a, f32v b) { return _mm256_add_ps(a, b); }
LANE f32v f32_sub(f32v a, f32v b) { return _mm256_sub_ps(a, b); }
LANE f32v f32_mul(f32v a, f32v b) { return _mm256_mul_ps(a, b); }
LANE f32v f32_div(f32v a, f32v b) { return _mm256_div_ps(a, b); }
LANE f32v f32_sqrt(f32v a) { return _mm256_sqrt_ps(a); }
LANE f32v f32_fma(f32v a, f32v b, f32v c) { return _mm256_fmadd_ps(a, b, c); }
LANE m32 f32_lt(f32v a, f32v b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
LANE f32v f32_select(m32 m, f32v yes, f32v no) { return _mm256_blendv_ps(no, yes, m); }

LANE f64v f64_set(double x) { return _mm256_set1_pd(x); }
LANE f64v f64_of_bits(u64v x) { return _mm256_castsi256_pd(x); }
LANE u64v f64_bits(f64v x) { return _mm256_castpd_si256(x); }
LANE f64v f64_load(const double *p) { return _mm256_loadu_pd(p); }
LANE void f64_store(double *p, f64v x) { _mm256_storeu_pd(p, x); }
LANE f64v f64_add(f64v a, f64v b) { return _mm256_add_pd(a, b); }
LANE f64v f64_sub(f64v a, f64v b) { return _mm256_sub_pd(a, b); }
LANE f64v f64_mul(f64v a, f64v b) { return _mm256_mul_pd(a, b); }
LANE f64v f64_div(f64v a, f64v b) { return _mm256_div_pd(a, b); }
LANE f64v f64_sqrt(f64v a) { return _mm256_sqrt_pd(a); }
LANE f64v f64_fma(f64v a, f64v b, f64v c) { return _mm256_fmadd_pd(a, b, c); }
LANE m64 f64_lt(f64v a, f64v b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
LANE f64v f64_select(m64 m, f64v yes, f64v no) { return _mm256_blendv_pd(no, yes, m); }
LANE int m64_any(m64 m) { return _mm256_movemask_pd(m) != 0; }
LANE int m64_all(m64 m) { return _mm256_movemask_pd(m) == 0xF; }
/* AVX2 converts no 64-bit integers: each half rides in the mantissa of a power of two. Exact. */
LANE f64v f64_of_u53(u64v x) {
    const __m256i two84 = _mm256_set1_epi64x(0x4530000000000000), two52 = _mm256_set1_epi64x(0x4330000000000000);
    __m256d high = f64_sub(f64_of_bits(u64_or(u64_shr(x, 32), two84)), f64_set(0x1p84 + 0x1p52));
    __m256d low = f64_of_bits(_mm256_blend_epi32(two52, x, 0x55));
    return f64_add(high, low);
}
LANE f32v f32_of_f64_pair(f64v low, f64v high) {
    __m256i a = _mm256_cvtepu32_epi64(_mm_castps_si128(_mm256_cvtpd_ps(low)));
    __m256i b = _mm256_cvtepu32_epi64(_mm_castps_si128(_mm256_cvtpd_ps(high)));
    return _mm256_castsi256_ps(u64_or(a, u64_shl(b, 32)));
}

LANE void u32_store_pairs(void *out, u32v even, u32v odd) {
    _mm256_storeu_si256((__m256i *)out, _mm256_unpacklo_epi32(even, odd));
    _mm256_storeu_si256((__m256i *)((char *)out + 32), _mm256_unpackhi_epi32(even, odd));
}
LANE void f32_store_pairs(void *out, f32v even, f32v odd) {
    _mm256_storeu_ps((float *)out, _mm256_unpacklo_ps(even, odd));
    _mm256_storeu_ps((float *)((char *)out + 32), _mm256_unpackhi_ps(even, odd));
}
LANE void f64_store_pairs(void *out, f64v even, f64v odd) {
    _mm256_storeu_pd((double *)out, _mm256_unpacklo_pd(even, odd));
    _mm256_storeu_pd((double *)((char *)out + 32), _mm256_unpackhi_pd(even, odd));
}
LANE void f16_store_pairs(void *out, f32v even, f32v odd) {
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    __m128i low = _mm256_cvtps_ph(_mm256_unpacklo_ps(even, odd), NEAREST);
    __m128i high = _mm256_cvtps_ph(_mm256_unpackhi_ps(even, odd), NEAREST);
    _mm_storeu_si128((__m128i *)out, low);
    _mm_storeu_si128((__m128i *)((char *)out + 16), high);
}
LANE void u16_store_upper_pairs(void *out, u32v even, u32v odd) {
    __m256i lanes = _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xAA);
    _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(lanes, 0xD8));
}
