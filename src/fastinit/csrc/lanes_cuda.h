/* lanes_cuda.h - the named lane operations of one CUDA thread: two 32-bit lanes, one 64-bit lane. Contract: lanes.md.
 *
 * The intrinsics that name a rounding are never contracted to an fma, and compiled without -ftz they keep denormals. */
#include <stdint.h>

#define LANES 2
#define GROUPS 1
#define LANE static __device__ __forceinline__

typedef struct {
    uint32_t a, b;
} u32v;
typedef struct {
    uint64_t a;
} u64v;
typedef struct {
    float a, b;
} f32v;
typedef struct {
    double a;
} f64v;
typedef u32v m32;
typedef u64v m64;

LANE u32v u32_both(uint32_t a, uint32_t b) {
    u32v r = {a, b};
    return r;
}
LANE u64v u64_set(uint64_t x) {
    u64v r = {x};
    return r;
}
LANE f32v f32_both(float a, float b) {
    f32v r = {a, b};
    return r;
}
LANE f64v f64_set(double x) {
    f64v r = {x};
    return r;
}

LANE u64v u64_load(const uint64_t *p) { return u64_set(*p); }
LANE u64v u64_load_slots(const uint64_t *p) { return u64_load(p); }
LANE u64v u64_of_u32(u32v x) { return u64_set(x.a | (uint64_t)x.b << 32); }
LANE u32v u32_of_u64(u64v x) { return u32_both((uint32_t)x.a, (uint32_t)(x.a >> 32)); }
LANE u64v u64_add(u64v a, u64v b) { return u64_set(a.a + b.a); }
LANE u64v u64_sub(u64v a, u64v b) { return u64_set(a.a - b.a); }
LANE u64v u64_and(u64v a, u64v b) { return u64_set(a.a & b.a); }
LANE u64v u64_or(u64v a, u64v b) { return u64_set(a.a | b.a); }
LANE u64v u64_xor(u64v a, u64v b) { return u64_set(a.a ^ b.a); }
LANE u64v u64_xor3(u64v a, u64v b, u64v c) { return u64_set(a.a ^ b.a ^ c.a); }
LANE u64v u64_shl(u64v x, int n) { return u64_set(x.a << n); }
LANE u64v u64_shr(u64v x, int n) { return u64_set(x.a >> n); }
LANE u64v u64_high(u64v x) { return u64_shr(x, 32); }
LANE u64v u64_mul32(u64v a, u64v b) { return u64_set((uint64_t)(uint32_t)a.a * (uint32_t)b.a); }
LANE u64v u64_join(u64v low, u64v high) { return u64_set((uint32_t)low.a | high.a << 32); }
LANE u64v u64_join_high(u64v low, u64v high) { return u64_set(low.a >> 32 | (high.a >> 32 << 32)); }
LANE u64v u64_blend(u64v low, u64v high) { return u64_set((uint32_t)low.a | (high.a >> 32 << 32)); }

LANE u32v u32_set(uint32_t x) { return u32_both(x, x); }
LANE u32v u32_load(const uint32_t *p) { return u32_both(p[0], p[1]); }
LANE void u32_store(uint32_t *p, u32v x) {
    p[0] = x.a;
    p[1] = x.b;
}
LANE u32v u32_add(u32v a, u32v b) { return u32_both(a.a + b.a, a.b + b.b); }
LANE u32v u32_sub(u32v a, u32v b) { return u32_both(a.a - b.a, a.b - b.b); }
LANE u32v u32_and(u32v a, u32v b) { return u32_both(a.a & b.a, a.b & b.b); }
LANE u32v u32_xor(u32v a, u32v b) { return u32_both(a.a ^ b.a, a.b ^ b.b); }
LANE u32v u32_shl(u32v x, int n) { return u32_both(x.a << n, x.b << n); }
LANE u32v u32_shr(u32v x, int n) { return u32_both(x.a >> n, x.b >> n); }
LANE u32v u32_xor_masked(u32v a, u32v b, u32v c, u32v m) { return u32_xor(a, u32_and(u32_xor(b, c), m)); }

