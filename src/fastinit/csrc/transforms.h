/* transforms.h - from a buffer of words to values in memory: one function per distribution.
 *
 * Each takes `pairs` vector pairs of words (philox.h) and writes their elements, in order and
 * contiguous, in the dtype of `values`. docs/stream.md, section "Values", in code. */
#include "narrow.h"

/* ---- the last step ---------------------------------------------------------------------------- */

/* hold(round(v)) equals round(clamp(v)) for ends that are exact in the dtype: rounding is monotone.
 * Compare and select, so that signed zeros survive. */
LANE f32v hold_f32(f32v v, const fi_values *values) {
    f32v low = f32_set((float)values->hold_low), high = f32_set((float)values->hold_high);
    v = f32_select(f32_lt(v, low), low, v);
    return f32_select(f32_lt(high, v), high, v);
}
LANE f64v hold_f64(f64v v, const fi_values *values) {
    f64v low = f64_set(values->hold_low), high = f64_set(values->hold_high);
    v = f64_select(f64_lt(v, low), low, v);
    return f64_select(f64_lt(high, v), high, v);
}
/* Writes a vector pair of float32 results in the dtype; returns the bytes written. */
LANE size_t put_f32(char *out, f32v even, f32v odd, fi_dtype dtype) {
    if (dtype == FI_FLOAT32) {
        f32_store_pairs(out, even, odd);
        return PAIR * 4;
    }
    if (dtype == FI_FLOAT16)
        f16_store_pairs(out, even, odd);
    else
        u16_store_upper_pairs(out, bfloat16_upper(even), bfloat16_upper(odd));
    return PAIR * 2;
}

/* ---- words to numbers ------------------------------------------------------------------------- */

/* The 53-bit integers k of the two float64 elements of each block: 27 bits of one word, 26 of the next. */
LANE void integers_f64(const uint32_t *words, f64v *first, f64v *second) {
    u64v even = u64_of_u32(u32_load(words)), odd = u64_of_u32(u32_load(words + LANES));
    u64v low32 = u64_set(0xFFFFFFFF);
    u64v a = u64_or(u64_shl(u64_shr(u64_and(even, low32), 5), 26), u64_shr(u64_and(odd, low32), 6));
    u64v b = u64_or(u64_shl(u64_shr(even, 37), 26), u64_shr(odd, 38));
    *first = f64_of_u53(a);
    *second = f64_of_u53(b);
}

/* ---- uniform ---------------------------------------------------------------------------------- */

LANE f32v uniform_f32(u32v words, const fi_values *values, int hold) {
    f32v v = f32_fma(f32_of_i32(u32_shr(words, 8)), f32_set(values->scale32), f32_set(values->shift32));
    return hold ? hold_f32(v, values) : v;
}
LANE void uniform_as(const uint32_t *words, size_t pairs, const fi_values *values, char *out, fi_dtype dtype,
                     int hold) {
    for (size_t i = 0; i < pairs; i++, words += PAIR)
        out += put_f32(out, uniform_f32(u32_load(words), values, hold),
                       uniform_f32(u32_load(words + LANES), values, hold), dtype);
}
LANE f64v uniform_f64(f64v k, const fi_values *values) {
    return hold_f64(f64_fma(k, f64_set(values->scale64), f64_set(values->shift64)), values);
}
LANE void uniform_as_f64(const uint32_t *words, size_t pairs, const fi_values *values, char *out) {
    for (size_t i = 0; i < pairs; i++, words += PAIR, out += LANES * 8) {
        f64v a, b;
        integers_f64(words, &a, &b);
        f64_store_pairs(out, uniform_f64(a, values), uniform_f64(b, values));
    }
}

/* ---- normal: Box & Muller, Ann. Math. Statist. 29 (1958) ---------------------------------------- */

