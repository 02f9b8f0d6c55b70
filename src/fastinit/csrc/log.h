/* log.h - -2 ln u for Box-Muller in float32, ln x in float64.
 *
 * Both write x = 2^e m and expand around m = 1, with m's interval chosen so that e = 0 next to x = 1:
 * the result keeps full relative accuracy there, where -2 ln u goes to zero. */

/* -2 ln u, 2^-32 <= u <= 1. m in [2/3, 4/3): -2 ln u = f Q(f) - 2 ln 2 e, f = m - 1, Q of degree 8.
 * Worst error: docs/stream.md (r). */
LANE f32v minus_two_log_f32(f32v u) {
    u32v offset = u32_sub(f32_bits(u), u32_set(0x3F2AAAAB)); /* bits of 2/3, rounded up */
    u32v exponent = u32_and(offset, u32_set(0xFF800000));    /* e 2^23, as a signed integer */
    f32v f = f32_sub(f32_of_bits(u32_sub(f32_bits(u), exponent)), f32_set(1.0f));
    f32v q = f32_set(LOG32_Q8);
    q = f32_fma(q, f, f32_set(LOG32_Q7));
    q = f32_fma(q, f, f32_set(LOG32_Q6));
    q = f32_fma(q, f, f32_set(LOG32_Q5));
    q = f32_fma(q, f, f32_set(LOG32_Q4));
    q = f32_fma(q, f, f32_set(LOG32_Q3));
    q = f32_fma(q, f, f32_set(LOG32_Q2));
    q = f32_fma(q, f, f32_set(LOG32_Q1));
    q = f32_fma(q, f, f32_set(-2.0f));
    f32v e_term = f32_mul(f32_of_i32(exponent), f32_set(LOG32_E)); /* e (-2 ln 2), scale 2^-23 inside */
    return f32_fma(f, q, e_term);
}

/* ln x for normal positive x, under 1 ulp: the method and coefficients of FreeBSD's e_log.c (Sun, 1993):
 * m in [sqrt(1/2), sqrt(2)), s = f / (2 + f), ln(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))). */
LANE f64v log_f64(f64v x) {
    u64v offset = u64_add(u64_sub(f64_bits(x), u64_set(0x3FE6A09E00000000)), u64_set(0x4000000000000000));
    u64v biased = u64_shr(offset, 52); /* e + 1024 */
    u64v m = u64_sub(f64_bits(x), u64_sub(u64_shl(biased, 52), u64_set(0x4000000000000000)));
    f64v e = f64_sub(f64_of_u53(biased), f64_set(1024.0));
    f64v f = f64_sub(f64_of_bits(m), f64_set(1.0));
    f64v s = f64_div(f, f64_add(f, f64_set(2.0)));
    f64v z = f64_mul(s, s);
    f64v r = f64_set(LOG64_7);
    r = f64_fma(r, z, f64_set(LOG64_6));
    r = f64_fma(r, z, f64_set(LOG64_5));
    r = f64_fma(r, z, f64_set(LOG64_4));
    r = f64_fma(r, z, f64_set(LOG64_3));
    r = f64_fma(r, z, f64_set(LOG64_2));
    r = f64_fma(r, z, f64_set(LOG64_1));
    r = f64_mul(r, z);
    f64v half_square = f64_mul(f64_mul(f, f64_set(0.5)), f);
    f64v correction = f64_fma(s, f64_add(half_square, r), f64_mul(e, f64_set(LN2_LOW)));
    return f64_fma(e, f64_set(LN2_HIGH), f64_sub(f, f64_sub(half_square, correction)));
}