LANE f32v f32_set(float x) { return f32_both(x, x); }
LANE f32v f32_of_bits(u32v x) { return f32_both(__uint_as_float(x.a), __uint_as_float(x.b)); }
LANE u32v f32_bits(f32v x) { return u32_both(__float_as_uint(x.a), __float_as_uint(x.b)); }
LANE f32v f32_of_i32(u32v x) { return f32_both(__int2float_rn((int)x.a), __int2float_rn((int)x.b)); }
LANE f32v f32_add(f32v a, f32v b) { return f32_both(__fadd_rn(a.a, b.a), __fadd_rn(a.b, b.b)); }
LANE f32v f32_sub(f32v a, f32v b) { return f32_both(__fsub_rn(a.a, b.a), __fsub_rn(a.b, b.b)); }
LANE f32v f32_mul(f32v a, f32v b) { return f32_both(__fmul_rn(a.a, b.a), __fmul_rn(a.b, b.b)); }
LANE f32v f32_div(f32v a, f32v b) { return f32_both(__fdiv_rn(a.a, b.a), __fdiv_rn(a.b, b.b)); }
LANE f32v f32_sqrt(f32v a) { return f32_both(__fsqrt_rn(a.a), __fsqrt_rn(a.b)); }
LANE f32v f32_fma(f32v a, f32v b, f32v c) { return f32_both(__fmaf_rn(a.a, b.a, c.a), __fmaf_rn(a.b, b.b, c.b)); }
LANE m32 f32_lt(f32v a, f32v b) { return u32_both(a.a < b.a, a.b < b.b); }
LANE f32v f32_select(m32 m, f32v yes, f32v no) { return f32_both(m.a ? yes.a : no.a, m.b ? yes.b : no.b); }

LANE f64v f64_of_bits(u64v x) { return f64_set(__longlong_as_double((long long)x.a)); }
LANE u64v f64_bits(f64v x) { return u64_set((uint64_t)__double_as_longlong(x.a)); }
LANE f64v f64_of_u53(u64v x) { return f64_set(__ull2double_rn(x.a)); }
LANE f64v f64_add(f64v a, f64v b) { return f64_set(__dadd_rn(a.a, b.a)); }
LANE f64v f64_sub(f64v a, f64v b) { return f64_set(__dsub_rn(a.a, b.a)); }
LANE f64v f64_mul(f64v a, f64v b) { return f64_set(__dmul_rn(a.a, b.a)); }
LANE f64v f64_div(f64v a, f64v b) { return f64_set(__ddiv_rn(a.a, b.a)); }
LANE f64v f64_sqrt(f64v a) { return f64_set(__dsqrt_rn(a.a)); }
LANE f64v f64_fma(f64v a, f64v b, f64v c) { return f64_set(__fma_rn(a.a, b.a, c.a)); }
LANE m64 f64_lt(f64v a, f64v b) { return u64_set(a.a < b.a); }
LANE f64v f64_select(m64 m, f64v yes, f64v no) { return f64_set(m.a ? yes.a : no.a); }
LANE int m64_any(m64 m) { return m.a != 0; }
LANE int m64_all(m64 m) { return m.a != 0; }
LANE f32v f32_of_f64_pair(f64v low, f64v high) { return f32_both(__double2float_rn(low.a), __double2float_rn(high.a)); }

#ifdef __CUDA_ARCH__
LANE uint32_t f16_bits(float x) {
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return half;
}
#else
#include "round.h"
LANE uint32_t f16_bits(float x) { return fi_float16_of_float(x); }
#endif

/* `out` is memory of the thread, aligned to what is stored at a time. */
LANE void u32_store_pairs(void *out, u32v even, u32v odd) { *(uint4 *)out = make_uint4(even.a, odd.a, even.b, odd.b); }
LANE void f32_store_pairs(void *out, f32v even, f32v odd) { u32_store_pairs(out, f32_bits(even), f32_bits(odd)); }
LANE void f64_store_pairs(void *out, f64v even, f64v odd) {
    const u32v first = u32_of_u64(f64_bits(even)), second = u32_of_u64(f64_bits(odd));
    *(uint4 *)out = make_uint4(first.a, first.b, second.a, second.b);
}
LANE void f16_store_pairs(void *out, f32v even, f32v odd) {
    *(uint2 *)out = make_uint2(f16_bits(even.a) | f16_bits(odd.a) << 16, f16_bits(even.b) | f16_bits(odd.b) << 16);
}
LANE void u16_store_upper_pairs(void *out, u32v even, u32v odd) {
    *(uint2 *)out = make_uint2((even.a >> 16) | (odd.a & 0xFFFF0000u), (even.b >> 16) | (odd.b & 0xFFFF0000u));
}
