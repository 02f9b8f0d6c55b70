/* lanes_neon.h - the named lane operations on Advanced SIMD, which every Arm64 has. Contract: lanes.md. */
#ifndef __aarch64__
#error "compile for Arm64"
#endif
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define LANES 4
#define GROUPS 4
#define TILE_ROWS 8
#define TERMS (INT64_C(1) << 29)

typedef uint32x4_t u32v;
typedef uint64x2_t u64v;
typedef float32x4_t f32v;
typedef float64x2_t f64v;
typedef uint32x4_t m32;
typedef uint64x2_t m64;
#define LANE static inline __attribute__((always_inline, unused))

LANE u64v u64_set(uint64_t x) { return vdupq_n_u64(x); }
LANE u64v u64_load(const uint64_t *p) { return vld1q_u64(p); }
LANE void u64_store(uint64_t *p, u64v x) { vst1q_u64(p, x); }
LANE u64v u64_load_slots(const uint64_t *p) { return u64_load(p); }
LANE u64v u64_of_u32(u32v x) { return vreinterpretq_u64_u32(x); }
LANE u32v u32_of_u64(u64v x) { return vreinterpretq_u32_u64(x); }
LANE u64v u64_add(u64v a, u64v b) { return vaddq_u64(a, b); }
LANE u64v u64_sub(u64v a, u64v b) { return vsubq_u64(a, b); }
LANE u64v u64_and(u64v a, u64v b) { return vandq_u64(a, b); }
LANE u64v u64_or(u64v a, u64v b) { return vorrq_u64(a, b); }
LANE u64v u64_xor(u64v a, u64v b) { return veorq_u64(a, b); }
LANE u64v u64_xor3(u64v a, u64v b, u64v c) { return veorq_u64(veorq_u64(a, b), c); }
#define u64_shl(x, n) vshlq_n_u64(x, n)
#define u64_shr(x, n) vshrq_n_u64(x, n)
LANE u64v u64_high(u64v x) { return u64_shr(x, 32); }
LANE u64v u64_mul32(u64v a, u64v b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
LANE u64v u64_join(u64v low, u64v high) { return vsliq_n_u64(low, high, 32); }
LANE u64v u64_join_high(u64v low, u64v high) {
    return vreinterpretq_u64_u32(vtrn2q_u32(vreinterpretq_u32_u64(low), vreinterpretq_u32_u64(high)));
}
LANE u64v u64_blend(u64v low, u64v high) { return vbslq_u64(vdupq_n_u64(0xFFFFFFFF), low, high); }

LANE void u64_transpose(u64v row[2]) {
    const u64v a = row[0], b = row[1];
    row[0] = vzip1q_u64(a, b);
    row[1] = vzip2q_u64(a, b);
}

LANE u32v u32_set(uint32_t x) { return vdupq_n_u32(x); }
LANE u32v u32_load(const uint32_t *p) { return vld1q_u32(p); }
LANE void u32_store(uint32_t *p, u32v x) { vst1q_u32(p, x); }
LANE u32v u32_zip_low(u32v a, u32v b) { return vzip1q_u32(a, b); }
LANE u32v u32_zip_high(u32v a, u32v b) { return vzip2q_u32(a, b); }
LANE u32v u16_zip_low(u32v a, u32v b) {
    return vreinterpretq_u32_u16(vzip1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}
LANE u32v u16_zip_high(u32v a, u32v b) {
    return vreinterpretq_u32_u16(vzip2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}
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
LANE u32v u32_add(u32v a, u32v b) { return vaddq_u32(a, b); }
LANE u32v u32_sub(u32v a, u32v b) { return vsubq_u32(a, b); }
LANE u32v u32_and(u32v a, u32v b) { return vandq_u32(a, b); }
LANE u32v u32_xor(u32v a, u32v b) { return veorq_u32(a, b); }
#define u32_shl(x, n) vshlq_n_u32(x, n)
#define u32_shr(x, n) vshrq_n_u32(x, n)
LANE u32v u32_xor_masked(u32v a, u32v b, u32v c, u32v m) { return veorq_u32(a, vandq_u32(veorq_u32(b, c), m)); }

LANE f32v f32_set(float x) { return vdupq_n_f32(x); }
LANE f32v f32_of_bits(u32v x) { return vreinterpretq_f32_u32(x); }
LANE u32v f32_bits(f32v x) { return vreinterpretq_u32_f32(x); }
LANE f32v f32_of_i32(u32v x) { return vcvtq_f32_s32(vreinterpretq_s32_u32(x)); }
LANE f32v f32_load(const float *p) { return vld1q_f32(p); }
LANE void f32_store(float *p, f32v x) { vst1q_f32(p, x); }
LANE f32v f32_add(f32v a, f32v b) { return vaddq_f32(a, b); }
LANE f32v f32_sub(f32v a, f32v b) { return vsubq_f32(a, b); }
LANE f32v f32_mul(f32v a, f32v b) { return vmulq_f32(a, b); }
LANE f32v f32_div(f32v a, f32v b) { return vdivq_f32(a, b); }
LANE f32v f32_sqrt(f32v a) { return vsqrtq_f32(a); }
LANE f32v f32_fma(f32v a, f32v b, f32v c) { return vfmaq_f32(c, a, b); }
LANE m32 f32_lt(f32v a, f32v b) { return vcltq_f32(a, b); }
LANE f32v f32_select(m32 m, f32v yes, f32v no) { return vbslq_f32(m, yes, no); }

LANE f64v f64_set(double x) { return vdupq_n_f64(x); }
LANE f64v f64_of_bits(u64v x) { return vreinterpretq_f64_u64(x); }
LANE u64v f64_bits(f64v x) { return vreinterpretq_u64_f64(x); }
LANE f64v f64_of_u53(u64v x) { return vcvtq_f64_u64(x); }
LANE f64v f64_load(const double *p) { return vld1q_f64(p); }
LANE void f64_store(double *p, f64v x) { vst1q_f64(p, x); }
LANE f64v f64_add(f64v a, f64v b) { return vaddq_f64(a, b); }
LANE f64v f64_sub(f64v a, f64v b) { return vsubq_f64(a, b); }
LANE f64v f64_mul(f64v a, f64v b) { return vmulq_f64(a, b); }
LANE f64v f64_div(f64v a, f64v b) { return vdivq_f64(a, b); }
LANE f64v f64_sqrt(f64v a) { return vsqrtq_f64(a); }
LANE f64v f64_fma(f64v a, f64v b, f64v c) { return vfmaq_f64(c, a, b); }
LANE m64 f64_lt(f64v a, f64v b) { return vcltq_f64(a, b); }
LANE f64v f64_select(m64 m, f64v yes, f64v no) { return vbslq_f64(m, yes, no); }
LANE int m64_any(m64 m) { return (vgetq_lane_u64(m, 0) | vgetq_lane_u64(m, 1)) != 0; }
LANE int m64_all(m64 m) { return (vgetq_lane_u64(m, 0) & vgetq_lane_u64(m, 1)) != 0; }
LANE f32v f32_of_f64_pair(f64v low, f64v high) {
    uint64x2_t a = vmovl_u32(vreinterpret_u32_f32(vcvt_f32_f64(low)));
    uint64x2_t b = vmovl_u32(vreinterpret_u32_f32(vcvt_f32_f64(high)));
    return vreinterpretq_f32_u64(vsliq_n_u64(a, b, 32));
}

LANE void u32_store_pairs(void *out, u32v even, u32v odd) {
    vst1q_u32((uint32_t *)(out), vzip1q_u32(even, odd));
    vst1q_u32((uint32_t *)((char *)out + 16), vzip2q_u32(even, odd));
}
LANE void f32_store_pairs(void *out, f32v even, f32v odd) {
    vst1q_f32((float *)(out), vzip1q_f32(even, odd));
    vst1q_f32((float *)((char *)out + 16), vzip2q_f32(even, odd));
}
LANE void f64_store_pairs(void *out, f64v even, f64v odd) {
    vst1q_f64((double *)(out), vzip1q_f64(even, odd));
    vst1q_f64((double *)((char *)out + 16), vzip2q_f64(even, odd));
}
LANE void f16_store_pairs(void *out, f32v even, f32v odd) {
    vst1_u16((uint16_t *)(out), vreinterpret_u16_f16(vcvt_f16_f32(vzip1q_f32(even, odd))));
    vst1_u16((uint16_t *)((char *)out + 8), vreinterpret_u16_f16(vcvt_f16_f32(vzip2q_f32(even, odd))));
}
LANE void u16_store_upper_pairs(void *out, u32v even, u32v odd) {
    vst1q_u16((uint16_t *)(out), vreinterpretq_u16_u32(vsriq_n_u32(odd, even, 16)));
}