LANE void normal_as(const uint32_t *words, size_t pairs, const fi_values *values, char *out, fi_dtype dtype) {
    const f32v std = f32_set(values->scale32), mean = f32_set(values->shift32);
    for (size_t i = 0; i < pairs; i++, words += PAIR) {
        u32v w = u32_load(words), turn = u32_load(words + LANES), twice = u32_shl(turn, 1);
        f32v u = f32_fma(f32_of_i32(u32_shr(w, 1)), f32_set(0x1p-31f), f32_set(0x1p-32f));
        f32v r = f32_sqrt(minus_two_log_f32(u)), sine, cosine;
        sincospi_f32(f32_mul(f32_of_i32(twice), f32_set(0x1p-32f)), &sine, &cosine);
        /* K is odd where the top two bits differ */
        r = f32_of_bits(u32_xor_masked(f32_bits(r), turn, twice, u32_set(0x80000000)));
        out += put_f32(out, f32_fma(f32_mul(r, cosine), std, mean), f32_fma(f32_mul(r, sine), std, mean), dtype);
    }
}
LANE void normal_as_f64(const uint32_t *words, size_t pairs, const fi_values *values, char *out) {
    const f64v std = f64_set(values->scale64), mean = f64_set(values->shift64);
    for (size_t i = 0; i < pairs; i++, words += PAIR, out += LANES * 8) {
        f64v k, turn, sine, cosine;
        integers_f64(words, &k, &turn);
        f64v u = f64_fma(k, f64_set(0x1p-53), f64_set(0x1p-54));
        f64v r = f64_sqrt(f64_mul(log_f64(u), f64_set(-2.0)));
        /* turn / 2^52 = K + h: adding 1.5 2^52 rounds to the integer K, whose last bit is K's parity */
        f64v half_turns = f64_mul(turn, f64_set(0x1p-52));
        f64v rounded = f64_add(half_turns, f64_set(0x1.8p52));
        sincospi_f64(f64_sub(half_turns, f64_sub(rounded, f64_set(0x1.8p52))), &sine, &cosine);
        r = f64_of_bits(u64_xor(f64_bits(r), u64_shl(f64_bits(rounded), 63)));
        f64_store_pairs(out, f64_fma(f64_mul(r, cosine), std, mean), f64_fma(f64_mul(r, sine), std, mean));
    }
}

/* ---- truncated normal: inverse distribution function -------------------------------------------- */

/* z for float32 with both cuts within 2, from p = Phi(z) - 1/2: p times a rational function of
 * v = (Phi(2) - 1/2)^2 - p^2, the distance from the outer end: there its coefficients all have one sign. */
LANE f32v truncated_central_f32(u32v words, const fi_values *values) {
    const fi_cut *cut = &values->cut;
    f32v k = f32_of_i32(u32_xor(words, u32_set(0x80000000)));
    f32v p = f32_fma(k, f32_set(cut->slope), f32_set(cut->center));
    f32v v = f32_fma(f32_sub(f32_set(0.0f), p), p, f32_set(CUT32_END));
    f32v n = f32_set(CUT32_N4), d = f32_set(CUT32_D4);
    n = f32_fma(n, v, f32_set(CUT32_N3));
    d = f32_fma(d, v, f32_set(CUT32_D3));
    n = f32_fma(n, v, f32_set(CUT32_N2));
    d = f32_fma(d, v, f32_set(CUT32_D2));
    n = f32_fma(n, v, f32_set(CUT32_N1));
    d = f32_fma(d, v, f32_set(CUT32_D1));
    n = f32_fma(n, v, f32_set(CUT32_N0));
    d = f32_fma(d, v, f32_set(1.0f));
    f32v z = f32_mul(p, f32_div(n, d));
    return hold_f32(f32_fma(z, f32_set(values->scale32), f32_set(values->shift32)), values);
}
/* z for float32 with a cut within 3 of 0: q, the smaller of the tails beyond z, from the end of the words that
 * belongs to it, then s = sqrt(-2 ln q) and a rational function of s - s(1/2), whose coefficients all have one sign. */
LANE f32v truncated_tails_f32(u32v words, const fi_values *values) {
    const fi_cut *cut = &values->cut;
    const f32v nearly = f32_of_i32(u32_xor(words, u32_set(0x80000000))); /* which tail does not need the last bits */
    const m32 lower = f32_lt(nearly, f32_set(cut->split32));
    const u32v k = f32_bits(f32_select(lower, f32_of_bits(words), f32_of_bits(u32_xor(words, u32_set(0xFFFFFFFF)))));
    /* k + 1/2, rounded once: unsigned, in two halves */
    const f32v low = f32_add(f32_of_i32(u32_and(k, u32_set(0xFFFF))), f32_set(0.5f));
    const f32v t = f32_fma(f32_of_i32(u32_shr(k, 16)), f32_set(0x1p16f), low);
    const f32v base = f32_select(lower, f32_set((float)cut->base_low), f32_set((float)cut->base_high));
    const f32v q = f32_fma(t, f32_set(cut->slope), base);
    const f32v x = f32_sub(f32_sqrt(minus_two_log_f32(q)), f32_set(TAIL32_START));
    f32v n = f32_set(TAIL32_N3), d = f32_set(TAIL32_D3);
    n = f32_fma(n, x, f32_set(TAIL32_N2));
    d = f32_fma(d, x, f32_set(TAIL32_D2));
    n = f32_fma(n, x, f32_set(TAIL32_N1));
    d = f32_fma(d, x, f32_set(TAIL32_D1));
    n = f32_fma(n, x, f32_set(TAIL32_N0));
    d = f32_fma(d, x, f32_set(1.0f));
    f32v z = f32_mul(x, f32_div(n, d));
    z = f32_select(lower, f32_sub(f32_set(0.0f), z), z);
    return hold_f32(f32_fma(z, f32_set(values->scale32), f32_set(values->shift32)), values);
}
/* z for any other cuts, in float64, from the integer k. */
LANE f64v truncated_z(f64v k, const fi_cut *cut) {
    const f64v scale = f64_set(cut->scale), half = f64_set(cut->half);
    if (cut->method == FI_CUT_NARROW) {
        f64v t = f64_fma(k, scale, half), one = f64_set(1.0);
        f64v bend = f64_mul(f64_sub(one, t), f64_fma(t, f64_set(cut->bend_slope), f64_set(cut->bend)));
        return f64_fma(f64_mul(t, f64_set(cut->step)), f64_sub(one, bend), f64_set(cut->origin));
    }
    m64 lower = f64_lt(k, f64_set(cut->split));
    f64v mirrored = f64_sub(f64_set(cut->kmax), k);
    f64v t = f64_fma(f64_select(lower, k, mirrored), scale, half);
    f64v tail = f64_fma(t, f64_set(cut->width), f64_select(lower, f64_set(cut->base_low), f64_set(cut->base_high)));
    if (cut->method == FI_CUT_EXPONENTIAL) { /* the root of y = rate d + change d^2 / 2, y = -ln X */
        f64v l = log_f64(tail);
        f64v root = f64_sqrt(f64_fma(l, f64_set(cut->rate_change), f64_set(cut->rate_square)));
        return f64_fma(f64_div(l, f64_add(f64_set(cut->rate), root)), f64_set(cut->step), f64_set(cut->origin));
    }
    m64 central = f64_lt(f64_set(cut->central_above), tail);
    f64v z = m64_any(central) ? inverse_normal_central(f64_sub(f64_set(0.5), tail)) : f64_set(0.0);
    if (!m64_all(central))
        z = f64_select(central, z, inverse_normal_tail(f64_sub(f64_set(cut->y0), log_f64(tail))));
    return f64_select(lower, f64_sub(f64_set(0.0), z), z);
}
LANE f32v truncated_f32(u32v words, const fi_values *values) {
    u64v w = u64_of_u32(words);
    f64v low = truncated_z(f64_of_u53(u64_and(w, u64_set(0xFFFFFFFF))), &values->cut);
    f64v high = truncated_z(f64_of_u53(u64_shr(w, 32)), &values->cut);
    f32v z = f32_of_f64_pair(low, high);
    return hold_f32(f32_fma(z, f32_set(values->scale32), f32_set(values->shift32)), values);
}
LANE void truncated_as(const uint32_t *words, size_t pairs, const fi_values *values, char *out, fi_dtype dtype) {
    if (values->cut.method == FI_CUT_CENTRAL)
        for (size_t i = 0; i < pairs; i++, words += PAIR)
            out += put_f32(out, truncated_central_f32(u32_load(words), values),
                           truncated_central_f32(u32_load(words + LANES), values), dtype);
    else if (values->cut.method == FI_CUT_TAILS)
        for (size_t i = 0; i < pairs; i++, words += PAIR)
            out += put_f32(out, truncated_tails_f32(u32_load(words), values),
                           truncated_tails_f32(u32_load(words + LANES), values), dtype);
    else
        for (size_t i = 0; i < pairs; i++, words += PAIR)
            out += put_f32(out, truncated_f32(u32_load(words), values), truncated_f32(u32_load(words + LANES), values),
                           dtype);
}
LANE f64v truncated_f64(f64v k, const fi_values *values) {
    f64v z = truncated_z(k, &values->cut);
    return hold_f64(f64_fma(z, f64_set(values->scale64), f64_set(values->shift64)), values);
}
LANE void truncated_as_f64(const uint32_t *words, size_t pairs, const fi_values *values, char *out) {
    for (size_t i = 0; i < pairs; i++, words += PAIR, out += LANES * 8) {
        f64v a, b;
        integers_f64(words, &a, &b);
        f64_store_pairs(out, truncated_f64(a, values), truncated_f64(b, values));
    }
}
